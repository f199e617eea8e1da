//! Filling polygons by pixel centres: the rule of scikit-image's `polygon2mask`, with which CLIPSeg was
//! trained.
//!
//! scikit-image tests every pixel in the bounding box of a polygon (O'Rourke, Computational Geometry in C,
//! 2nd edition, §7.4). This file uses the same arithmetic in double precision. The result is monotonic
//! along a row even with rounding, so a binary search finds where each edge is crossed.

use super::active::ActiveEdges;
use crate::mask::Mask;

/// Largest distance of a corner from a pixel's centre at which they are the same point.
const SAME: f64 = 1e-12;

pub(super) fn fill(mask: &mut Mask, polygon: &[[f32; 2]]) {
    let points: Vec<[f64; 2]> = polygon.iter().map(|point| point.map(finite)).collect();
    let bounds = |axis: usize, side: u32| {
        let values = points.iter().map(|point| point[axis]);
        let (low, high) = values.fold((f64::MAX, f64::MIN), |(low, high), value| {
            (low.min(value), high.max(value))
        });
        // Truncated and rounded up, as in scikit-image; the last one is included.
        (
            low.max(0.0) as i64,
            (high.ceil() as i64).min(i64::from(side) - 1),
        )
    };
    let (left, right) = bounds(0, mask.width());
    let (top, bottom) = bounds(1, mask.height());
    if left > right || top > bottom {
        return;
    }

    let later = points.iter().skip(1).chain(&points[..1]);
    let edges: Vec<[[f64; 2]; 2]> = points.iter().zip(later).map(|(&a, &b)| [b, a]).collect();
    let rows = edges.iter().map(|[a, b]| {
        let (above, below) = (a[1].min(b[1]), a[1].max(b[1]));
        [above.ceil() as i64, below.floor() as i64]
    });
    let mut active = ActiveEdges::new(rows.collect());
    // For each edge that crosses the row: the first column on it or to its right, and the first to its
    // right.
    let (mut before, mut after) = (Vec::new(), Vec::new());
    for y in top..=bottom {
        before.clear();
        after.clear();
        let row = y as f64;
        active.go_to(y);
        for &edge in active.touched() {
            let [from, to] = edges[edge as usize];
            let [y0, y1] = [from[1] - row, to[1] - row];
            let crossing = |x: i64| {
                let [x0, x1] = [from[0] - x as f64, to[0] - x as f64];
                (x0 * y1 - x1 * y0) / (y1 - y0)
            };
            if (y0 > 0.0) != (y1 > 0.0) {
                before.push(first(left, right, |x| crossing(x) <= 0.0));
            }
            if (y0 < 0.0) != (y1 < 0.0) {
                after.push(first(left, right, |x| crossing(x) < 0.0));
            }
        }
        before.sort_unstable();
        after.sort_unstable();
        // A pixel is inside if the number of edges to its right is odd. It is on an edge if the parities of
        // the numbers to its right and to its left differ. Both belong to the mask.
        for inside in [
            odd_to_the_right(&before, left),
            odd_to_the_left(&after, right),
        ] {
            for [start, end] in inside {
                mask.fill_runs(y as u32, [(start as i32, end as i32 - 1)]);
            }
        }
    }
    for [x, y] in points {
        let (column, row) = (x.round(), y.round());
        let inside = (0.0..f64::from(mask.width())).contains(&column)
            && (0.0..f64::from(mask.height())).contains(&row);
        if inside && (x - column).abs() < SAME && (y - row).abs() < SAME {
            mask.fill_runs(row as u32, [(column as i32, column as i32)]);
        }
    }
}

/// The first of `left..=right` for which `is` returns true, or `right + 1`. `is` must be monotonic.
fn first(left: i64, right: i64, is: impl Fn(i64) -> bool) -> i64 {
    let (mut low, mut high) = (left, right + 1);
    while low < high {
        let middle = low + (high - low) / 2;
        if is(middle) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    low
}

/// The columns with an odd number of `ends` to their right, as half-open runs; `ends` is sorted.
fn odd_to_the_right(ends: &[i64], left: i64) -> Vec<[i64; 2]> {
    let mut runs = Vec::new();
    let mut from = left;
    for (index, &end) in ends.iter().enumerate() {
        if (ends.len() - index) % 2 == 1 && from < end {
            runs.push([from, end]);
        }
        from = end;
    }
    runs
}

/// The columns with an odd number of `starts` up to them, as half-open runs; `starts` is sorted.
fn odd_to_the_left(starts: &[i64], right: i64) -> Vec<[i64; 2]> {
    starts
        .chunks(2)
        .map(|pair| [pair[0], pair.get(1).copied().unwrap_or(right + 1)])
        .filter(|[start, end]| start < end)
        .collect()
}

fn finite(value: f32) -> f64 {
    if value.is_nan() {
        0.0
    } else {
        f64::from(value.clamp(f32::MIN, f32::MAX))
    }
}
