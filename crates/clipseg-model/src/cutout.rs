//! Masks as opacity: grey pictures, soft edges, and objects cut out of their photograph.

use crate::error::Result;
use crate::soft_mask::SoftMask;
use clipseg_data::Mask;
use image::{GrayImage, ImageBuffer, Luma, RgbImage, Rgba, RgbaImage};

/// Columns and rows of pixels along the edge of a mask whose colours are mixed with those of the background.
const EDGE: u8 = 1;
/// How far, in columns and rows, a pixel on the edge may be from the colour that it gets.
const NEAR: u8 = 2;

impl SoftMask {
    /// The soft mask of a binary one with its edge softened over `width` pixels, by [`Mask::feather`].
    ///
    /// # Errors
    ///
    /// If the width is negative, NaN or infinite, or the mask has no pixels.
    pub fn feathered(mask: &Mask, width: f32) -> Result<Self> {
        Self::from_probabilities(mask.feather(width)?, [mask.width(), mask.height()])
    }

    /// Returns a grey picture: probabilities from 0 to 1 become levels from 0 to 255, rounded to the nearest.
    pub fn to_gray_image(&self) -> GrayImage {
        let mut levels = self.levels();
        GrayImage::from_fn(self.width(), self.height(), |_, _| {
            Luma([levels.next().unwrap_or(0)])
        })
    }

    /// Returns a grey picture with 16 bits: probabilities from 0 to 1 become levels from 0 to 65,535, rounded to the
    /// nearest.
    pub fn to_gray16_image(&self) -> ImageBuffer<Luma<u16>, Vec<u16>> {
        let level = |&probability: &f32| (65_535.0 * probability).round() as u16;
        let mut levels = self.probabilities().iter().map(level);
        ImageBuffer::from_fn(self.width(), self.height(), |_, _| {
            Luma([levels.next().unwrap_or(0)])
        })
    }

    /// Cuts the object out of a photograph: returns the photograph with the mask as opacity (straight alpha).
    ///
    /// # Errors
    ///
    /// If the photograph and the mask differ in size.
    ///
    /// # Example
    ///
    /// ```
    /// use clipseg_model::SoftMask;
    ///
    /// let photo = image::RgbImage::from_pixel(2, 1, image::Rgb([10, 20, 30]));
    /// let soft = SoftMask::from_probabilities(vec![0.0, 1.0], [2, 1])?;
    /// let cutout = soft.cut_out(&photo)?;
    /// assert_eq!(cutout.as_raw(), &[10, 20, 30, 0, 10, 20, 30, 255]);
    /// # Ok::<(), clipseg_model::ModelError>(())
    /// ```
    pub fn cut_out(&self, photo: &RgbImage) -> Result<RgbaImage> {
        self.check_photo(photo)?;
        let mut levels = self.levels();
        Ok(RgbaImage::from_fn(self.width(), self.height(), |x, y| {
            let [r, g, b] = photo.get_pixel(x, y).0;
            Rgba([r, g, b, levels.next().unwrap_or(0)])
        }))
    }

    /// Cuts the object out as [`cut_out`](Self::cut_out) does, without colours of the background along its edge.
    ///
    /// A pixel on the edge has a mixture of both colours, which shows on another background. Therefore pixels beside
    /// the outside of `mask` (among their eight neighbours) and all pixels outside get the colour of the nearest
    /// pixel further inside. Parts that are too thin to have such pixels at most two columns and rows away keep their
    /// own colours. An empty mask changes no colour.
    ///
    /// # Errors
    ///
    /// If the photograph, the mask and this soft mask differ in size.
    ///
    /// # Example
    ///
    /// ```
    /// use clipseg_model::SoftMask;
    /// use clipseg_model::data::Mask;
    ///
    /// let grey = [90, 90, 90, 60, 20, 20].map(|v| image::Rgb([v; 3]));
    /// let photo = image::RgbImage::from_fn(6, 1, |x, _| grey[x as usize]);
    /// let soft = SoftMask::from_probabilities(vec![1.0, 1.0, 1.0, 0.6, 0.2, 0.0], [6, 1])?;
    /// let cutout = soft.cut_out_clean(&photo, &soft.threshold(0.5))?;
    /// let pixels: Vec<[u8; 4]> = cutout.pixels().map(|pixel| pixel.0).collect();
    /// assert_eq!(pixels[3], [90, 90, 90, 153]);
    /// assert_eq!(pixels[4], [90, 90, 90, 51]);
    /// # Ok::<(), clipseg_model::ModelError>(())
    /// ```
    pub fn cut_out_clean(&self, photo: &RgbImage, mask: &Mask) -> Result<RgbaImage> {
        self.check_mask(mask)?;
        self.check_photo(photo)?;
        let inner = mask.erode(EDGE);
        let thin = mask.difference(&inner.dilate(NEAR))?;
        self.cut_out(&inner.union(&thin)?.spread_colours(photo)?)
    }

    /// The probabilities as levels from 0 to 255.
    fn levels(&self) -> impl Iterator<Item = u8> {
        let probabilities = self.probabilities().iter();
        probabilities.map(|probability| (255.0 * probability).round() as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_become_levels() {
        let soft = SoftMask::from_probabilities(vec![0.0, 0.5, 0.25, 1.0], [2, 2]).unwrap();
        assert_eq!(soft.to_gray_image().as_raw(), &[0, 128, 64, 255]);
        assert_eq!(
            soft.to_gray16_image().as_raw(),
            &[0, 32_768, 16_384, 65_535]
        );
        let photo = RgbImage::from_raw(2, 2, (0..12).collect()).unwrap();
        let expected = [0, 1, 2, 0, 3, 4, 5, 128, 6, 7, 8, 64, 9, 10, 11, 255];
        assert_eq!(soft.cut_out(&photo).unwrap().as_raw(), &expected);
        let error = soft.cut_out(&RgbImage::new(1, 4)).unwrap_err().to_string();
        assert!(
            error.starts_with("the photograph has 1x4 pixels"),
            "{error}"
        );
    }

    #[test]
    fn colours_of_the_background_are_removed_from_the_edge() {
        // Each pixel has its column and row as its colour.
        let photo = RgbImage::from_fn(9, 5, |x, y| image::Rgb([x as u8, y as u8, 7]));
        // A block of 4 × 5 pixels at the left, and a line of one pixel that starts in it.
        let inside = |x: u32, y: u32| x < 4 || y == 2;
        let values: Vec<u8> = (0..45).map(|at| inside(at % 9, at / 9).into()).collect();
        let mask = Mask::from_vec(9, 5, values);
        let soft = SoftMask::from_probabilities(vec![0.5; 45], [9, 5]).unwrap();
        let cutout = soft.cut_out_clean(&photo, &mask).unwrap();
        let from = |x, y| {
            let [column, row, _, opacity] = cutout.get_pixel(x, y).0;
            assert_eq!(opacity, 128);
            (column, row)
        };
        // The border of the picture is no edge.
        assert_eq!((from(0, 0), from(2, 4)), ((0, 0), (2, 4)));
        assert_eq!(
            (from(3, 1), from(4, 2), from(4, 0)),
            ((2, 1), (5, 2), (2, 0))
        );
        // Further away, the line keeps its colours, and the outside gets them.
        assert_eq!(
            (from(5, 2), from(8, 2), from(8, 0)),
            ((5, 2), (8, 2), (8, 2))
        );
        let none = Mask::new(9, 5);
        assert_eq!(
            soft.cut_out_clean(&photo, &none).unwrap(),
            soft.cut_out(&photo).unwrap()
        );
        assert!(soft.cut_out_clean(&photo, &Mask::new(5, 9)).is_err());
    }

    #[test]
    fn masks_get_soft_edges() {
        let mask = Mask::from_vec(4, 1, vec![1, 1, 0, 0]);
        let soft = SoftMask::feathered(&mask, 2.0).unwrap();
        assert_eq!(soft.probabilities(), [1.0, 0.75, 0.25, 0.0]);
        assert_eq!(
            SoftMask::feathered(&mask, 0.0).unwrap().threshold(0.5),
            mask
        );
        assert!(SoftMask::feathered(&mask, f32::NAN).is_err());
        assert!(SoftMask::feathered(&Mask::new(0, 3), 2.0).is_err());
    }
}
