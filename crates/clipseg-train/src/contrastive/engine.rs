//! Contrastive training of a CLIP on captions.

use super::config::PretrainConfig;
use super::feed::CaptionFeed;
use super::fixed_tokenizer::FixedTokenizer;
use super::outcome::PretrainOutcome;
use super::records::PretrainRecord;
use super::scores::ScoreSet;
use super::setup::PretrainSetup;
use super::trainer::ClipTrainer;
use crate::error::{Result, TrainError};
use crate::readback::floats;
use crate::run::checkpoint::TrainState;
use crate::run::folder::RunFolder;
use crate::run::interrupt::StopFlag;
use crate::run::progress::Observer;
use crate::run::training_loop::{Running, Training, TrainingLoop};
use burn::prelude::*;
use std::time::{Duration, Instant};

/// Steps that are not timed: kernels are compiled and tuned in them.
const WARM: usize = 20;
/// The step after which the time of a step is known.
const MEASURED: usize = 40;

/// Trains a CLIP on captions, from the beginning or from the checkpoint in the folder.
///
/// # Errors
///
/// If a weight of the CLIP is NaN or infinite, the warm-up is not shorter than the run, a caption
/// cannot be read, the loss, the gradient norm or a weight becomes NaN or infinite, or the folder
/// cannot be written.
pub(crate) fn train_clip(
    config: &PretrainConfig,
    setup: &PretrainSetup,
    folder: &RunFolder,
    stop: &StopFlag,
    observer: &mut dyn Observer,
) -> Result<PretrainOutcome> {
    let tensors = clipseg_clip::non_finite(&setup.clip);
    if !tensors.is_empty() {
        return Err(TrainError::NonFinite {
            part: "CLIP",
            tensors,
        });
    }
    let training_loop = TrainingLoop {
        folder: Some(folder),
        stop,
        validate_every: Some(config.validation.every),
        save_every: config.checkpoints.every,
    };
    let mut training = ClipTraining::new(config, setup)?;
    let (end, records) = training_loop.run(&mut training, observer)?;
    Ok(PretrainOutcome {
        clip: training.trainer.clip(),
        records,
        end,
        cut_captions: training.cut_captions,
    })
}

/// The training of a CLIP, as the loop sees it.
struct ClipTraining<'a> {
    config: &'a PretrainConfig,
    setup: &'a PretrainSetup,
    trainer: ClipTrainer,
    tokenizer: FixedTokenizer,
    scores: ScoreSet,
    feed: Option<CaptionFeed>,
    /// Steps whose losses are still on the device.
    pending: Vec<Pending>,
    cut_captions: usize,
    /// The step that this process started from.
    first: usize,
    began: Instant,
    /// When the steps that are timed began.
    warm: Instant,
}

/// A step that the device may not have finished yet.
struct Pending {
    step: usize,
    epoch: u64,
    /// Texts in the batch.
    captions: usize,
    learning_rate: f64,
    loss: Tensor<1>,
    scale: Tensor<1>,
    gradient_norm: Option<Tensor<1>>,
}

impl<'a> ClipTraining<'a> {
    fn new(config: &'a PretrainConfig, setup: &'a PretrainSetup) -> Result<Self> {
        let parts = &setup.parts;
        let positions = parts.config.text_config.max_position_embeddings;
        let tokenizer = FixedTokenizer::new(&parts.tokenizer, positions)?;
        let scores = ScoreSet::new(
            &setup.captions,
            [config.validation.pictures, config.validation.objects],
            tokenizer.clone(),
            parts.processor.clone(),
            config.schedule.piece.unwrap_or(config.schedule.batch_size),
            (config.data.regions > 0).then_some(setup.grid()),
        )?;
        let now = Instant::now();
        Ok(Self {
            config,
            setup,
            trainer: ClipTrainer::new(setup.clip.clone(), &config.optimizer),
            tokenizer,
            scores,
            feed: None,
            pending: Vec::new(),
            cut_captions: 0,
            first: 0,
            began: now,
            warm: now,
        })
    }

    /// The number of steps that fit into the rest of the time, at least one.
    fn steps_left(&self, minutes: f64, each: Duration) -> usize {
        let left = 60.0 * minutes - self.began.elapsed().as_secs_f64();
        ((left / each.as_secs_f64().max(1e-6)) as usize).max(1)
    }
}

impl Training for ClipTraining<'_> {
    type Trainer = ClipTrainer;
    type Record = PretrainRecord;

    fn trainer(&self) -> &ClipTrainer {
        &self.trainer
    }

    fn trainer_mut(&mut self) -> &mut ClipTrainer {
        &mut self.trainer
    }

    fn begin(&mut self, state: &TrainState) -> Result<usize> {
        self.first = state.step;
        self.feed = Some(CaptionFeed::new(
            self.setup.captions.clone(),
            self.tokenizer.clone(),
            self.config.schedule.batch_size,
            self.setup.grid(),
            state.step,
        )?);
        self.warm = Instant::now();
        Ok(self.steps(state).unwrap_or(self.first + MEASURED))
    }

    fn steps(&self, state: &TrainState) -> Option<usize> {
        self.config.schedule.total_steps().or(state.steps)
    }

    fn step(&mut self, steps: Option<usize>, run: &mut Running<'_, PretrainRecord>) -> Result<()> {
        let schedule = &self.config.schedule;
        let feed = self.feed.as_mut().ok_or(TrainError::Empty("training"))?;
        let batch = feed.next()?;
        let captions = batch.texts.rows;
        self.cut_captions += batch.texts.cut;
        let input = batch.into_tensors(&self.setup.parts.processor, &self.setup.device);
        let piece = schedule.piece.unwrap_or(schedule.batch_size);
        let scale = self.trainer.logit_scale().exp();
        let (loss, mut gradients) = self.trainer.gradients_in_pieces(&input, piece)?;
        let mut gradient_norm = None;
        if let Some(longest) = schedule.clip_norm {
            (gradients, gradient_norm) = self.trainer.clip_gradients(gradients, longest);
        }
        let step = run.state.step;
        let learning_rate = schedule.learning_rate_at(step, steps);
        self.trainer.apply(gradients, learning_rate);
        let epoch = self.setup.captions.epoch(step as u64, schedule.batch_size);
        self.pending.push(Pending {
            step: step + 1,
            epoch,
            captions,
            learning_rate,
            loss,
            scale,
            gradient_norm,
        });
        if self.pending.len() >= schedule.read_every {
            self.read_back(run)?;
        }
        Ok(())
    }

    /// Decides the number of steps by the time that a step takes. When losses are read back from the
    /// device has no effect on their values.
    fn decide_steps(&mut self, run: &mut Running<'_, PretrainRecord>) -> Result<()> {
        let Some(minutes) = self.config.schedule.minutes else {
            return Ok(());
        };
        let done = run.state.step;
        if done - self.first == WARM {
            self.read_back(run)?;
            self.warm = Instant::now();
        } else if done - self.first == MEASURED {
            self.read_back(run)?;
            let each = self.warm.elapsed() / (MEASURED - WARM) as u32;
            let steps = done + self.steps_left(minutes, each);
            run.state.steps = Some(steps);
            run.observer.note(&format!(
                "a step takes {:.3} s: {steps} steps in {minutes} minutes",
                each.as_secs_f64()
            ));
            let warmup = self.config.schedule.warmup(None);
            if warmup >= steps {
                run.observer.note(&format!(
                    "the warm-up of {warmup} steps is not shorter than the run, so the learning rate \
                     only rises; set `schedule.warmup_steps` or more minutes"
                ));
            }
            run.observer.start(done, steps);
        }
        Ok(())
    }

    /// Waits for the device and records the pending steps.
    fn read_back(&mut self, run: &mut Running<'_, PretrainRecord>) -> Result<()> {
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
            let values = [("loss", Some(loss)), ("gradient norm", gradient_norm)];
            run.require_finite(done.step, &values, || {
                vec![format!("captions number {}", done.step)]
            })?;
            run.journal.push(PretrainRecord::Step {
                step: done.step,
                epoch: done.epoch,
                loss,
                learning_rate: done.learning_rate as f32,
                scale: scales[index],
                gradient_norm,
            })?;
            run.observer
                .step(done.step, loss, done.learning_rate, done.captions);
        }
        Ok(())
    }

    fn validate(&mut self, run: &mut Running<'_, PretrainRecord>) -> Result<()> {
        run.require_finite_weights(&self.trainer)?;
        let scores = self.scores.score(&self.trainer.clip())?;
        let step = run.state.step;
        run.journal
            .push(PretrainRecord::Validation { step, scores })?;
        run.observer.note(&format!("step {step}: {scores}"));
        Ok(())
    }

    /// Writes the CLIP, so that it can be used whatever happens to the run.
    fn before_checkpoint(&self, folder: &RunFolder) -> Result<()> {
        let clip = self.trainer.clip();
        folder.write_folder(&folder.model(), |staged| {
            self.setup.parts.save(staged, &clip)
        })
    }

    #[cfg(feature = "plots")]
    fn draw(&self, folder: &RunFolder, records: &[PretrainRecord]) -> Result<()> {
        super::curves::write_pretrain_curves(folder, records)
    }
}
