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
use crate::feed::Feed;
use crate::interrupt::StopFlag;
use crate::journal::{Journal, Record};
use crate::outcome::{End, TrainOutcome};
use crate::phrases::Phrases;
use crate::progress::Observer;
use crate::run_folder::RunFolder;
use crate::trainer::DecoderTrainer;
use burn::optim::{GradientsAccumulator, GradientsParams};
use burn::prelude::*;
use clipseg_data::{BatchOrder, Grouping, PhraseCutDataset, SampleBatch, Support};
use clipseg_metrics::Confusion;
use clipseg_model::Decoder;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::path::PathBuf;
use std::sync::Arc;

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

/// What one step did.
struct Step {
    gradients: GradientsParams,
    loss: f32,
    gradient_norm: Option<f32>,
    epoch: u64,
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
        let accumulation = self.config.schedule.accumulation;
        let positions = step * accumulation..(step + 1) * accumulation;
        let batches: Vec<(usize, u64, SampleBatch)> = positions
            .map(|position| {
                let (epoch, batch) = feed.next()?;
                Ok((position, epoch, batch))
            })
            .collect::<Result<_>>()?;
        let epoch = batches[0].1;
        let phrases: usize = batches.iter().map(|(.., batch)| batch.phrases.len()).sum();
        let mut tasks = Vec::with_capacity(phrases);
        let mut accumulator = GradientsAccumulator::new();
        let mut losses = Vec::with_capacity(accumulation);
        for (position, _, mut batch) in batches {
            let share = batch.phrases.len() as f64 / phrases as f64;
            tasks.append(&mut batch.task_ids);
            let mut batch = batch.into_tensors(self.clip.device());
            let supports = std::mem::take(&mut batch.supports);
            let mut input = self.clip.encode_if(batch, self.pictures_come_again())?;
            input.conditional_embedding =
                self.mix(input.conditional_embedding, &supports, position)?;
            let (loss, gradients) = trainer.gradients(&input);
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
            epoch,
            phrases,
        })
    }

    /// Whether what is seen of a picture is worth remembering for the next pass.
    fn pictures_come_again(&self) -> bool {
        let options = self.training.options();
        options.crop.is_none() && options.colour_jitter == 0.0
    }

    /// Mixes examples into the embeddings of the phrases that have one.
    fn mix(
        &self,
        text: Tensor<2>,
        supports: &[Option<Support>],
        position: usize,
    ) -> Result<Tensor<2>> {
        // An example too small to have a pixel shows nothing.
        let shown = |support: &&Support| support.mask.area() > 0;
        let supports: Vec<Option<&Support>> = supports
            .iter()
            .map(|support| support.as_ref().filter(shown))
            .collect();
        let there: Vec<&Support> = supports.iter().flatten().copied().collect();
        if there.is_empty() {
            return Ok(text);
        }
        let visual = self.clip.encode_supports(&there)?;
        let mut row = 0..;
        // Phrases without an example take the first one's row, with no weight.
        let rows: Vec<usize> = supports
            .iter()
            .map(|support| support.and_then(|_| row.next()).unwrap_or(0))
            .collect();
        let rows = Tensor::<1, Int>::from_data(rows_data(&rows), self.clip.device());
        let shares = self.visual_shares(position, supports.len());
        let shares: Vec<f32> = shares
            .iter()
            .zip(&supports)
            .map(|(share, support)| support.map_or(0.0, |_| *share))
            .collect();
        Ok(mix_embeddings(text, visual.select(0, rows), &shares))
    }

    /// How much of an example is mixed into each phrase of a batch.
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
        let (pooled, mean_iou) = (scores.tally.pooled(), scores.tally.mean(Confusion::iou));
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

fn rows_data(rows: &[usize]) -> TensorData {
    let rows: Vec<i64> = rows.iter().map(|&row| row as i64).collect();
    TensorData::from(rows.as_slice())
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
