//! The training loop.

use crate::config::TrainConfig;
use crate::encoding::FrozenClip;
use crate::error::{Result, TrainError};
use crate::progress::Observer;
use crate::trainer::DecoderTrainer;
use clipseg_data::{BatchOrder, Grouping, PhraseCutDataset};
use clipseg_model::Decoder;

/// What a training run ends with.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct TrainOutcome {
    /// The trained decoder, on the plain device.
    pub decoder: Decoder,
    /// The loss of every step.
    pub losses: Vec<f32>,
}

impl TrainOutcome {
    /// Mean loss of the first and of the last tenth of the steps.
    pub fn first_and_last_loss(&self) -> (f32, f32) {
        let tenth = (self.losses.len() / 10).max(1).min(self.losses.len());
        let mean = |losses: &[f32]| losses.iter().sum::<f32>() / losses.len().max(1) as f32;
        (
            mean(&self.losses[..tenth]),
            mean(&self.losses[self.losses.len() - tenth..]),
        )
    }
}

/// Trains a decoder on top of a frozen CLIP.
///
/// The encoders run on the plain device and leave nothing on the tape; pictures that several phrases
/// of a step share are encoded once. The configuration's seed decides the order of the data.
///
/// # Errors
///
/// If the configuration is unusable, a sample cannot be read, or the loss stops being a number.
pub fn train(
    clip: &mut FrozenClip,
    decoder: Decoder,
    training: &PhraseCutDataset,
    config: &TrainConfig,
    observer: &mut dyn Observer,
) -> Result<TrainOutcome> {
    config.validate()?;
    if training.phrases() == 0 {
        return Err(TrainError::Empty("training"));
    }
    let order = BatchOrder::new(training, config.batch_size, Grouping::Picture, config.seed);
    let mut batches = (0..).flat_map(|epoch| {
        let batches = order.epoch(epoch);
        batches.into_iter().map(move |indices| (epoch, indices))
    });
    let mut trainer = DecoderTrainer::new(decoder, &config.optimizer, config.loss.clone());
    let mut losses = Vec::with_capacity(config.steps);
    observer.start(config.steps);
    for (step, (epoch, indices)) in (0..config.steps).zip(&mut batches) {
        let batch = training.batch(&indices, epoch, clip.device())?;
        let tasks = batch.task_ids.clone();
        let input = clip.encode(batch)?;
        let (loss, gradients) = trainer.gradients(&input);
        let loss = loss
            .try_into_scalar::<f32>()
            .map_err(|error| TrainError::Device(error.to_string()))?;
        if !loss.is_finite() {
            return Err(TrainError::Diverged {
                step: step + 1,
                loss,
                tasks,
            });
        }
        let learning_rate = config.learning_rate_at(step);
        trainer.apply(gradients, learning_rate);
        losses.push(loss);
        observer.step(step + 1, loss, learning_rate);
    }
    observer.finish();
    let decoder = trainer.decoder();
    Ok(TrainOutcome { decoder, losses })
}
