//! COCO's rule for the pixels of a polygon.
//!
//! `rleFrPoly` of `maskApi.c` multiplies coordinates by five and rounds them to a finer grid. It walks along each edge
//! on that grid, one step at a time in the direction in which the edge is longer. Where the walk passes the middle
//! column of a pixel's five, that column of pixels changes between outside and inside, from the row on that the walk
//! has reached there.
//!
//! Walking takes time for each step. Here only the steps that pass a middle column are computed.

use crate::mask::Mask;

/// Fine columns and rows of a pixel.
const SCALE: i64 = 5;
/// The largest coordinate; COCO's tools compute with 32 bits.
const LARGEST: f64 = 1e8;

/// Adds a polygon to a mask: x and y in turn. The error says what is wrong with the polygon.
pub(super) fn fill(mask: &mut Mask, polygon: &[f64]) -> Result<(), String> {
    // COCO's tools treat four numbers as a box.
    if polygon.len() < 6 || polygon.len() % 2 == 1 {
        return Err(format!(
            "{} numbers, expected x and y of at least three points",
            polygon.len()
        ));
    }
    if let Some(value) = polygon
        .iter()
        .find(|value| !(-LARGEST..=LARGEST).contains(*value))
    {
        return Err(format!(
            "the coordinate {value}, expected a number of pixels up to {LARGEST}"
        ));
    }
    let (points, _) = polygon.as_chunks::<2>();
    let points: Vec<[i64; 2]> = points.iter().map(|point| point.map(fine)).collect();
    let mut changes = Vec::new();
    let ends = points.iter().skip(1).chain(points.first());
    for (&from, &to) in points.iter().zip(ends) {
        walk(from, to, mask.width(), |column, row| {
            changes.push((column, row.clamp(0, mask.height().into()) as u32));
        });
    }
    changes.sort_unstable();
    // A closed walk passes each column an even number of times.
    for pair in changes.chunks_exact(2) {
        let (column, first) = pair[0];
        for row in first..pair[1].1 {
            mask.set(column, row);
        }
    }
    Ok(())
}

/// A coordinate on the fine grid; rounding is that of a C conversion to an integer.
fn fine(value: f64) -> i64 {
    (SCALE as f64 * value + 0.5) as i64
}

/// The first pixel whose middle is at a fine column or row, or behind it.
fn pixels(fine: i64) -> i64 {
    -(SCALE / 2 - fine).div_euclid(SCALE)
}

/// Calls `each` with the column of pixels, and the first row after the change, for each middle column that the walk
/// from one point to another passes.
fn walk(from: [i64; 2], to: [i64; 2], width: u32, mut each: impl FnMut(u32, i64)) {
    let length = [0, 1].map(|axis| (to[axis] - from[axis]).abs());
    let along = usize::from(length[0] < length[1]);
    // Always walked in the same direction, so that an edge and its reverse pass the same points.
    let (start, end) = if from[along] > to[along] {
        (to, from)
    } else {
        (from, to)
    };
    let steps = length[along];
    let across = 1 - along;
    let slope = (end[across] - start[across]) as f64 / steps as f64;
    let at = |step: i64| (start[across] as f64 + slope * step as f64 + 0.5) as i64;
    let (left, right) = (start[0].min(end[0]), start[0].max(end[0]));
    // The walk passes from fine column 5 · column + 2 to the next one, or back.
    let middle = |column: i64| SCALE * column + SCALE / 2;
    let first = pixels(left).max(0);
    let last = ((right - 1 - SCALE / 2).div_euclid(SCALE)).min(i64::from(width) - 1);
    for column in first..=last {
        let upper = if along == 0 {
            let step = middle(column) - start[0];
            at(step).min(at(step + 1))
        } else {
            let is_past = |step: i64| {
                if slope > 0.0 {
                    at(step) > middle(column)
                } else {
                    at(step) <= middle(column)
                }
            };
            start[1] + first_step(steps, is_past) - 1
        };
        each(column as u32, pixels(upper));
    }
}

/// The first step of 1 to `steps` for which a condition holds that holds from some step on.
fn first_step(steps: i64, holds: impl Fn(i64) -> bool) -> i64 {
    let (mut before, mut found) = (0, steps);
    while found - before > 1 {
        let middle = before.midpoint(found);
        if holds(middle) {
            found = middle;
        } else {
            before = middle;
        }
    }
    found
}
