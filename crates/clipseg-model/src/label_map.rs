//! One picture of labels from several soft masks.

use crate::error::{ModelError, Result};
use crate::soft_mask::SoftMask;
use clipseg_data::{Mask, prompt_colour};
use image::{DynamicImage, ImageBuffer, Luma, Rgb, RgbImage};

/// For each pixel the number of the prompt that it belongs to, counted from 1, or 0 for none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelMap {
    width: u32,
    height: u32,
    prompts: usize,
    labels: Vec<u16>,
}

/// Gives each pixel to its most probable prompt, unless no probability is above `background`.
///
/// Of equal prompts the first wins.
///
/// # Errors
///
/// If there is no mask, there are more than 65,535, or their sizes differ.
///
/// # Example
///
/// ```
/// use clipseg_model::{SoftMask, label_map};
///
/// let soft = |logits: [f32; 3]| SoftMask::from_logits(&logits, [3, 1], [3, 1]);
/// let map = label_map(&[soft([2.0, 1.0, -3.0])?, soft([0.0, 4.0, -3.0])?], 0.3)?;
/// assert_eq!(map.labels(), [1, 2, 0]);
/// # Ok::<(), clipseg_model::ModelError>(())
/// ```
pub fn label_map(masks: &[SoftMask], background: f32) -> Result<LabelMap> {
    let Some(first) = masks.first() else {
        return Err(ModelError::Input(
            "no mask was given, expected at least one".into(),
        ));
    };
    if masks.len() > usize::from(u16::MAX) {
        return Err(ModelError::Input(format!(
            "{} masks are too many for one map, expected at most {}",
            masks.len(),
            u16::MAX
        )));
    }
    let mut labels = vec![0u16; first.probabilities().len()];
    let mut highest = vec![background; labels.len()];
    for (mask, label) in masks.iter().zip(1u16..) {
        first.check_size(mask)?;
        let best = labels.iter_mut().zip(&mut highest);
        for ((label_here, highest), &probability) in best.zip(mask.probabilities()) {
            if probability > *highest {
                (*label_here, *highest) = (label, probability);
            }
        }
    }
    Ok(LabelMap {
        width: first.width(),
        height: first.height(),
        prompts: masks.len(),
        labels,
    })
}

impl LabelMap {
    /// Width in pixels.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Height in pixels.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// The labels, row by row.
    pub fn labels(&self) -> &[u16] {
        &self.labels
    }

    /// The pixels of one label.
    pub fn mask(&self, label: u16) -> Mask {
        let inside = self.labels.iter().map(|&here| u8::from(here == label));
        Mask::from_vec(self.width, self.height, inside.collect())
    }

    /// A grey picture whose values are the labels, of eight bits, or of sixteen with more than 255
    /// prompts.
    pub fn to_image(&self) -> DynamicImage {
        let at = |x: u32, y: u32| self.labels[y as usize * self.width as usize + x as usize];
        match u8::try_from(self.prompts) {
            Ok(_) => {
                let grey = |x, y| Luma([at(x, y).min(255) as u8]);
                ImageBuffer::from_fn(self.width, self.height, grey).into()
            }
            Err(_) => {
                let grey = |x, y| Luma([at(x, y)]);
                ImageBuffer::from_fn(self.width, self.height, grey).into()
            }
        }
    }

    /// A picture in the colours of the overlay, black where there is no prompt.
    pub fn to_rgb_image(&self) -> RgbImage {
        RgbImage::from_fn(self.width, self.height, |x, y| {
            match self.labels[y as usize * self.width as usize + x as usize] {
                0 => Rgb([0; 3]),
                label => Rgb(prompt_colour(usize::from(label) - 1)),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn soft(logits: &[f32]) -> SoftMask {
        let size = [logits.len() as u32, 1];
        SoftMask::from_logits(logits, size, size).unwrap()
    }

    #[test]
    fn the_first_of_equals_wins_and_the_background_stays() {
        let map = label_map(&[soft(&[1.0, -1.0, -9.0]), soft(&[1.0, 0.0, -9.0])], 0.3).unwrap();
        assert_eq!(map.labels(), [1, 2, 0]);
        assert_eq!(map.mask(2).to_vec(), [0, 1, 0]);
        assert_eq!(map.to_image().into_bytes(), [1, 2, 0]);
        assert_eq!(map.to_rgb_image().get_pixel(2, 0).0, [0; 3]);
        assert_eq!(map.to_rgb_image().get_pixel(1, 0).0, prompt_colour(1));
    }

    #[test]
    fn a_probability_that_is_no_number_never_wins() {
        let map = label_map(&[soft(&[f32::NAN, 2.0]), soft(&[2.0, 1.0])], 0.3).unwrap();
        assert_eq!(map.labels(), [2, 1]);
    }

    #[test]
    fn masks_that_do_not_fit_are_told() {
        let message = |masks: &[SoftMask]| label_map(masks, 0.5).unwrap_err().to_string();
        assert_eq!(message(&[]), "no mask was given, expected at least one");
        assert_eq!(
            message(&[soft(&[1.0]), soft(&[1.0, 2.0])]),
            "soft masks of 1x1 and of 2x1 do not lie on each other"
        );
    }
}
