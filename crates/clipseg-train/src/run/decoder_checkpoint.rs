//! The decoder and the fine-tuned CLIP in a checkpoint of a run.

use crate::config::train_config::TrainConfig;
use crate::error::{Result, TrainError};
use crate::run::checkpoint::read;
use crate::step::trainer::{CLIP, DECODER};
use clipseg_clip::{Clip, TunedClip};
use clipseg_model::{ClipSegConfig, Decoder};
use std::path::Path;

/// Loads the decoder in a checkpoint of a run. `like` is a decoder of the same shape, for example that of
/// a [`Setup`](crate::Setup) of the run's configuration.
///
/// If the run fine-tunes CLIP, the decoder belongs to the CLIP that [`load_fine_tuned_clip`] returns.
///
/// # Errors
///
/// If the file cannot be read, is not a checkpoint, or contains a decoder of another shape.
pub fn load_decoder(path: &Path, like: &Decoder) -> Result<Decoder> {
    let (_, mut records) = read(path)?;
    let loaded = records.plain_module(DECODER, like.clone());
    loaded.map_err(|error| TrainError::run(path, error))
}

/// Loads the fine-tuned CLIP in a checkpoint of a run with this configuration, on the plain device. `model`
/// is the configuration of the model, and `clip` the CLIP that the run started from, which has the frozen
/// weights. The result is `None` if the run does not fine-tune CLIP.
///
/// # Errors
///
/// If the file cannot be read, is not a checkpoint, or contains other weights of CLIP than those that the
/// configuration unfreezes.
pub fn load_fine_tuned_clip(
    path: &Path,
    config: &TrainConfig,
    model: &ClipSegConfig,
    clip: Clip,
) -> Result<Option<Clip>> {
    let Some(part) = config.tuned_part(model)? else {
        return Ok(None);
    };
    let (_, mut records) = read(path)?;
    let weights = records.take(CLIP);
    let weights = weights.map_err(|error| TrainError::run(path, error))?;
    let loaded = TunedClip::new(clip, part)?.with_bytes(weights);
    let loaded = loaded.map_err(|error| TrainError::run(path, error))?;
    Ok(Some(loaded.clip()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::adamw_options::AdamWOptions;
    use crate::config::unfreeze::Unfreeze;
    use crate::run::checkpoint::{Best, Records, Resumable, TrainState, load, save};
    use crate::step::input::StepInput;
    use crate::step::optimizer::adamw;
    use crate::step::trainer::DecoderTrainer;
    use burn::module::Module;
    use burn::optim::{GradientsParams, ModuleOptimizer};
    use burn::prelude::*;
    use clipseg_clip::ClipConfig;
    use clipseg_data::files::Staging;
    use clipseg_metrics::Loss;
    use clipseg_model::{ImageFeatures, TransformerDecoderConfig};
    use safetensors::tensor::TensorView;

    /// A model with a small text tower.
    fn model(reduce_dim: usize) -> ClipSegConfig {
        let decoder = TransformerDecoderConfig {
            reduce_dim,
            decoder_intermediate_size: 8,
            extract_layers: vec![0, 1, 3],
            ..TransformerDecoderConfig::default()
        };
        let mut clip = ClipConfig::small();
        clip.text_config.vocab_size = 50;
        ClipSegConfig::new(clip, decoder).unwrap()
    }

    fn trainer(reduce_dim: usize) -> DecoderTrainer {
        let model = model(reduce_dim);
        let decoder = Decoder::init(&model.decoder, &model.clip, &Device::flex());
        DecoderTrainer::new(decoder, &AdamWOptions::default(), Loss::bce())
    }

    /// The configuration of a run that fine-tunes the last block, and such a trainer with its CLIP.
    fn tuning(unfreeze: Unfreeze) -> (TrainConfig, Clip, DecoderTrainer) {
        let mut config = TrainConfig::default();
        config.clip.unfreeze = Some(unfreeze);
        let model = model(8);
        let clip = Clip::init(&model.clip, &Device::flex());
        let part = config.tuned_part(&model).unwrap().unwrap();
        let tuned = TunedClip::new(clip.clone(), part).unwrap();
        (config, clip, trainer(8).with_clip(tuned, 1.0))
    }

    /// The input of a step on one picture of 2 × 2 patches.
    fn input(trainer: &DecoderTrainer) -> StepInput {
        let device = Device::flex();
        let pixels = Tensor::<4>::ones([1, 3, 16, 16], &device);
        let hidden_states = match trainer.tuned_clip() {
            Some(tuned) => tuned.hidden_states(pixels, &[0, 1, 3]).unwrap().states,
            None => vec![Tensor::ones([1, 5, 128], &device); 3],
        };
        StepInput {
            features: ImageFeatures {
                hidden_states,
                grid: [2, 2],
                pixel_values: None,
            },
            conditional_embedding: Tensor::ones([1, 128], &device),
            picture_of: vec![0],
            masks: Tensor::ones([1, 16, 16], &device),
        }
    }

    fn step(trainer: &mut DecoderTrainer) {
        let (_, gradients) = trainer.gradients(&input(trainer));
        trainer.apply(gradients, 1e-2);
    }

    /// The weights of a module as bytes.
    fn bytes<M: Module>(module: &M) -> Vec<u8> {
        module.valid().into_record().into_bytes().unwrap().to_vec()
    }

    /// Weights and moments of a decoder alone, as the first format had them.
    struct Alone(Decoder, ModuleOptimizer);

    impl Resumable for Alone {
        fn non_finite(&self) -> Vec<String> {
            Vec::new()
        }
        fn to_records(&self) -> Result<Records> {
            let records = Records::default().with_module(DECODER, &self.0)?;
            records.with_optimizer(&self.1)
        }
        fn load(&mut self, _: Records) -> Result<(), String> {
            unreachable!("the test only writes it")
        }
    }

    fn format(path: &Path) -> String {
        let file = std::fs::read(path).unwrap();
        let (_, header) = safetensors::SafeTensors::read_metadata(&file).unwrap();
        header.metadata().as_ref().unwrap()["format"].clone()
    }

    #[test]
    fn a_checkpoint_of_a_decoder_alone_is_resumed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("last.safetensors");
        let options = AdamWOptions {
            decay_biases_and_norms: false,
            ..AdamWOptions::default()
        };
        let trainer = || {
            let decoder = trainer(8).decoder();
            DecoderTrainer::new(decoder, &options, Loss::bce())
        };
        let first = trainer();
        let mut alone = Alone(first.decoder().train(), adamw(&options, None));
        let step_alone = |alone: &mut Alone| {
            let input = input(&first);
            let features = input.features.autodiff();
            let prompt = input.conditional_embedding.autodiff();
            let logits = alone.0.forward_grouped(&features, prompt, &[0]);
            let loss = Loss::bce().forward(logits, input.masks.autodiff());
            let gradients = GradientsParams::from_grads(loss.backward(), &alone.0);
            alone.0 = alone.1.step(1e-2, alone.0.clone(), gradients);
        };
        step_alone(&mut alone);
        let state = TrainState::default();
        save(&Staging::new("x"), &path, &alone, &state).unwrap();
        assert_eq!(format(&path), "clipseg-train 1");
        let mut resumed = trainer();
        load(&path, &mut resumed).unwrap();
        assert_eq!(bytes(&resumed.decoder()), bytes(&alone.0));
        let loaded = load_decoder(&path, &trainer().decoder()).unwrap();
        assert_eq!(bytes(&loaded), bytes(&alone.0));
        // The moments are used too.
        step_alone(&mut alone);
        step(&mut resumed);
        assert_eq!(bytes(&resumed.decoder()), bytes(&alone.0));
        // A frozen CLIP does not change the format.
        save(&Staging::new("x"), &path, &resumed, &state).unwrap();
        assert_eq!(format(&path), "clipseg-train 1");
    }

    #[test]
    fn a_fine_tuned_clip_is_resumed_and_never_ignored() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("last.safetensors");
        let state = TrainState::default();
        let (config, clip, mut tuned) = tuning(Unfreeze::VisionLast(1));
        step(&mut tuned);
        save(&Staging::new("x"), &path, &tuned, &state).unwrap();
        assert_eq!(format(&path), "clipseg-train 2");
        let found = load_fine_tuned_clip(&path, &config, &model(8), clip.clone());
        let found = found.unwrap().unwrap();
        assert_eq!(bytes(&found), bytes(&tuned.plain_clip().unwrap()));
        assert_ne!(bytes(&found), bytes(&clip));
        let decoder = load_decoder(&path, &trainer(8).decoder()).unwrap();
        assert_eq!(bytes(&decoder), bytes(&tuned.decoder()));

        // Frozen weights are not in the file; they come from the CLIP that the run starts from.
        let part = config.tuned_part(&model(8)).unwrap().unwrap();
        let again = TunedClip::new(clip.clone(), part).unwrap();
        let mut resumed = trainer(8).with_clip(again, 1.0);
        load(&path, &mut resumed).unwrap();
        step(&mut tuned);
        step(&mut resumed);
        assert_eq!(bytes(&resumed.decoder()), bytes(&tuned.decoder()));
        let clips = [&resumed, &tuned].map(|trainer| bytes(&trainer.plain_clip().unwrap()));
        assert!(clips[0] == clips[1]);

        let message = |trainer: &mut DecoderTrainer| {
            let error = load(&path, trainer).unwrap_err();
            error.to_string()
        };
        let frozen = message(&mut trainer(8));
        assert!(
            frozen.contains("contains `clip`, which a run with this configuration does not train"),
            "{frozen}"
        );
        let (.., mut more) = tuning(Unfreeze::VisionLast(2));
        let others = message(&mut more);
        assert!(others.contains("16 tensors, expected 32"), "{others}");
        save(&Staging::new("x"), &path, &trainer(8), &state).unwrap();
        let missing = message(&mut more);
        assert!(missing.contains("there is no `clip` in it"), "{missing}");
        let missing = load_fine_tuned_clip(&path, &config, &model(8), clip).unwrap_err();
        assert!(missing.to_string().contains("there is no `clip` in it"));
    }

    #[test]
    fn damaged_files_and_other_files_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("last.safetensors");
        let state = TrainState {
            step: 7,
            best: Some(Best {
                step: 5,
                score: 0.1 + 0.2,
            }),
            ..TrainState::default()
        };
        save(&Staging::new("x"), &path, &trainer(8), &state).unwrap();
        assert_eq!(load(&path, &mut trainer(8)).unwrap(), state);

        let message = |path: &Path, reduce_dim| {
            let error = load(path, &mut trainer(reduce_dim)).unwrap_err();
            let message = error.to_string();
            assert!(message.contains("last.safetensors: "), "{message}");
            message
        };
        assert!(
            message(&path, 16).contains("Apply errors"),
            "another decoder"
        );
        let whole = std::fs::read(&path).unwrap();
        for length in [0, 5, 100, whole.len() / 2, whole.len() - 1] {
            std::fs::write(&path, &whole[..length]).unwrap();
            message(&path, 8);
        }
        let other = safetensors::serialize(Vec::<(&str, TensorView<'_>)>::new(), None).unwrap();
        std::fs::write(&path, other).unwrap();
        let expected = "not a checkpoint of `clipseg-train 1` or `clipseg-train 2`";
        assert!(message(&path, 8).contains(expected));
    }

    #[test]
    fn a_missing_folder_is_an_error() {
        let path = Path::new("no/such/folder/last.safetensors");
        let error = save(
            &Staging::new("x"),
            path,
            &trainer(8),
            &TrainState::default(),
        )
        .unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("cannot write no/such/folder/last.safetensors"),
            "{error}"
        );
    }
}
