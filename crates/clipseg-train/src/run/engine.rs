//! The training loop.
//!
//! A step is a pure function of the weights, the moments, the seed and its number: which phrases it
//! learns from, what is changed about them and how fast it learns all follow from these. So a run
//! that goes on from a checkpoint does what it would have done.

use crate::config::train_config::{BestBy, TrainConfig};
use crate::error::{Result, TrainError};
use crate::frozen::encoding::FrozenClip;
use crate::report::curves::write_curves;
use crate::report::examples::write_examples;
use crate::run::checkpoint::{self, Best, TrainState};
use crate::run::feed::Feed;
use crate::run::folder::RunFolder;
use crate::run::interrupt::StopFlag;
use crate::run::journal::{Journal, Record};
use crate::run::outcome::{End, TrainOutcome};
use crate::run::progress::Observer;
use crate::scoring::evaluate::{EvaluateOptions, evaluate, phrase_iou};
use crate::scoring::phrases::Phrases;
use crate::step::stepper::{Step, Stepper};
use crate::step::trainer::DecoderTrainer;
use clipseg_data::{BatchOrder, Grouping, PhraseCutDataset};
use clipseg_model::Decoder;
use std::path::PathBuf;
use std::sync::Arc;
use xxhash_rust::xxh3::Xxh3;

/// Trains a decoder on top of a frozen CLIP.
///
/// The encoders run on the plain device and leave nothing on the tape; pictures that several phrases
/// of a batch share are encoded once.
#[derive(Debug)]
pub struct Engine<'a> {
    clip: &'a mut FrozenClip,
    config: &'a TrainConfig,
    training: &'a Arc<PhraseCutDataset>,
    validation: Option<&'a Phrases>,
    folder: Option<&'a RunFolder>,
    stop: StopFlag,
    order: BatchOrder,
}

impl<'a> Engine<'a> {
    /// A run on some phrases, which keeps nothing but what it returns.
    ///
    /// # Errors
    ///
    /// If the configuration is unusable or there is no phrase.
    pub fn new(
        clip: &'a mut FrozenClip,
        training: &'a Arc<PhraseCutDataset>,
        config: &'a TrainConfig,
    ) -> Result<Self> {
        config.validate()?;
        if training.phrases() == 0 {
            return Err(TrainError::Empty("training"));
        }
        let schedule = &config.schedule;
        let grouping = if schedule.group_by_picture {
            Grouping::Picture
        } else {
            Grouping::Phrase
        };
        let order = BatchOrder::new(training, schedule.batch_size, grouping, config.seed);
        Ok(Self {
            clip,
            config,
            training,
            validation: None,
            folder: None,
            stop: StopFlag::new(),
            order,
        })
    }

    /// Scores the decoder on these phrases now and then, which the best one is chosen by.
    #[must_use]
    pub fn with_validation(mut self, phrases: &'a Phrases) -> Self {
        self.validation = (!phrases.is_empty()).then_some(phrases);
        self
    }

    /// Keeps metrics, checkpoints and pictures in a folder, and goes on from the checkpoint in it.
    #[must_use]
    pub fn with_folder(mut self, folder: &'a RunFolder) -> Self {
        self.folder = Some(folder);
        self
    }

    /// Saves and stops when this is raised.
    #[must_use]
    pub fn with_stop(mut self, stop: StopFlag) -> Self {
        self.stop = stop;
        self
    }

    /// Steps in all.
    pub fn steps(&self) -> usize {
        let batches_of = |epochs: usize| {
            let epochs = 0..epochs as u64;
            epochs.map(|epoch| self.order.epoch(epoch).len()).sum()
        };
        self.config.schedule.total_steps(batches_of)
    }

    /// Trains a decoder, or goes on with the one in the folder's checkpoint.
    ///
    /// # Errors
    ///
    /// If a sample cannot be read, the loss, the gradient or a weight stops being a number, or the
    /// folder cannot be written; the last checkpoint is then whole.
    pub fn run(mut self, decoder: Decoder, observer: &mut dyn Observer) -> Result<TrainOutcome> {
        let steps = self.steps();
        let mut trainer =
            DecoderTrainer::new(decoder, &self.config.optimizer, self.config.loss.to_owned());
        let phrases = phrases_key(self.training);
        let mut state = TrainState {
            phrases,
            ..TrainState::default()
        };
        let mut best = None;
        if let Some(path) = self.checkpoint() {
            if let Some(folder) = self.folder
                && folder.best_checkpoint().is_file()
            {
                checkpoint::load(&folder.best_checkpoint(), &mut trainer)?;
                best = Some(trainer.decoder());
            }
            state = checkpoint::load(&path, &mut trainer)?;
            if state.phrases != phrases {
                let message = "the run has learnt from other phrases than there are now, so it cannot \
                               go on: a record or a picture came, went or broke";
                return Err(TrainError::run(&path, message));
            }
            // A best checkpoint may be from steps that are done again.
            best = best.filter(|_| state.best.is_some());
            observer.note(&format!("going on after step {}", state.step));
        }
        let mut journal = match self.folder {
            Some(folder) => Journal::open(&folder.metrics(), state.metrics_length)?,
            None => Journal::default(),
        };
        let accumulation = self.config.schedule.accumulation;
        let mut feed = Feed::new(self.training, &self.order, state.step * accumulation)?;
        observer.start(state.step, steps);
        let end = loop {
            if self.out_of_patience(&state) {
                break End::NoImprovement;
            }
            if state.step >= steps {
                break End::Finished;
            }
            if self.stop.is_raised() {
                break End::Stopped;
            }
            let done = self.step(&trainer, state.step, &mut feed)?;
            let learning_rate = self.config.schedule.learning_rate_at(state.step, steps);
            trainer.apply(done.gradients, learning_rate);
            state.step += 1;
            journal.push(Record::Step {
                step: state.step,
                epoch: done.epoch,
                loss: done.loss,
                learning_rate: learning_rate as f32,
                gradient_norm: done.gradient_norm,
            })?;
            observer.step(state.step, done.loss, learning_rate, done.phrases);

            let last = state.step == steps;
            let every = self.config.validation.every;
            if self.validation.is_some() && (last || state.step.is_multiple_of(every)) {
                if self.validate(&trainer, &mut state, &mut journal, observer)? {
                    best = Some(trainer.decoder());
                }
                self.save(&trainer, &mut state, &journal)?;
            } else if last || state.step.is_multiple_of(self.config.checkpoints.every) {
                self.save(&trainer, &mut state, &journal)?;
            }
        };
        if end == End::Stopped {
            self.save(&trainer, &mut state, &journal)?;
        }
        self.draw(&journal)?;
        observer.finish();
        let decoder = trainer.decoder();
        Ok(TrainOutcome {
            best: best.unwrap_or_else(|| decoder.clone()),
            decoder,
            records: journal.records().to_vec(),
            end,
        })
    }

    /// The gradients of a step, counted from 0.
    fn step(&mut self, trainer: &DecoderTrainer, step: usize, feed: &mut Feed) -> Result<Step> {
        let last = self.folder.map(RunFolder::last_checkpoint);
        let mut stepper = Stepper {
            clip: self.clip,
            config: self.config,
            training: self.training,
        };
        stepper.step(trainer, step, feed, || last.filter(|path| path.is_file()))
    }

    /// Scores the decoder as it is; true if it is the best so far.
    fn validate(
        &mut self,
        trainer: &DecoderTrainer,
        state: &mut TrainState,
        journal: &mut Journal,
        observer: &mut dyn Observer,
    ) -> Result<bool> {
        let Some(phrases) = self.validation else {
            return Ok(false);
        };
        let config = &self.config.validation;
        let options = EvaluateOptions {
            batch_size: self.config.schedule.batch_size,
            threshold: config.threshold,
            loss: self.config.loss.to_owned(),
            shuffled_text: None,
        };
        let decoder = trainer.decoder();
        let scores = evaluate(self.clip, &decoder, phrases, &options)?;
        let iou = phrase_iou(self.training.options().preprocessing);
        let (pooled, mean_iou) = (scores.tally.pooled(), scores.tally.mean(iou));
        if !scores.loss.is_finite() {
            return Err(TrainError::Diverged {
                quantity: "validation loss",
                value: scores.loss as f32,
                step: state.step,
                tasks: vec!["the validation".into()],
                checkpoint: self.checkpoint(),
            });
        }
        let score = match config.best_by {
            BestBy::MeanIou => mean_iou,
            BestBy::Loss => scores.loss,
        };
        let best = state
            .best
            .is_none_or(|best| is_better(config.best_by, score, best.score));
        if best {
            state.best = Some(Best {
                step: state.step,
                score,
            });
            state.without_improvement = 0;
        } else {
            state.without_improvement += 1;
        }
        journal.push(Record::Validation {
            step: state.step,
            loss: scores.loss as f32,
            accuracy: pooled.accuracy() as f32,
            dice: pooled.dice() as f32,
            iou: pooled.iou() as f32,
            mean_iou: mean_iou as f32,
            best,
        })?;
        observer.note(&format!(
            "step {}: validation loss {:.4}, Dice {:.3}, IoU {:.3}, mean IoU {mean_iou:.3}{}; {}",
            state.step,
            scores.loss,
            pooled.dice(),
            pooled.iou(),
            if best { ", the best so far" } else { "" },
            self.clip.counts(),
        ));
        if let Some(folder) = self.folder {
            if best {
                // Before the last one: if it ends here, going on finds the same best again.
                state.metrics_length = journal.sync()?;
                self.check_weights(trainer, state.step)?;
                checkpoint::save(folder.staging(), &folder.best_checkpoint(), trainer, state)?;
            }
            let shown = phrases.clone().spread(config.examples);
            write_examples(folder, self.clip, &decoder, &shown, &journal.validated())?;
        }
        self.draw(journal)?;
        Ok(best)
    }

    fn out_of_patience(&self, state: &TrainState) -> bool {
        let patience = self.config.validation.patience;
        patience.is_some_and(|patience| state.without_improvement >= patience)
    }

    fn save(
        &self,
        trainer: &DecoderTrainer,
        state: &mut TrainState,
        journal: &Journal,
    ) -> Result<()> {
        let Some(folder) = self.folder else {
            return Ok(());
        };
        self.check_weights(trainer, state.step)?;
        state.metrics_length = journal.sync()?;
        checkpoint::save(folder.staging(), &folder.last_checkpoint(), trainer, state)
    }

    /// A checkpoint with weights that are no numbers would be worth nothing.
    fn check_weights(&self, trainer: &DecoderTrainer, step: usize) -> Result<()> {
        let tensors = clipseg_clip::non_finite(&trainer.decoder());
        if tensors.is_empty() {
            return Ok(());
        }
        Err(TrainError::BrokenWeights {
            step,
            tensors,
            checkpoint: self.checkpoint(),
        })
    }

    fn draw(&self, journal: &Journal) -> Result<()> {
        match self.folder {
            Some(folder) => write_curves(folder, journal.records()),
            None => Ok(()),
        }
    }

    /// The last checkpoint, if one was written.
    fn checkpoint(&self) -> Option<PathBuf> {
        let path = self.folder?.last_checkpoint();
        path.is_file().then_some(path)
    }
}

/// A number for the phrases of a data set and their order.
fn phrases_key(training: &PhraseCutDataset) -> u64 {
    let mut hash = Xxh3::new();
    for index in 0..training.phrases() {
        hash.update(training.record(index).task_id.as_bytes());
        hash.update(&[0]);
    }
    hash.digest()
}

/// Whether a validation is better than the best one before. Of two equal ones the earlier stays the
/// best, so that a run that does not improve runs out of patience.
fn is_better(by: BestBy, score: f64, best: f64) -> bool {
    match by {
        BestBy::MeanIou => score > best,
        BestBy::Loss => score < best,
    }
}

/// Trains a decoder on some phrases and keeps nothing but what it returns.
///
/// [`Engine`] adds validation, a run folder and a way to stop; [`run`](crate::run) does everything
/// that a configuration asks for.
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
