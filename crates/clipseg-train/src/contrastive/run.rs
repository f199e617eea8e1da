//! Everything that a pre-training configuration asks for, in a folder.

use super::config::PretrainConfig;
use super::engine::{PretrainEngine, PretrainOutcome};
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

/// Trains a CLIP as a configuration says and leaves everything in a folder: metrics, checkpoints,
/// curves, a report, and the CLIP in the layout of Hugging Face ([`RunFolder`] says under which
/// names). The CLIP in `model/` is that of the last checkpoint, which is of the last step where the run
/// came to its end.
///
/// With [`Start::Resume`] the run in the folder goes on, and on the processor it comes to the same weights,
/// bit for bit, as if it had not been interrupted, whenever it was.
///
/// # Errors
///
/// If anything is missing or cannot be written, or the loss stops being a number; the last
/// checkpoint is then whole.
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
            || "pictures without end".to_owned(),
            |pictures| format!("{pictures} pictures"),
        ),
    ));
    let engine = PretrainEngine::new(&config, &setup, &folder, stop.clone())?;
    let outcome = engine.run(observer)?;
    if outcome.cut_captions > 0 {
        observer.note(&format!(
            "{} captions had more than {} tokens and were cut",
            outcome.cut_captions, setup.parts.config.text_config.max_position_embeddings
        ));
    }
    if outcome.end == End::Stopped {
        return Ok(outcome);
    }
    let notes = [
        format!("Parameters: {parameters}"),
        format!("Captions that were cut: {}", outcome.cut_captions),
        format!(
            "Time of the last process: {:.0} s",
            began.elapsed().as_secs_f64()
        ),
    ];
    let page = page(&config, &outcome, &notes)?;
    folder.write(&folder.report(), page.as_bytes())?;
    Ok(outcome)
}
