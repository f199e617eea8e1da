//! Binary masks.

use crate::error::{DataError, Result};
use image::{GrayImage, Luma};
use std::ops::Range;

mod components;
mod distance;
pub(crate) mod file;
pub(crate) mod instances;
mod morphology;
mod nearest;
#[cfg(test)]
pub(crate) mod tests;

/// Pixels per word.
const WORD: u32 = u64::BITS;

/// A binary mask, stored with one bit per pixel. Pixels of the mask are called *inside*.
#[derive(Clone, PartialEq, Eq)]
pub struct Mask {
    width: u32,
    height: u32,
    /// Row by row, each padded with zeros to complete words. The first pixel is in the lowest bit.
    words: Vec<u64>,
}

impl std::fmt::Debug for Mask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Mask({}×{}, {} inside)",
            self.width,
            self.height,
            self.area()
        )
    }
}

/// An axis-aligned bounding box in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BoundingBox {
    /// First column.
    pub x: u32,
    /// First row.
    pub y: u32,
    /// Number of columns.
    pub width: u32,
    /// Number of rows.
    pub height: u32,
}

impl Mask {
    /// Creates an empty mask.
    pub fn new(width: u32, height: u32) -> Self {
        Self {
            width,
            height,
            words: vec![0; width.div_ceil(WORD) as usize * height as usize],
        }
    }

    /// Creates a mask from one value per pixel, row by row. Pixels with a value other than 0 are inside.
    ///
    /// # Panics
    ///
    /// If the number of values is not `width · height`.
    pub fn from_vec(width: u32, height: u32, values: Vec<u8>) -> Self {
        assert_eq!(
            values.len(),
            width as usize * height as usize,
            "one value for each pixel"
        );
        let mut mask = Self::new(width, height);
        let rows = values.chunks_exact(width.max(1) as usize);
        for (row, words) in rows.zip(
            mask.words
                .chunks_exact_mut(width.div_ceil(WORD).max(1) as usize),
        ) {
            pack(row.iter().map(|&value| value != 0), words);
        }
        mask
    }

    /// Width in pixels.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Height in pixels.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// Whether a pixel is inside; `false` beyond the borders.
    pub fn contains(&self, x: u32, y: u32) -> bool {
        x < self.width && y < self.height && bit(self.row(y), x)
    }

    /// Sets a pixel inside, which must be within the mask.
    pub(crate) fn set(&mut self, x: u32, y: u32) {
        let words = self.width.div_ceil(WORD) as usize;
        self.words[y as usize * words + (x / WORD) as usize] |= 1 << (x % WORD);
    }

    /// Whether each pixel is inside, row by row.
    pub fn pixels(&self) -> impl Iterator<Item = bool> {
        self.rows().flat_map(|row| bits(row, 0, self.width))
    }

    /// Returns one value per pixel, row by row: 1 inside, 0 outside.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut values = Vec::with_capacity(self.width as usize * self.height as usize);
        for row in self.rows() {
            values.extend(bits(row, 0, self.width).map(u8::from));
        }
        values
    }

    fn row(&self, y: u32) -> &[u64] {
        let words = self.width.div_ceil(WORD) as usize;
        &self.words[y as usize * words..][..words]
    }

    fn rows(&self) -> impl Iterator<Item = &[u64]> {
        (0..self.height).map(|y| self.row(y))
    }

    fn rows_mut(&mut self) -> impl Iterator<Item = &mut [u64]> {
        self.words
            .chunks_exact_mut(self.width.div_ceil(WORD).max(1) as usize)
    }

    /// Number of pixels inside.
    pub fn area(&self) -> usize {
        self.words
            .iter()
            .map(|word| word.count_ones() as usize)
            .sum()
    }

    /// Size in memory in bytes.
    pub(crate) fn bytes(&self) -> usize {
        size_of_val(self.words.as_slice())
    }

    /// The smallest box around the pixels inside; `None` for an empty mask.
    pub fn bounding_box(&self) -> Option<BoundingBox> {
        let mut found: Option<[u32; 4]> = None;
        for (row, y) in self.rows().zip(0..) {
            let (Some(first), Some(last)) = (
                row.iter().position(|&word| word != 0),
                row.iter().rposition(|&word| word != 0),
            ) else {
                continue;
            };
            let first = first as u32 * WORD + row[first].trailing_zeros();
            let last = (last as u32 + 1) * WORD - 1 - row[last].leading_zeros();
            found = Some(match found {
                None => [first, y, last, y],
                Some([left, top, right, _]) => [left.min(first), top, right.max(last), y],
            });
        }
        found.map(|[left, top, right, bottom]| BoundingBox {
            x: left,
            y: top,
            width: right - left + 1,
            height: bottom - top + 1,
        })
    }

    /// The box of the entire mask.
    pub fn frame(&self) -> BoundingBox {
        BoundingBox {
            x: 0,
            y: 0,
            width: self.width,
            height: self.height,
        }
    }

    /// The columns and rows of a window, clipped to the mask.
    fn clip(&self, window: BoundingBox) -> (Range<u32>, Range<u32>) {
        let clip = |first: u32, count: u32, side: u32| {
            let end = first.saturating_add(count).min(side);
            first.min(end)..end
        };
        (
            clip(window.x, window.width, self.width),
            clip(window.y, window.height, self.height),
        )
    }

    /// Number of pixels inside within a window.
    pub fn area_in(&self, window: BoundingBox) -> usize {
        let (columns, rows) = self.clip(window);
        let of_row = |y| {
            covered(columns.clone())
                .map(|(word, bits)| (self.row(y)[word] & bits).count_ones() as usize)
                .sum::<usize>()
        };
        rows.map(of_row).sum()
    }

    /// Cuts out a window, clipped to the mask.
    #[must_use]
    pub fn crop(&self, window: BoundingBox) -> Self {
        let (columns, rows) = self.clip(window);
        let mut part = Self::new(columns.len() as u32, rows.len() as u32);
        for (y, words) in rows.zip(part.rows_mut()) {
            pack(bits(self.row(y), columns.start, columns.end), words);
        }
        part
    }

    /// Flips the mask horizontally.
    #[must_use]
    pub fn flip_horizontal(&self) -> Self {
        let mut flipped = Self::new(self.width, self.height);
        for (row, words) in self.rows().zip(flipped.rows_mut()) {
            let reversed = (0..self.width).rev();
            pack(reversed.map(|x| bit(row, x)), words);
        }
        flipped
    }

    /// The pixels that are inside either mask.
    ///
    /// # Errors
    ///
    /// If the masks differ in size.
    pub fn union(&self, other: &Self) -> Result<Self> {
        self.combine(other, |a, b| a | b)
    }

    /// The pixels that are inside both masks.
    ///
    /// # Errors
    ///
    /// If the masks differ in size.
    pub fn intersection(&self, other: &Self) -> Result<Self> {
        self.combine(other, |a, b| a & b)
    }

    /// The pixels that are inside this mask and not inside the other.
    ///
    /// # Errors
    ///
    /// If the masks differ in size.
    pub fn difference(&self, other: &Self) -> Result<Self> {
        self.combine(other, |a, b| a & !b)
    }

    fn combine(&self, other: &Self, of: impl Fn(u64, u64) -> u64) -> Result<Self> {
        if (self.width, self.height) != (other.width, other.height) {
            return Err(DataError::Input(format!(
                "a mask of {}x{} cannot be combined with one of {}x{}",
                self.width, self.height, other.width, other.height
            )));
        }
        let pairs = self.words.iter().zip(&other.words);
        Ok(Self {
            width: self.width,
            height: self.height,
            words: pairs.map(|(&a, &b)| of(a, b)).collect(),
        })
    }

    /// Fills one run of columns in each row from `row` on. A run is its first and its last column, and is
    /// clipped to the mask; it is empty if the first is larger.
    #[inline]
    pub(crate) fn fill_runs(&mut self, row: u32, runs: impl IntoIterator<Item = (i32, i32)>) {
        if self.width == 0 || row >= self.height {
            return;
        }
        let last_column = (self.width - 1).min(i32::MAX as u32) as i32;
        let words = self.width.div_ceil(WORD) as usize;
        let rows = self.words[row as usize * words..].chunks_exact_mut(words);
        for (row, (left, right)) in rows.zip(runs) {
            let (left, right) = (left.max(0), right.min(last_column));
            if left <= right {
                fill(row, left as u32, right as u32);
            }
        }
    }

    /// Resizes the mask by the old pixel that contains the centre of each new pixel, like Pillow's
    /// `NEAREST` and PyTorch's `nearest-exact`.
    #[must_use]
    pub fn resize(&self, width: u32, height: u32) -> Self {
        self.resample(width, height, |index, from, to| {
            let scale = f64::from(from) / f64::from(to);
            ((f64::from(index) + 0.5) * scale) as u32
        })
    }

    /// Resizes the mask like PyTorch's `interpolate(mode="nearest")`: by the old pixel at
    /// `floor(index · from / to)`, in single precision. CLIPSeg's own code resizes masks this way
    /// (Lüddecke and Ecker 2022, arXiv:2112.10003, `datasets/phrasecut.py`).
    #[must_use]
    pub fn resize_floor(&self, width: u32, height: u32) -> Self {
        self.resample(width, height, |index, from, to| {
            let scale = from as f32 / to as f32;
            (index as f32 * scale) as u32
        })
    }

    /// Resizes the mask. `source` returns the old index of a new column or row, given the new index, the
    /// old size and the new size.
    fn resample(&self, width: u32, height: u32, source: impl Fn(u32, u32, u32) -> u32) -> Self {
        if (width, height) == (self.width, self.height) {
            return self.clone();
        }
        let mut resized = Self::new(width, height);
        if self.width == 0 || self.height == 0 {
            return resized;
        }
        let [columns, rows] = [(self.width, width), (self.height, height)].map(|(from, to)| {
            let nearest = (0..to).map(|index| source(index, from, to).min(from - 1));
            nearest.collect::<Vec<u32>>()
        });
        for (y, words) in rows.into_iter().zip(resized.rows_mut()) {
            let row = self.row(y);
            pack(columns.iter().map(|&x| bit(row, x)), words);
        }
        resized
    }

    /// Returns a grey picture with 255 inside and 0 outside.
    pub fn to_gray_image(&self) -> GrayImage {
        GrayImage::from_fn(self.width, self.height, |x, y| {
            Luma([255 * u8::from(self.contains(x, y))])
        })
    }
}

impl From<&GrayImage> for Mask {
    /// Pixels with a value other than 0 are inside.
    fn from(picture: &GrayImage) -> Self {
        Self::from_vec(picture.width(), picture.height(), picture.as_raw().clone())
    }
}

/// Sets the pixels of a row from `left` to `right`, both included.
#[inline]
fn fill(row: &mut [u64], left: u32, right: u32) {
    let (first, last) = ((left / WORD) as usize, (right / WORD) as usize);
    let mut bits = u64::MAX << (left % WORD);
    for word in &mut row[first..last] {
        *word |= bits;
        bits = u64::MAX;
    }
    row[last] |= bits & u64::MAX >> (WORD - 1 - right % WORD);
}

/// Whether a pixel of a row is inside.
fn bit(row: &[u64], x: u32) -> bool {
    row[(x / WORD) as usize] >> (x % WORD) & 1 == 1
}

/// Whether each of the pixels `start..end` of a row is inside.
fn bits(row: &[u64], start: u32, end: u32) -> impl Iterator<Item = bool> {
    (start..end).map(|x| bit(row, x))
}

/// Packs pixels into words, which must be 0.
fn pack(pixels: impl Iterator<Item = bool>, words: &mut [u64]) {
    for (x, inside) in (0u32..).zip(pixels) {
        words[(x / WORD) as usize] |= u64::from(inside) << (x % WORD);
    }
}

/// The index of each word that contains some of the columns, and the bits of those columns.
fn covered(columns: Range<u32>) -> impl Iterator<Item = (usize, u64)> {
    let first = columns.start / WORD;
    (first..columns.end.div_ceil(WORD).max(first)).map(move |word| {
        let start = columns.start.saturating_sub(word * WORD);
        let end = (columns.end - word * WORD).min(WORD);
        let bits = if start < end {
            u64::MAX << start & u64::MAX >> (WORD - end)
        } else {
            0
        };
        (word as usize, bits)
    })
}
