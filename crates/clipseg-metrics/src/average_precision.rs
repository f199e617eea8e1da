//! Areas under precision over recall.

use crate::error::Result;
use crate::mask_value::{MaskValue, check_binary, check_length, check_numbers};

/// Average precision of all pixels together, `Σ (R_i − R_{i−1}) P_i` over every value that a
/// probability takes, as in torchmetrics and scikit-learn; 0 if there is nothing to find. `item` names
/// the pixels in errors.
///
/// This sorts a copy of the pixels. Where a step of 0.02 is fine enough, a
/// [`ThresholdSweep`](crate::ThresholdSweep) gives it in one pass and merges.
///
/// # Errors
///
/// If the sizes differ, a prediction is NaN, or a truth is neither 0 nor 1.
pub fn average_precision<T: MaskValue>(
    probabilities: &[f32],
    truth: &[T],
    item: &str,
) -> Result<f64> {
    check_length(probabilities.len(), truth.len(), item)?;
    check_numbers(probabilities, item)?;
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
