//! The loop of pre-training.
//!
//! A step is a pure function of the weights, the moments, the seed and its number, as in the training
//! of a decoder, so that a run that goes on from a checkpoint does what it would have done.

use super::config::PretrainConfig;
use super::feed::{CaptionFeed, FixedTokenizer};
use super::records::PretrainRecord;
use super::report::write_pretrain_curves;
use super::scores::{ClipScores, ScoreSet};
use super::setup::PretrainSetup;
use super::trainer::ClipTrainer;
use crate::error::{Result, TrainError};
use crate::readback::floats;
use crate::run::checkpoint::{self, TrainState};
use crate::run::folder::RunFolder;
use crate::run::interrupt::StopFlag;
use crate::run::journal::Journal;
use crate::run::outcome::End;
use crate::run::progress::Observer;
use burn::prelude::*;
use clipseg_clip::Clip;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Steps whose speed does not count: kernels are compiled and tuned in them.
const WARM: usize = 20;
/// Steps after which the speed is known.
const MEASURED: usize = 40;

/// What a pre-training run ends with.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PretrainOutcome {
    /// The CLIP after the last step, on the plain device.
    pub clip: Clip,
    /// Every step and validation, those before an interruption too.
    pub records: Vec<PretrainRecord>,
    /// How it came to an end.
    pub end: End,
    /// Captions of this process that had more tokens than the text tower has positions, and were cut.
    pub cut_captions: usize,
}

impl PretrainOutcome {
    /// The loss of every step.
    pub fn losses(&self) -> Vec<f32> {
        self.records
            .iter()
            .filter_map(PretrainRecord::loss)
            .collect()
    }

    /// The scores of the last validation.
    pub fn scores(&self) -> Option<ClipScores> {
        self.records.iter().rev().find_map(|record| match record {
            PretrainRecord::Validation { scores, .. } => Some(*scores),
            PretrainRecord::Step { .. } => None,
        })
    }
}

/// Trains a CLIP on captions.
pub(crate) struct PretrainEngine<'a> {
    config: &'a PretrainConfig,
    setup: &'a PretrainSetup,
    folder: &'a RunFolder,
    stop: StopFlag,
    scores: ScoreSet,
    /// Steps whose numbers are still on the device.
    pending: Vec<Pending>,
    began: Instant,
}

/// A step that the device may still be busy with.
struct Pending {
    step: usize,
    epoch: u64,
    learning_rate: f64,
    loss: Tensor<1>,
    scale: Tensor<1>,
    gradient_norm: Option<Tensor<1>>,
}

impl<'a> PretrainEngine<'a> {
    pub(crate) fn new(
        config: &'a PretrainConfig,
        setup: &'a PretrainSetup,
        folder: &'a RunFolder,
        stop: StopFlag,
    ) -> Result<Self> {
        let sizes = [config.validation.pictures, config.validation.objects];
        let parts = &setup.parts;
        let scores = ScoreSet::new(
            &setup.captions,
            sizes,
            Self::tokenizer(setup)?,
            parts.processor.clone(),
            config.schedule.piece.unwrap_or(config.schedule.batch_size),
        )?;
        Ok(Self {
            config,
            setup,
            folder,
            stop,
            scores,
            pending: Vec::new(),
            began: Instant::now(),
        })
    }

    fn tokenizer(setup: &PretrainSetup) -> Result<FixedTokenizer> {
        let positions = setup.parts.config.text_config.max_position_embeddings;
        FixedTokenizer::new(&setup.parts.tokenizer, positions)
    }

    /// Trains from the beginning, or goes on with the checkpoint in the folder.
    pub(crate) fn run(mut self, observer: &mut dyn Observer) -> Result<PretrainOutcome> {
        let config = self.config;
        let schedule = &config.schedule;
        let mut trainer = ClipTrainer::new(self.setup.clip.clone(), &config.optimizer.into());
        let mut state = TrainState::default();
        if let Some(path) = self.checkpoint() {
            state = checkpoint::load(&path, &mut trainer)?;
            observer.note(&format!("going on after step {}", state.step));
        }
        let metrics = self.folder.metrics();
        let mut journal = Journal::<PretrainRecord>::open(&metrics, state.metrics_length)?;
        let mut feed = CaptionFeed::new(
            self.setup.captions.clone(),
            Self::tokenizer(self.setup)?,
            schedule.batch_size,
            state.step,
        )?;
        let mut cut_captions = 0;
        let first = state.step;
        let mut steps = schedule.total_steps().or(state.steps);
        let mut warm = Instant::now();
        observer.start(first, steps.unwrap_or(first + MEASURED));
        let end = loop {
            if steps.is_some_and(|steps| state.step >= steps) {
                break End::Finished;
            }
            if self.stop.is_raised() {
                break End::Stopped;
            }
            let batch = feed.next()?;
            cut_captions += batch.texts.cut;
            let input = batch.into_tensors(&self.setup.parts.processor, &self.setup.device);
            let piece = schedule.piece.unwrap_or(schedule.batch_size);
            let scale = trainer.logit_scale().exp();
            let (loss, mut gradients) = trainer.gradients_in_pieces(&input, piece)?;
            let mut gradient_norm = None;
            if let Some(longest) = schedule.clip_norm {
                (gradients, gradient_norm) = trainer.clip_gradients(gradients, longest);
            }
            let learning_rate = schedule.learning_rate_at(state.step, steps.unwrap_or(usize::MAX));
            trainer.apply(gradients, learning_rate);
            self.pending.push(Pending {
                step: state.step + 1,
                epoch: self
                    .setup
                    .captions
                    .epoch(state.step as u64, schedule.batch_size),
                learning_rate,
                loss,
                scale,
                gradient_norm,
            });
            state.step += 1;
            if let (None, Some(minutes)) = (steps, schedule.minutes) {
                // Whether numbers are read back or not decides nothing but when they are written.
                let here = state.step - first;
                if here == WARM {
                    self.read_back(&mut journal, observer)?;
                    warm = Instant::now();
                } else if here == MEASURED {
                    self.read_back(&mut journal, observer)?;
                    let each = warm.elapsed() / (MEASURED - WARM) as u32;
                    let more = self.steps_left(minutes, each);
                    steps = Some(state.step + more);
                    state.steps = steps;
                    observer.note(&format!(
                        "a step takes {:.3} s: {} steps in {minutes} minutes",
                        each.as_secs_f64(),
                        state.step + more
                    ));
                    observer.start(state.step, state.step + more);
                }
            }
            let last = steps == Some(state.step);
            let validate = last || state.step.is_multiple_of(config.validation.every);
            let save = validate || state.step.is_multiple_of(config.checkpoints.every);
            if save || self.pending.len() >= schedule.read_every {
                self.read_back(&mut journal, observer)?;
            }
            if validate {
                self.validate(&trainer, state.step, &mut journal, observer)?;
            }
            if save {
                self.save(&trainer, &mut state, &journal)?;
            }
        };
        self.read_back(&mut journal, observer)?;
        if end == End::Stopped {
            self.save(&trainer, &mut state, &journal)?;
        }
        write_pretrain_curves(self.folder, journal.records())?;
        observer.finish();
        Ok(PretrainOutcome {
            clip: trainer.clip(),
            records: journal.records().to_vec(),
            end,
            cut_captions,
        })
    }

    /// The steps that fit into what is left of the time, at least one.
    fn steps_left(&self, minutes: f64, each: Duration) -> usize {
        let left = 60.0 * minutes - self.began.elapsed().as_secs_f64();
        ((left / each.as_secs_f64().max(1e-6)) as usize).max(1)
    }

    /// Waits for the device and writes down what the steps since the last time did.
    fn read_back(
        &mut self,
        journal: &mut Journal<PretrainRecord>,
        observer: &mut dyn Observer,
    ) -> Result<()> {
        let pending = std::mem::take(&mut self.pending);
        if pending.is_empty() {
            return Ok(());
        }
        let all = |of: fn(&Pending) -> Option<Tensor<1>>| -> Result<Vec<f32>> {
            let found: Vec<Tensor<1>> = pending.iter().filter_map(of).collect();
            if found.is_empty() {
                return Ok(Vec::new());
            }
            floats(Tensor::cat(found, 0))
        };
        let losses = all(|done| Some(done.loss.clone()))?;
        let scales = all(|done| Some(done.scale.clone()))?;
        let norms = all(|done| done.gradient_norm.clone())?;
        for (index, done) in pending.iter().enumerate() {
            let (loss, gradient_norm) = (losses[index], norms.get(index).copied());
            let numbers = [("loss", Some(loss)), ("gradient norm", gradient_norm)];
            for (quantity, value) in numbers {
                if let Some(value) = value.filter(|value| !value.is_finite()) {
                    return Err(TrainError::Diverged {
                        quantity,
                        value,
                        step: done.step,
                        tasks: vec![format!("captions number {}", done.step)],
                        checkpoint: self.checkpoint(),
                    });
                }
            }
            journal.push(PretrainRecord::Step {
                step: done.step,
                epoch: done.epoch,
                loss,
                learning_rate: done.learning_rate as f32,
                scale: scales[index],
                gradient_norm,
            })?;
            let samples = self.config.schedule.batch_size;
            observer.step(done.step, loss, done.learning_rate, samples);
        }
        Ok(())
    }

    /// Scores the CLIP as it is.
    fn validate(
        &self,
        trainer: &ClipTrainer,
        step: usize,
        journal: &mut Journal<PretrainRecord>,
        observer: &mut dyn Observer,
    ) -> Result<()> {
        let clip = trainer.clip();
        self.check_weights(&clip, step)?;
        let scores = self.scores.score(&clip)?;
        journal.push(PretrainRecord::Validation { step, scores })?;
        observer.note(&format!("step {step}: {scores}"));
        write_pretrain_curves(self.folder, journal.records())
    }

    fn save(
        &self,
        trainer: &ClipTrainer,
        state: &mut TrainState,
        journal: &Journal<PretrainRecord>,
    ) -> Result<()> {
        let clip = trainer.clip();
        self.check_weights(&clip, state.step)?;
        // Usable at any time, whatever becomes of the run.
        self.folder.write_folder(&self.folder.model(), |aside| {
            self.setup.parts.save(aside, &clip)
        })?;
        state.metrics_length = journal.sync()?;
        let path = self.folder.last_checkpoint();
        checkpoint::save(self.folder.staging(), &path, trainer, state)
    }

    /// A checkpoint with weights that are no numbers would be worth nothing.
    fn check_weights(&self, clip: &Clip, step: usize) -> Result<()> {
        let tensors = clipseg_clip::non_finite(clip);
        if tensors.is_empty() {
            return Ok(());
        }
        Err(TrainError::BrokenWeights {
            step,
            tensors,
            checkpoint: self.checkpoint(),
        })
    }

    /// The last checkpoint, if one was written.
    fn checkpoint(&self) -> Option<PathBuf> {
        let path = self.folder.last_checkpoint();
        path.is_file().then_some(path)
    }
}
