//! The whole model in Burn's own training loop (feature `burn-train`).

use crate::clipseg::ClipSeg;
use crate::features::ImageFeatures;
use burn::data::dataloader::batcher::Batcher;
use burn::module::Module;
use burn::prelude::*;
use burn::train::{InferenceStep, TrainOutput, TrainStep};
use clipseg_metrics::{Loss, Segmented};

/// Pictures with a prompt each, and what the prompts name: what a step of [`ClipSeg`] in Burn's own
/// training loop takes. All of it is on the plain device.
///
/// Burn's `train` moves all of a module to the autodiff device, CLIP too. A step takes CLIP off the
/// tape again, so that it stays frozen and has fused attention; what is minimised is BCE, as in the
/// paper. Every step encodes its pictures anew; `clipseg-train` has a loop that encodes each only once.
///
/// # Example
///
/// ```
/// use burn::data::dataloader::DataLoaderBuilder;
/// use burn::data::dataset::InMemDataset;
/// use burn::module::Module;
/// use burn::optim::AdamWConfig;
/// use burn::tensor::{Device, Distribution, Tensor};
/// use burn::train::metric::LossMetric;
/// use burn::train::{Learner, SupervisedTraining};
/// use clipseg_metrics::IouMetric;
/// use clipseg_model::{ClipSeg, ClipSegConfig, PromptedBatcher, PromptedPictures};
///
/// let device = Device::flex();
/// # let mut config = ClipSegConfig::small();
/// # config.clip.text_config.hidden_size = 32;
/// # config.clip.vision_config.image_size = 32;
/// # let folder = tempfile::tempdir()?;
/// # let folder = folder.path();
/// let model = ClipSeg::init(&config, &device);
/// // In earnest: photographs, `model.clip().text_embedding(…)` of phrases, and their masks.
/// let items = (0..6).map(|_| PromptedPictures {
///     pixel_values: Tensor::random([1, 3, 32, 32], Distribution::Default, &device),
///     conditional_embedding: Tensor::random([1, 128], Distribution::Default, &device),
///     masks: Tensor::ones([1, 32, 32], &device),
/// });
/// let items: Vec<_> = items.collect();
/// let loader = |device| {
///     let data = InMemDataset::new(items.clone());
///     DataLoaderBuilder::new(PromptedBatcher).batch_size(2).set_device(device).build(data)
/// };
/// let training =
///     SupervisedTraining::new(folder, loader(device.clone().autodiff()), loader(device))
///         .metrics((LossMetric::new(), IouMetric::new(0.5))) // what the dashboard shows
///         .with_application_logger(None)
///         .num_epochs(1);
/// let learner = Learner::new(model.train(), AdamWConfig::new().init(), 1e-3);
/// let trained: ClipSeg = training.launch(learner).model;
/// # drop(trained);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct PromptedPictures {
    /// `[pictures, channels, height, width]`, normalised.
    pub pixel_values: Tensor<4>,
    /// `[pictures, projection_dim]`.
    pub conditional_embedding: Tensor<2>,
    /// `[pictures, height, width]` of zeros and ones.
    pub masks: Tensor<3>,
}

/// Puts [`PromptedPictures`] together, on the device of the worker that asks.
#[derive(Debug, Clone, Copy, Default)]
pub struct PromptedBatcher;

impl Batcher<PromptedPictures, PromptedPictures> for PromptedBatcher {
    fn batch(&self, items: Vec<PromptedPictures>, device: &Device) -> PromptedPictures {
        let device = &device.clone().without_autodiff();
        let (mut pixel_values, mut embeddings, mut masks) = (Vec::new(), Vec::new(), Vec::new());
        for item in items {
            pixel_values.push(item.pixel_values.to_device(device));
            embeddings.push(item.conditional_embedding.to_device(device));
            masks.push(item.masks.to_device(device));
        }
        PromptedPictures {
            pixel_values: Tensor::cat(pixel_values, 0),
            conditional_embedding: Tensor::cat(embeddings, 0),
            masks: Tensor::cat(masks, 0),
        }
    }
}

impl TrainStep for ClipSeg {
    type Input = PromptedPictures;
    type Output = Segmented;

    fn step(&self, batch: PromptedPictures) -> TrainOutput<Segmented> {
        let clip = self.clip().valid();
        let decoder = &self.config().decoder;
        let features = ImageFeatures::extract(&clip, decoder, batch.pixel_values);
        // Burn's loop has no way to return an error.
        let features = features
            .unwrap_or_else(|error| panic!("{error}"))
            .autodiff();
        let embedding = batch.conditional_embedding.autodiff();
        let logits = self.decoder().forward(&features, embedding);
        let output = segmented(logits, batch.masks.autodiff());
        TrainOutput::new(self, output.loss.backward(), output)
    }
}

impl InferenceStep for ClipSeg {
    type Input = PromptedPictures;
    type Output = Segmented;

    fn step(&self, batch: PromptedPictures) -> Segmented {
        let logits = self.forward(batch.pixel_values, batch.conditional_embedding);
        let logits = logits.unwrap_or_else(|error| panic!("{error}"));
        segmented(logits, batch.masks)
    }
}

fn segmented(logits: Tensor<3>, masks: Tensor<3>) -> Segmented {
    Segmented {
        loss: Loss::bce().forward(logits.clone(), masks.clone()),
        logits,
        masks,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ClipSegConfig;
    use burn::optim::{AdamWConfig, ModuleOptimizer};
    use burn::tensor::Distribution;

    fn parts(model: &ClipSeg) -> [Vec<u8>; 2] {
        let clip = model.clip().clone().into_record().into_bytes().unwrap();
        let decoder = model.decoder().clone().into_record().into_bytes().unwrap();
        [clip.to_vec(), decoder.to_vec()]
    }

    #[test]
    fn a_step_moves_the_decoder_and_leaves_clip() {
        let device = Device::flex();
        let mut config = ClipSegConfig::small();
        config.clip.text_config.hidden_size = 32;
        config.clip.vision_config.image_size = 32;
        let model = ClipSeg::init(&config, &device);
        let item = || PromptedPictures {
            pixel_values: Tensor::random([1, 3, 32, 32], Distribution::Default, &device),
            conditional_embedding: Tensor::random([1, 128], Distribution::Default, &device),
            masks: Tensor::ones([1, 32, 32], &device),
        };
        let batch = PromptedBatcher.batch(vec![item(), item()], &device.clone().autodiff());
        let before = parts(&model);
        let validated = InferenceStep::step(&model, batch.clone());
        assert_eq!(validated.logits.dims(), [2, 32, 32]);

        let tracked = model.train();
        let output = TrainStep::step(&tracked, batch);
        let difference = output.item.loss.without_autodiff() - validated.loss;
        assert!(difference.into_scalar::<f32>().abs() < 1e-5);
        let mut optimizer: ModuleOptimizer = AdamWConfig::new().init();
        let after = parts(&optimizer.step(1e-2, tracked, output.grads).valid());
        assert!(after[0] == before[0], "CLIP is frozen");
        assert!(after[1] != before[1], "the decoder learns");
    }
}
