//! Areas under precision over recall.

use crate::error::Result;
use crate::mask_value::{MaskValue, check_binary, check_length, check_probabilities};

/// Average precision of all pixels together, `Σ (R_i − R_{i−1}) P_i` over every value that a
/// probability takes, as in torchmetrics and scikit-learn; 0 if there is nothing to find. `item` names
/// the pixels in errors.
///
/// This sorts a copy of the pixels. Where a step of 0.02 is fine enough, a
/// [`ThresholdSweep`](crate::ThresholdSweep) gives it in one pass and merges.
///
/// # Errors
///
/// If the sizes differ, a prediction is no number from 0 to 1, or a truth is neither 0 nor 1.
pub fn average_precision<T: MaskValue>(
    probabilities: &[f32],
    truth: &[T],
    item: &str,
) -> Result<f64> {
    check_length(probabilities.len(), truth.len(), item)?;
    check_probabilities(probabilities, item)?;
    check_binary(truth, "truth", item)?;
    let inside: u64 = truth.iter().map(|t| u64::from(t.code())).sum();
    if inside == 0 {
        return Ok(0.0);
    }
    let codes = truth.iter().map(|t| t.code());
    let mut pixels: Vec<(f32, u8)> = probabilities.iter().copied().zip(codes).collect();
    pixels.sort_unstable_by(|a, b| b.0.total_cmp(&a.0));
    let (mut hits, mut found) = (0u64, 0u64);
    // 0 and −0 are one value, which they are not to the order that sorted them.
    let curve = pixels.chunk_by(|a, b| a.0 == b.0).map(|equal| {
        hits += equal.iter().map(|&(_, t)| u64::from(t)).sum::<u64>();
        found += equal.len() as u64;
        (hits as f64 / inside as f64, hits as f64 / found as f64)
    });
    Ok(step_integral(curve))
}

/// `Σ (R_i − R_{i−1}) P_i` over recall and precision, recall rising from 0.
pub(crate) fn step_integral(curve: impl Iterator<Item = (f64, f64)>) -> f64 {
    let (mut area, mut before) = (0.0, 0.0);
    for (recall, precision) in curve {
        area += (recall - before) * precision;
        before = recall;
    }
    area
}

/// Simpson's rule over points of any distance, sorted by x, as in SciPy up to 1.10.
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

/// The areas below parabolas through each three neighbours of an odd number of points.
fn parabolas(points: &[(f64, f64)]) -> f64 {
    // Two points of one x make no parabola; SciPy leaves out the terms that would divide by zero.
    let divide = |a: f64, b: f64| if b == 0.0 { 0.0 } else { a / b };
    let threes = points.windows(3).step_by(2);
    threes
        .map(|p| {
            let (before, after) = (p[1].0 - p[0].0, p[2].0 - p[1].0);
            let both = before + after;
            let quotient = divide(before, after);
            let weights = [
                2.0 - divide(1.0, quotient),
                both * divide(both, before * after),
                2.0 - quotient,
            ];
            let sum: f64 = p.iter().zip(weights).map(|(point, w)| point.1 * w).sum();
            both / 6.0 * sum
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_curve_by_hand() {
        // Recall 1/2, 1/2, 1 with precision 1, 1/2, 2/3.
        let area = average_precision(&[0.9, 0.8, 0.7, 0.1], &[1u8, 0, 1, 0], "");
        assert!((area.unwrap() - (0.5 + 0.5 * 2.0 / 3.0)).abs() < 1e-15);
        // Equal probabilities have no order.
        let equal =
            [[0, 1u8, 0, 1], [1, 1, 0, 0]].map(|truth| average_precision(&[0.5; 4], &truth, ""));
        assert_eq!(equal, [Ok(0.5), Ok(0.5)]);
        assert_eq!(average_precision(&[0.0, -0.0], &[true, false], ""), Ok(0.5));
        assert_eq!(average_precision(&[0.9], &[0u8], ""), Ok(0.0));
        assert_eq!(average_precision::<u8>(&[], &[], ""), Ok(0.0));
    }

    #[test]
    fn simpson_is_that_of_scipy() {
        // scipy.integrate.simps of SciPy 1.10.1; the last two have points of one x.
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
    fn bad_input_is_named() {
        let message = |p: &[f32], t: &[u8]| average_precision(p, t, "val").unwrap_err().to_string();
        assert_eq!(
            message(&[0.5], &[]),
            "val: the prediction is [1], the truth is [0]"
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
            "val: the truth holds 3 at pixel 0, expected 0 or 1"
        );
    }

    proptest! {
        #[test]
        fn it_is_between_the_share_inside_and_all_where_the_order_is_perfect(
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
