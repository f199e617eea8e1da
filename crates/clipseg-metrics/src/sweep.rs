//! Confusion counts at 49 thresholds in one pass over the pixels.

use crate::batch::Batch;
use crate::confusion::Confusion;
use crate::error::Result;
use crate::mask_value::{
    MaskValue, check_binary, check_finite, check_length, check_probabilities, is_probability,
};
use crate::probability::sigmoid;
use burn::prelude::*;
use std::ops::AddAssign;

/// Number of thresholds of a sweep.
pub const SWEEP_THRESHOLDS: usize = 49;

/// Number of bins: one for each interval between, below and above the thresholds.
const BINS: usize = SWEEP_THRESHOLDS + 1;

/// The thresholds of a sweep: 0.02, 0.04, … 0.98.
pub fn sweep_thresholds() -> [f64; SWEEP_THRESHOLDS] {
    std::array::from_fn(|index| (index + 1) as f64 / BINS as f64)
}

/// The confusion counts of masks at each of the [`sweep_thresholds`]. A pixel is positive if
/// `probability > threshold`; both are in single precision, as in PyTorch.
///
/// A sweep is a histogram of the probabilities between the thresholds, so each pixel is processed once.
/// `+=` merges sweeps.
///
/// ```
/// use clipseg_metrics::ThresholdSweep;
///
/// let mut sweep = ThresholdSweep::new();
/// sweep.add_probabilities(&[0.9, 0.5, 0.31], &[1u8, 0, 1], "a mask")?;
/// let counts = sweep.counts();
/// assert_eq!(counts[24].false_positive, 0); // 0.5 is not above 0.50
/// assert_eq!(counts[14].true_positive, 2); // 0.31 is above 0.30
/// # Ok::<(), clipseg_metrics::MetricsError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ThresholdSweep {
    /// Number of ground-truth pixels by the number of thresholds below their probability.
    inside: [u64; BINS],
    /// The same for background pixels.
    outside: [u64; BINS],
}

impl Default for ThresholdSweep {
    fn default() -> Self {
        Self {
            inside: [0; BINS],
            outside: [0; BINS],
        }
    }
}

impl ThresholdSweep {
    /// A sweep without pixels.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the probabilities of a mask. `item` names the mask in errors.
    ///
    /// # Errors
    ///
    /// If the lengths differ, a prediction is not from 0 to 1 (for logits, use
    /// [`add_logits`](Self::add_logits)), or a ground-truth value is neither 0 nor 1. Then nothing is added.
    pub fn add_probabilities<T: MaskValue>(
        &mut self,
        probabilities: &[f32],
        truth: &[T],
        item: &str,
    ) -> Result<()> {
        check_length(probabilities.len(), truth.len(), item)?;
        let (histogram, is_valid) = histogram(probabilities, truth);
        if !is_valid {
            check_probabilities(probabilities, item)?;
            check_binary(truth, "ground truth", item)?;
        }
        *self += histogram;
        Ok(())
    }

    /// Adds the logits of a mask. `item` names the mask in errors.
    ///
    /// The probabilities are bitwise equal to PyTorch's on a CPU. The last bit can decide whether a pixel
    /// is above a threshold.
    ///
    /// # Errors
    ///
    /// If the lengths differ, a logit is NaN or infinite, or a ground-truth value is neither 0 nor 1. Then
    /// nothing is added.
    pub fn add_logits<T: MaskValue>(
        &mut self,
        logits: &[f32],
        truth: &[T],
        item: &str,
    ) -> Result<()> {
        check_finite(logits, item)?;
        let probabilities: Vec<f32> = logits.iter().map(|&x| sigmoid(x)).collect();
        self.add_probabilities(&probabilities, truth, item)
    }

    /// The sweep of each mask of a batch.
    ///
    /// # Shapes
    ///
    /// - logits, targets: `[batch, height, width]`
    ///
    /// # Errors
    ///
    /// The same as [`add_logits`](Self::add_logits), or if the device fails. The message has the index of
    /// the mask in the batch.
    pub fn from_logits(logits: Tensor<3>, targets: Tensor<3>) -> Result<Vec<Self>> {
        let batch = Batch::read(logits, targets)?;
        batch
            .masks()
            .map(|(item, logits, truth)| {
                let mut sweep = Self::new();
                sweep.add_logits(logits, truth, &item)?;
                Ok(sweep)
            })
            .collect()
    }

    /// The confusion counts at each threshold.
    pub fn counts(&self) -> [Confusion; SWEEP_THRESHOLDS] {
        let (inside, outside): (u64, u64) = (self.inside.iter().sum(), self.outside.iter().sum());
        let mut counts = [Confusion::default(); SWEEP_THRESHOLDS];
        let (mut false_negatives, mut true_negatives) = (0, 0);
        for (index, counts) in counts.iter_mut().enumerate() {
            false_negatives += self.inside[index];
            true_negatives += self.outside[index];
            *counts = Confusion {
                true_positive: inside - false_negatives,
                false_positive: outside - true_negatives,
                false_negative: false_negatives,
                true_negative: true_negatives,
            };
        }
        counts
    }

    /// The counts at a threshold below all probabilities, where every pixel is positive.
    pub(crate) fn all_positive(&self) -> Confusion {
        Confusion {
            true_positive: self.inside.iter().sum(),
            false_positive: self.outside.iter().sum(),
            ..Confusion::default()
        }
    }
}

impl AddAssign for ThresholdSweep {
    fn add_assign(&mut self, other: Self) {
        let pairs = self.inside.iter_mut().zip(other.inside);
        for (sum, count) in pairs.chain(self.outside.iter_mut().zip(other.outside)) {
            *sum += count;
        }
    }
}

impl std::iter::Sum for ThresholdSweep {
    fn sum<I: Iterator<Item = Self>>(items: I) -> Self {
        items.fold(Self::default(), |mut sum, item| {
            sum += item;
            sum
        })
    }
}

/// The number of thresholds that a probability exceeds.
///
/// Threshold n is `n / 50` in single precision. The product `50 p`, rounded to single precision and then
/// down to an integer, is the result, or one more if `p` equals that threshold or is just below it.
fn bin(probability: f32) -> i32 {
    let near = ((probability * BINS as f32) as i32).clamp(0, BINS as i32);
    let above = near - i32::from(probability <= near as f32 / BINS as f32);
    above.clamp(0, SWEEP_THRESHOLDS as i32)
}

/// The histogram of a mask, and whether all its values are valid.
fn histogram<T: MaskValue>(probabilities: &[f32], truth: &[T]) -> (ThresholdSweep, bool) {
    /// Number of pixels in a block: small enough for the L1 cache, large enough for vectorized code.
    const BLOCK: usize = 1024;
    /// Number of histograms that are filled in turn. Neighbouring pixels often belong to the same bin,
    /// and an increment of the same counter would have to wait for the previous one.
    const LANES: usize = 4;
    let mut lanes = [[0u64; 2 * BINS]; LANES];
    let mut cells = [0u8; BLOCK];
    let (mut probable, mut codes) = (true, 0u8);
    for (probabilities, truth) in probabilities.chunks(BLOCK).zip(truth.chunks(BLOCK)) {
        let cells = &mut cells[..probabilities.len()];
        for ((cell, &probability), &truth) in cells.iter_mut().zip(probabilities).zip(truth) {
            let code = truth.code();
            probable &= is_probability(probability);
            codes |= code;
            // Less than 100, so it fits into 8 bits.
            *cell = (2 * bin(probability)) as u8 | (code & 1);
        }
        let mut quads = cells.chunks_exact(LANES);
        for quad in &mut quads {
            for (lane, &cell) in lanes.iter_mut().zip(quad) {
                lane[usize::from(cell)] += 1;
            }
        }
        for &cell in quads.remainder() {
            lanes[0][usize::from(cell)] += 1;
        }
    }
    let mut sweep = ThresholdSweep::new();
    for lane in lanes {
        for (index, pair) in lane.chunks_exact(2).enumerate() {
            sweep.outside[index] += pair[0];
            sweep.inside[index] += pair[1];
        }
    }
    (sweep, probable && codes <= 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn naive(probabilities: &[f32], truth: &[u8]) -> Vec<Confusion> {
        sweep_thresholds()
            .iter()
            .map(|&t| Confusion::from_probabilities(probabilities, truth, t as f32, "").unwrap())
            .collect()
    }

    #[test]
    fn numbers_near_a_threshold_are_compared_exactly() {
        for threshold in sweep_thresholds() {
            let exact = threshold as f32;
            let steps = -40i32..=40;
            let near: Vec<f32> = steps
                .map(|step| f32::from_bits((exact.to_bits() as i32 + step) as u32))
                .collect();
            let truth: Vec<u8> = (0..near.len()).map(|index| (index % 2) as u8).collect();
            let mut sweep = ThresholdSweep::new();
            sweep.add_probabilities(&near, &truth, "").unwrap();
            assert_eq!(sweep.counts().to_vec(), naive(&near, &truth), "{threshold}");
        }
    }

    #[test]
    fn extreme_probabilities() {
        let odd = [
            0.0,
            -0.0,
            1.0,
            f32::from_bits(1),
            f32::MIN_POSITIVE,
            1.0 - f32::EPSILON / 2.0,
        ];
        let truth = [1u8; 6];
        let mut sweep = ThresholdSweep::new();
        sweep.add_probabilities(&odd, &truth, "").unwrap();
        assert_eq!(sweep.counts().to_vec(), naive(&odd, &truth));
        assert_eq!(sweep.counts()[0].true_positive, 2);
    }

    #[test]
    fn invalid_input_is_an_error_and_adds_nothing() {
        let mut sweep = ThresholdSweep::new();
        let mut message = |p: &[f32], t: &[u8]| {
            let error = sweep.add_probabilities(p, t, "2300__41").unwrap_err();
            assert_eq!(sweep, ThresholdSweep::new());
            error.to_string()
        };
        assert_eq!(
            message(&[0.5], &[1, 0]),
            "2300__41: the prediction has shape [1], the ground truth [2]"
        );
        for (bad, hint) in [
            (f32::NAN, ""),
            (f32::INFINITY, ""),
            (1.5, "; these look like logits"),
            (-7.0, "; these look like logits"),
        ] {
            // Also in the second block of the histogram.
            for pixel in [2, 1500] {
                let mut predictions = vec![0.5; pixel + 1];
                predictions[pixel] = bad;
                assert_eq!(
                    message(&predictions, &vec![1; pixel + 1]),
                    format!(
                        "2300__41: the prediction is {bad} at pixel {pixel}, expected a probability \
                         from 0 to 1{hint}"
                    )
                );
            }
        }
        assert_eq!(
            message(&[0.5, 0.1], &[1, 255]),
            "2300__41: the ground truth is 255 at pixel 1, expected 0 or 1"
        );
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let error = sweep
                .add_logits(&[40.0, bad], &[0u8, 1], "2300__41")
                .unwrap_err();
            assert_eq!(sweep, ThresholdSweep::new());
            assert_eq!(
                error.to_string(),
                format!("2300__41: the prediction is {bad} at pixel 1, expected a finite number")
            );
        }
    }

    #[test]
    fn huge_logits_become_0_and_1() {
        let mut sweep = ThresholdSweep::new();
        sweep
            .add_logits(&[1e4, -1e4, 0.0], &[1u8, 0, 0], "")
            .unwrap();
        let mut expected = ThresholdSweep::new();
        expected
            .add_probabilities(&[1.0, 0.0, 0.5], &[1u8, 0, 0], "")
            .unwrap();
        assert_eq!(sweep, expected);
    }

    proptest! {
        #[test]
        fn one_pass_equals_counting_at_each_threshold(
            pixels in prop::collection::vec((0f32..=1.0, 0u8..2), 0..3000),
            round in prop::bool::ANY,
            cut in 0usize..3000,
        ) {
            // Rounded probabilities equal the thresholds.
            let probabilities: Vec<f32> = pixels
                .iter()
                .map(|&(p, _)| if round { (p * 50.0).round() / 50.0 } else { p })
                .collect();
            let truth: Vec<u8> = pixels.iter().map(|&(_, t)| t).collect();
            let mut whole = ThresholdSweep::new();
            whole.add_probabilities(&probabilities, &truth, "").unwrap();
            prop_assert_eq!(whole.counts().to_vec(), naive(&probabilities, &truth));

            let cut = cut.min(truth.len());
            let mut merged = ThresholdSweep::new();
            merged.add_probabilities(&probabilities[cut..], &truth[cut..], "").unwrap();
            let mut first = ThresholdSweep::new();
            let floats: Vec<f32> = truth[..cut].iter().map(|&t| f32::from(t)).collect();
            first.add_probabilities(&probabilities[..cut], &floats, "").unwrap();
            merged += first;
            prop_assert_eq!(whole, merged);
        }
    }
}
