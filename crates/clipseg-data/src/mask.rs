//! Which pixels are inside.

use crate::error::{DataError, Result};
use image::{GrayImage, Luma};
use imageproc::distance_transform::Norm;
use imageproc::morphology;

/// A yes or no for each pixel of a picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mask {
    width: u32,
    height: u32,
    inside: Vec<u8>,
}

/// The smallest upright rectangle around what is inside a mask, in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BoundingBox {
    /// The first column.
    pub x: u32,
    /// The first row.
    pub y: u32,
    /// Number of columns.
    pub width: u32,
    /// Number of rows.
    pub height: u32,
}

impl Mask {
    /// A mask with nothing inside.
    pub fn new(width: u32, height: u32) -> Self {
        Self {
            width,
            height,
            inside: vec![0; width as usize * height as usize],
        }
    }

    /// A mask of values row by row, of which any but 0 is inside.
    ///
    /// # Panics
    ///
    /// If there are not `width · height` values.
    pub fn from_vec(width: u32, height: u32, mut values: Vec<u8>) -> Self {
        assert_eq!(
            values.len(),
            width as usize * height as usize,
            "one value for each pixel"
        );
        for value in &mut values {
            *value = u8::from(*value != 0);
        }
        Self {
            width,
            height,
            inside: values,
        }
    }

    /// Width in pixels.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Height in pixels.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// One value for each pixel, row by row: 1 inside, 0 outside.
    pub fn as_slice(&self) -> &[u8] {
        &self.inside
    }

    /// Number of pixels inside.
    pub fn area(&self) -> usize {
        self.inside.iter().filter(|&&value| value != 0).count()
    }

    /// The rectangle around what is inside; `None` if nothing is.
    pub fn bounding_box(&self) -> Option<BoundingBox> {
        let columns = self.width as usize;
        let mut found: Option<[usize; 4]> = None;
        for (y, row) in self.inside.chunks_exact(columns.max(1)).enumerate() {
            let Some(first) = row.iter().position(|&value| value != 0) else {
                continue;
            };
            let last = row.iter().rposition(|&value| value != 0).unwrap_or(first);
            found = Some(match found {
                None => [first, y, last, y],
                Some([left, top, right, _]) => [left.min(first), top, right.max(last), y],
            });
        }
        found.map(|[left, top, right, bottom]| BoundingBox {
            x: left as u32,
            y: top as u32,
            width: (right - left + 1) as u32,
            height: (bottom - top + 1) as u32,
        })
    }

    /// The whole of the mask as a rectangle.
    pub fn frame(&self) -> BoundingBox {
        BoundingBox {
            x: 0,
            y: 0,
            width: self.width,
            height: self.height,
        }
    }

    /// The rows of a window, as far as it lies in the mask.
    fn window_rows(&self, window: BoundingBox) -> impl Iterator<Item = &[u8]> {
        let end = |first: u32, count: u32, side: u32| first.saturating_add(count).min(side);
        let (left, right) = (window.x, end(window.x, window.width, self.width));
        let (top, bottom) = (window.y, end(window.y, window.height, self.height));
        (top..bottom).map(move |y| {
            let row = y as usize * self.width as usize;
            &self.inside[row + left.min(right) as usize..row + right as usize]
        })
    }

    /// Number of pixels inside that lie in a window.
    pub fn area_in(&self, window: BoundingBox) -> usize {
        let pixels = self.window_rows(window).flatten();
        pixels.filter(|&&value| value != 0).count()
    }

    /// The part of the mask that lies in a window.
    #[must_use]
    pub fn crop(&self, window: BoundingBox) -> Self {
        let rows: Vec<&[u8]> = self.window_rows(window).collect();
        Self {
            width: rows.first().map_or(0, |row| row.len() as u32),
            height: rows.len() as u32,
            inside: rows.concat(),
        }
    }

    /// Left and right exchanged.
    #[must_use]
    pub fn flip_horizontal(mut self) -> Self {
        for row in self.inside.chunks_exact_mut(self.width.max(1) as usize) {
            row.reverse();
        }
        self
    }

    /// What is inside either mask.
    ///
    /// # Errors
    ///
    /// If the masks differ in size.
    pub fn union(&self, other: &Self) -> Result<Self> {
        self.combine(other, |a, b| a | b)
    }

    /// What is inside both masks.
    ///
    /// # Errors
    ///
    /// If the masks differ in size.
    pub fn intersection(&self, other: &Self) -> Result<Self> {
        self.combine(other, |a, b| a & b)
    }

    /// What is inside this mask and not inside the other.
    ///
    /// # Errors
    ///
    /// If the masks differ in size.
    pub fn difference(&self, other: &Self) -> Result<Self> {
        self.combine(other, |a, b| a & (1 - b))
    }

    fn combine(&self, other: &Self, of: impl Fn(u8, u8) -> u8) -> Result<Self> {
        if (self.width, self.height) != (other.width, other.height) {
            return Err(DataError::Input(format!(
                "a mask of {}x{} cannot be combined with one of {}x{}",
                self.width, self.height, other.width, other.height
            )));
        }
        let pairs = self.inside.iter().zip(&other.inside);
        Ok(Self {
            width: self.width,
            height: self.height,
            inside: pairs.map(|(&a, &b)| of(a, b)).collect(),
        })
    }

    /// Grown by `radius` pixels in every direction, corners included.
    #[must_use]
    pub fn dilate(&self, radius: u8) -> Self {
        if self.area() == 0 {
            return self.clone();
        }
        Self::from(&morphology::dilate(
            &self.to_gray_image(),
            Norm::LInf,
            radius,
        ))
    }

    /// Shrunk by `radius` pixels from every direction; the picture's border does not shrink it.
    #[must_use]
    pub fn erode(&self, radius: u8) -> Self {
        if self.area() == self.inside.len() {
            return self.clone();
        }
        Self::from(&morphology::erode(
            &self.to_gray_image(),
            Norm::LInf,
            radius,
        ))
    }

    /// Puts the pixels `start..end` of a row inside.
    pub(crate) fn fill_row(&mut self, row: u32, start: u32, end: u32) {
        let first = row as usize * self.width as usize;
        self.inside[first + start as usize..first + end as usize].fill(1);
    }

    /// Another size, by the nearest pixel, as Pillow and PyTorch do it.
    #[must_use]
    pub fn resize(&self, width: u32, height: u32) -> Self {
        if (width, height) == (self.width, self.height) {
            return self.clone();
        }
        let nearest = |from: u32, to: u32| -> Vec<usize> {
            let scale = f64::from(from) / f64::from(to);
            (0..to)
                .map(|i| (((f64::from(i) + 0.5) * scale) as u32).min(from - 1) as usize)
                .collect()
        };
        if self.width == 0 || self.height == 0 {
            return Self::new(width, height);
        }
        let columns = nearest(self.width, width);
        let rows = nearest(self.height, height);
        let inside = rows
            .iter()
            .flat_map(|row| {
                let row = &self.inside[row * self.width as usize..];
                columns.iter().map(move |&column| row[column])
            })
            .collect();
        Self {
            width,
            height,
            inside,
        }
    }

    /// A picture that is white inside and black outside.
    pub fn to_gray_image(&self) -> GrayImage {
        GrayImage::from_fn(self.width, self.height, |x, y| {
            Luma([255 * self.inside[(y * self.width + x) as usize]])
        })
    }
}

impl From<&GrayImage> for Mask {
    /// Any pixel but a black one is inside.
    fn from(picture: &GrayImage) -> Self {
        Self::from_vec(picture.width(), picture.height(), picture.as_raw().clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn mask(rows: &[&str]) -> Mask {
        let values = rows.iter().flat_map(|row| row.bytes());
        let values = values.map(|letter| u8::from(letter == b'#')).collect();
        Mask::from_vec(rows[0].len() as u32, rows.len() as u32, values)
    }

    #[test]
    fn the_box_is_tight() {
        let found = mask(&["......", "..#...", "...##.", "......"]).bounding_box();
        let expected = BoundingBox {
            x: 2,
            y: 1,
            width: 3,
            height: 2,
        };
        assert_eq!(found, Some(expected));
        assert_eq!(Mask::new(3, 2).bounding_box(), None);
        assert_eq!(Mask::new(0, 2).bounding_box(), None);
    }

    #[test]
    fn windows() {
        let whole = mask(&["#..#..", "..##..", ".....#"]);
        let window = |x, y, width, height| BoundingBox {
            x,
            y,
            width,
            height,
        };
        assert_eq!(whole.crop(window(2, 0, 3, 2)), mask(&[".#.", "##."]));
        assert_eq!(whole.area_in(window(2, 0, 3, 2)), 3);
        assert_eq!(whole.crop(whole.frame()), whole);
        assert_eq!(whole.crop(window(5, 1, 9, 9)), mask(&[".", "#"]));
        assert_eq!(whole.area_in(window(7, 1, 9, 9)), 0);
        assert_eq!(
            whole.flip_horizontal(),
            mask(&["..#..#", "..##..", "#....."])
        );
    }

    #[test]
    fn set_operations() {
        let (a, b) = (mask(&["##..", "##.."]), mask(&[".##.", "...."]));
        assert_eq!(a.union(&b).unwrap(), mask(&["###.", "##.."]));
        assert_eq!(a.intersection(&b).unwrap(), mask(&[".#..", "...."]));
        assert_eq!(a.difference(&b).unwrap(), mask(&["#...", "##.."]));
        assert_eq!(
            a.union(&Mask::new(4, 3)).unwrap_err().to_string(),
            "a mask of 4x2 cannot be combined with one of 4x3"
        );
    }

    #[test]
    fn growing_and_shrinking() {
        let dot = mask(&[".....", ".....", "..#..", ".....", "....."]);
        let block = mask(&[".....", ".###.", ".###.", ".###.", "....."]);
        assert_eq!(dot.dilate(1), block);
        assert_eq!(block.erode(1), dot);
        assert_eq!(dot.dilate(0), dot);
        assert_eq!(Mask::new(3, 3).dilate(200), Mask::new(3, 3));
        let full = mask(&["##", "##"]);
        assert_eq!(full.erode(9), full);
    }

    proptest! {
        #[test]
        fn sizes_of_sets_add_up(a in prop::collection::vec(0u8..2, 35), b in prop::collection::vec(0u8..2, 35)) {
            let (a, b) = (Mask::from_vec(7, 5, a), Mask::from_vec(7, 5, b));
            let both = a.intersection(&b).unwrap().area();
            prop_assert_eq!(a.union(&b).unwrap().area() + both, a.area() + b.area());
            prop_assert_eq!(a.difference(&b).unwrap().area() + both, a.area());
            prop_assert!(a.erode(1).area() <= a.area() && a.area() <= a.dilate(1).area());
        }
    }
}
