//! Exact counts of what was found, missed and made up, and the figures that follow from them.

use crate::error::{MetricsError, Result};
use burn::prelude::*;
use std::ops::AddAssign;

/// Counts of pixels. All figures come from these four numbers; adding counts of several masks pools
/// them, in any order with the same result.
///
/// A figure whose denominator is zero is 0, as in torchmetrics: with nothing to find and nothing
/// found, Dice and IoU are 0 and accuracy is 1.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Confusion {
    /// Inside, and found.
    pub true_positive: u64,
    /// Outside, but found.
    pub false_positive: u64,
    /// Inside, but missed.
    pub false_negative: u64,
    /// Outside, and left alone.
    pub true_negative: u64,
}

fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        0.0
    } else {
        part as f64 / whole as f64
    }
}

impl Confusion {
    /// Counts a prediction against the truth; `item` names it in errors.
    ///
    /// # Errors
    ///
    /// If the sizes differ, a prediction is NaN, or a truth is neither 0 nor 1.
    pub fn from_probabilities(
        probabilities: &[f32],
        truth: &[f32],
        threshold: f32,
        item: &str,
    ) -> Result<Self> {
        if probabilities.len() != truth.len() {
            return Err(MetricsError::Shape {
                item: item.to_owned(),
                found: vec![probabilities.len()],
                expected: vec![truth.len()],
            });
        }
        let mut counts = Self::default();
        for (pixel, (&probability, &truth)) in probabilities.iter().zip(truth).enumerate() {
            if probability.is_nan() {
                return Err(MetricsError::NotANumber {
                    item: item.to_owned(),
                    pixel,
                });
            }
            if truth != 0.0 && truth != 1.0 {
                return Err(MetricsError::NotBinary {
                    item: item.to_owned(),
                    value: truth,
                });
            }
            let count = match (probability > threshold, truth == 1.0) {
                (true, true) => &mut counts.true_positive,
                (true, false) => &mut counts.false_positive,
                (false, true) => &mut counts.false_negative,
                (false, false) => &mut counts.true_negative,
            };
            *count += 1;
        }
        Ok(counts)
    }

    /// Counts each mask of a batch where `sigmoid(logit) > threshold`.
    ///
    /// # Shapes
    ///
    /// - logits, targets: `[batch, height, width]`
    ///
    /// # Errors
    ///
    /// As [`from_probabilities`](Self::from_probabilities), or if the device fails.
    pub fn from_logits(logits: Tensor<3>, targets: Tensor<3>, threshold: f32) -> Result<Vec<Self>> {
        let (shape, expected) = (logits.dims(), targets.dims());
        if shape != expected {
            return Err(MetricsError::Shape {
                item: "batch".into(),
                found: shape.into(),
                expected: expected.into(),
            });
        }
        let read = |tensor: Tensor<3>| -> Result<Vec<f32>> {
            let data = tensor
                .try_into_data()
                .map_err(|e| MetricsError::Device(e.to_string()))?;
            data.convert::<f32>()
                .try_to_vec()
                .map_err(|error| MetricsError::Device(format!("{error:?}")))
        };
        let (logits, targets) = (
            read(burn::tensor::activation::sigmoid(logits))?,
            read(targets)?,
        );
        let [_, height, width] = shape;
        let pixels = (height * width).max(1);
        let masks = logits
            .chunks_exact(pixels)
            .zip(targets.chunks_exact(pixels));
        masks
            .enumerate()
            .map(|(index, (found, truth))| {
                Self::from_probabilities(found, truth, threshold, &format!("mask {index}"))
            })
            .collect()
    }

    /// Pixels counted.
    pub fn total(&self) -> u64 {
        self.true_positive + self.false_positive + self.false_negative + self.true_negative
    }

    /// Share of pixels that are right.
    pub fn accuracy(&self) -> f64 {
        ratio(self.true_positive + self.true_negative, self.total())
    }

    /// Share of what was found that is inside.
    pub fn precision(&self) -> f64 {
        ratio(self.true_positive, self.true_positive + self.false_positive)
    }

    /// Share of the inside that was found.
    pub fn recall(&self) -> f64 {
        ratio(self.true_positive, self.true_positive + self.false_negative)
    }

    /// `2 TP / (2 TP + FP + FN)`, which is also F1.
    pub fn dice(&self) -> f64 {
        let twice = 2 * self.true_positive;
        ratio(twice, twice + self.false_positive + self.false_negative)
    }

    /// Intersection over union, `TP / (TP + FP + FN)`, which is also the Jaccard index.
    pub fn iou(&self) -> f64 {
        let union = self.true_positive + self.false_positive + self.false_negative;
        ratio(self.true_positive, union)
    }
}

impl AddAssign for Confusion {
    fn add_assign(&mut self, other: Self) {
        self.true_positive += other.true_positive;
        self.false_positive += other.false_positive;
        self.false_negative += other.false_negative;
        self.true_negative += other.true_negative;
    }
}

impl std::iter::Sum for Confusion {
    fn sum<I: Iterator<Item = Self>>(items: I) -> Self {
        items.fold(Self::default(), |mut sum, item| {
            sum += item;
            sum
        })
    }
}
