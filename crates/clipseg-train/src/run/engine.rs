//! Training a decoder on a CLIP, which is frozen or fine-tuned.

use crate::config::train_config::{BestBy, TrainConfig};
use crate::error::{Result, TrainError};
use crate::frozen::encoding::FrozenClip;
use crate::run::checkpoint::{self, Best, TrainState};
use crate::run::feed::Feed;
use crate::run::folder::RunFolder;
use crate::run::interrupt::StopFlag;
use crate::run::journal::Record;
use crate::run::outcome::TrainOutcome;
use crate::run::progress::Observer;
use crate::run::training_loop::{Running, Training, TrainingLoop};
use crate::scoring::best_threshold::best_threshold;
use crate::scoring::evaluate::{EvaluateOptions, evaluate, phrase_iou};
use crate::scoring::phrases::Phrases;
use crate::step::stepper::{Measured, Stepper};
use crate::step::trainer::DecoderTrainer;
use clipseg_clip::{Clip, TunedClip, TunedPart};
use clipseg_data::{BatchOrder, Grouping, PhraseCutDataset, is_cpu};
use clipseg_model::Decoder;
use std::collections::VecDeque;
use std::sync::Arc;
use xxhash_rust::xxh3::Xxh3;

/// Trains a decoder on top of a CLIP.
///
/// A frozen CLIP runs on the plain device, so its activations are not recorded for the backward pass. With
/// [`ClipChoice::unfreeze`](crate::ClipChoice::unfreeze) a part of it is trained too. A picture that several
/// phrases of a batch share is encoded once.
#[derive(Debug)]
pub struct Engine<'a> {
    clip: &'a mut FrozenClip,
    config: &'a TrainConfig,
    training: &'a Arc<PhraseCutDataset>,
    validation: Option<&'a Phrases>,
    folder: Option<&'a RunFolder>,
    stop: StopFlag,
    sigmoid_twice: bool,
    /// Whether validations also report the mean IoU at the best threshold.
    best_threshold: bool,
    order: BatchOrder,
    /// Steps whose losses may still be on the device after a step.
    unread: usize,
    /// The weights of CLIP that are trained.
    part: Option<TunedPart>,
}

impl<'a> Engine<'a> {
    /// Prepares a run on the phrases of a data set, without validation and without a folder.
    ///
    /// # Errors
    ///
    /// If the configuration is invalid, there is no phrase, the warm-up is not shorter than the run,
    /// `clip.unfreeze` does not fit the model or the precision of `clip`, or a weight of CLIP is NaN or
    /// infinite (the message names the tensors).
    pub fn new(
        clip: &'a mut FrozenClip,
        training: &'a Arc<PhraseCutDataset>,
        config: &'a TrainConfig,
    ) -> Result<Self> {
        config.validate()?;
        if training.phrases() == 0 {
            return Err(TrainError::Empty("training"));
        }
        let tensors = clip.non_finite();
        if !tensors.is_empty() {
            return Err(TrainError::NonFinite {
                part: "CLIP",
                tensors,
            });
        }
        let part = config.tuned_part(clip.config())?;
        if part.is_some() {
            clip.begin_tuning()?;
        }
        let schedule = &config.schedule;
        let grouping = if schedule.group_by_picture {
            Grouping::Picture
        } else {
            Grouping::Phrase
        };
        let order = BatchOrder::new(training, schedule.batch_size, grouping, config.seed);
        // Reading a loss waits for the device. A GPU gets the next step before, so that it is never idle; the
        // CPU computes each step at once, so there is nothing to gain.
        let unread = usize::from(!is_cpu(clip.device()));
        let engine = Self {
            clip,
            config,
            training,
            validation: None,
            folder: None,
            stop: StopFlag::new(),
            sigmoid_twice: false,
            best_threshold: false,
            order,
            unread,
            part,
        };
        schedule.check_warmup(engine.steps())?;
        Ok(engine)
    }

    /// Scores the decoder on these phrases at regular intervals; the best decoder is chosen by the
    /// scores.
    #[must_use]
    pub fn with_validation(mut self, phrases: &'a Phrases) -> Self {
        self.validation = (!phrases.is_empty()).then_some(phrases);
        self
    }

    /// Writes metrics, checkpoints and pictures into a folder, and resumes from the checkpoint in it if
    /// there is one.
    #[must_use]
    pub fn with_folder(mut self, folder: &'a RunFolder) -> Self {
        self.folder = Some(folder);
        self
    }

    /// Saves a checkpoint and stops when this flag is raised.
    #[must_use]
    pub fn with_stop(mut self, stop: StopFlag) -> Self {
        self.stop = stop;
        self
    }

    /// Computes the training loss from the sigmoid of the logits as if these were the logits, a defect that a study
    /// reproduces.
    #[must_use]
    pub(crate) fn with_sigmoid_twice(mut self) -> Self {
        self.sigmoid_twice = true;
        self
    }

    /// Also reports the mean IoU at the threshold that is best in each validation. At a fixed threshold, losses differ
    /// by their calibration too.
    #[must_use]
    pub(crate) fn with_best_threshold(mut self) -> Self {
        self.best_threshold = true;
        self
    }

    /// The number of steps of the run.
    pub fn steps(&self) -> usize {
        let batches_of = |epochs: usize| {
            let epochs = 0..epochs as u64;
            epochs.map(|epoch| self.order.epoch(epoch).len()).sum()
        };
        self.config.schedule.total_steps(batches_of)
    }

    /// Trains a decoder, or resumes the one in the folder's checkpoint.
    ///
    /// If CLIP is fine-tuned, the [`FrozenClip`] of the run becomes the one that belongs to the best decoder.
    ///
    /// # Errors
    ///
    /// If a weight of the decoder is NaN or infinite, a sample cannot be read, the loss, the gradient
    /// norm or a weight becomes NaN or infinite, or the folder cannot be written. The last checkpoint is
    /// then still complete.
    pub fn run(self, decoder: Decoder, observer: &mut dyn Observer) -> Result<TrainOutcome> {
        let tensors = clipseg_clip::non_finite(&decoder);
        if !tensors.is_empty() {
            return Err(TrainError::NonFinite {
                part: "decoder",
                tensors,
            });
        }
        let steps = self.steps();
        let (folder, stop) = (self.folder, self.stop.clone());
        let config = self.config;
        let training_loop = TrainingLoop {
            folder,
            stop: &stop,
            validate_every: self.validation.map(|_| config.validation.every),
            save_every: config.checkpoints.every,
        };
        let mut trainer = DecoderTrainer::new(decoder, &config.optimizer, config.loss.clone())
            .with_sigmoid_twice(self.sigmoid_twice);
        if let Some(part) = self.part {
            let clip = TunedClip::new(self.clip.clip().clone(), part)?;
            trainer = trainer.with_clip(clip, config.clip_rate_share());
        }
        let mut training = DecoderTraining {
            trainer,
            clip: self.clip,
            config,
            training: self.training,
            validation: self.validation,
            best_threshold: self.best_threshold,
            order: self.order,
            steps,
            feed: None,
            best: None,
            pending: VecDeque::new(),
            unread: self.unread,
        };
        let (end, records) = training_loop.run(&mut training, observer)?;
        let last = training.current();
        let best = training.best.take().unwrap_or_else(|| last.clone());
        training.use_clip(best.clip.clone());
        Ok(TrainOutcome {
            best: best.decoder,
            best_clip: best.clip,
            decoder: last.decoder,
            clip: last.clip,
            records,
            end,
        })
    }
}

/// The training of a decoder, as the loop sees it.
struct DecoderTraining<'a> {
    trainer: DecoderTrainer,
    clip: &'a mut FrozenClip,
    config: &'a TrainConfig,
    training: &'a Arc<PhraseCutDataset>,
    validation: Option<&'a Phrases>,
    best_threshold: bool,
    order: BatchOrder,
    steps: usize,
    feed: Option<Feed>,
    /// The weights with the best validation so far.
    best: Option<Weights>,
    /// Steps whose losses are still on the device, and the largest number of them after a step.
    pending: VecDeque<Pending>,
    unread: usize,
}

/// Trained weights on the plain device.
#[derive(Clone)]
struct Weights {
    decoder: Decoder,
    /// `None` if CLIP is frozen.
    clip: Option<Clip>,
}

/// A step that the device may not have finished yet.
struct Pending {
    step: usize,
    epoch: u64,
    learning_rate: f64,
    phrases: usize,
    tasks: Vec<String>,
    measured: Measured,
}

impl DecoderTraining<'_> {
    /// The current weights.
    fn current(&self) -> Weights {
        Weights {
            decoder: self.trainer.decoder(),
            clip: self.trainer.plain_clip(),
        }
    }

    /// Scores and encodes with a fine-tuned CLIP from now on; does nothing if CLIP is frozen.
    fn use_clip(&mut self, clip: Option<Clip>) {
        let text = self.trainer.tuned_clip().map(|tuned| tuned.part().text);
        if let (Some(clip), Some(text)) = (clip, text) {
            self.clip.replace_clip(clip, text);
        }
    }

    /// Reads and records pending steps, the earliest first, until at most `left` are pending.
    fn record_until(&mut self, left: usize, run: &mut Running<'_, Record>) -> Result<()> {
        while self.pending.len() > left
            && let Some(done) = self.pending.pop_front()
        {
            let (loss, gradient_norm) = done.measured.read()?;
            let values = [("loss", Some(loss)), ("gradient norm", gradient_norm)];
            run.require_finite(done.step, &values, || done.tasks)?;
            run.journal.push(Record::Step {
                step: done.step,
                epoch: done.epoch,
                loss,
                learning_rate: done.learning_rate as f32,
                gradient_norm,
            })?;
            run.observer
                .step(done.step, loss, done.learning_rate, done.phrases);
        }
        Ok(())
    }
}

impl Training for DecoderTraining<'_> {
    type Trainer = DecoderTrainer;
    type Record = Record;

    fn trainer(&self) -> &DecoderTrainer {
        &self.trainer
    }

    fn trainer_mut(&mut self) -> &mut DecoderTrainer {
        &mut self.trainer
    }

    fn first_state(&self) -> TrainState {
        TrainState {
            phrases: phrases_key(self.training),
            ..TrainState::default()
        }
    }

    fn load_best(&mut self, folder: &RunFolder) -> Result<()> {
        let path = folder.best_checkpoint();
        if path.is_file() {
            checkpoint::load(&path, &mut self.trainer)?;
            self.best = Some(self.current());
        }
        Ok(())
    }

    fn begin(&mut self, state: &TrainState) -> Result<usize> {
        // A best checkpoint may be from steps that are done again.
        self.best = self.best.take().filter(|_| state.best.is_some());
        let first = state.step * self.config.schedule.accumulation;
        self.feed = Some(Feed::new(self.training, &self.order, first)?);
        Ok(self.steps)
    }

    fn steps(&self, _state: &TrainState) -> Option<usize> {
        Some(self.steps)
    }

    fn step(&mut self, _steps: Option<usize>, run: &mut Running<'_, Record>) -> Result<()> {
        let feed = self.feed.as_mut().ok_or(TrainError::Empty("training"))?;
        let mut stepper = Stepper {
            clip: self.clip,
            config: self.config,
            training: self.training,
        };
        let done = stepper.step(&self.trainer, run.state.step, feed)?;
        let schedule = &self.config.schedule;
        let learning_rate = schedule.learning_rate_at(run.state.step, self.steps);
        self.pending.push_back(Pending {
            step: run.state.step + 1,
            epoch: done.epoch,
            learning_rate,
            phrases: done.phrases,
            tasks: done.tasks,
            measured: done.measured,
        });
        if self.unread == 0 {
            self.record_until(0, run)?;
        }
        self.trainer.apply(done.gradients, learning_rate);
        self.record_until(self.unread, run)
    }

    fn read_back(&mut self, run: &mut Running<'_, Record>) -> Result<()> {
        self.record_until(0, run)
    }

    fn validate(&mut self, run: &mut Running<'_, Record>) -> Result<()> {
        let Some(phrases) = self.validation else {
            return Ok(());
        };
        let config = &self.config.validation;
        let options = EvaluateOptions::default()
            .with_batch_size(self.config.schedule.batch_size)
            .with_threshold(config.threshold)
            .with_loss(self.config.loss.clone());
        let weights = self.current();
        self.use_clip(weights.clip.clone());
        let decoder = &weights.decoder;
        let scores = evaluate(self.clip, decoder, phrases, &options)?;
        let iou = phrase_iou(self.training.options().preprocessing);
        let (pooled, mean_iou) = (scores.tally.pooled(), scores.tally.mean(iou));
        let step = run.state.step;
        let loss = scores.loss as f32;
        run.require_finite(step, &[("validation loss", Some(loss))], || {
            vec!["the validation split".into()]
        })?;
        let mean_iou_at_best = if self.best_threshold {
            let batch = self.config.schedule.batch_size;
            let best = best_threshold(self.clip, decoder, phrases, batch)?;
            Some(best.value as f32)
        } else {
            None
        };
        let score = match config.best_by {
            BestBy::MeanIou => mean_iou,
            BestBy::Loss => scores.loss,
        };
        let former = run.state.best;
        let best = former.is_none_or(|best| is_better(config.best_by, score, best.score));
        if best {
            run.state.best = Some(Best { step, score });
            run.state.without_improvement = 0;
            self.best = Some(weights.clone());
        } else {
            run.state.without_improvement += 1;
        }
        run.journal.push(Record::Validation {
            step,
            loss,
            accuracy: pooled.accuracy() as f32,
            dice: pooled.dice() as f32,
            iou: pooled.iou() as f32,
            mean_iou: mean_iou as f32,
            mean_iou_at_best,
            best,
        })?;
        run.observer.note(&format!(
            "step {step}: validation loss {:.4}, Dice {:.3}, IoU {:.3}, mean IoU {mean_iou:.3}{}; {}",
            scores.loss,
            pooled.dice(),
            pooled.iou(),
            if best { ", the best so far" } else { "" },
            self.clip.counts(),
        ));
        let Some(folder) = run.folder else {
            return Ok(());
        };
        if best {
            // Before the last checkpoint: if the process ends in between, the resumed run finds the
            // same best decoder again.
            run.state.metrics_length = run.journal.sync()?;
            run.require_finite_weights(&self.trainer)?;
            let path = folder.best_checkpoint();
            checkpoint::save(folder.staging(), &path, &self.trainer, &run.state)?;
        }
        #[cfg(feature = "plots")]
        {
            let shown = phrases.clone().spread(config.examples);
            let validated = run.journal.validated();
            let clip = &mut *self.clip;
            crate::report::examples::write_examples(folder, clip, decoder, &shown, &validated)?;
        }
        Ok(())
    }

    fn out_of_patience(&self, state: &TrainState) -> bool {
        let patience = self.config.validation.patience;
        patience.is_some_and(|patience| state.without_improvement >= patience)
    }

    #[cfg(feature = "plots")]
    fn draw(&self, folder: &RunFolder, records: &[Record]) -> Result<()> {
        crate::report::curves::write_curves(folder, records)
    }
}

/// A hash of the phrases of a data set and their order.
fn phrases_key(training: &PhraseCutDataset) -> u64 {
    let mut hash = Xxh3::new();
    for index in 0..training.phrases() {
        hash.update(training.record(index).task_id.as_bytes());
        hash.update(&[0]);
    }
    hash.digest()
}

/// Whether a validation is better than the best one before. Of two equal validations the earlier stays
/// the best, so that a run that does not improve runs out of patience.
fn is_better(by: BestBy, score: f64, best: f64) -> bool {
    match by {
        BestBy::MeanIou => score > best,
        BestBy::Loss => score < best,
    }
}

/// Trains a decoder on the phrases of a data set and returns it, without writing anything.
///
/// [`Engine`] adds validation, a run folder and a flag to stop. [`run`](crate::run) does everything that
/// a configuration asks for.
///
/// # Errors
///
/// As [`Engine::new`] and [`Engine::run`].
pub fn train(
    clip: &mut FrozenClip,
    decoder: Decoder,
    training: &Arc<PhraseCutDataset>,
    config: &TrainConfig,
    observer: &mut dyn Observer,
) -> Result<TrainOutcome> {
    Engine::new(clip, training, config)?.run(decoder, observer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::folder::Start;
    use crate::run::progress::Silent;
    use crate::run::setup::Setup;
    use burn::prelude::*;
    use clipseg_data::{ScenesConfig, generate_scenes};
    use clipseg_metrics::Loss;

    /// A run whose losses are read `unread` steps late.
    fn run_late(config: &TrainConfig, folder: &RunFolder, unread: usize) -> Result<TrainOutcome> {
        let mut setup = Setup::new(config, &Device::flex(), |_| {}).unwrap();
        let mut engine = Engine::new(&mut setup.clip, &setup.training, config)?.with_folder(folder);
        assert_eq!(engine.unread, 0, "on the CPU");
        engine.unread = unread;
        engine.run(setup.decoder.clone(), &mut Silent)
    }

    #[test]
    fn losses_read_one_step_late_are_the_same_and_nan_is_never_saved() {
        let folder = tempfile::tempdir().unwrap();
        let scenes = folder.path().join("scenes");
        let generated = ScenesConfig {
            images: 10,
            size: 32,
            seed: 5,
        };
        generate_scenes(&scenes, &generated).unwrap();
        let mut config = TrainConfig::default();
        config.data.folder = Some(scenes);
        config.data.size = Some(32);
        config.schedule.steps = Some(5);
        config.schedule.batch_size = 2;
        config.schedule.accumulation = 2;
        config.schedule.clip_norm = Some(0.5);
        config.checkpoints.every = 3;
        config.loss = Loss::bce();
        let open = |name: &str, config: &TrainConfig| {
            RunFolder::open(&folder.path().join(name), config, Start::New).unwrap()
        };
        let [at_once, late] = [0, 1].map(|unread| {
            let run = open(&format!("run {unread}"), &config);
            run_late(&config, &run, unread).unwrap().records
        });
        assert_eq!(at_once.len(), 5);
        assert_eq!(at_once, late);

        config.loss = "1e38*bce".parse().unwrap();
        config.schedule.clip_norm = None;
        let [at_once, late] = [0, 1].map(|unread| {
            let run = open(&format!("diverging {unread}"), &config);
            let error = run_late(&config, &run, unread).unwrap_err();
            assert!(!run.last_checkpoint().exists());
            error.to_string()
        });
        assert!(at_once.contains("step 1"), "{at_once}");
        assert_eq!(at_once, late);
    }

    #[test]
    fn of_equal_validations_the_earlier_is_the_best() {
        for (by, worse, better) in [(BestBy::MeanIou, 0.2, 0.3), (BestBy::Loss, 0.3, 0.2)] {
            assert!(is_better(by, better, worse));
            assert!(!is_better(by, worse, better));
            assert!(!is_better(by, better, better));
            assert!(!is_better(by, f64::NAN, better));
        }
    }
}
