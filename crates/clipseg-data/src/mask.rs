//! Which pixels are inside.

use image::{GrayImage, Luma};

/// A yes or no for each pixel of a picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mask {
    width: u32,
    height: u32,
    inside: Vec<u8>,
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
    pub fn count(&self) -> usize {
        self.inside.iter().filter(|&&value| value != 0).count()
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
