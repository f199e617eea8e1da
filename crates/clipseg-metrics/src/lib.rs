//! Losses and measures of binary segmentation on Burn.
//!
//! ```
//! # #[cfg(feature = "flex")] {
//! use burn::tensor::{Device, Tensor};
//! use clipseg_metrics::{Confusion, Loss};
//!
//! let device = Device::flex();
//! let logits = Tensor::<3>::from_data([[[4.0, -4.0], [4.0, -4.0]]], &device);
//! let masks = Tensor::<3>::from_data([[[1.0, 0.0], [0.0, 0.0]]], &device);
//!
//! let loss: Loss = "dice".parse()?;
//! assert!(loss.forward(logits.clone(), masks.clone()).into_scalar::<f32>() < 0.3);
//!
//! let counts: Confusion = Confusion::from_logits(logits, masks, 0.5)?.into_iter().sum();
//! assert_eq!((counts.accuracy(), counts.iou()), (0.75, 0.5));
//! # }
//! # Ok::<(), clipseg_metrics::MetricsError>(())
//! ```

#![deny(missing_docs)]

mod confusion;
mod error;
mod losses;

pub use confusion::Confusion;
pub use error::{MetricsError, Result};
pub use losses::{DiceReduction, Loss, bce_with_logits, dice_loss};
