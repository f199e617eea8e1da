//! Training a decoder with Burn's own training loop (feature `burn-train`).

use crate::frozen::encoding::FrozenClip;
use crate::scoring::phrases::Phrases;
use crate::step::input::StepInput;
use burn::data::dataloader::batcher::Batcher;
use burn::data::dataloader::{DataLoader, DataLoaderBuilder};
use burn::data::dataset::{Dataset, DatasetError};
use burn::prelude::*;
use burn::train::{InferenceStep, TrainOutput, TrainStep};
use clipseg_metrics::{Loss, Segmented};
use clipseg_model::{Decoder, ImageFeatures};
use std::sync::{Arc, Mutex, PoisonError};

/// A decoder with its loss, for Burn's own training loop with its dashboard and its strategies for several
/// devices.
///
/// One step computes the loss and the gradients of [`Engine`](crate::Engine), but this is not the same
/// training. Of a [`TrainConfig`](crate::TrainConfig) it uses the model, the data and the loss only. It
/// does not do the following, which Burn's loop or the caller has to do:
///
/// - `optimizer`, `schedule.clip_norm` and `schedule.accumulation`: the caller passes one of Burn's
///   optimizers and sets Burn's gradient clipping and accumulation. Burn clips each tensor separately, and
///   does not weight accumulated batches by their number of phrases.
/// - The learning rates of `schedule`: the caller passes one of Burn's schedulers.
/// - `schedule.group_by_picture`: each phrase is encoded separately.
/// - `clip.unfreeze`: CLIP stays frozen.
/// - Visual prompts (`augment.visual`), and augmentation in later epochs: every epoch sees the samples of
///   epoch 0.
/// - Dropout that depends on the random seed and the step only.
/// - Resuming at any step bit for bit: Burn saves at the end of each epoch.
/// - The best checkpoint, the final table, curves, examples and the report.
///
/// Burn's `ExecutionStrategy` offers `single`, `multi` and `ddp`. With `multi` one process uses several
/// devices, each for a part of the batches; gradients are summed on the first device, or the optimizer is
/// distributed. `ddp` needs CUDA and NCCL. The frozen CLIP is part of the data set and not of the module, so
/// it stays on its device, and each worker gets hidden states on its own device.
///
/// `single` is tested, and `multi` with the same device twice. `multi` on several GPUs and `ddp` are not
/// tested.
///
/// # Example
///
/// ```
/// use burn::optim::AdamWConfig;
/// use burn::tensor::Device;
/// use burn::train::metric::LossMetric;
/// use burn::train::{Learner, SupervisedTraining};
/// use clipseg_metrics::{DiceMetric, IouMetric, Loss};
/// use clipseg_train::{DecoderLearner, EncodedPhrases, Phrases, Setup, TrainConfig};
/// # use clipseg_data::{ScenesConfig, generate_scenes};
/// # let folder = tempfile::tempdir()?;
/// # let scenes = folder.path().join("scenes");
/// # generate_scenes(&scenes, &ScenesConfig { images: 12, size: 32, seed: 7 })?;
///
/// let config = TrainConfig::default().with_overrides(&["data.size=32", "decoder.reduce_dim=8"])?;
/// # let config = config.with_overrides(&[format!("data.folder={}", scenes.display())])?;
/// let device = Device::flex();
/// let setup = Setup::new(&config, &device, |line| println!("{line}"))?;
///
/// let model = DecoderLearner::new(setup.decoder, Loss::bce());
/// let phrases = Phrases::new(setup.training).spread(6);
/// let data = EncodedPhrases::new(setup.clip, phrases);
/// let training = SupervisedTraining::new(
///     folder.path(),
///     data.loader(3, Some(1), &device.clone().autodiff()),
///     data.loader(3, None, &device),
/// )
/// .metrics((LossMetric::new(), IouMetric::new(0.5), DiceMetric::new(0.5)))
/// .with_application_logger(None)
/// .num_epochs(1);
/// let learner = Learner::new(model, AdamWConfig::new().init(), 1e-3);
/// let result = training.launch(learner);
/// assert!(result.error.is_none());
/// let decoder = result.model.into_decoder();
/// # drop(decoder);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Module, Debug)]
pub struct DecoderLearner {
    decoder: Decoder,
    #[module(skip)]
    loss: Loss,
}

impl DecoderLearner {
    /// Wraps a decoder for training.
    pub fn new(decoder: Decoder, loss: Loss) -> Self {
        Self {
            decoder: decoder.train(),
            loss,
        }
    }

    /// Returns the decoder, on the plain device.
    pub fn into_decoder(self) -> Decoder {
        self.decoder.valid()
    }

    fn output(&self, features: &ImageFeatures, embedding: Tensor<2>, input: Masked) -> Segmented {
        let logits = self
            .decoder
            .forward_grouped(features, embedding, &input.picture_of);
        Segmented {
            loss: self.loss.forward(logits.clone(), input.masks.clone()),
            logits,
            masks: input.masks,
        }
    }
}

/// The part of a batch that is not an input of the decoder.
struct Masked {
    picture_of: Vec<usize>,
    masks: Tensor<3>,
}

impl TrainStep for DecoderLearner {
    type Input = StepInput;
    type Output = Segmented;

    fn step(&self, input: StepInput) -> TrainOutput<Segmented> {
        let masked = Masked {
            picture_of: input.picture_of,
            masks: input.masks.autodiff(),
        };
        let features = input.features.autodiff();
        let output = self.output(&features, input.conditional_embedding.autodiff(), masked);
        let gradients = output.loss.backward();
        TrainOutput::new(self, gradients, output)
    }
}

impl InferenceStep for DecoderLearner {
    type Input = StepInput;
    type Output = Segmented;

    fn step(&self, input: StepInput) -> Segmented {
        let masked = Masked {
            picture_of: input.picture_of,
            masks: input.masks,
        };
        self.output(&input.features, input.conditional_embedding, masked)
    }
}

/// A data set of phrases that the frozen CLIP encodes on access, with its caches.
///
/// [`loader`](Self::loader) holds one batch at a time. Burn's loaders with workers queue up to 100 encoded
/// batches, which take 450 MB of hidden states for each phrase of a batch at 352 pixels. Workers would gain
/// little, because all of them wait for the same CLIP.
#[derive(Debug, Clone)]
pub struct EncodedPhrases {
    clip: Arc<Mutex<FrozenClip>>,
    phrases: Phrases,
    indices: Vec<usize>,
}

impl EncodedPhrases {
    /// Creates the data set. Its clones share the CLIP.
    pub fn new(clip: FrozenClip, phrases: Phrases) -> Self {
        let indices = phrases.iter().map(|(index, _)| index).collect();
        Self {
            clip: Arc::new(Mutex::new(clip)),
            phrases,
            indices,
        }
    }

    /// Returns a loader of batches on `device`, shuffled with the random seed if there is one. Each batch is
    /// encoded when it is requested.
    pub fn loader(
        &self,
        batch_size: usize,
        seed: Option<u64>,
        device: &Device,
    ) -> Arc<dyn DataLoader<StepInput>> {
        let mut builder = DataLoaderBuilder::new(StepBatcher)
            .batch_size(batch_size.max(1))
            .num_workers(0)
            .set_device(device.clone());
        if let Some(seed) = seed {
            builder = builder.shuffle(seed);
        }
        builder.build(self.clone())
    }
}

impl Dataset<StepInput> for EncodedPhrases {
    fn get(&self, index: usize) -> Result<StepInput, DatasetError> {
        let mut clip = self.clip.lock().unwrap_or_else(PoisonError::into_inner);
        let batch = self.phrases.load(&self.indices[index..=index]);
        let batch = batch.map_err(DatasetError::new)?;
        clip.encode_loaded(batch, true).map_err(DatasetError::new)
    }

    fn len(&self) -> usize {
        self.indices.len()
    }
}

/// Concatenates encoded phrases into a batch on the device of the worker.
#[derive(Debug, Clone, Copy, Default)]
pub struct StepBatcher;

impl Batcher<StepInput, StepInput> for StepBatcher {
    fn batch(&self, items: Vec<StepInput>, device: &Device) -> StepInput {
        let device = device.clone().without_autodiff();
        let layers = items
            .first()
            .map_or(0, |item| item.features.hidden_states.len());
        let grid = items.first().map_or([0, 0], |item| item.features.grid);
        let layer = |layer: usize| {
            let hidden = items.iter().map(|item| &item.features.hidden_states[layer]);
            let hidden = hidden.map(|hidden| hidden.clone().to_device(&device));
            Tensor::cat(hidden.collect(), 0)
        };
        let embeddings = items.iter().map(|item| &item.conditional_embedding);
        let masks = items.iter().map(|item| &item.masks);
        let pixel_values: Option<Vec<Tensor<4>>> = items
            .iter()
            .map(|item| Some(item.features.pixel_values.clone()?.to_device(&device)))
            .collect();
        let mut pictures = 0;
        let picture_of = items.iter().flat_map(|item| {
            let first = pictures;
            pictures += item.features.hidden_states[0].dims()[0];
            item.picture_of.iter().map(move |picture| first + picture)
        });
        StepInput {
            picture_of: picture_of.collect(),
            features: ImageFeatures {
                hidden_states: (0..layers).map(layer).collect(),
                grid,
                pixel_values: pixel_values.map(|pixels| Tensor::cat(pixels, 0)),
            },
            conditional_embedding: Tensor::cat(
                embeddings.map(|e| e.clone().to_device(&device)).collect(),
                0,
            ),
            masks: Tensor::cat(masks.map(|m| m.clone().to_device(&device)).collect(), 0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::adamw_options::AdamWOptions;
    use crate::config::decoder_choice::{DecoderChoice, TransformerChoice};
    use crate::config::train_config::TrainConfig;
    use crate::run::setup::Setup;
    use crate::step::trainer::DecoderTrainer;
    use burn::module::{ModuleVisitor, Param};
    use burn::optim::{AdamWConfig, GradientsAccumulator, GradientsParams};
    use burn::tensor::Tolerance;
    use burn::train::metric::LossMetric;
    use burn::train::{ExecutionStrategy, ItemLazy, Learner, MultiDeviceOptim, SupervisedTraining};
    use clipseg_data::{ScenesConfig, generate_scenes};

    fn setup(folder: &std::path::Path) -> Setup {
        let scenes = folder.join("scenes");
        let config = ScenesConfig {
            images: 10,
            size: 32,
            seed: 3,
        };
        generate_scenes(&scenes, &config).unwrap();
        let mut config = TrainConfig::default();
        config.data.folder = Some(scenes);
        config.data.size = Some(32);
        config.decoder = DecoderChoice::Transformer(TransformerChoice {
            reduce_dim: 8,
            ..TransformerChoice::default()
        });
        Setup::new(&config, &Device::flex(), |_| {}).unwrap()
    }

    /// Compares the gradients of every parameter with those of the engine.
    struct SameGradients<'a> {
        expected: &'a GradientsParams,
        found: &'a GradientsParams,
        parameters: usize,
    }

    impl ModuleVisitor for SameGradients<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let read = |gradients: &GradientsParams| {
                let gradient = gradients.get::<D>(param.id);
                gradient
                    .expect("every parameter has a gradient")
                    .into_data()
            };
            let (expected, found) = (read(self.expected), read(self.found));
            // The bias of an attention's keys has no effect, so its gradient is rounding error only.
            found.assert_approx_eq::<f32>(&expected, Tolerance::rel_abs(1e-4, 1e-6));
            self.parameters += 1;
        }
    }

    #[test]
    fn a_step_is_that_of_the_engine() {
        let folder = tempfile::tempdir().unwrap();
        let mut setup = setup(folder.path());
        let phrases = Phrases::new(setup.training).spread(5);
        let indices: Vec<usize> = phrases.iter().map(|(index, _)| index).collect();
        let batch = phrases.load(&indices).unwrap();
        let input = setup.clip.encode_loaded(batch, true).unwrap();
        let options = AdamWOptions::default();
        let trainer = DecoderTrainer::new(setup.decoder.clone(), &options, Loss::bce());
        let (loss, expected) = trainer.gradients(&input);
        let length = trainer.gradient_norm(&expected).unwrap();
        assert!(
            length.into_scalar::<f32>() > 1e-2,
            "there is something to compare"
        );

        let device = setup.clip.device().clone();
        let data = EncodedPhrases::new(setup.clip, phrases);
        let items = (0..5).map(|index| data.get(index).unwrap()).collect();
        let batch = StepBatcher.batch(items, &device);
        let learner = DecoderLearner::new(setup.decoder, Loss::bce());
        let found = TrainStep::step(&learner, batch);
        let mut same = SameGradients {
            expected: &expected,
            found: &found.grads,
            parameters: 0,
        };
        trainer.module().visit(&mut same);
        assert!(same.parameters > 20);
        found
            .item
            .sync()
            .unwrap()
            .loss
            .into_data()
            .assert_approx_eq::<f32>(&loss.into_data(), Tolerance::rel_abs(1e-5, 1e-6));
    }

    /// All weights of a decoder, one after another.
    fn weights(decoder: &Decoder) -> Vec<f32> {
        struct All(Vec<f32>);
        impl ModuleVisitor for All {
            fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
                let values = param.val().into_data().try_to_vec::<f32>();
                self.0.extend(values.expect("single precision"));
            }
        }
        let mut all = All(Vec::new());
        decoder.visit(&mut all);
        all.0
    }

    #[test]
    fn two_devices_give_the_result_of_one() {
        let folder = tempfile::tempdir().unwrap();
        let setup = setup(folder.path());
        let device = setup.clip.device().clone();
        let data = EncodedPhrases::new(setup.clip, Phrases::new(setup.training).spread(8));
        let tracked = device.clone().autodiff();
        let strategy = ExecutionStrategy::multi(
            vec![tracked.clone(), tracked.clone()],
            MultiDeviceOptim::OptimMainDevice,
        );
        let training = SupervisedTraining::new(
            folder.path(),
            data.loader(2, None, &tracked),
            data.loader(2, None, &device),
        )
        .metrics((LossMetric::new(),))
        .with_application_logger(None)
        .with_training_strategy(strategy.into())
        .num_epochs(1);
        let options = AdamWOptions::default();
        let optimizer = AdamWConfig::new()
            .with_weight_decay(options.weight_decay)
            .with_epsilon(options.epsilon);
        let model = DecoderLearner::new(setup.decoder.clone(), Loss::bce());
        let learner = Learner::new(model, optimizer.init(), 1e-3);
        let result = training.launch(learner);
        assert!(result.error.is_none(), "{:?}", result.error);
        let found = weights(&result.model.into_decoder());

        // The first device has the first half of the phrases and the second the second; a step is a
        // batch of each, with the gradients summed.
        let mut trainer = DecoderTrainer::new(setup.decoder.clone(), &options, Loss::bce());
        for step in 0..2 {
            let mut sum = GradientsAccumulator::new();
            for first in [2 * step, 4 + 2 * step] {
                let items = [first, first + 1].map(|index| data.get(index).unwrap());
                let batch = StepBatcher.batch(items.into(), &device);
                sum.accumulate(trainer.module(), trainer.gradients(&batch).1);
            }
            trainer.apply(sum.grads(), 1e-3);
        }
        let (before, expected) = (weights(&setup.decoder), weights(&trainer.decoder()));
        let largest = |other: &[f32]| {
            let pairs = expected.iter().zip(other);
            pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
        };
        // Two steps change a weight by at most 2e-3. If a gradient is only rounding error, AdamW still does
        // a full step, so a few weights may differ.
        assert!(largest(&before) > 1e-3, "it has learned");
        let differing = expected
            .iter()
            .zip(&found)
            .filter(|(a, b)| (*a - *b).abs() > 1e-5)
            .count();
        assert!(
            differing * 100 < expected.len(),
            "{differing} of {}",
            expected.len()
        );
        assert!(largest(&found) < 4.1e-3);
    }
}
