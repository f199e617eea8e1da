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
    let mut map = LabelMapBuilder::new(background);
    for mask in masks {
        map.add(mask)?;
    }
    map.finish()
}

/// [`label_map`] of masks that come one after another, so that not all of them have to be kept.
///
/// # Example
///
/// ```
/// use clipseg_model::{LabelMapBuilder, SoftMask};
///
/// let mut map = LabelMapBuilder::new(0.3);
/// for logits in [[2.0, 1.0, -3.0], [0.0, 4.0, -3.0]] {
///     map.add(&SoftMask::from_logits(&logits, [3, 1], [3, 1])?)?;
/// }
/// assert_eq!(map.finish()?.labels(), [1, 2, 0]);
/// # Ok::<(), clipseg_model::ModelError>(())
/// ```
#[derive(Debug, Clone)]
pub struct LabelMapBuilder {
    background: f32,
    masks: u16,
    /// For each pixel the highest probability so far, and the labels.
    so_far: Option<(SoftMask, Vec<u16>)>,
}

impl LabelMapBuilder {
    /// A map without a mask; a pixel stays 0 unless a probability is above `background`.
    pub fn new(background: f32) -> Self {
        Self {
            background,
            masks: 0,
            so_far: None,
        }
    }

    /// Adds the next mask, whose label is its number, counted from 1.
    ///
    /// # Errors
    ///
    /// If it is the 65,536th, or has another size than those before; it is then not added.
    pub fn add(&mut self, mask: &SoftMask) -> Result<()> {
        let Some(label) = self.masks.checked_add(1) else {
            return Err(ModelError::Input(format!(
                "too many masks for one map, expected at most {}",
                u16::MAX
            )));
        };
        match &mut self.so_far {
            None => {
                let above = |&probability: &f32| u16::from(probability > self.background);
                let labels = mask.probabilities().iter().map(above).collect();
                self.so_far = Some((mask.clone(), labels));
            }
            Some((highest, labels)) => {
                highest.check_size(mask)?;
                let pixels = highest.probabilities().iter().zip(mask.probabilities());
                for (here, (&highest, &probability)) in labels.iter_mut().zip(pixels) {
                    if probability > highest && probability > self.background {
                        *here = label;
                    }
                }
                highest.join(mask)?;
            }
        }
        self.masks = label;
        Ok(())
    }

    /// The map.
    ///
    /// # Errors
    ///
    /// If there was no mask.
    pub fn finish(self) -> Result<LabelMap> {
        let Some((highest, labels)) = self.so_far else {
            return Err(ModelError::Input(
                "no mask was given, expected at least one".into(),
            ));
        };
        Ok(LabelMap {
            width: highest.width(),
            height: highest.height(),
            prompts: self.masks.into(),
            labels,
        })
    }
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
    fn a_map_has_room_for_so_many_labels() {
        let mut map = LabelMapBuilder::new(0.3);
        for _ in 0..u16::MAX {
            map.add(&soft(&[-9.0, -9.0])).unwrap();
        }
        let error = map.add(&soft(&[9.0, 9.0])).unwrap_err();
        assert_eq!(
            error.to_string(),
            "too many masks for one map, expected at most 65535"
        );
        let map = map.finish().unwrap();
        assert_eq!(map.labels(), [0, 0]);
        assert!(matches!(map.to_image(), DynamicImage::ImageLuma16(_)));
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
