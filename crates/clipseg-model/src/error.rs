//! The error type of this crate.

use clipseg_clip::ClipError;

/// An error while loading, saving or running a model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// An error of CLIP, its tokenizer, the preprocessing or a checkpoint file.
    #[error(transparent)]
    Clip(#[from] ClipError),
    /// An error of a picture or a data set.
    #[error(transparent)]
    Data(#[from] clipseg_data::DataError),
    /// An argument is invalid.
    #[error("{0}")]
    Input(String),
    /// A combination of masks is not an expression, or names a prompt that does not exist.
    #[error("the expression `{text}`, column {column}: {message}")]
    Expression {
        /// The expression as given.
        text: String,
        /// The column of the fault, counted from 1 in characters.
        column: usize,
        /// What was found and what was expected.
        message: String,
    },
    /// The model computed NaN or infinite logits.
    #[error(
        "{count} of {of} logits are NaN or infinite, so there is no mask; the model may have NaN or \
         infinite weights, or its precision is too low"
    )]
    NotFinite {
        /// Number of NaN or infinite logits.
        count: usize,
        /// Number of all logits.
        of: usize,
    },
    /// A tensor could not be read from its device.
    #[error("cannot read a tensor from its device: {0}")]
    Device(String),
}

/// The result type of this crate.
pub type Result<T, E = ModelError> = std::result::Result<T, E>;
