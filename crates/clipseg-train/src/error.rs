//! What can stop a training run.

use clipseg_clip::ClipError;
use clipseg_data::DataError;
use clipseg_model::ModelError;
use std::path::{Path, PathBuf};

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
        /// The field, with dots between the levels.
        field: String,
        /// What was found and what was expected.
        message: String,
    },
    /// A configuration file is not TOML, or a field of it is unknown or of another type.
    #[error("{}", at(path, *line, field.as_deref(), message))]
    ConfigFile {
        /// The file, or where else the text came from.
        path: PathBuf,
        /// The line, counted from 1, if it is known.
        line: Option<usize>,
        /// The field, with dots between the levels, if it is known.
        field: Option<String>,
        /// What was found and what was expected.
        message: String,
    },
    /// The data set has no phrase to train on or to score.
    #[error("the {0} split has no phrase")]
    Empty(&'static str),
    /// The loss or the gradient is infinite or no longer a number.
    #[error(
        "the {quantity} is {value} at step {step}, in the batch of {}; {}",
        tasks.join(", "), last_good(checkpoint.as_deref())
    )]
    Diverged {
        /// What it is: `loss`, `gradient norm` or `validation loss`.
        quantity: &'static str,
        /// Its value.
        value: f32,
        /// The step, counted from 1.
        step: usize,
        /// The `task_id`s of the step.
        tasks: Vec<String>,
        /// The last checkpoint that was written.
        checkpoint: Option<PathBuf>,
    },
    /// Weights are no longer numbers, though the loss still was one.
    #[error(
        "after step {step}, weights are infinite or not numbers: {}; {}",
        tensors.join(", "), last_good(checkpoint.as_deref())
    )]
    BrokenWeights {
        /// The step, counted from 1.
        step: usize,
        /// The tensors.
        tensors: Vec<String>,
        /// The last checkpoint that was written.
        checkpoint: Option<PathBuf>,
    },
    /// A file or folder of a run could not be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried: `read`, `write`, …
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the operating system answered.
        source: std::io::Error,
    },
    /// A file or folder of a run is not what it should be.
    #[error("{}: {message}", path.display())]
    Run {
        /// The file or folder.
        path: PathBuf,
        /// What was found and what was expected.
        message: String,
    },
    /// A tensor could not be read back from its device.
    #[error("cannot read a tensor from its device: {0}")]
    Device(String),
    /// Stopping on Ctrl-C could not be set up.
    #[error("cannot listen for Ctrl-C: {0}")]
    Signal(String),
}

fn at(path: &Path, line: Option<usize>, field: Option<&str>, message: &str) -> String {
    let line = line.map_or_else(String::new, |line| format!(", line {line}"));
    let field = field.map_or_else(String::new, |field| format!("field `{field}`: "));
    format!("{}{line}: {field}{message}", path.display())
}

fn last_good(checkpoint: Option<&Path>) -> String {
    checkpoint.map_or_else(
        || "no checkpoint was written before".to_owned(),
        |path| format!("the last good checkpoint is {}", path.display()),
    )
}

impl TrainError {
    /// For `map_err` on an operation on `path`.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io {
            action,
            path: path.to_owned(),
            source,
        }
    }

    /// A file or folder whose content is not what it should be.
    pub(crate) fn run(path: &Path, message: impl ToString) -> Self {
        Self::Run {
            path: path.to_owned(),
            message: message.to_string(),
        }
    }

    /// A field with a value that cannot be used.
    pub(crate) fn field(field: &str, message: impl ToString) -> Self {
        Self::Config {
            field: field.to_owned(),
            message: message.to_string(),
        }
    }

    /// For `map_err` on reading a tensor.
    pub(crate) fn device(error: impl ToString) -> Self {
        Self::Device(error.to_string())
    }
}

/// The result of this crate's functions.
pub type Result<T, E = TrainError> = std::result::Result<T, E>;
