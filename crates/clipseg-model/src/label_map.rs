//! Label maps: the most probable prompt of each pixel.

use crate::error::{ModelError, Result};
use crate::soft_mask::SoftMask;
use clipseg_data::{Mask, prompt_colour};
use image::{DynamicImage, ImageBuffer, Luma, Rgb, RgbImage};

/// The label of each pixel: the number of its prompt, counted from 1, or 0 for background.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelMap {
    width: u32,
    height: u32,
    prompts: usize,
    labels: Vec<u16>,
}

/// Labels each pixel with its most probable prompt, or as background if no probability is above
/// `background`. Of equally probable prompts, the first is used.
///
/// # Errors
///
/// If there is no mask, there are more than 65,535 masks, or their sizes differ.
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

/// Builds a label map from one mask at a time, so that the masks need not all be in memory.
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
    /// The maximum probability of each pixel so far, and its label.
    so_far: Option<(SoftMask, Vec<u16>)>,
}

impl LabelMapBuilder {
    /// A label map without masks. A pixel is background, 0, unless one of its probabilities is above
    /// `background`.
    pub fn new(background: f32) -> Self {
        Self {
            background,
            masks: 0,
            so_far: None,
        }
    }

    /// Adds a mask. Its label is the number of masks including this one.
    ///
    /// # Errors
    ///
    /// If it is the 65,536th mask, or its size differs from the previous masks; then it is not added.
    pub fn add(&mut self, mask: &SoftMask) -> Result<()> {
        let Some(label) = self.masks.checked_add(1) else {
            return Err(ModelError::Input(format!(
                "too many masks for a label map, expected at most {}",
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
                highest.maximum_with(mask)?;
            }
        }
        self.masks = label;
        Ok(())
    }

    /// Returns the label map.
    ///
    /// # Errors
    ///
    /// If no mask was added.
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

    /// The labels in row-major order.
    pub fn labels(&self) -> &[u16] {
        &self.labels
    }

    /// The binary mask of the pixels with a label.
    pub fn mask(&self, label: u16) -> Mask {
        let inside = self.labels.iter().map(|&here| u8::from(here == label));
        Mask::from_vec(self.width, self.height, inside.collect())
    }

    /// A grayscale picture whose pixel values are the labels. It has 8 bits, or 16 if there are more than
    /// 255 prompts.
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

    /// A picture in the colours of the [`overlay`](crate::overlay), with a black background.
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
    fn equal_probabilities_give_the_first_label() {
        let map = label_map(&[soft(&[1.0, -1.0, -9.0]), soft(&[1.0, 0.0, -9.0])], 0.3).unwrap();
        assert_eq!(map.labels(), [1, 2, 0]);
        assert_eq!(map.mask(2).to_vec(), [0, 1, 0]);
        assert_eq!(map.to_image().into_bytes(), [1, 2, 0]);
        assert_eq!(map.to_rgb_image().get_pixel(2, 0).0, [0; 3]);
        assert_eq!(map.to_rgb_image().get_pixel(1, 0).0, prompt_colour(1));
    }

    #[test]
    fn a_label_map_has_at_most_65535_labels() {
        let mut map = LabelMapBuilder::new(0.3);
        for _ in 0..u16::MAX {
            map.add(&soft(&[-9.0, -9.0])).unwrap();
        }
        let error = map.add(&soft(&[9.0, 9.0])).unwrap_err();
        assert_eq!(
            error.to_string(),
            "too many masks for a label map, expected at most 65535"
        );
        let map = map.finish().unwrap();
        assert_eq!(map.labels(), [0, 0]);
        assert!(matches!(map.to_image(), DynamicImage::ImageLuma16(_)));
    }

    #[test]
    fn invalid_masks_are_errors() {
        let message = |masks: &[SoftMask]| label_map(masks, 0.5).unwrap_err().to_string();
        assert_eq!(message(&[]), "no mask was given, expected at least one");
        assert_eq!(
            message(&[soft(&[1.0]), soft(&[1.0, 2.0])]),
            "soft masks of 1x1 and 2x1 cannot be combined, expected equal sizes"
        );
    }
}
