//! A complete training run of a configuration, in a folder.

use crate::config::train_config::TrainConfig;
use crate::error::Result;
use crate::report::page::{Table, report};
use crate::run::engine::Engine;
use crate::run::folder::{RunFolder, Start};
use crate::run::interrupt::StopFlag;
use crate::run::outcome::{End, TrainOutcome};
use crate::run::progress::Observer;
use crate::run::setup::Setup;
use crate::scoring::best_threshold::best_threshold;
use crate::scoring::evaluate::{EvaluateOptions, evaluate, phrase_iou};
use burn::prelude::*;
use std::path::Path;
use std::time::Instant;

/// The result of a training run.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RunOutcome {
    /// The result of the training loop.
    pub training: TrainOutcome,
    /// The final table; `None` if the run was stopped before its end.
    pub table: Option<Table>,
}

/// Trains a decoder, and CLIP if it is unfrozen, as configured and writes everything into a folder: metrics,
/// checkpoints, curves, examples, the model and a report. [`RunFolder`] lists the names.
///
/// The threshold with the best mean IoU on the validation split, of 49 from 0.02 to 0.98, is saved with the model
/// ([`Segmenter::threshold`](clipseg_model::Segmenter::threshold)).
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
/// use clipseg_train::{Progress, Start, StopFlag, TrainConfig, run};
///
/// let config = TrainConfig::preset("quick")?;
/// let (device, folder) = (Device::flex(), "runs/first".as_ref());
/// let stop = StopFlag::on_ctrl_c()?;
/// let outcome = run(&config, &device, folder, Start::New, &stop, &mut Progress::new())?;
/// if let Some(table) = outcome.table {
///     println!("{table}");
/// }
/// # Ok::<(), clipseg_train::TrainError>(())
/// ```
pub fn run(
    config: &TrainConfig,
    device: &Device,
    root: &Path,
    start: Start,
    stop: &StopFlag,
    observer: &mut dyn Observer,
) -> Result<RunOutcome> {
    let config = config.clone().with_absolute_paths();
    config.validate()?;
    let folder = RunFolder::open(root, &config, start)?;
    let began = Instant::now();
    let setup = Setup::new(&config, device, |line| observer.note(line));
    let mut setup = match setup {
        Ok(setup) => setup,
        Err(error) => {
            // Otherwise the folder could not be used again after the error is fixed.
            folder.abandon();
            return Err(error);
        }
    };
    observer.note(&format!(
        "{} phrases for training, {} for validation, {} for the final table, {} of them unseen",
        setup.training.phrases(),
        setup.validation.len(),
        setup.test.len(),
        setup.unseen.len()
    ));
    for line in &setup.left_out {
        observer.note(line);
    }
    let training = Engine::new(&mut setup.clip, &setup.training, &config)?
        .with_validation(&setup.validation)
        .with_folder(&folder)
        .with_stop(stop.clone())
        .run(setup.decoder.clone(), observer)?;
    if training.end == End::Stopped {
        return Ok(RunOutcome {
            training,
            table: None,
        });
    }
    let mut segmenter = setup.clip.segmenter(training.best.clone());
    let mut chosen = None;
    if !setup.validation.is_empty() {
        observer.note("choosing the threshold on the validation split");
        let batch = config.schedule.batch_size;
        let best = best_threshold(&mut setup.clip, &training.best, &setup.validation, batch)?;
        // A decoder that finds nothing at any threshold has no best one.
        if best.value > 0.0 {
            segmenter = segmenter.with_threshold(best.threshold as f32)?;
            chosen = Some(best);
        }
    }
    folder.write_folder(&folder.model(), |aside| {
        Ok(segmenter.save_pretrained(aside)?)
    })?;
    observer.note(if training.best_clip.is_some() {
        "scoring the best decoder with its fine-tuned CLIP"
    } else {
        "scoring the best decoder"
    });
    let table = final_table(&mut setup, &training, &config)?;
    let threshold = chosen.map_or_else(
        || "none, because no threshold finds anything on the validation split, or it has no phrases".to_owned(),
        |best| {
            let (threshold, iou) = (best.threshold, best.value);
            format!("{threshold:.2}, with a mean IoU of {iou:.3} on the validation split")
        },
    );
    let notes = [
        format!("Threshold saved with the model: {threshold}"),
        format!("Encoded: {}", setup.clip.counts()),
        format!(
            "Hidden states and phrases cached in memory at the end: {:.1} MiB",
            setup.clip.cached_bytes() as f64 / f64::from(1 << 20)
        ),
        format!(
            "Time of the last process: {:.0} s",
            began.elapsed().as_secs_f64()
        ),
    ];
    let page = report(&config, &training, &table, &setup.left_out, &notes)?;
    folder.write(&folder.report(), page.as_bytes())?;
    Ok(RunOutcome {
        training,
        table: Some(table),
    })
}

fn final_table(setup: &mut Setup, training: &TrainOutcome, config: &TrainConfig) -> Result<Table> {
    let options = EvaluateOptions::default()
        .with_batch_size(config.schedule.batch_size)
        .with_threshold(config.validation.threshold)
        .with_loss(config.loss.clone());
    let shuffled = options.clone().with_shuffled_text(config.seed);
    let iou = phrase_iou(setup.training.options().preprocessing);
    let mut table = Table::default();
    if !setup.learnt.is_empty() {
        let scores = evaluate(&mut setup.clip, &training.best, &setup.learnt, &options)?;
        table.add("training", &scores.tally, None, iou);
    }
    if !setup.test.is_empty() {
        let scores = evaluate(&mut setup.clip, &training.best, &setup.test, &options)?;
        let without = evaluate(&mut setup.clip, &training.best, &setup.test, &shuffled)?;
        for (name, unseen) in [("seen", false), ("unseen", true)] {
            let kept = |phrase| setup.unseen.contains(&phrase) == unseen;
            table.add(name, &scores.subset(kept), Some(&without.subset(kept)), iou);
        }
    }
    Ok(table)
}
