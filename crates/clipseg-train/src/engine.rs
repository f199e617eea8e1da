//! The training loop.
//!
//! A step is a pure function of the weights, the moments, the seed and its number: which phrases it
//! learns from, what is changed about them and how fast it learns all follow from these. So a run
//! that goes on from a checkpoint does what it would have done.

use crate::checkpoint::{self, Best, TrainState};
use crate::config::{BestBy, TrainConfig};
use crate::curves::write_curves;
use crate::encoding::{FrozenClip, mix_embeddings};
use crate::error::{Result, TrainError};
use crate::evaluate::{EvaluateOptions, evaluate};
use crate::examples::write_examples;
use crate::interrupt::StopFlag;
use crate::journal::{Journal, Record};
use crate::order::BatchOrder;
use crate::outcome::{End, TrainOutcome};
use crate::phrases::Phrases;
use crate::progress::Observer;
use crate::run_folder::RunFolder;
use crate::trainer::{Decoder, DecoderTrainer};
use burn::optim::{GradientsAccumulator, GradientsParams};
use clipseg_metrics::Confusion;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::path::PathBuf;

/// Trains a decoder on top of a frozen CLIP.
///
/// The encoders run on the plain device and leave nothing on the tape; pictures that several phrases
/// of a batch share are encoded once.
#[derive(Debug)]
pub struct Engine<'a> {
    clip: &'a mut FrozenClip,
    config: &'a TrainConfig,
    training: &'a Phrases,
    validation: Option<&'a Phrases>,
    folder: Option<&'a RunFolder>,
    stop: StopFlag,
    order: BatchOrder,
    /// The batches of the epoch that the run is in.
    epoch: Option<(usize, Vec<Vec<usize>>)>,
}

/// What one step did.
struct Step {
    gradients: GradientsParams,
    loss: f32,
    gradient_norm: Option<f32>,
    epoch: usize,
    phrases: usize,
}

impl<'a> Engine<'a> {
    /// A run on some phrases, which keeps nothing but what it returns.
    ///
    /// # Errors
    ///
    /// If the configuration is unusable or there is no phrase.
    pub fn new(
        clip: &'a mut FrozenClip,
        training: &'a Phrases,
        config: &'a TrainConfig,
    ) -> Result<Self> {
        config.validate()?;
        if training.is_empty() {
            return Err(TrainError::Empty("training"));
        }
        let schedule = &config.schedule;
        let order = BatchOrder::new(
            training
                .iter()
                .map(|(index, phrase)| (index, phrase.image_id)),
            schedule.group_by_picture,
            schedule.batch_size,
            config.seed,
        );
        Ok(Self {
            clip,
            config,
            training,
            validation: None,
            folder: None,
            stop: StopFlag::new(),
            order,
            epoch: None,
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
        self.config.schedule.total_steps(self.order.batches())
    }

    /// Trains a decoder, or goes on with the one in the folder's checkpoint.
    ///
    /// # Errors
    ///
    /// If a sample cannot be read, the loss or a weight stops being a number, or the folder cannot
    /// be written; the last checkpoint is then whole.
    pub fn run(mut self, decoder: Decoder, observer: &mut dyn Observer) -> Result<TrainOutcome> {
        let steps = self.steps();
        let mut trainer =
            DecoderTrainer::new(decoder, &self.config.optimizer, self.config.loss.to_owned());
        let mut state = TrainState::default();
        let mut best = None;
        if let Some(path) = self.checkpoint() {
            if let Some(folder) = self.folder
                && folder.best_checkpoint().is_file()
            {
                checkpoint::load(&folder.best_checkpoint(), &mut trainer)?;
                best = Some(trainer.decoder());
            }
            state = checkpoint::load(&path, &mut trainer)?;
            // A best checkpoint may be from steps that are done again.
            best = best.filter(|_| state.best.is_some());
            observer.note(&format!("going on after step {}", state.step));
        }
        let mut journal = match self.folder {
            Some(folder) => Journal::open(&folder.metrics(), state.metrics_length)?,
            None => Journal::default(),
        };
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
            let done = self.step(&trainer, state.step)?;
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
    fn step(&mut self, trainer: &DecoderTrainer, step: usize) -> Result<Step> {
        let accumulation = self.config.schedule.accumulation;
        let positions = step * accumulation..(step + 1) * accumulation;
        let batches: Vec<(usize, Vec<usize>)> = positions
            .clone()
            .map(|position| self.batch_at(position))
            .collect();
        let phrases: usize = batches.iter().map(|(_, indices)| indices.len()).sum();
        let mut tasks = Vec::with_capacity(phrases);
        let mut accumulator = GradientsAccumulator::new();
        let mut losses = Vec::with_capacity(accumulation);
        for (position, (epoch, indices)) in positions.zip(&batches) {
            let mut fed = self.training.batch(indices, *epoch, self.clip.device())?;
            tasks.append(&mut fed.batch.task_ids);
            let support = fed.support.take();
            let mut input = self.clip.encode_fed(fed)?;
            if let Some(support) = support {
                let shares = self.visual_shares(position, indices.len());
                let visual = self.clip.encode_support(support);
                input.conditional_embedding =
                    mix_embeddings(input.conditional_embedding, visual, &shares);
            }
            let (loss, gradients) = trainer.gradients(&input);
            let share = indices.len() as f64 / phrases as f64;
            losses.push((loss, share));
            accumulator.accumulate(trainer.module(), trainer.scale(gradients, share));
        }
        let mut loss = 0.0;
        for (value, share) in losses {
            let value = value.try_into_scalar::<f32>().map_err(TrainError::device)?;
            loss += f64::from(value) * share;
        }
        let loss = loss as f32;
        if !loss.is_finite() {
            return Err(TrainError::Diverged {
                step: step + 1,
                loss,
                tasks,
                checkpoint: self.checkpoint(),
            });
        }
        let mut gradients = accumulator.grads();
        let mut norm = None;
        if let Some(longest) = self.config.schedule.clip_norm {
            (gradients, norm) = trainer.clip(gradients, longest);
        }
        let norm = norm.map(|norm| norm.try_into_scalar::<f32>().map_err(TrainError::device));
        Ok(Step {
            gradients,
            loss,
            gradient_norm: norm.transpose()?.filter(|norm| norm.is_finite()),
            epoch: batches[0].0,
            phrases,
        })
    }

    /// The epoch and the phrases of a batch, counted from the first of the run.
    fn batch_at(&mut self, position: usize) -> (usize, Vec<usize>) {
        let batches = self.order.batches();
        let (epoch, place) = (position / batches, position % batches);
        let current = self.epoch.as_ref().map(|(epoch, _)| *epoch);
        if current != Some(epoch) {
            self.epoch = Some((epoch, self.order.epoch(epoch)));
        }
        let batch = self
            .epoch
            .as_ref()
            .map(|(_, batches)| batches[place].clone());
        (epoch, batch.unwrap_or_default())
    }

    /// How much of a support picture is mixed into each phrase of a batch.
    fn visual_shares(&self, position: usize, phrases: usize) -> Vec<f32> {
        let mut random = ChaCha8Rng::seed_from_u64(self.config.seed ^ 0x7669_7375_616c);
        random.set_stream(position as u64);
        let most = self.config.augment.visual;
        (0..phrases)
            .map(|_| most * random.random::<f32>())
            .collect()
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
        let (pooled, mean_iou) = (scores.pooled(), scores.mean(Confusion::iou));
        let score = match config.best_by {
            BestBy::MeanIou => mean_iou,
            BestBy::Loss => scores.loss,
        };
        let best = state.best.is_none_or(|best| match config.best_by {
            BestBy::MeanIou => score > best.score,
            BestBy::Loss => score < best.score,
        });
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
                checkpoint::save(&folder.best_checkpoint(), trainer, state)?;
            }
            let shown = phrases.clone().spread(config.examples);
            write_examples(folder, self.clip, &decoder, &shown, state.step)?;
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
        checkpoint::save(&folder.last_checkpoint(), trainer, state)
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
            Some(folder) => write_curves(&folder.curves(), journal.records()),
            None => Ok(()),
        }
    }

    /// The last checkpoint, if one was written.
    fn checkpoint(&self) -> Option<PathBuf> {
        let path = self.folder?.last_checkpoint();
        path.is_file().then_some(path)
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
    training: &Phrases,
    config: &TrainConfig,
    observer: &mut dyn Observer,
) -> Result<TrainOutcome> {
    Engine::new(clip, training, config)?.run(decoder, observer)
}
