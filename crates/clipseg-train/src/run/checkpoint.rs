//! Checkpoints: the state of a run between two steps, in one file.
//!
//! It is one file because only the renaming of one file is atomic: weights, moments and counters always
//! belong to the same step. It is a safetensors file. Its tensors of bytes are the records of the modules
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
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

/// The format of a checkpoint with one module and its optimizer.
const ONE: &str = "clipseg-train 1";
/// The format of a checkpoint with several modules and their optimizer: a decoder with a fine-tuned CLIP. It
/// has a version of its own, so that a program that knows only the first does not load the decoder alone.
const SEVERAL: &str = "clipseg-train 2";

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

/// The name of the optimizer's record in a checkpoint.
const OPTIMIZER: &str = "optimizer";

/// The records of a checkpoint in Burn's format, by name: one or more modules and the optimizer.
#[derive(Debug, Default)]
pub(crate) struct Records(BTreeMap<String, Bytes>);

impl Records {
    /// Adds a record.
    pub(crate) fn with(mut self, name: &str, record: Bytes) -> Self {
        self.0.insert(name.to_owned(), record);
        self
    }

    /// Adds the weights of a module.
    pub(crate) fn with_module<M: Module>(self, name: &str, module: &M) -> Result<Self> {
        let record = module.valid().into_record().into_bytes();
        Ok(self.with(name, record.map_err(TrainError::device)?))
    }

    /// Adds the moments of an optimizer.
    pub(crate) fn with_optimizer(self, optimizer: &ModuleOptimizer) -> Result<Self> {
        let record = optimizer.into_bytes().map_err(TrainError::device)?;
        Ok(self.with(OPTIMIZER, record))
    }

    /// Takes a record out.
    pub(crate) fn take(&mut self, name: &str) -> Result<Bytes, String> {
        let record = self.0.remove(name);
        record.ok_or_else(|| format!("there is no `{name}` in it"))
    }

    /// Loads the weights of a module on the plain device; it must have the same shape.
    pub(crate) fn plain_module<M: Module>(&mut self, name: &str, module: M) -> Result<M, String> {
        let record = ModuleRecord::from_bytes(self.take(name)?);
        let record = record.map_err(|error| error.to_string())?;
        let loaded = module.try_load_record(record);
        loaded.map_err(|error| error.to_string())
    }

    /// Loads the weights of a module on the autodiff device; it must have the same shape.
    pub(crate) fn module<M: Module>(&mut self, name: &str, module: &M) -> Result<M, String> {
        Ok(self.plain_module(name, module.valid())?.train())
    }

    /// Loads the moments of an optimizer.
    pub(crate) fn optimizer(
        &mut self,
        optimizer: &ModuleOptimizer,
    ) -> Result<ModuleOptimizer, String> {
        let record = OptimizerRecord::from_bytes(self.take(OPTIMIZER)?);
        let record = record.map_err(|error| error.to_string())?;
        Ok(optimizer.clone().load_record(record))
    }

    /// Requires that every record was taken.
    pub(crate) fn finish(self) -> Result<(), String> {
        match self.0.into_keys().next() {
            Some(name) => Err(format!(
                "it contains `{name}`, which a run with this configuration does not train"
            )),
            None => Ok(()),
        }
    }
}

/// Modules with their optimizer, which a checkpoint contains.
pub(crate) trait Resumable {
    /// The names of the trained weights that are NaN or infinite.
    fn non_finite(&self) -> Vec<String>;

    /// Weights and moments.
    fn to_records(&self) -> Result<Records>;

    /// Loads weights and moments; the modules must have the same shape.
    fn load(&mut self, records: Records) -> Result<(), String>;
}

/// Writes a checkpoint atomically.
pub(crate) fn save<T: Resumable>(
    staging: &Staging,
    path: &Path,
    trainer: &T,
    state: &TrainState,
) -> Result<()> {
    let state = serde_json::to_string(state).map_err(|error| TrainError::run(path, error))?;
    let Records(records) = trainer.to_records()?;
    let format = if records.len() > 2 { SEVERAL } else { ONE };
    let metadata = HashMap::from([
        ("format".to_owned(), format.to_owned()),
        ("state".to_owned(), state),
    ]);
    let views = records
        .iter()
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
/// If the file cannot be read, is not a checkpoint, or contains other modules.
pub(crate) fn load<T: Resumable>(path: &Path, trainer: &mut T) -> Result<TrainState> {
    let (state, records) = read(path)?;
    trainer
        .load(records)
        .map_err(|error| TrainError::run(path, error))?;
    Ok(state)
}

/// Reads the state of a run and the records of its modules and its optimizer.
pub(crate) fn read(path: &Path) -> Result<(TrainState, Records)> {
    let bytes = std::fs::read(path).map_err(TrainError::io("read", path))?;
    let fail = |error: &dyn std::fmt::Display| TrainError::run(path, error);
    let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|error| fail(&error))?;
    let entry = |name: &str| header.metadata().as_ref()?.get(name);
    if !entry("format").is_some_and(|format| [ONE, SEVERAL].contains(&format.as_str())) {
        return Err(fail(&format!("not a checkpoint of `{ONE}` or `{SEVERAL}`")));
    }
    let state = entry("state").map(String::as_str).unwrap_or_default();
    let state: TrainState = serde_json::from_str(state).map_err(|error| fail(&error))?;
    let tensors = SafeTensors::deserialize(&bytes).map_err(|error| fail(&error))?;
    let records = tensors
        .iter()
        .fold(Records::default(), |records, (name, tensor)| {
            records.with(name, Bytes::from_bytes_vec(tensor.data().to_vec()))
        });
    Ok((state, records))
}
