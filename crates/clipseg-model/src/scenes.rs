//! The model `scenes`, whose files are part of the crate with the feature of that name.

#[cfg(feature = "scenes")]
pub use files::scenes;

/// The name of the model that is part of this crate with the feature `scenes`.
pub const SCENES: &str = "scenes";

#[cfg(feature = "scenes")]
mod files;
