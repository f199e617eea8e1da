#![doc = include_str!("../README.md")]
#![deny(missing_docs)]

#[cfg(feature = "cli")]
pub mod arguments;
mod device;
mod error;

pub use clipseg_clip as clip;
pub use clipseg_data as data;
#[cfg(feature = "allocator")]
pub use clipseg_kernels::Allocator;
pub use clipseg_metrics as metrics;
pub use clipseg_model as model;
pub use clipseg_train as train;
pub use device::device;
pub use error::DeviceError;
