//! Errors of training and scoring.

use clipseg_clip::ClipError;
use clipseg_data::DataError;
use clipseg_model::ModelError;
use std::path::{Path, PathBuf};

/// An error of training or scoring a model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// An error of CLIP, its tokenizer, its preprocessing or a file of a checkpoint.
    #[error(transparent)]
    Clip(#[from] ClipError),
    /// An error of the data set.
    #[error(transparent)]
    Data(#[from] DataError),
    /// An error of the model.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A prediction or ground truth cannot be scored.
    #[error(transparent)]
    Metrics(#[from] clipseg_metrics::MetricsError),
    /// A field of a configuration has an invalid value.
    #[error("field `{field}`: {message}")]
    Config {
        /// The field, with dots between the levels.
        field: String,
        /// What was found and what was expected.
        message: String,
    },
    /// A configuration file is not TOML, or a field is unknown or has the wrong type.
    #[error("{}", at(path, *line, field.as_deref(), message))]
    ConfigFile {
        /// The file, or another source of the text.
        path: PathBuf,
        /// The line, counted from 1, if it is known.
        line: Option<usize>,
        /// The field, with dots between the levels, if it is known.
        field: Option<String>,
        /// What was found and what was expected.
        message: String,
    },
    /// There is no phrase to train on or to score.
    #[error("the {0} split has no phrase")]
    Empty(&'static str),
    /// The loss or the gradient norm is NaN or infinite.
    #[error(
        "the {quantity} is {value} at step {step}, in the batch of {}; {}",
        tasks.join(", "), last_good(checkpoint.as_deref())
    )]
    Diverged {
        /// The quantity: `loss`, `gradient norm` or `validation loss`.
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
    /// Weights that a run was given are NaN or infinite.
    #[error("weights of the {part} are NaN or infinite: {}", tensors.join(", "))]
    NonFinite {
        /// Which model: `CLIP` or `decoder`.
        part: &'static str,
        /// The names of the tensors.
        tensors: Vec<String>,
    },
    /// Weights became NaN or infinite, although the loss was still finite.
    #[error(
        "after step {step}, weights are NaN or infinite: {}; {}",
        tensors.join(", "), last_good(checkpoint.as_deref())
    )]
    BrokenWeights {
        /// The step, counted from 1.
        step: usize,
        /// The names of the tensors.
        tensors: Vec<String>,
        /// The last checkpoint that was written.
        checkpoint: Option<PathBuf>,
    },
    /// A file or folder of a run could not be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// The attempted action: `read`, `write`, …
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// The content of a file or folder is not as expected.
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
    /// Signals such as Ctrl-C cannot be handled.
    #[error("cannot handle Ctrl-C: {0}")]
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
    /// Wraps an error of the operating system, for `map_err` on an operation on `path`.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io {
            action,
            path: path.to_owned(),
            source,
        }
    }

    /// An error about the content of a file or folder.
    pub(crate) fn run(path: &Path, message: impl ToString) -> Self {
        Self::Run {
            path: path.to_owned(),
            message: message.to_string(),
        }
    }

    /// An error about the value of a field.
    pub(crate) fn field(field: &str, message: impl ToString) -> Self {
        Self::Config {
            field: field.to_owned(),
            message: message.to_string(),
        }
    }

    /// Wraps an error of a device, for `map_err` on reading a tensor.
    pub(crate) fn device(error: impl ToString) -> Self {
        Self::Device(error.to_string())
    }
}

/// The result of this crate's functions.
pub type Result<T, E = TrainError> = std::result::Result<T, E>;
