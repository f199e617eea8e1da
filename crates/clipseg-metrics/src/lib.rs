//! Losses and metrics of binary segmentation on [Burn](https://burn.dev).
//!
//! ```
//! use burn::tensor::{Device, Tensor};
//! use clipseg_metrics::{Confusion, Loss};
//!
//! let device = Device::flex();
//! let logits = Tensor::<3>::from_data([[[4.0, -4.0], [4.0, -4.0]]], &device);
//! let masks = Tensor::<3>::from_data([[[1.0, 0.0], [0.0, 0.0]]], &device);
//!
//! let loss: Loss = "0.5*bce+dice".parse()?;
//! let value = loss.forward(logits.clone(), masks.clone()).into_scalar::<f32>();
//! assert!((0.7..0.8).contains(&value));
//!
//! let counts: Confusion = Confusion::from_logits(logits, masks, 0.5)?.into_iter().sum();
//! assert_eq!((counts.accuracy(), counts.iou()), (0.75, 0.5));
//! # Ok::<(), clipseg_metrics::MetricsError>(())
//! ```
//!
//! | To compute | Use |
//! |---|---|
//! | a loss from its text form | [`Loss`] |
//! | accuracy, precision, recall, Dice, IoU | [`Confusion`] |
//! | how well edges follow those of the ground truth (boundary F) | [`BoundaryCounts`] |
//! | these metrics averaged or pooled over masks, also by group | [`Tally`], [`Grouped`] |
//! | mIoU, `IoU_FG`, `IoU_BIN` and average precision with 49 thresholds | [`ThresholdSweep`], [`SweepScores`] |
//! | exact average precision | [`average_precision`] |
//! | the scores of PhraseCut's official evaluator | [`PhraseCutEvaluator`] |
//! | confidence intervals, and a test between two runs | [`Bootstrap`], [`CommonTasks`] |
//! | p-values of many comparisons | [`holm`] |

#![deny(missing_docs)]

mod average_precision;
mod batch;
mod bootstrap;
mod boundary;
#[cfg(feature = "burn-train")]
mod burn_train;
mod comparison;
mod confusion;
mod crossed;
mod error;
mod holm;
mod loss;
mod mask_value;
mod pairing;
mod phrasecut;
mod probability;
mod ratio;
mod sweep;
mod sweep_scores;
mod tally;

pub use average_precision::average_precision;
pub use bootstrap::{Bootstrap, Interval};
pub use boundary::BoundaryCounts;
#[cfg(feature = "burn-train")]
pub use burn_train::{AccuracyMetric, DiceMetric, IouMetric, SegmentationInput, Segmented};
pub use comparison::Comparison;
pub use confusion::Confusion;
pub use error::{MetricsError, Result};
pub use holm::holm;
pub use loss::{DiceReduction, Loss, bce_with_logits, dice_loss, focal_loss, tversky_loss};
pub use mask_value::MaskValue;
pub use phrasecut::{
    CommonTasks, FrequencyRanks, MaskRef, PRECISION_THRESHOLDS, PhraseCutEvaluator, PhraseCutTask,
    PhraseType, PictureMetric, Subset, SubsetScores, TaskScore, is_coco_category, is_stuff,
};
pub use ratio::Ratio;
pub use sweep::{SWEEP_THRESHOLDS, ThresholdSweep, sweep_thresholds};
pub use sweep_scores::{BestThreshold, SweepDefinition, SweepScores};
pub use tally::{Grouped, Tally};
