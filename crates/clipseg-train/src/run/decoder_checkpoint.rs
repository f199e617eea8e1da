//! The decoder in a checkpoint of a run.

use crate::error::{Result, TrainError};
use crate::run::checkpoint::{Resumable, read};
use crate::step::trainer::DecoderTrainer;
use burn::module::Module;
use burn::store::ModuleRecord;
use clipseg_model::Decoder;
use std::path::Path;

/// Loads the decoder in a checkpoint of a run. `like` is a decoder of the same shape, for example that of
/// a [`Setup`](crate::Setup) of the run's configuration.
///
/// # Errors
///
/// If the file cannot be read, is not a checkpoint, or contains a decoder of another shape.
pub fn load_decoder(path: &Path, like: &Decoder) -> Result<Decoder> {
    let (_, [decoder, _]) = read(path, DecoderTrainer::MODULE)?;
    let record = ModuleRecord::from_bytes(decoder).map_err(|error| TrainError::run(path, error))?;
    let loaded = like.clone().try_load_record(record);
    loaded.map_err(|error| TrainError::run(path, error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::adamw_options::AdamWOptions;
    use crate::run::checkpoint::{Best, TrainState, load, save};
    use burn::prelude::*;
    use clipseg_clip::ClipConfig;
    use clipseg_data::files::Staging;
    use clipseg_metrics::Loss;
    use clipseg_model::TransformerDecoderConfig;
    use safetensors::tensor::TensorView;

    fn trainer(reduce_dim: usize) -> DecoderTrainer {
        let config = TransformerDecoderConfig {
            reduce_dim,
            decoder_intermediate_size: 8,
            extract_layers: vec![0, 1, 3],
            ..TransformerDecoderConfig::default()
        };
        let decoder = Decoder::init(&config.into(), &ClipConfig::small(), &Device::flex());
        DecoderTrainer::new(decoder, &AdamWOptions::default(), Loss::bce())
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
        assert!(message(&path, 8).contains("not a checkpoint of `clipseg-train 1`"));
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
