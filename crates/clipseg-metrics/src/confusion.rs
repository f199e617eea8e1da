//! Confusion counts of pixels, and the metrics computed from them.

use crate::batch::Batch;
use crate::error::Result;
use crate::mask_value::{
    MaskValue, check_binary, check_finite, check_length, check_probabilities, check_threshold,
};
use crate::probability::sigmoid;
use crate::ratio::ratio;
use burn::prelude::*;
use serde::{Deserialize, Serialize};
use std::ops::AddAssign;

/// The confusion counts of pixels: true and false positives and negatives. All metrics are computed from
/// these four numbers. Adding the counts of several masks pools their pixels.
///
/// A metric whose denominator is zero is 0, as in torchmetrics. If both the prediction and the ground
/// truth are empty, Dice and IoU are 0 and accuracy is 1.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confusion {
    /// Pixels inside both masks.
    pub true_positive: u64,
    /// Pixels inside the prediction only.
    pub false_positive: u64,
    /// Pixels inside the ground truth only.
    pub false_negative: u64,
    /// Pixels outside both masks.
    pub true_negative: u64,
}

impl Confusion {
    /// Compares probabilities with the ground truth. A pixel is positive if `probability > threshold`.
    /// `item` names the mask in errors.
    ///
    /// # Errors
    ///
    /// If the lengths differ, a prediction is not from 0 to 1 (for logits, use
    /// [`from_logits`](Self::from_logits)), a ground-truth value is neither 0 nor 1, or the threshold is
    /// not from 0 to 1.
    pub fn from_probabilities<T: MaskValue>(
        probabilities: &[f32],
        truth: &[T],
        threshold: f32,
        item: &str,
    ) -> Result<Self> {
        check_threshold(threshold)?;
        check_length(probabilities.len(), truth.len(), item)?;
        check_probabilities(probabilities, item)?;
        check_binary(truth, "ground truth", item)?;
        let codes = probabilities.iter().map(|&p| u8::from(p > threshold));
        Ok(Self::count(codes, truth))
    }

    /// Compares a binary mask with the ground truth. `item` names the mask in errors.
    ///
    /// # Errors
    ///
    /// If the lengths differ, or a value is neither 0 nor 1.
    pub fn from_masks<P: MaskValue, T: MaskValue>(
        prediction: &[P],
        truth: &[T],
        item: &str,
    ) -> Result<Self> {
        check_length(prediction.len(), truth.len(), item)?;
        check_binary(prediction, "prediction", item)?;
        check_binary(truth, "ground truth", item)?;
        Ok(Self::count(prediction.iter().map(|p| p.code()), truth))
    }

    fn count<T: MaskValue>(prediction: impl Iterator<Item = u8>, truth: &[T]) -> Self {
        let (mut predicted, mut inside, mut both) = (0u64, 0u64, 0u64);
        for (p, t) in prediction.zip(truth) {
            predicted += u64::from(p);
            inside += u64::from(t.code());
            both += u64::from(p & t.code());
        }
        Self {
            true_positive: both,
            false_positive: predicted - both,
            false_negative: inside - both,
            true_negative: truth.len() as u64 + both - predicted - inside,
        }
    }

    /// Compares each mask of a batch of logits with its ground truth. A pixel is positive if
    /// `sigmoid(logit) > threshold`.
    ///
    /// # Shapes
    ///
    /// - logits, targets: `[batch, height, width]`
    ///
    /// # Errors
    ///
    /// If the shapes differ, a logit is NaN or infinite, a target is neither 0 nor 1, the threshold is not
    /// from 0 to 1, or the device fails. The message has the index of the mask in the batch.
    pub fn from_logits(logits: Tensor<3>, targets: Tensor<3>, threshold: f32) -> Result<Vec<Self>> {
        check_threshold(threshold)?;
        let batch = Batch::read(logits, targets)?;
        batch
            .masks()
            .map(|(item, logits, truth)| {
                check_finite(logits, &item)?;
                let probabilities: Vec<f32> = logits.iter().map(|&x| sigmoid(x)).collect();
                Self::from_probabilities(&probabilities, truth, threshold, &item)
            })
            .collect()
    }

    /// Number of pixels.
    pub fn total(&self) -> u64 {
        self.true_positive + self.false_positive + self.false_negative + self.true_negative
    }

    /// Fraction of pixels that are classified correctly.
    pub fn accuracy(&self) -> f64 {
        ratio(self.true_positive + self.true_negative, self.total())
    }

    /// Fraction of positive predictions that are correct, `TP / (TP + FP)`.
    pub fn precision(&self) -> f64 {
        ratio(self.true_positive, self.true_positive + self.false_positive)
    }

    /// Fraction of ground-truth pixels that are predicted, `TP / (TP + FN)`.
    pub fn recall(&self) -> f64 {
        ratio(self.true_positive, self.true_positive + self.false_negative)
    }

    /// Dice coefficient, `2 TP / (2 TP + FP + FN)`, which equals the F1 score.
    pub fn dice(&self) -> f64 {
        let twice = 2 * self.true_positive;
        ratio(twice, twice + self.false_positive + self.false_negative)
    }

    /// Number of pixels in the union of both masks.
    pub fn union(&self) -> u64 {
        self.true_positive + self.false_positive + self.false_negative
    }

    /// Intersection over union, `TP / (TP + FP + FN)`, which equals the Jaccard index.
    pub fn iou(&self) -> f64 {
        ratio(self.true_positive, self.union())
    }

    /// IoU of the background, `TN / (TN + FP + FN)`.
    pub fn background_iou(&self) -> f64 {
        self.background().iou()
    }

    /// Mean of [`iou`](Self::iou) and [`background_iou`](Self::background_iou), `IoU_BIN` in the CLIPSeg
    /// paper.
    pub fn binary_iou(&self) -> f64 {
        0.5 * (self.iou() + self.background_iou())
    }

    /// The counts of the background: positives and negatives are swapped.
    #[must_use]
    pub fn background(&self) -> Self {
        Self {
            true_positive: self.true_negative,
            false_positive: self.false_negative,
            false_negative: self.false_positive,
            true_negative: self.true_positive,
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn message(result: Result<Confusion>) -> String {
        result.unwrap_err().to_string()
    }

    #[test]
    fn counts_of_masks_and_of_their_background() {
        let counts = Confusion::from_masks(&[1u8, 1, 0, 0, 0], &[1f32, 0.0, 1.0, 0.0, 0.0], "m");
        let counts = counts.unwrap();
        let expected = Confusion {
            true_positive: 1,
            false_positive: 1,
            false_negative: 1,
            true_negative: 2,
        };
        assert_eq!(counts, expected);
        assert_eq!((counts.iou(), counts.background_iou()), (1.0 / 3.0, 0.5));
        assert_eq!(counts.binary_iou(), 0.5 * (1.0 / 3.0 + 0.5));
        let flipped =
            Confusion::from_masks(&[false, false, true, true, true], &[0u8, 1, 0, 1, 1], "");
        assert_eq!(flipped.unwrap(), counts.background());
    }

    #[test]
    fn empty_masks() {
        let counts = Confusion::from_masks(&[0u8; 4], &[0u8; 4], "m").unwrap();
        assert_eq!([counts.iou(), counts.dice(), counts.precision()], [0.0; 3]);
        assert_eq!([counts.accuracy(), counts.background_iou()], [1.0; 2]);
        assert_eq!(Confusion::default().accuracy(), 0.0);
    }

    #[test]
    fn invalid_input_is_an_error() {
        let count = Confusion::from_probabilities::<f32>;
        assert_eq!(
            message(count(&[0.1, 0.2], &[1.0], 0.5, "2300__41")),
            "2300__41: the prediction has shape [2], the ground truth [1]"
        );
        assert_eq!(
            message(count(&[0.1, f32::NAN], &[1.0, 0.0], 0.5, "2300__41")),
            "2300__41: the prediction is NaN at pixel 1, expected a probability from 0 to 1"
        );
        for logit in [-0.01, 1.01, 7.25] {
            assert_eq!(
                message(count(&[0.1, logit], &[1.0, 0.0], 0.5, "2300__41")),
                format!(
                    "2300__41: the prediction is {logit} at pixel 1, expected a probability from 0 \
                     to 1; these look like logits"
                )
            );
        }
        for threshold in [-0.5, 1.5, f32::NAN] {
            assert_eq!(
                message(count(&[0.1], &[1.0], threshold, "2300__41")),
                format!("threshold: {threshold}, expected a probability from 0 to 1")
            );
        }
        assert_eq!(
            message(count(&[0.1, 0.2, 0.3], &[1.0, 0.0, 0.5], 0.5, "2300__41")),
            "2300__41: the ground truth is 0.5 at pixel 2, expected 0 or 1"
        );
        assert_eq!(
            message(count(&[0.1], &[f32::NAN], 0.5, "2300__41")),
            "2300__41: the ground truth is NaN at pixel 0, expected 0 or 1"
        );
        assert_eq!(
            message(Confusion::from_masks(&[255u8], &[1u8], "2300__41")),
            "2300__41: the prediction is 255 at pixel 0, expected 0 or 1"
        );
    }

    #[test]
    fn errors_have_the_index_in_the_batch() {
        let device = Device::flex();
        let logits = Tensor::<3>::from_data([[[0.0f32]], [[f32::NAN]]], &device);
        let masks = Tensor::<3>::zeros([2, 1, 1], &device);
        assert_eq!(
            Confusion::from_logits(logits.clone(), masks.clone(), 0.5)
                .unwrap_err()
                .to_string(),
            "mask 1: the prediction is NaN at pixel 0, expected a finite number"
        );
        let infinite = Tensor::<3>::from_data([[[f32::NEG_INFINITY]], [[0.0]]], &device);
        assert_eq!(
            Confusion::from_logits(infinite, masks.clone(), 0.5)
                .unwrap_err()
                .to_string(),
            "mask 0: the prediction is -inf at pixel 0, expected a finite number"
        );
        assert_eq!(
            Confusion::from_logits(logits.clone(), masks.clone(), 30.0)
                .unwrap_err()
                .to_string(),
            "threshold: 30, expected a probability from 0 to 1"
        );
        let larger = Tensor::<3>::zeros([2, 1, 2], &device);
        assert_eq!(
            Confusion::from_logits(larger, masks.clone(), 0.5)
                .unwrap_err()
                .to_string(),
            "batch: the prediction has shape [2, 1, 2], the ground truth [2, 1, 1]"
        );
        let masks = masks.add_scalar(0.25);
        assert_eq!(
            Confusion::from_logits(logits, masks, 0.5)
                .unwrap_err()
                .to_string(),
            "mask 0: the ground truth is 0.25 at pixel 0, expected 0 or 1"
        );
    }

    fn counts() -> impl Strategy<Value = Confusion> {
        (0..1u64 << 40, 0..1u64 << 40, 0..1u64 << 40, 0..1u64 << 40).prop_map(|(a, b, c, d)| {
            Confusion {
                true_positive: a,
                false_positive: b,
                false_negative: c,
                true_negative: d,
            }
        })
    }

    proptest! {
        #[test]
        fn dice_follows_from_iou(counts in counts()) {
            let iou = counts.iou();
            prop_assert!((counts.dice() - 2.0 * iou / (1.0 + iou)).abs() <= 1e-15);
        }

        #[test]
        fn metrics_are_bounded(counts in counts()) {
            let (iou, dice) = (counts.iou(), counts.dice());
            prop_assert!(iou <= dice && dice <= 1.0);
            prop_assert!(iou <= counts.precision().min(counts.recall()) + 1e-15);
            prop_assert!((0.0..=1.0).contains(&counts.accuracy()));
            prop_assert!((0.0..=1.0).contains(&counts.binary_iou()));
        }

        #[test]
        fn sums_add_each_count(
            items in prop::collection::vec(counts(), 0..9),
            rotation in 0usize..9,
        ) {
            let each = |of: fn(&Confusion) -> u64| items.iter().map(of).sum::<u64>();
            let expected = Confusion {
                true_positive: each(|c| c.true_positive),
                false_positive: each(|c| c.false_positive),
                false_negative: each(|c| c.false_negative),
                true_negative: each(|c| c.true_negative),
            };
            prop_assert_eq!(items.iter().copied().sum::<Confusion>(), expected);
            let (left, right) = items.split_at(rotation.min(items.len()));
            let mut halves: Confusion = right.iter().copied().sum();
            halves += left.iter().copied().sum();
            prop_assert_eq!(halves, expected);
        }
    }
}
