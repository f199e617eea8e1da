//! Refinement of soft masks: their edges move to the edges of the photograph.

use crate::error::{ModelError, Result};
use crate::soft_mask::SoftMask;
use clipseg_data::{guided_filter, pamr};
use image::RgbImage;

/// A method of refinement.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Refinement {
    /// Pixel-adaptive mask refinement (Araslanov and Roth 2020, arXiv:2005.08104) with dilations 8 and 16.
    /// It needs 64 bytes per pixel, so photographs of more than 33 megapixels are refused.
    Pamr {
        /// How often each probability is replaced by the mean of its neighbours, at least 1; 10 in
        /// NACLIP (Hajimiri et al. 2024, arXiv:2404.08181).
        rounds: u32,
    },
    /// The guided filter (He, Sun and Tang 2013; the fast form, He and Sun 2015, arXiv:1505.00996) with the
    /// colours of the photograph as guide. The time does not grow with the radius.
    Guided {
        /// Half the side of the filter's windows in pixels, at least 1. It should be about as large as the
        /// distance by which the mask's edge misses the photograph's.
        radius: u32,
        /// The variance of colours, for levels from 0 to 1, below which a window counts as flat; at least
        /// 1e-8.
        epsilon: f32,
    },
}

impl Refinement {
    /// PAMR with ten rounds, as in NACLIP.
    pub fn pamr() -> Self {
        Self::Pamr { rounds: 10 }
    }

    /// The guided filter for a CLIPSeg mask of a photograph of `width` × `height` pixels.
    ///
    /// The radius is half a patch of CLIPSeg's grid, which has 22 × 22 patches: one 44th of the longer side.
    /// `epsilon` is 1e-4, a standard deviation of 1 % of the range of levels. `docs/refinement.md` has the measurements
    /// by which both were chosen.
    pub fn guided(width: u32, height: u32) -> Self {
        Self::Guided {
            radius: (width.max(height) / 44).max(1),
            epsilon: 1e-4,
        }
    }
}

impl SoftMask {
    /// Moves the edges of the mask to the edges of the photograph.
    ///
    /// # Errors
    ///
    /// If the photograph and the mask differ in size, or a value of the refinement is out of its range.
    ///
    /// # Example
    ///
    /// ```
    /// use clipseg_model::{Refinement, SoftMask};
    ///
    /// let photo = image::RgbImage::from_fn(64, 48, |x, _| image::Rgb([if x < 32 { 200 } else { 30 }, 40, 90]));
    /// let soft = SoftMask::from_logits(&[4.0, -4.0], [2, 1], [64, 48])?;
    /// let sharp = soft.refine(&photo, Refinement::Guided { radius: 16, epsilon: 1e-4 })?;
    /// assert_eq!((sharp.width(), sharp.height()), (64, 48));
    /// # Ok::<(), clipseg_model::ModelError>(())
    /// ```
    pub fn refine(&self, photo: &RgbImage, refinement: Refinement) -> Result<Self> {
        self.check_photo(photo)?;
        let mut probabilities = match refinement {
            Refinement::Pamr { rounds } => pamr(photo, self.probabilities(), rounds)?,
            Refinement::Guided { radius, epsilon } => {
                guided_filter(photo, self.probabilities(), radius, epsilon)?
            }
        };
        // A linear function of the colours can leave the range of probabilities.
        for probability in &mut probabilities {
            *probability = probability.clamp(0.0, 1.0);
        }
        Self::from_probabilities(probabilities, [self.width(), self.height()])
    }

    /// Checks that a photograph has the size of the mask.
    pub(crate) fn check_photo(&self, photo: &RgbImage) -> Result<()> {
        let (width, height) = photo.dimensions();
        if (width, height) == (self.width(), self.height()) {
            return Ok(());
        }
        Err(ModelError::Input(format!(
            "the photograph has {width}x{height} pixels and the soft mask {}x{}, expected equal sizes",
            self.width(),
            self.height()
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::Rgb;

    /// A red object on green of the same luminance, from column 30 on, and a mask with a blurred edge there.
    fn object() -> (RgbImage, SoftMask) {
        let photo = RgbImage::from_fn(64, 44, |x, _| {
            Rgb(if x < 30 { [20, 112, 20] } else { [200, 20, 20] })
        });
        let ramp = |x: f32| ((x - 22.0) / 16.0).clamp(0.0, 1.0);
        let values = (0..64 * 44).map(|at| ramp((at % 64) as f32 + 0.5));
        let mask = SoftMask::from_probabilities(values.collect(), [64, 44]).unwrap();
        (photo, mask)
    }

    #[test]
    fn edges_become_sharper() {
        let (photo, mask) = object();
        let step = |mask: &SoftMask| {
            let row = &mask.probabilities()[22 * 64..];
            row[30] - row[29]
        };
        assert!(step(&mask) < 0.1);
        let guided = Refinement::Guided {
            radius: 8,
            epsilon: 1e-4,
        };
        for refinement in [guided, Refinement::pamr()] {
            let refined = mask.refine(&photo, refinement).unwrap();
            assert!(step(&refined) > 0.4, "{refinement:?}: {}", step(&refined));
            let mut values = refined.probabilities().iter();
            assert!(values.all(|value| (0.0..=1.0).contains(value)));
        }
    }

    #[test]
    fn the_default_radius_is_half_a_patch() {
        let radius = |width, height| match Refinement::guided(width, height) {
            Refinement::Guided { radius, .. } => radius,
            Refinement::Pamr { .. } => 0,
        };
        assert_eq!(
            [radius(352, 352), radius(300, 4_400), radius(5, 3)],
            [8, 100, 1]
        );
        let (photo, mask) = object();
        assert!(mask.refine(&photo, Refinement::guided(64, 44)).is_ok());
    }

    #[test]
    fn sizes_and_values_are_checked() {
        let (photo, mask) = object();
        let other = RgbImage::new(44, 64);
        let error = mask.refine(&other, Refinement::pamr()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the photograph has 44x64 pixels and the soft mask 64x44, expected equal sizes"
        );
        for bad in [
            Refinement::Pamr { rounds: 0 },
            Refinement::Guided {
                radius: 0,
                epsilon: 0.1,
            },
            Refinement::Guided {
                radius: 4,
                epsilon: f32::NAN,
            },
        ] {
            let message = mask.refine(&photo, bad).unwrap_err().to_string();
            assert!(message.contains("expected"), "{bad:?}: {message}");
        }
    }
}
