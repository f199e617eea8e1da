//! A complete pre-training run of a configuration, in a folder.

use super::config::PretrainConfig;
use super::engine::train_clip;
use super::outcome::PretrainOutcome;
use super::report::page;
use super::setup::PretrainSetup;
use crate::config::settings::Settings;
use crate::error::Result;
use crate::run::folder::{RunFolder, Start};
use crate::run::interrupt::StopFlag;
use crate::run::outcome::End;
use crate::run::progress::Observer;
use burn::prelude::*;
use std::path::Path;
use std::time::Instant;

/// Trains a CLIP as configured and writes everything into a folder: metrics, checkpoints, curves, a report,
/// and the CLIP in the layout of Hugging Face. [`RunFolder`] lists the names. The CLIP in `model/` is
/// that of the last checkpoint, so after a finished run that of the last step.
///
/// With [`Start::Resume`] the run in the folder is resumed. On the CPU the weights are then the same, bit
/// for bit, as without the interruption, whenever it happened.
///
/// # Errors
///
/// If the configuration is invalid, anything cannot be read or written, or the loss, the gradient norm or
/// a weight becomes NaN or infinite. The last checkpoint is then still complete.
///
/// # Example
///
/// ```no_run
/// use burn::tensor::Device;
/// use clipseg_train::{PretrainConfig, Progress, Start, StopFlag, pretrain};
///
/// let config = PretrainConfig::default();
/// let (device, folder) = (Device::flex(), "runs/clip".as_ref());
/// let stop = StopFlag::on_ctrl_c()?;
/// let outcome = pretrain(&config, &device, folder, Start::New, &stop, &mut Progress::new())?;
/// if let Some(scores) = outcome.scores() {
///     println!("{scores}");
/// }
/// # Ok::<(), clipseg_train::TrainError>(())
/// ```
pub fn pretrain(
    config: &PretrainConfig,
    device: &Device,
    root: &Path,
    start: Start,
    stop: &StopFlag,
    observer: &mut dyn Observer,
) -> Result<PretrainOutcome> {
    let config = config.clone().with_absolute_paths();
    config.check()?;
    let folder = RunFolder::open(root, &config, start)?;
    let began = Instant::now();
    let setup = PretrainSetup::new(&config, device, |line| observer.note(line));
    let setup = match setup {
        Ok(setup) => setup,
        Err(error) => {
            folder.abandon();
            return Err(error);
        }
    };
    let parameters = setup.clip.num_params();
    observer.note(&format!(
        "a CLIP of {parameters} parameters and {} tokens; {}",
        setup.parts.config.text_config.vocab_size,
        setup.captions.pictures().map_or_else(
            || "an unlimited number of pictures".to_owned(),
            |pictures| format!("{pictures} pictures"),
        ),
    ));
    let outcome = train_clip(&config, &setup, &folder, stop, observer)?;
    if outcome.cut_captions > 0 {
        observer.note(&format!(
            "{} captions had more than {} tokens and were truncated",
            outcome.cut_captions, setup.parts.config.text_config.max_position_embeddings
        ));
    }
    if outcome.end == End::Stopped {
        return Ok(outcome);
    }
    let notes = [
        format!("Parameters: {parameters}"),
        format!("Truncated captions: {}", outcome.cut_captions),
        format!(
            "Time of the last process: {:.0} s",
            began.elapsed().as_secs_f64()
        ),
    ];
    let page = page(&config, &outcome, &notes)?;
    folder.write(&folder.report(), page.as_bytes())?;
    Ok(outcome)
}
