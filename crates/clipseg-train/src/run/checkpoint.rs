//! Checkpoints: the state of a run between two steps, in one file.
//!
//! It is one file because only the renaming of one file is atomic: weights, moments and counters always
//! belong to the same step. It is a safetensors file. Two tensors of bytes are the records of the module
//! and of the optimizer in Burn's format, and the metadata contains the rest.

use crate::error::{Result, TrainError};
use burn::module::Module;
use burn::optim::{ModuleOptimizer, OptimizerRecord};
use burn::store::ModuleRecord;
use burn::tensor::Bytes;
use clipseg_data::files::Staging;
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::path::Path;

const FORMAT: &str = "clipseg-train 1";

/// The state of a run except weights and moments.
///
/// It contains no state of a random generator: all draws depend on the random seed and the step only.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TrainState {
    /// Steps done.
    pub(crate) step: usize,
    /// The number of steps of the run, if the configuration does not define it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) steps: Option<usize>,
    /// The best validation so far.
    pub(crate) best: Option<Best>,
    /// Successive validations without improvement.
    pub(crate) without_improvement: usize,
    /// A hash of the training phrases.
    pub(crate) phrases: u64,
    /// Length of the metrics file at this step, in bytes.
    pub(crate) metrics_length: u64,
}

/// A validation.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Best {
    pub(crate) step: usize,
    #[serde(with = "bits")]
    pub(crate) score: f64,
}

/// A double as its bits: `serde_json` reads decimals to within their last bit only, and a resumed run must
/// compare with exactly the same score.
mod bits {
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(value: &f64, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(value.to_bits())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
        u64::deserialize(from).map(f64::from_bits)
    }
}

/// A module with its optimizer, which a checkpoint contains.
pub(crate) trait Resumable {
    /// The name of the module in the file.
    const MODULE: &'static str;

    /// The module.
    type Module: Module;

    /// The module as it is now, on the plain device.
    fn plain(&self) -> Self::Module;

    /// Weights and moments as records in Burn's format.
    fn to_bytes(&self) -> Result<[Bytes; 2]>;

    /// Loads the records of weights and moments; the module must have the same shape.
    fn load(&mut self, records: [Bytes; 2]) -> Result<(), String>;
}

/// Weights and moments as records in Burn's format.
pub(crate) fn to_bytes<M: Module>(module: &M, optimizer: &ModuleOptimizer) -> Result<[Bytes; 2]> {
    let module = module.valid().into_record();
    let module = module.into_bytes().map_err(TrainError::device)?;
    let optimizer = optimizer.into_bytes().map_err(TrainError::device)?;
    Ok([module, optimizer])
}

/// Loads weights and moments from records into a module and an optimizer.
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

/// Writes a checkpoint atomically.
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

/// Loads a checkpoint into a trainer of the same configuration and returns the run's state.
///
/// # Errors
///
/// If the file cannot be read, is not a checkpoint, or contains another module.
pub(crate) fn load<T: Resumable>(path: &Path, trainer: &mut T) -> Result<TrainState> {
    let (state, records) = read(path, T::MODULE)?;
    trainer
        .load(records)
        .map_err(|error| TrainError::run(path, error))?;
    Ok(state)
}

/// Reads the state of a run and the records of its module and its optimizer.
pub(crate) fn read(path: &Path, module: &str) -> Result<(TrainState, [Bytes; 2])> {
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
