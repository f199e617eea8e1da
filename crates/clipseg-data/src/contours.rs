//! Converting masks to polygons that PhraseCut's evaluator fills to exactly the same mask.

use crate::mask::{BoundingBox, Mask};
use image::{GrayImage, Luma};
use imageproc::contours::{BorderType, Contour, find_contours};

impl Mask {
    /// Returns the outlines as polygons in PhraseCut's coordinates: columns and rows in pixels. The rule of
    /// PhraseCut's evaluator, [`RasterRule::Pillow`](crate::RasterRule::Pillow), fills them to exactly
    /// this mask.
    ///
    /// PhraseCut takes the union of all polygons, so a polygon cannot be a hole. A mask with holes is split
    /// into horizontal bands without holes. Each polygon has at least three points, as COCO's tools
    /// expect; for a single pixel, two of them have fractional coordinates, which the rule truncates. The
    /// polygons of several masks form the instances of a phrase:
    ///
    /// ```
    /// use clipseg_data::{Mask, Polygons, RasterRule};
    ///
    /// let ring = Mask::from_vec(3, 3, vec![1, 1, 1, 1, 0, 1, 1, 1, 1]);
    /// let polygons: Polygons = [&ring].into_iter().map(Mask::to_polygons).collect();
    /// assert_eq!(polygons.instances(), 1);
    /// assert_eq!(RasterRule::Pillow.mask(polygons.iter(), 3, 3), ring);
    /// ```
    pub fn to_polygons(&self) -> Vec<Vec<[f64; 2]>> {
        trace(self)
    }
}

/// Traces the outlines of a mask. Filling all of them by Pillow's rule restores the mask exactly.
///
/// The outlines pass through the border pixels themselves, because the fill includes its outline. They
/// consist of horizontal, vertical and diagonal steps of one pixel, for which the fill rounds nothing.
/// PhraseCut has no holes, so the mask is split into bands of rows such that no hole lies completely within
/// a band. Neighbouring bands share up to two rows, so that scaling the polygons opens no gap between them.
fn trace(mask: &Mask) -> Vec<Vec<[f64; 2]>> {
    let Some(found) = mask.bounding_box() else {
        return Vec::new();
    };
    let holes = contours(mask, found)
        .into_iter()
        .filter(|contour| contour.border_type == BorderType::Hole)
        .map(|hole| {
            // The border consists of the pixels around the hole, including a row above and a row below.
            let rows = || hole.points.iter().map(|point| point.y);
            let (above, below) = (rows().min().unwrap_or(0), rows().max().unwrap_or(0));
            [above + 1, below.max(2) - 1].map(|row| found.y + row - 1)
        });
    let mut outlines = Vec::new();
    for [first, last] in bands(holes.collect(), found) {
        let band = BoundingBox {
            y: first,
            height: last + 1 - first,
            ..found
        };
        let [left, top] = [band.x, band.y].map(|start| i64::from(start) - 1);
        outlines.extend(contours(mask, band).into_iter().map(|contour| {
            let points: Vec<[i64; 2]> = contour
                .points
                .iter()
                .map(|point| [left + i64::from(point.x), top + i64::from(point.y)])
                .collect();
            corners(&points)
        }));
    }
    outlines
}

/// Finds the outlines in a window of a mask. Coordinates are relative to the window and shifted by one to
/// the right and down, because the search needs a border of outside pixels.
fn contours(mask: &Mask, window: BoundingBox) -> Vec<Contour<u32>> {
    let (columns, rows) = (window.width, window.height);
    find_contours(&GrayImage::from_fn(columns + 2, rows + 2, |x, y| {
        let framed = x == 0 || y == 0 || x > columns || y > rows;
        let inside = !framed && mask.contains(window.x + x - 1, window.y + y - 1);
        Luma([u8::from(inside)])
    }))
}

/// Returns the first and last row of each band, given the first and last row of each hole.
///
/// Every hole has pixels in the last row of a band and in the first row of the next one, so each part of
/// it is open to the outside of its band. The number of cuts is minimal: each cut passes through the hole
/// that ends first and through all holes that have begun by then.
fn bands(mut holes: Vec<[u32; 2]>, found: BoundingBox) -> Vec<[u32; 2]> {
    holes.sort_unstable_by_key(|&[_, last]| last);
    // The rows that all holes of each cut share.
    let mut cuts: Vec<[u32; 2]> = Vec::new();
    for [first, last] in holes {
        match cuts.last_mut() {
            Some([start, end]) if first <= *end => *start = first.max(*start),
            _ => cuts.push([first, last]),
        }
    }
    let mut bands = Vec::with_capacity(cuts.len() + 1);
    let mut begin = found.y;
    for [start, end] in cuts {
        let cut = start.midpoint(end);
        bands.push([begin, end.min(cut + 1)]);
        begin = cut;
    }
    bands.push([begin, found.y + found.height - 1]);
    bands
}

/// Keeps only the points where the direction changes.
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
    // A single pixel or a line gets points with fractions, which the fill truncates.
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
    use crate::mask::tests::mask;
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

    #[test]
    fn a_rectangle_has_four_corners() {
        let outlines = trace(&mask(&["......", ".####.", ".####.", ".####.", "......"]));
        assert_eq!(outlines.len(), 1);
        let mut corners = outlines[0].clone();
        corners.sort_by(|a, b| a.partial_cmp(b).unwrap());
        assert_eq!(corners, [[1.0, 1.0], [1.0, 3.0], [4.0, 1.0], [4.0, 3.0]]);
    }

    #[test]
    fn an_empty_mask_has_no_outline_and_every_outline_has_three_points() {
        assert!(trace(&Mask::new(4, 3)).is_empty());
        let specks = mask(&["#..##", ".....", "#....", "#..#.", "#...#"]);
        let outlines = trace(&specks);
        assert_eq!(outlines.len(), 4);
        assert!(outlines.iter().all(|outline| outline.len() >= 3));
        assert_eq!(filled(&outlines, 5, 5), specks);
    }

    #[test]
    fn nested_holes_are_restored() {
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

    #[test]
    fn one_cut_opens_many_holes() {
        // A hole in every second pixel of every second row.
        let sieve = |side: u32| {
            let values = (0..side * side)
                .map(|i| u8::from(i % side % 2 * (i / side % 2) == 0))
                .collect();
            Mask::from_vec(side, side, values)
        };
        let mask = sieve(9);
        let outlines = trace(&mask);
        assert_eq!((outlines.len(), filled(&outlines, 9, 9)), (5, mask));
        let large = sieve(401);
        assert_eq!(filled(&trace(&large), 401, 401), large);
    }

    #[test]
    fn bands_share_rows_where_the_holes_allow_it() {
        let found = Mask::new(20, 20).frame();
        assert_eq!(bands(vec![], found), [[0, 19]]);
        assert_eq!(bands(vec![[4, 9]], found), [[0, 7], [6, 19]]);
        assert_eq!(bands(vec![[4, 4]], found), [[0, 4], [4, 19]]);
        // One cut for two that overlap, another for the third.
        let three = vec![[12, 15], [6, 9], [4, 7]];
        assert_eq!(bands(three, found), [[0, 7], [6, 14], [13, 19]]);
    }

    proptest! {
        #[test]
        fn filling_the_outlines_restores_any_mask(
            (width, values) in (1usize..30, 1usize..30, 1u32..10).prop_flat_map(|(width, height, of)| {
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
