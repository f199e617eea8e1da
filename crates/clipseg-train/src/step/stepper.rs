//! The loss and the gradients of one training step.

use crate::config::train_config::TrainConfig;
use crate::error::Result;
use crate::frozen::encoding::FrozenClip;
use crate::readback::floats;
use crate::run::feed::Feed;
use crate::step::input::StepInput;
use crate::step::mixing::mix_examples;
use crate::step::randomness::{Draw, drawing, dropout_seed, of_batch};
use crate::step::trainer::DecoderTrainer;
use burn::optim::{GradientsAccumulator, GradientsParams};
use burn::prelude::*;
use clipseg_clip::TunedClip;
use clipseg_data::{PhraseCutDataset, SampleBatch, SampleOptions};
use clipseg_model::DecoderConfig;

/// The result of a step before the optimizer is applied.
pub(crate) struct Step {
    pub(crate) gradients: GradientsParams,
    pub(crate) measured: Measured,
    pub(crate) epoch: u64,
    pub(crate) phrases: usize,
    /// The `task_id`s of the phrases.
    pub(crate) tasks: Vec<String>,
}

/// The loss and the gradient norm of a step, on the device.
pub(crate) struct Measured {
    /// The loss of each accumulated batch, `[1]`, with the batch's share of the phrases.
    losses: Vec<(Tensor<1>, f64)>,
    /// The gradient norm before clipping, `[1]`.
    gradient_norm: Option<Tensor<1>>,
}

impl Measured {
    /// Waits for the device and reads the loss and the gradient norm back, in one transfer.
    pub(crate) fn read(self) -> Result<(f32, Option<f32>)> {
        let (losses, shares): (Vec<_>, Vec<_>) = self.losses.into_iter().unzip();
        let has_norm = self.gradient_norm.is_some();
        let all: Vec<_> = losses.into_iter().chain(self.gradient_norm).collect();
        let values = floats(Tensor::cat(all, 0))?;
        let mut loss = 0.0;
        for (value, share) in values.iter().zip(&shares) {
            loss += f64::from(*value) * share;
        }
        let norm = values.last().copied().filter(|_| has_norm);
        Ok((loss as f32, norm))
    }
}

/// Computes the gradients of steps.
pub(crate) struct Stepper<'a> {
    pub(crate) clip: &'a mut FrozenClip,
    pub(crate) config: &'a TrainConfig,
    pub(crate) training: &'a PhraseCutDataset,
}

impl Stepper<'_> {
    /// Computes the loss and the gradients of a step, counted from 0.
    pub(crate) fn step(
        &mut self,
        trainer: &DecoderTrainer,
        step: usize,
        feed: &mut Feed,
    ) -> Result<Step> {
        let accumulation = self.config.schedule.accumulation;
        let positions = step * accumulation..(step + 1) * accumulation;
        let batches: Vec<(usize, u64, SampleBatch)> = positions
            .map(|position| {
                let (epoch, batch) = feed.next()?;
                Ok((position, epoch, batch))
            })
            .collect::<Result<_>>()?;
        let epoch = batches.first().map_or(0, |(_, epoch, _)| *epoch);
        let phrases: usize = batches.iter().map(|(.., batch)| batch.phrases.len()).sum();
        let mut tasks = Vec::with_capacity(phrases);
        let mut accumulator = GradientsAccumulator::new();
        let mut losses = Vec::with_capacity(accumulation);
        for (position, _, mut batch) in batches {
            let share = batch.phrases.len() as f64 / phrases as f64;
            tasks.append(&mut batch.task_ids);
            let input = self.encode(trainer.tuned_clip(), batch, position)?;
            let (loss, gradients) = self.gradients(trainer, &input, position)?;
            losses.push((loss, share));
            accumulator.accumulate(trainer.module(), trainer.scale(gradients, share));
        }
        let mut gradients = accumulator.grads();
        let gradient_norm = match self.config.schedule.clip_norm {
            Some(longest) => {
                let norm;
                (gradients, norm) = trainer.clip(gradients, longest);
                norm
            }
            None => trainer.gradient_norm(&gradients),
        };
        Ok(Step {
            gradients,
            measured: Measured {
                losses,
                gradient_norm,
            },
            epoch,
            phrases,
            tasks,
        })
    }

    /// Encodes a batch and mixes visual prompts into the embeddings of its phrases.
    fn encode(
        &mut self,
        tuned: Option<&TunedClip>,
        mut batch: SampleBatch,
        position: usize,
    ) -> Result<StepInput> {
        let supports = std::mem::take(&mut batch.supports);
        let mut input = match tuned {
            Some(tuned) => self.clip.encode_tuned(tuned, batch)?,
            None => {
                let comes_again = pictures_come_again(self.training.options());
                self.clip.encode_loaded(batch, comes_again)?
            }
        };
        input.conditional_embedding = mix_examples(
            input.conditional_embedding,
            &supports,
            self.config.augment.visual,
            &mut of_batch(self.config.seed, position, Draw::VisualShares),
            |shown| match tuned {
                Some(tuned) => self.clip.encode_supports_tuned(tuned, shown),
                None => self.clip.encode_supports(shown),
            },
        )?;
        Ok(input)
    }

    /// Computes the loss and the gradients of a batch. Dropout depends on the random seed and the
    /// position of the batch in the run only.
    fn gradients(
        &self,
        trainer: &DecoderTrainer,
        input: &StepInput,
        position: usize,
    ) -> Result<(Tensor<1>, GradientsParams)> {
        let drops = match &self.clip.config().decoder {
            DecoderConfig::Transformer(config) => config.dropout > 0.0,
            _ => false,
        };
        if !drops {
            return Ok(trainer.gradients(input));
        }
        let seed = dropout_seed(self.config.seed, position);
        let _alone = drawing(self.clip.device(), seed);
        let (loss, gradients) = trainer.gradients(input);
        // Reading the loss waits for an asynchronous device, which may draw its dropout only now.
        floats(loss.clone())?;
        Ok((loss, gradients))
    }
}

/// Whether the same pixels come again in the next epoch, so that caching their hidden states helps.
fn pictures_come_again(options: &SampleOptions) -> bool {
    options.crop.is_none() && options.colour_jitter == 0.0
}
