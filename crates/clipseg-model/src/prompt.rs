//! What can be asked for: words, or the picture of an example.

use crate::error::{ModelError, Result};
use clipseg_data::{BoundingBox, Mask};
use image::{Rgb, RgbImage, imageops};
use imageproc::filter::separable_filter_equal;

/// What to look for.
#[derive(Debug, Clone, PartialEq)]
pub enum Prompt {
    /// Words.
    Text(String),
    /// Something that looks like this.
    Visual(VisualPrompt),
}

impl From<&str> for Prompt {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Prompt {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<VisualPrompt> for Prompt {
    fn from(prompt: VisualPrompt) -> Self {
        Self::Visual(prompt)
    }
}

/// How prompts are put to the model; by default as they are.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct SegmentOptions {
    /// Sentences with `{}` where a text prompt goes, such as [`TEMPLATES`](crate::TEMPLATES). The embeddings of all of
    /// them are averaged, so the decoder still runs once for each prompt. Pictures are not affected.
    pub templates: Vec<String>,
    /// What is not meant: a pixel's probability is multiplied by one minus the highest of theirs.
    pub negative_prompts: Vec<Prompt>,
}

impl SegmentOptions {
    /// Averages over these sentences, each with `{}` where the prompt goes.
    #[must_use]
    pub fn with_templates<S: Into<String>>(
        mut self,
        templates: impl IntoIterator<Item = S>,
    ) -> Self {
        self.templates = templates.into_iter().map(Into::into).collect();
        self
    }

    /// Takes away what these prompts find.
    #[must_use]
    pub fn with_negative_prompts<P: Into<Prompt>>(
        mut self,
        prompts: impl IntoIterator<Item = P>,
    ) -> Self {
        self.negative_prompts = prompts.into_iter().map(Into::into).collect();
        self
    }

    /// Checks what can be checked without a model: that every sentence has a place for the prompt, and
    /// that no negative prompt is empty.
    ///
    /// # Errors
    ///
    /// With the first that is not as it should be.
    pub fn validate(&self) -> Result<()> {
        if let Some(template) = self.templates.iter().find(|text| !text.contains("{}")) {
            return Err(ModelError::Input(format!(
                "the template `{template}` has no `{{}}` for the prompt"
            )));
        }
        let is_empty =
            |prompt: &Prompt| matches!(prompt, Prompt::Text(text) if text.trim().is_empty());
        if let Some(index) = self.negative_prompts.iter().position(is_empty) {
            let number = index + 1;
            return Err(ModelError::Input(format!(
                "negative prompt {number} is empty"
            )));
        }
        Ok(())
    }

    /// The texts that a prompt is put to the model as: the prompt in every sentence, or as it is.
    pub fn sentences(&self, prompt: &str) -> Vec<String> {
        if self.templates.is_empty() {
            return vec![prompt.to_owned()];
        }
        let sentences = self.templates.iter();
        sentences.map(|text| text.replace("{}", prompt)).collect()
    }
}

/// Deviation of the blur of the background, in pixels.
const SIGMA: f32 = 3.0;
/// The blur reaches so many pixels to each side: a kernel of 15.
const REACH: u32 = 7;
/// What is left of the background's brightness.
const DARKENED: f32 = 0.1;
/// Share of the box that is kept around it on each side.
const CONTEXT: f32 = 0.1;

/// A picture of an example, and where in it the example is.
#[derive(Debug, Clone, PartialEq)]
pub struct VisualPrompt {
    picture: RgbImage,
    mask: Option<Mask>,
}

impl VisualPrompt {
    /// A picture that shows little but the example.
    pub fn new(picture: RgbImage) -> Self {
        Self {
            picture,
            mask: None,
        }
    }

    /// A picture and the pixels that belong to the example.
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

    /// The picture that CLIP is shown.
    ///
    /// Without a mask it is the picture as it is. With one it is the best of the recipes compared in
    /// table 2 of the paper: the background blurred (15×15, deviation 3) and darkened to a tenth,
    /// cut to the mask's box with a tenth more on each side, and filled up to a square with black.
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
        // Pixels further away than the blur reaches cannot show inside the crop.
        let seen = grow(crop, REACH, REACH, width, height);
        let part = imageops::crop_imm(&self.picture, seen.x, seen.y, seen.width, seen.height);
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
                    let Rgb(colour) = blurred.get_pixel(photo_x - seen.x, photo_y - seen.y);
                    Rgb(colour.map(|value| (DARKENED * f32::from(value)).round() as u8))
                };
                square.put_pixel(left + x, top + y, pixel);
            }
        }
        square
    }
}

/// A box with so much more on each side, as far as the picture goes.
fn grow(inner: BoundingBox, across: u32, down: u32, width: u32, height: u32) -> BoundingBox {
    let (x, y) = (inner.x.saturating_sub(across), inner.y.saturating_sub(down));
    let right = (inner.x + inner.width + across).min(width);
    let bottom = (inner.y + inner.height + down).min(height);
    BoundingBox {
        x,
        y,
        width: right - x,
        height: bottom - y,
    }
}

fn gaussian() -> [f32; 2 * REACH as usize + 1] {
    let weights = std::array::from_fn(|index| {
        let distance = index as f32 - REACH as f32;
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
    fn the_background_is_dark_and_the_example_fills_the_square() {
        let photo = RgbImage::from_pixel(80, 60, Rgb([200, 100, 50]));
        let prompt = VisualPrompt::with_mask(photo, square_of(80, 60, 20, 40)).unwrap();
        let shown = prompt.prepare();
        // 20 pixels of the example and a tenth more on each side.
        assert_eq!(shown.dimensions(), (24, 24));
        assert_eq!(shown.get_pixel(12, 12).0, [200, 100, 50]);
        assert_eq!(shown.get_pixel(2, 2).0, [200, 100, 50]);
        assert_eq!(shown.get_pixel(1, 12).0, [20, 10, 5]);
    }

    #[test]
    fn the_background_is_blurred_across_edges_and_the_example_is_not() {
        // White up to column 29, black from there on; the example is the left part of the black.
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
            // The share of the kernel that lies in the white, at a row of the background.
            let reaches = (30 + column).saturating_sub(29);
            let white: f32 = kernel.iter().skip((7 + reaches) as usize).sum();
            let expected = 255.0 * white * DARKENED;
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
            "the white shows in the black"
        );
    }

    #[test]
    fn an_oblong_example_is_filled_up_with_black() {
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
    fn the_blur_is_the_published_one() {
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
    fn bad_examples_and_templates_are_told() {
        let photo = || RgbImage::new(4, 4);
        let message = |mask| {
            VisualPrompt::with_mask(photo(), mask)
                .unwrap_err()
                .to_string()
        };
        assert_eq!(
            message(Mask::new(4, 5)),
            "the example's picture is 4x4, its mask 4x5"
        );
        assert_eq!(message(Mask::new(4, 4)), "the example's mask is empty");
        let message = |options: SegmentOptions| options.validate().unwrap_err().to_string();
        let templates = SegmentOptions::default().with_templates(["a {}", "no place"]);
        assert_eq!(
            message(templates),
            "the template `no place` has no `{}` for the prompt"
        );
        let negatives = SegmentOptions::default().with_negative_prompts(["a dog", " \t"]);
        assert_eq!(message(negatives), "negative prompt 2 is empty");
    }
}
