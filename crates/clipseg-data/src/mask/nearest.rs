//! The nearest pixel inside a mask for every pixel of the picture.
//!
//! First each column is searched, then in each row the columns compete: the squared distance to the pixel that a
//! column offers is a parabola over the row, and the lowest one wins (Meijster, Roerdink and Hesselink 2000, "A
//! General Algorithm for Computing Distance Transforms in Linear Time"). Both steps take time linear in the number
//! of pixels and use all cores. Distances are exact.

use super::Mask;
use crate::error::{DataError, Result};
use image::RgbImage;
use rayon::prelude::*;

/// Rows that one task searches.
const BAND: usize = 64;
/// Stands for no pixel.
const NONE: u32 = u32::MAX;

impl Mask {
    /// The index, row by row, of the nearest pixel inside for each pixel; `None` for an empty mask.
    pub(super) fn nearest_inside(&self) -> Result<Option<Vec<u32>>> {
        let (width, height) = (self.width as usize, self.height as usize);
        if u64::from(self.width) * u64::from(self.height) > u64::from(u32::MAX) {
            return Err(DataError::Input(format!(
                "a mask of {width}x{height} is too large to compute distances in it, expected less than 2^32 pixels"
            )));
        }
        if self.area() == 0 {
            return Ok(None);
        }
        let mut nearest = self.nearest_in_columns();
        nearest
            .par_chunks_mut(width)
            .enumerate()
            .for_each_init(Vec::new, |lowest, (y, row)| compete(y as u32, row, lowest));
        Ok(Some(nearest))
    }

    /// The row of the nearest pixel inside in the same column.
    fn nearest_in_columns(&self) -> Vec<u32> {
        let (width, height) = (self.width as usize, self.height as usize);
        let inside = |x: usize, y: usize| self.contains(x as u32, y as u32);
        let bands: Vec<_> = (0..height)
            .step_by(BAND)
            .map(|start| start..(start + BAND).min(height))
            .collect();
        // The first and the last row inside of each column in each band.
        let ends: Vec<[Vec<u32>; 2]> = bands
            .par_iter()
            .map(|band| {
                let row = |found: Option<usize>| found.map_or(NONE, |y| y as u32);
                let first = (0..width).map(|x| row(band.clone().find(|&y| inside(x, y))));
                let last = (0..width).map(|x| row(band.clone().rfind(|&y| inside(x, y))));
                [first.collect(), last.collect()]
            })
            .collect();
        // The same above and below each band.
        let carried = |ends: &mut dyn Iterator<Item = &Vec<u32>>| {
            let mut row = vec![NONE; width];
            let rows = ends.map(|found| {
                let before = row.clone();
                for (row, &found) in row.iter_mut().zip(found) {
                    if found != NONE {
                        *row = found;
                    }
                }
                before
            });
            rows.collect::<Vec<_>>()
        };
        let above = carried(&mut ends.iter().map(|[_, last]| last));
        let mut below = carried(&mut ends.iter().rev().map(|[first, _]| first));
        below.reverse();
        let mut nearest = vec![NONE; width * height];
        nearest
            .par_chunks_mut(width * BAND)
            .zip(bands.into_par_iter().zip(above).zip(below))
            .for_each(|(rows, ((band, mut above), mut below))| {
                for (y, row) in band.clone().zip(rows.chunks_exact_mut(width)) {
                    for (x, (nearest, above)) in row.iter_mut().zip(&mut above).enumerate() {
                        if inside(x, y) {
                            *above = y as u32;
                        }
                        *nearest = *above;
                    }
                }
                for (y, row) in band.zip(rows.chunks_exact_mut(width)).rev() {
                    for (x, (nearest, below)) in row.iter_mut().zip(&mut below).enumerate() {
                        if inside(x, y) {
                            *below = y as u32;
                        }
                        let y = y as u32;
                        let is_nearer =
                            *nearest == NONE || *below != NONE && *below - y < y - *nearest;
                        if is_nearer {
                            *nearest = *below;
                        }
                    }
                }
            });
        nearest
    }

    /// Gives every pixel of a photograph outside the mask the colour of the nearest pixel inside. Of several nearest
    /// pixels, it is always the same one. An empty mask changes nothing.
    ///
    /// # Errors
    ///
    /// If the photograph has another size than the mask, or it has 2³² or more pixels.
    ///
    /// # Example
    ///
    /// ```
    /// let photo = image::RgbImage::from_raw(3, 1, vec![1, 1, 1, 2, 2, 2, 3, 3, 3]).unwrap();
    /// let mask = clipseg_data::Mask::from_vec(3, 1, vec![1, 0, 0]);
    /// assert_eq!(mask.spread_colours(&photo)?.as_raw(), &[1; 9]);
    /// # Ok::<(), clipseg_data::DataError>(())
    /// ```
    pub fn spread_colours(&self, photo: &RgbImage) -> Result<RgbImage> {
        let (width, height) = photo.dimensions();
        if (width, height) != (self.width, self.height) {
            return Err(DataError::Input(format!(
                "the photograph has {width}x{height} pixels and the mask {}x{}, expected equal sizes",
                self.width, self.height
            )));
        }
        let mut spread = photo.clone();
        if let Some(nearest) = self.nearest_inside()? {
            let (colours, _) = photo.as_raw().as_chunks::<3>();
            let (pixels, _) = spread.as_flat_samples_mut().samples.as_chunks_mut::<3>();
            pixels
                .par_iter_mut()
                .zip(nearest)
                .for_each(|(pixel, nearest)| *pixel = colours[nearest as usize]);
        }
        Ok(spread)
    }
}

/// A column that is nearest from some column of a row on.
struct Lowest {
    /// The column.
    column: u32,
    /// The row of the pixel that it offers.
    row: u32,
    /// The first column for which it is nearest.
    from: u32,
}

/// Replaces the rows of the nearest pixels in the columns by the index of the nearest pixel of all.
fn compete(y: u32, row: &mut [u32], lowest: &mut Vec<Lowest>) {
    let width = row.len() as u32;
    // Positions and distances have at most 32 bits, so their squares fit.
    let squared = |a: u32, b: u32| {
        let distance = u64::from(a.abs_diff(b));
        distance * distance
    };
    lowest.clear();
    for (column, &offered) in (0..width).zip(row.iter()) {
        if offered == NONE {
            continue;
        }
        let mut from = 0;
        while let Some(top) = lowest.last() {
            let is_nearer_at = |x| {
                squared(x, column) + squared(y, offered)
                    < squared(x, top.column) + squared(y, top.row)
            };
            if is_nearer_at(top.from) {
                lowest.pop();
                continue;
            }
            // The first column that is nearer to this pixel than to that one.
            let (a, b) = (i64::from(top.column), i64::from(column));
            let heights = squared(y, offered) as i64 - squared(y, top.row) as i64;
            from = ((b * b - a * a + heights).div_euclid(2 * (b - a)) + 1) as u32;
            break;
        }
        if from < width {
            lowest.push(Lowest {
                column,
                row: offered,
                from,
            });
        }
    }
    let mut end = width;
    for &Lowest {
        column,
        row: offered,
        from,
    } in lowest.iter().rev()
    {
        row[from as usize..end as usize].fill(offered * width + column);
        end = from;
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::mask;
    use super::*;
    use image::Rgb;
    use proptest::prelude::*;

    #[test]
    fn colours_spread_to_the_nearest_side() {
        let photo = RgbImage::from_fn(7, 3, |x, y| Rgb([x as u8, y as u8, 9]));
        let sides = mask(&["#......", "#.....#", "......."]);
        let found = sides.spread_colours(&photo).unwrap();
        let from = |x, y| {
            let [column, row, _] = found.get_pixel(x, y).0;
            (column, row)
        };
        assert_eq!(
            (from(2, 0), from(2, 1), from(5, 0)),
            ((0, 0), (0, 1), (6, 1))
        );
        assert_eq!(
            (from(0, 2), from(6, 2), from(4, 2)),
            ((0, 1), (6, 1), (6, 1))
        );
        assert_eq!(Mask::new(7, 3).spread_colours(&photo).unwrap(), photo);
        let none = RgbImage::new(0, 3);
        assert_eq!(Mask::new(0, 3).spread_colours(&none).unwrap(), none);
        assert_eq!(
            sides
                .spread_colours(&RgbImage::new(3, 7))
                .unwrap_err()
                .to_string(),
            "the photograph has 3x7 pixels and the mask 7x3, expected equal sizes"
        );
    }

    #[test]
    fn pixels_in_other_bands_are_found() {
        let mut tall = Mask::new(3, 500);
        for (x, y) in [(0, 3), (0, 400), (1, 450)] {
            tall.set(x, y);
        }
        let nearest = tall.nearest_inside().unwrap().unwrap();
        let at = |x: usize, y: usize| (nearest[y * 3 + x] % 3, nearest[y * 3 + x] / 3);
        assert_eq!(
            (at(2, 0), at(0, 201), at(0, 202)),
            ((0, 3), (0, 3), (0, 400))
        );
        assert_eq!(
            (at(1, 499), at(0, 424), at(0, 426)),
            ((1, 450), (0, 400), (1, 450))
        );
    }

    proptest! {
        #[test]
        fn no_other_pixel_is_nearer(
            (width, values) in (1u32..40, 1u32..90, 1u32..30).prop_flat_map(|(width, height, of)| {
                let pixel = (0..of).prop_map(|value| u8::from(value == 0));
                (Just(width), prop::collection::vec(pixel, (width * height) as usize))
            })
        ) {
            let height = values.len() as u32 / width;
            let mask = Mask::from_vec(width, height, values);
            let inside: Vec<u32> = (0..width * height).filter(|at| mask.contains(at % width, at / width)).collect();
            let squared = |a: u32, b: u32| {
                let (x, y) = ((a % width).abs_diff(b % width), (a / width).abs_diff(b / width));
                x * x + y * y
            };
            match mask.nearest_inside().unwrap() {
                None => prop_assert!(inside.is_empty()),
                Some(nearest) => for (at, &found) in (0..).zip(&nearest) {
                    prop_assert!(inside.contains(&found));
                    let least = inside.iter().map(|&other| squared(at, other)).min();
                    prop_assert_eq!(Some(squared(at, found)), least);
                }
            }
        }
    }
}
