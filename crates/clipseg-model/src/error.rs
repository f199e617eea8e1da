//! What can go wrong between a checkpoint and a mask.

use clipseg_clip::ClipError;
use std::path::PathBuf;

/// Why a model could not be loaded, saved or asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// The encoders, the tokenizer, the preprocessing or a file of the checkpoint.
    #[error(transparent)]
    Clip(#[from] ClipError),
    /// A picture could not be read.
    #[error(transparent)]
    Data(#[from] clipseg_data::DataError),
    /// A picture could not be written.
    #[error("cannot write {}: {source}", path.display())]
    Picture {
        /// The file.
        path: PathBuf,
        /// What the encoder answered.
        source: image::ImageError,
    },
    /// An argument has a value that the model cannot take.
    #[error("{0}")]
    Input(String),
    /// A model gave values of which no probability can be made.
    #[error(
        "{count} of {of} logits are NaN or infinite, so there is no mask; expected finite numbers: a \
         weight of the model may not be finite, or its precision too low"
    )]
    NotFinite {
        /// How many of the values.
        count: usize,
        /// Of how many.
        of: usize,
    },
    /// A tensor could not be read back from its device.
    #[error("cannot read a tensor from its device: {0}")]
    Device(String),
}

/// The result of this crate's functions.
pub type Result<T, E = ModelError> = std::result::Result<T, E>;
