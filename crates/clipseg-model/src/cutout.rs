//! Masks as opacity: grey pictures, soft edges, and objects cut out of their photograph.

use crate::error::Result;
use crate::soft_mask::SoftMask;
use clipseg_data::Mask;
use image::{GrayImage, Luma, RgbImage, Rgba, RgbaImage};

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
