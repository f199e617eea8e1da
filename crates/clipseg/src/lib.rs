#![doc = include_str!("../../../README.md")]
#![deny(missing_docs)]

#[cfg(feature = "cli")]
pub mod arguments;

pub use clipseg_clip as clip;
pub use clipseg_clip::device;
pub use clipseg_data as data;
pub use clipseg_metrics as metrics;
pub use clipseg_model as model;
pub use clipseg_train as train;
