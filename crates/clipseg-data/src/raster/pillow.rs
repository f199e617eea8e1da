//! Filling polygons by the rule of PhraseCut's evaluator, which is that of Pillow 13.
//!
//! The evaluator truncates coordinates to whole pixels and fills the polygon by `ImageDraw.polygon`. That
//! fill includes the outline, counts some corners twice and joins others, so the same masks need exactly
//! the same rule. Crossings are computed in single precision, as in Pillow.

use super::active::ActiveEdges;
use crate::mask::Mask;
use std::ops::Range;

/// Number of rows whose crossings are computed together, in loops that the compiler vectorizes.
const BLOCK: usize = 16;
/// Maximum number of edges for which the rows are sorted together; the work grows quadratically with it.
const MOST_SORTED: usize = 32;

/// An edge that is not horizontal.
struct Edge {
    x0: i32,
    y0: i32,
    top: i32,
    bottom: i32,
    slope: f32,
}

impl Edge {
    fn x_at(&self, y: i32) -> f32 {
        // 64 bits, so that rows far outside the picture do not overflow.
        (i64::from(y) - i64::from(self.y0)) as f32 * self.slope + self.x0 as f32
    }

    /// The columns where the edge crosses the rows from `first` on.
    fn x_from(&self, first: i32) -> [f32; BLOCK] {
        match first.checked_sub(self.y0) {
            Some(rows) if rows < i32::MAX - BLOCK as i32 => {
                let x0 = self.x0 as f32;
                let mut xs = [0.0; BLOCK];
                for (i, x) in (0..).zip(&mut xs) {
                    *x = (rows + i) as f32 * self.slope + x0;
                }
                xs
            }
            _ => std::array::from_fn(|i| self.x_at(first.saturating_add(i as i32))),
        }
    }

    fn covers(&self, y: i32) -> bool {
        (self.top..=self.bottom).contains(&y)
    }

    fn ends_at(&self, y: i32) -> bool {
        y == self.top || y == self.bottom
    }
}

/// A horizontal edge, as the pixels that it covers.
struct Run {
    y: i32,
    left: i32,
    right: i32,
}

pub(super) fn fill(mask: &mut Mask, points: &[[f32; 2]]) {
    if points.len() < 2 {
        return;
    }
    let points: Vec<[i32; 2]> = points.iter().map(|point| point.map(|v| v as i32)).collect();
    let (edges, runs) = collect_edges(&points);
    for run in &runs {
        fill_run(mask, run.y, run.left, run.right);
    }
    let ys = || points.iter().map(|point| point[1]);
    let (Some(top), Some(bottom)) = (ys().min(), ys().max()) else {
        return;
    };
    let last_row = (mask.height() - 1).min(i32::MAX as u32) as i32;
    let rows = edges
        .iter()
        .map(|edge| [edge.top, edge.bottom].map(i64::from));
    let mut active = ActiveEdges::new(rows.collect());
    let (mut crossings, mut blocks) = (Vec::new(), Vec::new());
    let mut y = top.max(0);
    let end = bottom.min(last_row);
    while y <= end {
        active.go_to(i64::from(y));
        let touched = active.touched();
        if let Some(until) = active.passing_until(i64::from(y)) {
            let until = until.min(i64::from(end) + 1) as i32;
            let touched = touched.iter().map(|&index| &edges[index as usize]);
            fill_passing(mask, touched, y..until, &mut blocks);
            y = until;
            continue;
        }
        crossings.clear();
        for (place, &index) in touched.iter().enumerate() {
            let edge = &edges[index as usize];
            let x = edge.x_at(y);
            if y == edge.bottom && y < bottom {
                crossings.extend([x, x]);
            } else if edge.ends_at(y) && edge.slope != 0.0 {
                let earlier = touched[..place].iter().map(|&index| &edges[index as usize]);
                crossings.push(join_corner(earlier, edge, x, y));
            } else {
                crossings.push(x);
            }
        }
        fill_pairs(mask, y, &mut crossings);
        y += 1;
    }
}

fn fill_pairs(mask: &mut Mask, y: i32, crossings: &mut [f32]) {
    crossings.sort_unstable_by(f32::total_cmp);
    for pair in crossings.chunks_exact(2) {
        fill_run(mask, y, round_half_up(pair[0]), round_half_down(pair[1]));
    }
}

/// Fills rows on which no edge begins or ends. These are most rows, and each crosses each edge once.
fn fill_passing<'a>(
    mask: &mut Mask,
    edges: impl Iterator<Item = &'a Edge> + Clone,
    rows: Range<i32>,
    blocks: &mut Vec<[f32; BLOCK]>,
) {
    for first in rows.clone().step_by(BLOCK) {
        let count = BLOCK.min((rows.end - first) as usize);
        blocks.clear();
        blocks.extend(edges.clone().map(|edge| edge.x_from(first)));
        if blocks.len() > MOST_SORTED {
            let mut crossings = vec![0.0; blocks.len()];
            for row in 0..count {
                for (crossing, block) in crossings.iter_mut().zip(&*blocks) {
                    *crossing = block[row];
                }
                fill_pairs(mask, first + row as i32, &mut crossings);
            }
            continue;
        }
        sort_rows(blocks);
        for pair in blocks.chunks_exact(2) {
            let (mut left, mut right) = ([0; BLOCK], [0; BLOCK]);
            for row in 0..BLOCK {
                left[row] = round_half_up(pair[0][row]);
                right[row] = round_half_down(pair[1][row]);
            }
            mask.fill_runs(first as u32, left.into_iter().zip(right).take(count));
        }
    }
}

/// Sorts the crossings of each row by odd-even transposition, all rows at once.
fn sort_rows(blocks: &mut [[f32; BLOCK]]) {
    for pass in 0..blocks.len() {
        let from = if blocks.len() == 2 { 0 } else { pass % 2 };
        for pair in blocks[from..].chunks_exact_mut(2) {
            if let [a, b] = pair {
                for (a, b) in a.iter_mut().zip(b) {
                    (*a, *b) = if *a < *b { (*a, *b) } else { (*b, *a) };
                }
            }
        }
        if blocks.len() == 2 {
            return;
        }
    }
}

fn collect_edges(points: &[[i32; 2]]) -> (Vec<Edge>, Vec<Run>) {
    let (mut edges, mut runs) = (Vec::<Edge>::new(), Vec::<Run>::new());
    let mut add = |runs: &mut Vec<Run>, [x0, y0]: [i32; 2], [x1, y1]: [i32; 2]| {
        if y0 == y1 {
            runs.push(Run {
                y: y0,
                left: x0.min(x1),
                right: x0.max(x1),
            });
        } else {
            let dx = (i64::from(x1) - i64::from(x0)) as f32;
            let dy = (i64::from(y1) - i64::from(y0)) as f32;
            edges.push(Edge {
                x0,
                y0,
                top: y0.min(y1),
                bottom: y0.max(y1),
                slope: dx / dy,
            });
        }
    };
    for (index, pair) in points.windows(2).enumerate() {
        let [from, to] = [pair[0], pair[1]];
        // A horizontal edge in the same direction as the previous one extends that one.
        if from[1] == to[1]
            && index > 0
            && let before = points[index - 1]
            && before[1] == from[1]
            && let Some(run) = runs.last_mut()
        {
            if to[0] > from[0] && from[0] > before[0] {
                run.right = to[0];
                continue;
            }
            if to[0] < from[0] && from[0] < before[0] {
                run.left = to[0];
                continue;
            }
        }
        add(&mut runs, from, to);
    }
    if let (Some(&first), Some(&last)) = (points.first(), points.last())
        && first != last
    {
        add(&mut runs, last, first);
    }
    (edges, runs)
}

/// Moves the crossing at a corner where two slanted edges meet, so that there is no gap between the corner
/// and the neighbouring row.
fn join_corner<'a>(
    mut earlier: impl Iterator<Item = &'a Edge>,
    edge: &Edge,
    x: f32,
    y: i32,
) -> f32 {
    let beside = if y == edge.bottom { y - 1 } else { y + 1 };
    let other = earlier.find(|other| {
        other.ends_at(y)
            && other.slope != 0.0
            && other.x_at(y).round() == x.round()
            && other.covers(beside)
    });
    let Some(other) = other else { return x };
    let (ours, theirs) = (edge.x_at(beside), other.x_at(beside));
    if x > ours + 1.0 && x > theirs + 1.0 {
        ours.max(theirs).round() + 1.0
    } else if x < ours - 1.0 && x < theirs - 1.0 {
        ours.min(theirs).round() - 1.0
    } else {
        x
    }
}

// Both avoid `floor` and `ceil`, which are function calls unless the target CPU has them.

fn round_half_up(x: f32) -> i32 {
    let away = (x.abs() + 0.5) as i32;
    if x >= 0.0 { away } else { -away }
}

fn round_half_down(x: f32) -> i32 {
    let shifted = x.abs() - 0.5;
    let whole = shifted as i32;
    let toward = whole.saturating_add(i32::from(shifted > whole as f32));
    if x >= 0.0 { toward } else { -toward }
}

fn fill_run(mask: &mut Mask, y: i32, left: i32, right: i32) {
    if let Ok(row) = u32::try_from(y) {
        mask.fill_runs(row, [(left, right)]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn rounding_is_floor_and_ceiling(x in prop_oneof![any::<f32>(), -20f32..20.0, (-40i8..40).prop_map(|v| f32::from(v) / 4.0)]) {
            prop_assume!(!x.is_nan());
            let (up, down) = ((x.abs() + 0.5).floor(), (x.abs() - 0.5).ceil());
            let sign = if x >= 0.0 { 1.0 } else { -1.0 };
            if x.abs() < 2e9 {
                prop_assert_eq!(round_half_up(x), (sign * up) as i32);
                prop_assert_eq!(round_half_down(x), (sign * down) as i32);
            }
        }
    }

    #[test]
    fn a_point_covers_nothing_and_a_line_covers_its_pixels() {
        let mut mask = Mask::new(5, 3);
        fill(&mut mask, &[[2.0, 1.0]]);
        assert_eq!(mask.area(), 0);
        fill(&mut mask, &[[1.9, 1.0], [3.2, 1.7]]);
        assert_eq!(mask.to_vec(), [0, 0, 0, 0, 0, 0, 1, 1, 1, 0, 0, 0, 0, 0, 0]);
    }
}
