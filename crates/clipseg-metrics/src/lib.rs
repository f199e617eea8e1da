//! Losses and measures of binary segmentation on Burn.
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
//! | Wanted | Here |
//! |---|---|
//! | a loss by name | [`Loss`] |
//! | accuracy, precision, recall, Dice, IoU | [`Confusion`] |
//! | their means and pools over masks, and by groups | [`Tally`], [`Grouped`] |
//! | 49 thresholds at once, mIoU, `IoU_FG`, `IoU_BIN`, average precision | [`ThresholdSweep`], [`SweepScores`] |
//! | average precision to the last bit | [`average_precision`] |
//! | what PhraseCut's evaluator reports | [`PhraseCutEvaluator`] |
//! | intervals, and a test between two runs | [`Bootstrap`], [`CommonTasks`] |

#![deny(missing_docs)]

mod average_precision;
mod batch;
mod bootstrap;
#[cfg(feature = "burn-train")]
mod burn_train;
mod confusion;
mod error;
mod loss;
mod losses;
mod mask_value;
mod phrasecut;
mod probability;
mod sweep;
mod sweep_scores;
mod tally;

pub use average_precision::average_precision;
pub use bootstrap::{Bootstrap, Comparison, Interval, Share};
#[cfg(feature = "burn-train")]
pub use burn_train::{AccuracyMetric, DiceMetric, IouMetric, SegmentationInput, Segmented};
pub use confusion::Confusion;
pub use error::{MetricsError, Result};
pub use loss::Loss;
pub use losses::{DiceReduction, bce_with_logits, dice_loss, focal_loss, tversky_loss};
pub use mask_value::MaskValue;
pub use phrasecut::{
    CommonTasks, FrequencyRanks, MaskRef, PRECISION_THRESHOLDS, PhraseCutEvaluator, PhraseCutTask,
    PhraseType, PictureFigure, Subset, SubsetScores, TaskScore, is_coco_category, is_stuff,
};
pub use sweep::{SWEEP_THRESHOLDS, ThresholdSweep, sweep_thresholds};
pub use sweep_scores::{BestThreshold, SweepDefinition, SweepScores};
pub use tally::{Grouped, Tally};
