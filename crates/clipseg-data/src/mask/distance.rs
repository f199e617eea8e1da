//! Growing, shrinking and feathering masks by Euclidean distances.
//!
//! Distances are exact and between the centres of pixels. [`dilate`](Mask::dilate) and [`erode`](Mask::erode) use
//! squares instead of discs.

use super::Mask;
use crate::error::{DataError, Result};
use rayon::prelude::*;

impl Mask {
    /// Grows the mask: a pixel is inside if any pixel at most `distance` pixels away is inside.
    ///
    /// A distance below 1 changes nothing.
    ///
    /// # Errors
    ///
    /// If the distance is negative, NaN or infinite, or the mask has 2³² or more pixels.
    pub fn grow(&self, distance: f32) -> Result<Self> {
        if !distance.is_finite() || distance < 0.0 {
            return Err(DataError::Input(format!(
                "a mask cannot be grown or shrunk by {distance} pixels, expected a number of at least 0"
            )));
        }
        let limit = f64::from(distance) * f64::from(distance);
        let near = self.squared_distances()?;
        let inside = near.into_iter().map(|squared| u8::from(squared <= limit));
        Ok(Self::from_vec(self.width, self.height, inside.collect()))
    }

    /// Shrinks the mask: a pixel stays inside if all pixels of the picture at most `distance` pixels away are
    /// inside. The border of the picture does not shrink the mask.
    ///
    /// A distance below 1 changes nothing.
    ///
    /// # Errors
    ///
    /// If the distance is negative, NaN or infinite, or the mask has 2³² or more pixels.
    pub fn shrink(&self, distance: f32) -> Result<Self> {
        Ok(self.complement().grow(distance)?.complement())
    }

    /// The opacity of each pixel, row by row, if the edge of the mask is softened over `width` pixels: 0 outside,
    /// 1 inside, and a linear ramp in between that is centred on the edge.
    ///
    /// The distance of a pixel to the edge is half a pixel less than to the nearest pixel on the other side. A
    /// width of at most 1 gives 0 and 1 only. A mask without an edge has none to soften.
    ///
    /// # Errors
    ///
    /// If the width is negative, NaN or infinite, or the mask has 2³² or more pixels.
    pub fn feather(&self, width: f32) -> Result<Vec<f32>> {
        if !width.is_finite() || width < 0.0 {
            return Err(DataError::Input(format!(
                "a mask cannot be feathered over {width} pixels, expected a number of at least 0"
            )));
        }
        if width <= 1.0 {
            return Ok(self
                .pixels()
                .map(|inside| f32::from(u8::from(inside)))
                .collect());
        }
        let to_inside = self.squared_distances()?;
        let to_outside = self.complement().squared_distances()?;
        let width = f64::from(width);
        let opacity = |(to_inside, to_outside): (f64, f64)| {
            let from_edge = if to_inside == 0.0 {
                to_outside.sqrt() - 0.5
            } else {
                0.5 - to_inside.sqrt()
            };
            (0.5 + from_edge / width).clamp(0.0, 1.0) as f32
        };
        Ok(to_inside.into_iter().zip(to_outside).map(opacity).collect())
    }

    /// The squared distance of each pixel to the nearest pixel inside, row by row; infinite if there is none.
    fn squared_distances(&self) -> Result<Vec<f64>> {
        let width = self.width;
        let Some(nearest) = self.nearest_inside()? else {
            return Ok(vec![f64::INFINITY; width as usize * self.height as usize]);
        };
        let squared = |(at, near): (usize, u32)| {
            let at = at as u32;
            let [x, y] = [(at % width, near % width), (at / width, near / width)]
                .map(|(a, b)| f64::from(a.abs_diff(b)));
            x * x + y * y
        };
        Ok(nearest.into_par_iter().enumerate().map(squared).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::mask;
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_dot_grows_to_a_disc() {
        let dot = mask(&[
            ".......", ".......", ".......", "...#...", ".......", ".......", ".......",
        ]);
        let cross = mask(&[
            ".......", ".......", "...#...", "..###..", "...#...", ".......", ".......",
        ]);
        let disc = mask(&[
            ".......", "...#...", "..###..", ".#####.", "..###..", "...#...", ".......",
        ]);
        let round = mask(&[
            ".......", "..###..", ".#####.", ".#####.", ".#####.", "..###..", ".......",
        ]);
        for (distance, expected) in [
            (0.0, &dot),
            (0.99, &dot),
            (1.0, &cross),
            (1.4, &cross),
            (2.0, &disc),
            // The square root of 5 is 2.236.
            (2.23, &{
                let block = mask(&[
                    ".......", ".......", "..###..", "..###..", "..###..", ".......", ".......",
                ]);
                disc.union(&block).unwrap()
            }),
            (2.24, &round),
        ] {
            assert_eq!(dot.grow(distance).unwrap(), *expected, "{distance}");
        }
        assert_eq!(cross.shrink(1.0).unwrap(), dot);
        assert_eq!(round.shrink(2.0).unwrap(), dot);
    }

    #[test]
    fn the_border_of_the_picture_does_not_shrink_a_mask() {
        let half = mask(&["##..", "##..", "##.."]);
        assert_eq!(half.shrink(1.0).unwrap(), mask(&["#...", "#...", "#..."]));
        let full = mask(&["##", "##"]);
        assert_eq!(full.shrink(9.0).unwrap(), full);
        let none = Mask::new(5, 4);
        assert_eq!(none.grow(99.0).unwrap(), none);
        for (width, height) in [(0, 0), (0, 3), (3, 0)] {
            let none = Mask::new(width, height);
            assert_eq!(none.grow(3.0).unwrap(), none);
            assert!(none.feather(3.0).unwrap().is_empty());
        }
    }

    #[test]
    fn feathering_makes_a_ramp_that_is_centred_on_the_edge() {
        let half = mask(&["######......"]);
        let close = |width: f32, expected: [f32; 12]| {
            let found = half.feather(width).unwrap();
            let pairs = found.iter().zip(expected);
            assert!(
                pairs.clone().all(|(a, b)| (a - b).abs() < 1e-6),
                "{width}: {found:?}"
            );
        };
        let hard = [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0];
        close(0.0, hard);
        close(1.0, hard);
        close(
            2.0,
            [1.0, 1.0, 1.0, 1.0, 1.0, 0.75, 0.25, 0.0, 0.0, 0.0, 0.0, 0.0],
        );
        close(
            4.0,
            [
                1.0, 1.0, 1.0, 1.0, 0.875, 0.625, 0.375, 0.125, 0.0, 0.0, 0.0, 0.0,
            ],
        );
        // A mask without an edge.
        assert_eq!(mask(&["##"]).feather(4.0).unwrap(), [1.0, 1.0]);
        assert_eq!(mask(&[".."]).feather(4.0).unwrap(), [0.0, 0.0]);
    }

    #[test]
    fn invalid_distances_are_errors() {
        let dot = mask(&["#"]);
        for bad in [-1.0, f32::NAN, f32::INFINITY] {
            let expected = format!(
                "a mask cannot be grown or shrunk by {bad} pixels, expected a number of at least 0"
            );
            assert_eq!(dot.grow(bad).unwrap_err().to_string(), expected);
            assert_eq!(dot.shrink(bad).unwrap_err().to_string(), expected);
            let message = dot.feather(bad).unwrap_err().to_string();
            assert!(
                message.starts_with("a mask cannot be feathered over"),
                "{message}"
            );
        }
    }

    fn any_mask() -> impl Strategy<Value = Mask> {
        (1u32..24, 1u32..16, 1u8..8).prop_flat_map(|(width, height, of)| {
            let pixel = (0u8..8).prop_map(move |value| u8::from(value < of));
            prop::collection::vec(pixel, (width * height) as usize)
                .prop_map(move |values| Mask::from_vec(width, height, values))
        })
    }

    proptest! {
        #[test]
        fn growing_and_shrinking_follow_their_definition(mask in any_mask(), distance in 0f32..9.0) {
            let (grown, shrunk) = (mask.grow(distance).unwrap(), mask.shrink(distance).unwrap());
            let places = || (0..mask.height()).flat_map(|y| (0..mask.width()).map(move |x| (x, y)));
            for (x, y) in places() {
                let near = places().filter(|&(a, b)| {
                    let (a, b) = (f64::from(a) - f64::from(x), f64::from(b) - f64::from(y));
                    a * a + b * b <= f64::from(distance) * f64::from(distance)
                });
                let inside: Vec<bool> = near.map(|(a, b)| mask.contains(a, b)).collect();
                prop_assert_eq!(grown.contains(x, y), inside.contains(&true));
                prop_assert_eq!(shrunk.contains(x, y), !inside.contains(&false));
            }
        }

        #[test]
        fn half_opacity_is_the_edge(mask in any_mask(), width in 0f32..12.0) {
            let opacity = mask.feather(width).unwrap();
            let inside: Vec<bool> = opacity.iter().map(|&opacity| opacity > 0.5).collect();
            prop_assert_eq!(inside, mask.pixels().collect::<Vec<_>>());
        }
    }
}
