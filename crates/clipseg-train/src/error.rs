//! What can stop a training run.

use clipseg_clip::ClipError;
use clipseg_data::DataError;
use clipseg_model::ModelError;

/// Why a model could not be trained or evaluated.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// The encoders, the tokenizer, the preprocessing or a file of a checkpoint.
    #[error(transparent)]
    Clip(#[from] ClipError),
    /// The data set.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The model.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A prediction or a truth cannot be scored.
    #[error(transparent)]
    Metrics(#[from] clipseg_metrics::MetricsError),
    /// A field of the configuration has a value that training cannot use.
    #[error("field `{field}`: {message}")]
    Config {
        /// The field.
        field: &'static str,
        /// What was found and what was expected.
        message: String,
    },
    /// The data set has no phrase to train on or to score.
    #[error("the {0} split has no phrase")]
    Empty(&'static str),
    /// The loss is no longer a number.
    #[error("the loss is {loss} at step {step}, in the batch of {}", tasks.join(", "))]
    Diverged {
        /// The step, counted from 1.
        step: usize,
        /// The loss.
        loss: f32,
        /// The `task_id`s of the batch.
        tasks: Vec<String>,
    },
    /// A tensor could not be read back from its device.
    #[error("cannot read a tensor from its device: {0}")]
    Device(String),
}

/// The result of this crate's functions.
pub type Result<T, E = TrainError> = std::result::Result<T, E>;
