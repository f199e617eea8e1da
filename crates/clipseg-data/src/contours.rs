//! Masks to polygons that the evaluator's rule fills to the very same mask.

use crate::mask::Mask;
use image::{GrayImage, Luma};
use imageproc::contours::{BorderType, find_contours};

/// The outlines of a mask: Pillow's fill of all of them gives the mask again, pixel for pixel.
///
/// Outlines run through the border pixels themselves, because the fill includes its outline, and in
/// whole steps of one pixel, straight or diagonal, because on those the fill rounds nothing. PhraseCut
/// has no holes, so a part with a hole is cut in two across it; the halves share two rows.
pub(crate) fn trace(mask: &Mask) -> Vec<Vec<[f64; 2]>> {
    let Some(found) = mask.bounding_box() else {
        return Vec::new();
    };
    // The search looks for a step from outside to inside, so it needs a border of outside pixels.
    let part = GrayImage::from_fn(found.width + 2, found.height + 2, |x, y| {
        let (column, row) = (found.x + x, found.y + y);
        let framed = x == 0 || y == 0 || x > found.width || y > found.height;
        Luma([if framed {
            0
        } else {
            u8::from(mask.contains(column - 1, row - 1))
        }])
    });
    let mut outlines = Vec::new();
    trace_part(&part, &mut outlines);
    let [left, top] = [found.x, found.y].map(|start| f64::from(start) - 1.0);
    for [x, y] in outlines.iter_mut().flatten() {
        *x += left;
        *y += top;
    }
    outlines
}

fn trace_part(part: &GrayImage, outlines: &mut Vec<Vec<[f64; 2]>>) {
    let contours = find_contours::<u32>(part);
    let hole = contours
        .iter()
        .find(|contour| contour.border_type == BorderType::Hole);
    if let Some(hole) = hole {
        let rows = || hole.points.iter().map(|point| point.y);
        // The border lies on the pixels around the hole, a row above it and a row below.
        let first = rows().min().unwrap_or(0) + 1;
        let last = rows().max().unwrap_or(0).saturating_sub(1);
        let cut = first.midpoint(last);
        for rows in [0..=last.min(cut + 1), cut..=part.height()] {
            let mut half = part.clone();
            for (_, y, pixel) in half.enumerate_pixels_mut() {
                if !rows.contains(&y) {
                    pixel.0 = [0];
                }
            }
            trace_part(&half, outlines);
        }
    } else {
        let points = contours.into_iter().map(|contour| contour.points);
        outlines.extend(points.map(|points| {
            let points: Vec<[i64; 2]> = points
                .iter()
                .map(|point| [i64::from(point.x), i64::from(point.y)])
                .collect();
            corners(&points)
        }));
    }
}

/// The points at which the direction changes.
fn corners(points: &[[i64; 2]]) -> Vec<[f64; 2]> {
    let count = points.len();
    let step = |from: [i64; 2], to: [i64; 2]| [to[0] - from[0], to[1] - from[1]];
    let turns = (0..count).filter(|&index| {
        let (before, here) = (points[(index + count - 1) % count], points[index]);
        step(before, here) != step(here, points[(index + 1) % count])
    });
    let mut kept: Vec<[f64; 2]> = turns
        .map(|index| points[index].map(|value| value as f64))
        .collect();
    // A pixel or a line is a polygon too if it has some extent; the fill truncates it away.
    let start = points[0].map(|value| value as f64);
    for offset in [[0.0, 0.0], [0.5, 0.0], [0.5, 0.5]] {
        if kept.len() < 3 {
            kept.push([start[0] + offset[0], start[1] + offset[1]]);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raster::RasterRule;
    use proptest::prelude::*;

    fn filled(outlines: &[Vec<[f64; 2]>], width: u32, height: u32) -> Mask {
        let mut mask = Mask::new(width, height);
        for outline in outlines {
            let points: Vec<[f32; 2]> = outline.iter().map(|p| p.map(|v| v as f32)).collect();
            RasterRule::Pillow.fill(&mut mask, &points);
        }
        mask
    }

    fn mask(rows: &[&str]) -> Mask {
        let values = rows.iter().flat_map(|row| row.bytes());
        let values = values.map(|letter| u8::from(letter == b'#')).collect();
        Mask::from_vec(rows[0].len() as u32, rows.len() as u32, values)
    }

    #[test]
    fn a_rectangle_is_its_corners() {
        let outlines = trace(&mask(&["......", ".####.", ".####.", ".####.", "......"]));
        assert_eq!(outlines.len(), 1);
        let mut corners = outlines[0].clone();
        corners.sort_by(|a, b| a.partial_cmp(b).unwrap());
        assert_eq!(corners, [[1.0, 1.0], [1.0, 3.0], [4.0, 1.0], [4.0, 3.0]]);
    }

    #[test]
    fn nothing_has_no_outline_and_every_outline_has_three_points() {
        assert!(trace(&Mask::new(4, 3)).is_empty());
        let specks = mask(&["#..##", ".....", "#....", "#..#.", "#...#"]);
        let outlines = trace(&specks);
        assert_eq!(outlines.len(), 4);
        assert!(outlines.iter().all(|outline| outline.len() >= 3));
        assert_eq!(filled(&outlines, 5, 5), specks);
    }

    #[test]
    fn holes_and_what_lies_in_them_survive() {
        let rings = mask(&[
            "#########",
            "#.......#",
            "#.#####.#",
            "#.#...#.#",
            "#.#.#.#.#",
            "#.#...#.#",
            "#.#####.#",
            "#.......#",
            "####.####",
        ]);
        assert_eq!(filled(&trace(&rings), 9, 9), rings);
    }

    proptest! {
        #[test]
        fn any_mask_is_filled_again(
            (width, values) in (1usize..12, 1usize..12, 1u32..10).prop_flat_map(|(width, height, of)| {
                let pixel = (0u32..10).prop_map(move |value| u8::from(value < of));
                (Just(width), prop::collection::vec(pixel, width * height))
            })
        ) {
            let height = (values.len() / width) as u32;
            let mask = Mask::from_vec(width as u32, height, values);
            prop_assert_eq!(filled(&trace(&mask), mask.width(), height), mask);
        }
    }
}
