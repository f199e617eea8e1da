//! Boundary F: how well the edges of a mask follow those of the ground truth.

use crate::error::{MetricsError, Result};
use crate::mask_value::{MaskValue, check_binary, check_length};
use crate::ratio::ratio;
use serde::{Deserialize, Serialize};
use std::ops::AddAssign;

/// Counts of the boundary pixels of a mask and of its ground truth that lie near each other.
///
/// A boundary pixel is a pixel inside with at least one of its four neighbours in the picture outside; the border of
/// the picture is no boundary. With a tolerance of θ pixels, a boundary pixel is near if a boundary pixel of the
/// other mask is at most θ pixels away, measured between centres. Then
///
/// - precision P: the fraction of the prediction's boundary pixels that are near one of the ground truth,
/// - recall R: the fraction of the ground truth's boundary pixels that are near one of the prediction,
/// - F = 2 P R / (P + R).
///
/// This is the boundary F-measure of Martin et al. 2004 and of DAVIS (Perazzi et al. 2016, "A Benchmark Dataset and
/// Evaluation Methodology for Video Object Segmentation"), which match boundary pixels one to one and by dilation,
/// respectively; here each looks for its nearest one. If neither mask has a boundary, F is 1; if one has none, F is 0.
/// Adding the counts of several masks pools their boundary pixels.
///
/// # Example
///
/// ```
/// use clipseg_metrics::BoundaryCounts;
///
/// // A bar of two columns, and the same bar one column further.
/// let found = [1u8, 1, 0, 0, 0].repeat(3);
/// let truth = [0u8, 1, 1, 0, 0].repeat(3);
/// let counts = BoundaryCounts::from_masks(&found, &truth, 5, 1.0, "bar")?;
/// assert_eq!(counts.f(), 1.0);
/// let exact = BoundaryCounts::from_masks(&found, &truth, 5, 0.0, "bar")?;
/// assert_eq!((exact.precision(), exact.recall()), (1.0, 0.5));
/// # Ok::<(), clipseg_metrics::MetricsError>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BoundaryCounts {
    /// Boundary pixels of the prediction.
    pub predicted: u64,
    /// Those of them that are near a boundary pixel of the ground truth.
    pub predicted_near: u64,
    /// Boundary pixels of the ground truth.
    pub truth: u64,
    /// Those of them that are near a boundary pixel of the prediction.
    pub truth_near: u64,
}

/// The largest tolerance in pixels; the time grows with its square.
const LARGEST_TOLERANCE: f32 = 100.0;

impl BoundaryCounts {
    /// Compares the boundaries of two binary masks of `width` columns, row by row. `tolerance` is in pixels. `item`
    /// names the mask in errors.
    ///
    /// # Errors
    ///
    /// If the lengths differ, the width does not divide them, a value is neither 0 nor 1, or the tolerance is not
    /// from 0 to 100.
    pub fn from_masks<P: MaskValue, T: MaskValue>(
        prediction: &[P],
        truth: &[T],
        width: usize,
        tolerance: f32,
        item: &str,
    ) -> Result<Self> {
        if !(0.0..=LARGEST_TOLERANCE).contains(&tolerance) {
            return Err(MetricsError::Option {
                field: "tolerance",
                message: format!("{tolerance}, expected 0 to {LARGEST_TOLERANCE} pixels"),
            });
        }
        check_length(prediction.len(), truth.len(), item)?;
        if width == 0 && !truth.is_empty() || width > 0 && !truth.len().is_multiple_of(width) {
            return Err(MetricsError::Option {
                field: "width",
                message: format!("{width}, expected a divisor of {} pixels", truth.len()),
            });
        }
        check_binary(prediction, "prediction", item)?;
        check_binary(truth, "ground truth", item)?;
        let prediction = Boundary::new(prediction, width);
        let truth = Boundary::new(truth, width);
        let near = disc(tolerance);
        Ok(Self {
            predicted: prediction.places.len() as u64,
            predicted_near: prediction.near(&truth, &near),
            truth: truth.places.len() as u64,
            truth_near: truth.near(&prediction, &near),
        })
    }

    /// The fraction of the prediction's boundary that is near the boundary of the ground truth; 0 without one.
    pub fn precision(&self) -> f64 {
        ratio(self.predicted_near, self.predicted)
    }

    /// The fraction of the ground truth's boundary that is near the boundary of the prediction; 0 without one.
    pub fn recall(&self) -> f64 {
        ratio(self.truth_near, self.truth)
    }

    /// The boundary F: the harmonic mean of precision and recall.
    pub fn f(&self) -> f64 {
        if self.predicted == 0 && self.truth == 0 {
            return 1.0;
        }
        let (precision, recall) = (self.precision(), self.recall());
        if precision + recall == 0.0 {
            return 0.0;
        }
        2.0 * precision * recall / (precision + recall)
    }
}

impl AddAssign for BoundaryCounts {
    fn add_assign(&mut self, other: Self) {
        self.predicted += other.predicted;
        self.predicted_near += other.predicted_near;
        self.truth += other.truth;
        self.truth_near += other.truth_near;
    }
}

/// The boundary pixels of a mask.
struct Boundary {
    width: usize,
    height: usize,
    is_boundary: Vec<bool>,
    /// Columns and rows of the boundary pixels.
    places: Vec<[usize; 2]>,
}

impl Boundary {
    fn new<T: MaskValue>(mask: &[T], width: usize) -> Self {
        let height = mask.len() / width.max(1);
        let inside = |x: usize, y: usize| mask[y * width + x].code() == 1;
        let mut is_boundary = vec![false; mask.len()];
        let mut places = Vec::new();
        for y in 0..height {
            for x in 0..width {
                let all_inside = (x == 0 || inside(x - 1, y))
                    && (x + 1 == width || inside(x + 1, y))
                    && (y == 0 || inside(x, y - 1))
                    && (y + 1 == height || inside(x, y + 1));
                if inside(x, y) && !all_inside {
                    is_boundary[y * width + x] = true;
                    places.push([x, y]);
                }
            }
        }
        Self {
            width,
            height,
            is_boundary,
            places,
        }
    }

    /// How many boundary pixels have one of the other mask within the offsets.
    fn near(&self, other: &Self, offsets: &[[isize; 2]]) -> u64 {
        let is_near = |&&[x, y]: &&[usize; 2]| {
            offsets.iter().any(|&[right, down]| {
                let (x, y) = (x.checked_add_signed(right), y.checked_add_signed(down));
                match (x, y) {
                    (Some(x), Some(y)) if x < self.width && y < self.height => {
                        other.is_boundary[y * self.width + x]
                    }
                    _ => false,
                }
            })
        };
        self.places.iter().filter(is_near).count() as u64
    }
}

/// The offsets of the pixels at most `radius` away, the nearest first.
fn disc(radius: f32) -> Vec<[isize; 2]> {
    let reach = radius as isize;
    let squared = |[x, y]: [isize; 2]| x * x + y * y;
    let all = (-reach..=reach).flat_map(|y| (-reach..=reach).map(move |x| [x, y]));
    let mut near: Vec<[isize; 2]> = all
        .filter(|&offset| squared(offset) as f64 <= f64::from(radius) * f64::from(radius))
        .collect();
    near.sort_by_key(|&offset| squared(offset));
    near
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(found: &[&str], truth: &[&str], tolerance: f32) -> BoundaryCounts {
        let values = |rows: &[&str]| -> Vec<bool> {
            let letters = rows.iter().flat_map(|row| row.bytes());
            letters.map(|letter| letter == b'#').collect()
        };
        let width = truth[0].len();
        BoundaryCounts::from_masks(&values(found), &values(truth), width, tolerance, "x").unwrap()
    }

    const SQUARE: [&str; 7] = [
        "........", "........", "..####..", "..####..", "..####..", "..####..", "........",
    ];

    #[test]
    fn the_inner_pixels_of_a_square_are_no_boundary() {
        let same = counts(&SQUARE, &SQUARE, 0.0);
        assert_eq!(
            (same.predicted, same.predicted_near, same.f()),
            (12, 12, 1.0)
        );
    }

    #[test]
    fn a_shift_within_the_tolerance_is_forgiven() {
        let shifted: Vec<String> = SQUARE.iter().map(|row| format!("{}.", &row[1..])).collect();
        let shifted: Vec<&str> = shifted.iter().map(String::as_str).collect();
        assert_eq!(counts(&shifted, &SQUARE, 1.0).f(), 1.0);
        // Without a tolerance: of the top and bottom rows of four, three are shared, and no column is but in them.
        let exact = counts(&shifted, &SQUARE, 0.0);
        assert_eq!((exact.predicted_near, exact.predicted), (6, 12));
        assert_eq!(exact.f(), 0.5);
    }

    #[test]
    fn distances_are_those_of_a_disc() {
        let dot = ["#....", ".....", "....."];
        // Columns and rows to the other dot: (2, 0), (1, 1), (2, 1).
        for (other, distance) in [
            (["..#..", ".....", "....."], 2.0),
            ([".....", ".#...", "....."], 1.42),
            ([".....", "..#..", "....."], 2.24),
        ] {
            assert_eq!(counts(&dot, &other, distance).f(), 1.0);
            assert_eq!(counts(&dot, &other, distance - 0.02).f(), 0.0);
        }
    }

    #[test]
    fn an_extra_part_costs_precision_and_a_missing_one_recall() {
        let one = ["##......", "##......", "........"];
        let two = ["##....##", "##....##", "........"];
        let extra = counts(&two, &one, 1.0);
        // The corner of each part in the corner of the picture is no boundary: 3 pixels each.
        assert_eq!((extra.predicted, extra.truth), (6, 3));
        assert_eq!((extra.precision(), extra.recall()), (0.5, 1.0));
        assert_eq!(extra.f(), 2.0 / 3.0);
        let missing = counts(&one, &two, 1.0);
        assert_eq!((missing.precision(), missing.recall()), (1.0, 0.5));
        let mut sum = extra;
        sum += missing;
        assert_eq!((sum.predicted, sum.predicted_near), (9, 6));
        assert_eq!((sum.truth, sum.truth_near), (9, 6));
    }

    #[test]
    fn masks_without_a_boundary() {
        let (none, all, some) = (["...", "..."], ["###", "###"], ["#..", "..."]);
        for (found, truth, expected) in [
            (none, none, 1.0),
            (all, none, 1.0),
            (all, all, 1.0),
            (some, none, 0.0),
            (none, some, 0.0),
        ] {
            assert_eq!(counts(&found, &truth, 2.0).f(), expected);
        }
        assert_eq!(
            BoundaryCounts::from_masks::<u8, u8>(&[], &[], 0, 2.0, "x")
                .unwrap()
                .f(),
            1.0
        );
    }

    #[test]
    fn invalid_arguments_are_errors() {
        let message = |found: &[u8], truth: &[u8], width, tolerance| {
            let error = BoundaryCounts::from_masks(found, truth, width, tolerance, "cat");
            error.unwrap_err().to_string()
        };
        for (width, tolerance, expected) in [
            (2, -1.0, "tolerance"),
            (2, f32::NAN, "tolerance"),
            (2, 101.0, "tolerance"),
            (3, 2.0, "3, expected a divisor of 4 pixels"),
            (0, 2.0, "0, expected a divisor of 4 pixels"),
        ] {
            let message = message(&[0; 4], &[1; 4], width, tolerance);
            assert!(message.contains(expected), "{message}");
        }
        assert!(message(&[0; 3], &[1; 4], 2, 2.0).starts_with("cat: "));
        assert!(message(&[0, 1, 2, 0], &[1; 4], 2, 2.0).contains("the prediction is 2"));
        assert!(message(&[0; 4], &[1, 1, 1, 7], 2, 2.0).contains("the ground truth is 7"));
    }
}
