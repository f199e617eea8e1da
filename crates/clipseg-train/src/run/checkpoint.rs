//! A run between two steps, as one file.
//!
//! One file, because only the renaming of one file is atomic: weights, moments and counts always
//! belong to the same step. It is a safetensors file whose two tensors of bytes are the decoder's
//! and the optimizer's records in Burn's own format, and whose metadata holds the rest.

use crate::error::{Result, TrainError};
use crate::step::trainer::DecoderTrainer;
use burn::module::Module;
use burn::optim::{ModuleOptimizer, OptimizerRecord};
use burn::store::ModuleRecord;
use burn::tensor::Bytes;
use clipseg_data::files::Staging;
use clipseg_model::Decoder;
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::path::Path;

const FORMAT: &str = "clipseg-train 1";

/// Everything about a run that is neither weights nor moments.
///
/// Nothing random is in it: what is drawn depends on the seed and the step only.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TrainState {
    /// Steps done.
    pub(crate) step: usize,
    /// Steps in all, where the configuration leaves them open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) steps: Option<usize>,
    /// The best validation so far.
    pub(crate) best: Option<Best>,
    /// Validations since then.
    pub(crate) without_improvement: usize,
    /// A number for the phrases that it learns from.
    pub(crate) phrases: u64,
    /// Length of the metrics file up to here, in bytes.
    pub(crate) metrics_length: u64,
}

/// A validation.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Best {
    pub(crate) step: usize,
    #[serde(with = "bits")]
    pub(crate) score: f64,
}

/// A double as its bits: `serde_json` reads decimals to within their last bit only, and a run that
/// goes on must compare with the same score.
mod bits {
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(value: &f64, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(value.to_bits())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
        u64::deserialize(from).map(f64::from_bits)
    }
}

/// A module with its optimizer, as a checkpoint holds them.
pub(crate) trait Resumable {
    /// What the module is called in the file.
    const MODULE: &'static str;

    /// Weights and moments, in Burn's own format.
    fn to_bytes(&self) -> Result<[Bytes; 2]>;

    /// Takes weights and moments back; the module must be of the same shape.
    fn load(&mut self, records: [Bytes; 2]) -> Result<(), String>;
}

/// Weights and moments, in Burn's own format.
pub(crate) fn to_bytes<M: Module>(module: &M, optimizer: &ModuleOptimizer) -> Result<[Bytes; 2]> {
    let module = module.valid().into_record();
    let module = module.into_bytes().map_err(TrainError::device)?;
    let optimizer = optimizer.into_bytes().map_err(TrainError::device)?;
    Ok([module, optimizer])
}

/// A module and an optimizer with the weights and moments of records.
pub(crate) fn from_bytes<M: Module>(
    module: &M,
    optimizer: &ModuleOptimizer,
    [weights, moments]: [Bytes; 2],
) -> Result<(M, ModuleOptimizer), String> {
    let record = ModuleRecord::from_bytes(weights).map_err(|error| error.to_string())?;
    let plain = module.valid().try_load_record(record);
    let module = plain.map_err(|error| error.to_string())?.train();
    let record = OptimizerRecord::from_bytes(moments).map_err(|error| error.to_string())?;
    Ok((module, optimizer.clone().load_record(record)))
}

/// Writes a run's state; the file appears whole or not at all.
pub(crate) fn save<T: Resumable>(
    staging: &Staging,
    path: &Path,
    trainer: &T,
    state: &TrainState,
) -> Result<()> {
    let state = serde_json::to_string(state).map_err(|error| TrainError::run(path, error))?;
    let metadata = HashMap::from([
        ("format".to_owned(), FORMAT.to_owned()),
        ("state".to_owned(), state),
    ]);
    let [module, optimizer] = trainer.to_bytes()?;
    let views = [(T::MODULE, &module), ("optimizer", &optimizer)]
        .into_iter()
        .map(|(name, bytes)| {
            TensorView::new(Dtype::U8, vec![bytes.len()], bytes).map(|view| (name, view))
        })
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| TrainError::run(path, error))?;
    let bytes = safetensors::serialize(views, Some(metadata))
        .map_err(|error| TrainError::run(path, error))?;
    let written = staging.write_durably(path, &bytes);
    written.map_err(TrainError::io("write", path))
}

/// The decoder in a checkpoint of a run; `like` has the same shape, as the run's configuration gives
/// it.
///
/// # Errors
///
/// If the file cannot be read, is no checkpoint, or is one of another decoder.
pub fn load_decoder(path: &Path, like: &Decoder) -> Result<Decoder> {
    let (_, [decoder, _]) = read(path, DecoderTrainer::MODULE)?;
    let record = ModuleRecord::from_bytes(decoder).map_err(|error| TrainError::run(path, error))?;
    let loaded = like.clone().try_load_record(record);
    loaded.map_err(|error| TrainError::run(path, error))
}

/// Reads a run's state and puts weights and moments into a trainer made from the same
/// configuration.
///
/// # Errors
///
/// If the file cannot be read, is no checkpoint, or is one of another module.
pub(crate) fn load<T: Resumable>(path: &Path, trainer: &mut T) -> Result<TrainState> {
    let (state, records) = read(path, T::MODULE)?;
    trainer
        .load(records)
        .map_err(|error| TrainError::run(path, error))?;
    Ok(state)
}

/// A run's state, and the records of its module and its optimizer.
fn read(path: &Path, module: &str) -> Result<(TrainState, [Bytes; 2])> {
    let bytes = std::fs::read(path).map_err(TrainError::io("read", path))?;
    let fail = |error: &dyn std::fmt::Display| TrainError::run(path, error);
    let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|error| fail(&error))?;
    let entry = |name: &str| header.metadata().as_ref()?.get(name);
    if entry("format").map(String::as_str) != Some(FORMAT) {
        return Err(fail(&format!("not a checkpoint of `{FORMAT}`")));
    }
    let state = entry("state").map(String::as_str).unwrap_or_default();
    let state: TrainState = serde_json::from_str(state).map_err(|error| fail(&error))?;
    let tensors = SafeTensors::deserialize(&bytes).map_err(|error| fail(&error))?;
    let record = |name: &str| -> Result<Bytes> {
        let tensor = tensors.tensor(name).map_err(|error| fail(&error))?;
        Ok(Bytes::from_bytes_vec(tensor.data().to_vec()))
    };
    Ok((state, [record(module)?, record("optimizer")?]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::train_config::AdamWOptions;
    use burn::prelude::*;
    use clipseg_clip::ClipConfig;
    use clipseg_metrics::Loss;
    use clipseg_model::TransformerDecoderConfig;

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
    fn damaged_and_foreign_files_are_named() {
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
    fn a_folder_that_is_gone_leaves_an_error() {
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
