//! Average precision, and the integration rules for precision-recall curves.

use crate::error::Result;
use crate::mask_value::{MaskValue, check_binary, check_length, check_probabilities};

/// The average precision of all pixels, `Σ (R_i − R_{i−1}) P_i` over all distinct probabilities, as in
/// torchmetrics and scikit-learn. It is 0 if the ground truth is empty. `item` names the pixels in errors.
///
/// This function sorts a copy of the pixels. [`ThresholdSweep`](crate::ThresholdSweep) computes average
/// precision with thresholds in steps of 0.02; it needs one pass and can be merged.
///
/// # Errors
///
/// If the lengths differ, a prediction is not from 0 to 1, or a ground-truth value is neither 0 nor 1.
pub fn average_precision<T: MaskValue>(
    probabilities: &[f32],
    truth: &[T],
    item: &str,
) -> Result<f64> {
    check_length(probabilities.len(), truth.len(), item)?;
    check_probabilities(probabilities, item)?;
    check_binary(truth, "ground truth", item)?;
    let inside: u64 = truth.iter().map(|t| u64::from(t.code())).sum();
    if inside == 0 {
        return Ok(0.0);
    }
    let codes = truth.iter().map(|t| t.code());
    let mut pixels: Vec<(f32, u8)> = probabilities.iter().copied().zip(codes).collect();
    pixels.sort_unstable_by(|a, b| b.0.total_cmp(&a.0));
    let (mut true_positives, mut predicted) = (0u64, 0u64);
    // Compared with `==`, because 0 and −0 are equal but `total_cmp` separates them.
    let curve = pixels.chunk_by(|a, b| a.0 == b.0).map(|equal| {
        true_positives += equal.iter().map(|&(_, t)| u64::from(t)).sum::<u64>();
        predicted += equal.len() as u64;
        let hits = true_positives as f64;
        (hits / inside as f64, hits / predicted as f64)
    });
    Ok(step_integral(curve))
}

/// `Σ (R_i − R_{i−1}) P_i` over pairs of recall and precision, in ascending order of recall from 0.
pub(crate) fn step_integral(curve: impl Iterator<Item = (f64, f64)>) -> f64 {
    let (mut area, mut before) = (0.0, 0.0);
    for (recall, precision) in curve {
        area += (recall - before) * precision;
        before = recall;
    }
    area
}

/// Simpson's rule for unevenly spaced points (x, y), sorted by x, as in SciPy up to 1.10.
pub(crate) fn simpson(points: &[(f64, f64)]) -> f64 {
    let trapezoid = |a: (f64, f64), b: (f64, f64)| 0.5 * (b.0 - a.0) * (a.1 + b.1);
    let count = points.len();
    if count % 2 == 1 {
        return parabolas(points);
    }
    let [first, second, ..] = points else {
        return 0.0;
    };
    let last = trapezoid(points[count - 2], points[count - 1]);
    let without_last = parabolas(&points[..count - 1]) + last;
    let without_first = parabolas(&points[1..]) + trapezoid(*first, *second);
    0.5 * (without_last + without_first)
}

/// The area under parabolas through triples of neighbouring points; the number of points is odd.
fn parabolas(points: &[(f64, f64)]) -> f64 {
    // If two points have the same x, SciPy omits the terms that would divide by zero.
    let divide = |a: f64, b: f64| if b == 0.0 { 0.0 } else { a / b };
    let triples = points.windows(3).step_by(2);
    triples
        .map(|p| {
            let (h0, h1) = (p[1].0 - p[0].0, p[2].0 - p[1].0);
            let sum = h0 + h1;
            let quotient = divide(h0, h1);
            let weights = [
                2.0 - divide(1.0, quotient),
                sum * divide(sum, h0 * h1),
                2.0 - quotient,
            ];
            let weighted: f64 = p.iter().zip(weights).map(|(point, w)| point.1 * w).sum();
            sum / 6.0 * weighted
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn average_precision_of_a_few_pixels() {
        // Recall 1/2, 1/2, 1 with precision 1, 1/2, 2/3.
        let area = average_precision(&[0.9, 0.8, 0.7, 0.1], &[1u8, 0, 1, 0], "");
        assert!((area.unwrap() - (0.5 + 0.5 * 2.0 / 3.0)).abs() < 1e-15);
        // The order of pixels with equal probabilities does not matter.
        let equal =
            [[0, 1u8, 0, 1], [1, 1, 0, 0]].map(|truth| average_precision(&[0.5; 4], &truth, ""));
        assert_eq!(equal, [Ok(0.5), Ok(0.5)]);
        assert_eq!(average_precision(&[0.0, -0.0], &[true, false], ""), Ok(0.5));
        assert_eq!(average_precision(&[0.9], &[0u8], ""), Ok(0.0));
        assert_eq!(average_precision::<u8>(&[], &[], ""), Ok(0.0));
    }

    #[test]
    fn simpson_equals_scipys() {
        // scipy.integrate.simps of SciPy 1.10.1; the last two have points with equal x.
        let cases: Vec<(Vec<(f64, f64)>, f64)> = vec![
            (vec![(0.64, 0.27)], 0.0),
            (vec![(0.02, 0.81), (0.04, 0.91)], 0.017200000000000003),
            (
                vec![(0.54, 0.94), (0.61, 0.82), (0.73, 0.0)],
                0.12009960317460311,
            ),
            (
                vec![(0.03, 0.86), (0.18, 0.54), (0.73, 0.3), (0.86, 0.42)],
                0.32042329448329454,
            ),
            (
                vec![
                    (0.03, 0.38),
                    (0.12, 1.0),
                    (0.62, 0.98),
                    (0.65, 0.69),
                    (0.67, 0.65),
                ],
                0.8407465925925925,
            ),
            (
                vec![
                    (0.14, 0.49),
                    (0.31, 0.89),
                    (0.39, 0.93),
                    (0.39, 0.36),
                    (0.69, 0.57),
                    (0.72, 0.32),
                ],
                0.39346990196078413,
            ),
            (
                vec![
                    (0.08, 0.83),
                    (0.23, 0.79),
                    (0.34, 0.24),
                    (0.34, 0.88),
                    (0.59, 0.06),
                    (0.62, 0.34),
                    (0.89, 0.15),
                ],
                0.3994844444444443,
            ),
        ];
        for (points, area) in cases {
            assert!((simpson(&points) - area).abs() < 1e-12, "{points:?}");
        }
        assert_eq!(simpson(&[]), 0.0);
    }

    #[test]
    fn invalid_input_is_an_error() {
        let message = |p: &[f32], t: &[u8]| average_precision(p, t, "val").unwrap_err().to_string();
        assert_eq!(
            message(&[0.5], &[]),
            "val: the prediction has shape [1], the ground truth [0]"
        );
        assert_eq!(
            message(&[f32::NAN], &[1]),
            "val: the prediction is NaN at pixel 0, expected a probability from 0 to 1"
        );
        assert_eq!(
            message(&[0.5, -3.0], &[1, 0]),
            "val: the prediction is -3 at pixel 1, expected a probability from 0 to 1; these look \
             like logits"
        );
        assert_eq!(
            message(&[0.5], &[3]),
            "val: the ground truth is 3 at pixel 0, expected 0 or 1"
        );
    }

    proptest! {
        #[test]
        fn constant_predictions_give_the_fraction_inside_and_perfect_ones_give_one(
            truth in prop::collection::vec(0u8..2, 1..50),
        ) {
            let right: Vec<f32> = truth.iter().map(|&t| 0.25 + 0.5 * f32::from(t)).collect();
            let constant = vec![0.5; truth.len()];
            let share = truth.iter().map(|&t| f64::from(t)).sum::<f64>() / truth.len() as f64;
            let area = |p: &[f32]| average_precision(p, &truth, "").unwrap();
            prop_assert!((area(&constant) - share).abs() < 1e-12);
            prop_assert_eq!(area(&right), if share > 0.0 { 1.0 } else { 0.0 });
        }
    }
}
