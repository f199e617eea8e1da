//! Visual prompts: a picture of an example instead of a text.

use crate::error::{ModelError, Result};
use clipseg_data::{BoundingBox, Mask};
use image::{Rgb, RgbImage, imageops};
use imageproc::filter::separable_filter_equal;

/// Standard deviation of the background blur, in pixels.
const SIGMA: f32 = 3.0;
/// Radius of the blur kernel in pixels, which gives a 15×15 kernel.
const RADIUS: u32 = 7;
/// Factor that darkens the background.
const BACKGROUND_BRIGHTNESS: f32 = 0.1;
/// Margin around the bounding box on each side, as a fraction of the box's width or height.
const CONTEXT: f32 = 0.1;

/// A picture of an example and, optionally, the mask of the example in it.
#[derive(Debug, Clone, PartialEq)]
pub struct VisualPrompt {
    picture: RgbImage,
    mask: Option<Mask>,
}

impl VisualPrompt {
    /// A visual prompt from a picture that shows mainly the example.
    pub fn new(picture: RgbImage) -> Self {
        Self {
            picture,
            mask: None,
        }
    }

    /// A visual prompt from a picture and the mask of the example in it.
    ///
    /// # Errors
    ///
    /// If the mask is empty or has another size than the picture.
    pub fn with_mask(picture: RgbImage, mask: Mask) -> Result<Self> {
        let ((width, height), (mask_width, mask_height)) =
            (picture.dimensions(), (mask.width(), mask.height()));
        if (width, height) != (mask_width, mask_height) {
            return Err(ModelError::Input(format!(
                "the example's picture is {width}x{height}, its mask {mask_width}x{mask_height}"
            )));
        }
        if mask.area() == 0 {
            return Err(ModelError::Input("the example's mask is empty".into()));
        }
        Ok(Self {
            picture,
            mask: Some(mask),
        })
    }

    /// The picture that CLIP encodes.
    ///
    /// Without a mask, it is the original picture. With a mask, it is prepared by the best method of
    /// table 2 of the CLIPSeg paper. The background is blurred (15×15 kernel, standard deviation 3) and
    /// darkened to 10 % of its brightness. The picture is cropped to the mask's bounding box with a margin
    /// of 10 % on each side, and padded with black to a square.
    pub fn prepare(&self) -> RgbImage {
        let Some((mask, inside)) = self
            .mask
            .as_ref()
            .and_then(|mask| Some((mask, mask.bounding_box()?)))
        else {
            return self.picture.clone();
        };
        let (width, height) = self.picture.dimensions();
        let margin = |side: u32| (CONTEXT * side as f32).round() as u32;
        let crop = grow(
            inside,
            margin(inside.width),
            margin(inside.height),
            width,
            height,
        );
        // Pixels outside the kernel's radius do not influence the crop.
        let context = grow(crop, RADIUS, RADIUS, width, height);
        let part = imageops::crop_imm(
            &self.picture,
            context.x,
            context.y,
            context.width,
            context.height,
        );
        let blurred = separable_filter_equal(&part.to_image(), &gaussian());

        let side = crop.width.max(crop.height);
        let (left, top) = ((side - crop.width) / 2, (side - crop.height) / 2);
        let mut square = RgbImage::new(side, side);
        for y in 0..crop.height {
            for x in 0..crop.width {
                let (photo_x, photo_y) = (crop.x + x, crop.y + y);
                let pixel = if mask.contains(photo_x, photo_y) {
                    *self.picture.get_pixel(photo_x, photo_y)
                } else {
                    let Rgb(colour) = blurred.get_pixel(photo_x - context.x, photo_y - context.y);
                    Rgb(colour
                        .map(|value| (BACKGROUND_BRIGHTNESS * f32::from(value)).round() as u8))
                };
                square.put_pixel(left + x, top + y, pixel);
            }
        }
        square
    }
}

/// A bounding box with a margin on each side, clipped to the picture's width and height.
fn grow(inner: BoundingBox, margin_x: u32, margin_y: u32, width: u32, height: u32) -> BoundingBox {
    let (x, y) = (
        inner.x.saturating_sub(margin_x),
        inner.y.saturating_sub(margin_y),
    );
    let right = (inner.x + inner.width + margin_x).min(width);
    let bottom = (inner.y + inner.height + margin_y).min(height);
    BoundingBox {
        x,
        y,
        width: right - x,
        height: bottom - y,
    }
}

/// The weights of a Gaussian kernel, which sum to 1.
fn gaussian() -> [f32; 2 * RADIUS as usize + 1] {
    let weights = std::array::from_fn(|index| {
        let distance = index as f32 - RADIUS as f32;
        (-distance * distance / (2.0 * SIGMA * SIGMA)).exp()
    });
    let total: f32 = weights.iter().sum();
    weights.map(|weight| weight / total)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn square_of(width: u32, height: u32, from: u32, to: u32) -> Mask {
        let values = (0..height).flat_map(|y| {
            (0..width).map(move |x| u8::from((from..to).contains(&x) && (from..to).contains(&y)))
        });
        Mask::from_vec(width, height, values.collect())
    }

    #[test]
    fn the_background_is_darkened_and_the_picture_is_cropped_to_the_example() {
        let photo = RgbImage::from_pixel(80, 60, Rgb([200, 100, 50]));
        let prompt = VisualPrompt::with_mask(photo, square_of(80, 60, 20, 40)).unwrap();
        let shown = prompt.prepare();
        // 20 pixels of the example with a margin of 10 % on each side.
        assert_eq!(shown.dimensions(), (24, 24));
        assert_eq!(shown.get_pixel(12, 12).0, [200, 100, 50]);
        assert_eq!(shown.get_pixel(2, 2).0, [200, 100, 50]);
        assert_eq!(shown.get_pixel(1, 12).0, [20, 10, 5]);
    }

    #[test]
    fn only_the_background_is_blurred() {
        // White up to column 29, then black; the example is the left part of the black area.
        let photo = RgbImage::from_fn(60, 40, |x, _| Rgb([if x < 30 { 255 } else { 0 }; 3]));
        let values = (0..40u32).flat_map(|y| {
            (0..60u32).map(move |x| u8::from((10..30).contains(&y) && (32..52).contains(&x)))
        });
        let mask = Mask::from_vec(60, 40, values.collect());
        let shown = VisualPrompt::with_mask(photo, mask).unwrap().prepare();
        // Columns 30 to 53 and rows 8 to 31.
        assert_eq!(shown.dimensions(), (24, 24));
        let kernel = gaussian();
        for column in 0..24u32 {
            // The part of the kernel that lies in the white area, at a background row.
            let reaches = (30 + column).saturating_sub(29);
            let white: f32 = kernel.iter().skip((7 + reaches) as usize).sum();
            let expected = 255.0 * white * BACKGROUND_BRIGHTNESS;
            let found = f32::from(shown.get_pixel(column, 0).0[0]);
            assert!(
                (found - expected).abs() <= 1.0,
                "{column}: {found}, not {expected}"
            );
            let inside = (2..22).contains(&column);
            assert!(
                !inside || shown.get_pixel(column, 12).0 == [0; 3],
                "{column}"
            );
        }
        assert!(
            shown.get_pixel(0, 0).0[0] > 8,
            "the white area is blurred into the black area"
        );
    }

    #[test]
    fn an_oblong_crop_is_padded_with_black() {
        let photo = RgbImage::from_pixel(40, 10, Rgb([255; 3]));
        let everything = Mask::from_vec(40, 10, vec![1; 400]);
        let shown = VisualPrompt::with_mask(photo, everything)
            .unwrap()
            .prepare();
        assert_eq!(shown.dimensions(), (40, 40));
        assert_eq!(shown.get_pixel(20, 14).0, [0; 3]);
        assert_eq!(shown.get_pixel(20, 15).0, [255; 3]);
        assert_eq!(shown.get_pixel(20, 25).0, [0; 3]);
    }

    #[test]
    fn the_kernel_equals_opencvs() {
        let kernel = gaussian();
        // exp(-d² / 18) for d from -7 to 0, over its sum: cv2.getGaussianKernel(15, 3).
        let expected = [
            0.008847, 0.0182159, 0.0335624, 0.055335, 0.081638, 0.1077779, 0.1273246, 0.1345983,
        ];
        for (found, expected) in kernel.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-6, "{kernel:?}");
        }
        assert!((kernel.iter().sum::<f32>() - 1.0).abs() < 1e-6);
    }

    #[test]
    fn invalid_masks_are_errors() {
        let message = |mask| {
            let prompt = VisualPrompt::with_mask(RgbImage::new(4, 4), mask);
            prompt.unwrap_err().to_string()
        };
        assert_eq!(
            message(Mask::new(4, 5)),
            "the example's picture is 4x4, its mask 4x5"
        );
        assert_eq!(message(Mask::new(4, 4)), "the example's mask is empty");
    }
}
