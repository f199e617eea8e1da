//! Soft masks: one probability for each pixel of a photograph.

use crate::error::{ModelError, Result};
use clipseg_data::{Instance, Mask, resize_plane};

/// The probability of each pixel that it belongs to the prompt.
#[derive(Debug, Clone, PartialEq)]
pub struct SoftMask {
    width: u32,
    height: u32,
    probabilities: Vec<f32>,
}

impl SoftMask {
    /// Resizes logits bilinearly and applies the sigmoid. `from` and `to` are `[width, height]` in pixels.
    ///
    /// Upsampling is PyTorch's with `align_corners=False`; downsampling is antialiased.
    ///
    /// # Errors
    ///
    /// If the number of logits is not `from[0] · from[1]`, a width or height is zero, or a logit is NaN or
    /// infinite.
    pub fn from_logits(logits: &[f32], from: [u32; 2], to: [u32; 2]) -> Result<Self> {
        let expected = from[0] as usize * from[1] as usize;
        if logits.len() != expected || expected == 0 || to[0] == 0 || to[1] == 0 {
            return Err(ModelError::Input(format!(
                "cannot resize {} logits from {}x{} to {}x{}, expected one logit for each pixel and no side of 0",
                logits.len(),
                from[0],
                from[1],
                to[0],
                to[1]
            )));
        }
        check_finite(logits)?;
        let mut probabilities = if from == to {
            logits.to_vec()
        } else {
            resize_plane(logits, from, to)?
        };
        for value in &mut probabilities {
            *value = 1.0 / (1.0 + (-*value).exp());
        }
        Ok(Self {
            width: to[0],
            height: to[1],
            probabilities,
        })
    }

    /// Creates a soft mask from one probability per pixel, row by row. `size` is `[width, height]` in pixels.
    ///
    /// # Errors
    ///
    /// If the number of probabilities is not `width · height`, the width or height is zero, or a value is NaN
    /// or not from 0 to 1.
    pub fn from_probabilities(probabilities: Vec<f32>, size: [u32; 2]) -> Result<Self> {
        let [width, height] = size;
        let expected = width as usize * height as usize;
        if probabilities.len() != expected || expected == 0 {
            return Err(ModelError::Input(format!(
                "{} probabilities for a soft mask of {width}x{height}, expected one for each pixel and no side \
                 of 0",
                probabilities.len()
            )));
        }
        let invalid = |value: &&f32| !(0.0..=1.0).contains(*value);
        if let Some(value) = probabilities.iter().find(invalid) {
            return Err(ModelError::Input(format!(
                "a soft mask has the value {value}, expected probabilities from 0 to 1"
            )));
        }
        Ok(Self {
            width,
            height,
            probabilities,
        })
    }

    /// Width in pixels.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Height in pixels.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// The probabilities in row-major order.
    pub fn probabilities(&self) -> &[f32] {
        &self.probabilities
    }

    /// The highest probability.
    pub fn highest(&self) -> f32 {
        self.probabilities.iter().copied().fold(0.0, f32::max)
    }

    /// The fraction of pixels whose probability is above a threshold.
    pub fn coverage(&self, threshold: f32) -> f64 {
        let inside = self
            .probabilities
            .iter()
            .filter(|&&p| p > threshold)
            .count();
        inside as f64 / self.probabilities.len() as f64
    }

    /// Suppresses what other masks cover: each probability is multiplied by one minus the maximum
    /// probability of the other masks at that pixel.
    ///
    /// # Errors
    ///
    /// If the sizes differ.
    pub fn except(&self, others: &[Self]) -> Result<Self> {
        let mut mask = self.clone();
        if let Some((first, rest)) = others.split_first() {
            let mut maximum = first.clone();
            for other in rest {
                maximum.maximum_with(other)?;
            }
            mask.suppress(&maximum)?;
        }
        Ok(mask)
    }

    /// Replaces each probability by the maximum of both masks.
    pub(crate) fn maximum_with(&mut self, other: &Self) -> Result<()> {
        self.check_size(other)?;
        for (value, &other) in self.probabilities.iter_mut().zip(&other.probabilities) {
            *value = value.max(other);
        }
        Ok(())
    }

    /// Replaces each probability by the minimum of both masks.
    pub(crate) fn minimum_with(&mut self, other: &Self) -> Result<()> {
        self.check_size(other)?;
        for (value, &other) in self.probabilities.iter_mut().zip(&other.probabilities) {
            *value = value.min(other);
        }
        Ok(())
    }

    /// Replaces each probability by one minus itself.
    pub(crate) fn complement(mut self) -> Self {
        for value in &mut self.probabilities {
            *value = 1.0 - *value;
        }
        self
    }

    /// Multiplies each probability by one minus the other mask's.
    pub(crate) fn suppress(&mut self, other: &Self) -> Result<()> {
        self.check_size(other)?;
        for (value, &other) in self.probabilities.iter_mut().zip(&other.probabilities) {
            *value *= 1.0 - other;
        }
        Ok(())
    }

    pub(crate) fn check_size(&self, other: &Self) -> Result<()> {
        if (self.width, self.height) == (other.width, other.height) {
            return Ok(());
        }
        Err(ModelError::Input(format!(
            "soft masks of {}x{} and {}x{} cannot be combined, expected equal sizes",
            self.width, self.height, other.width, other.height
        )))
    }

    /// Splits a mask of the same size into its connected parts by [`Mask::instances`]. The score of a part is the mean
    /// probability of its pixels.
    ///
    /// # Errors
    ///
    /// If the sizes differ, or the mask has 2³² or more pixels.
    pub fn instances(&self, mask: &Mask) -> Result<Vec<Instance>> {
        self.check_mask(mask)?;
        Ok(mask.instances(&self.probabilities)?)
    }

    /// The mean probability of the pixels of a mask of the same size, row by row; `None` for an empty mask.
    ///
    /// # Errors
    ///
    /// If the sizes differ.
    pub fn mean_inside(&self, mask: &Mask) -> Result<Option<f64>> {
        self.check_mask(mask)?;
        let pixels = self.probabilities.iter().zip(mask.pixels());
        let (mut sum, mut count) = (0.0, 0usize);
        for (&probability, _) in pixels.filter(|&(_, inside)| inside) {
            sum += f64::from(probability);
            count += 1;
        }
        Ok((count > 0).then(|| sum / count as f64))
    }

    /// Checks that a mask has the size of this soft mask.
    pub(crate) fn check_mask(&self, mask: &Mask) -> Result<()> {
        if (mask.width(), mask.height()) != (self.width, self.height) {
            return Err(ModelError::Input(format!(
                "the mask has {}x{} pixels and the soft mask {}x{}, expected equal sizes",
                mask.width(),
                mask.height(),
                self.width,
                self.height
            )));
        }
        Ok(())
    }

    /// The binary mask of the pixels whose probability is above a threshold.
    pub fn threshold(&self, threshold: f32) -> Mask {
        let inside = self
            .probabilities
            .iter()
            .map(|&p| u8::from(p > threshold))
            .collect();
        Mask::from_vec(self.width, self.height, inside)
    }
}

/// Checks that no logit is NaN or infinite.
pub(crate) fn check_finite(logits: &[f32]) -> Result<()> {
    match logits.iter().filter(|logit| !logit.is_finite()).count() {
        0 => Ok(()),
        count => Err(ModelError::NotFinite {
            count,
            of: logits.len(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nan_and_infinite_logits_are_errors() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for to in [[2, 2], [5, 3], [1, 1]] {
                let error = SoftMask::from_logits(&[0.0, bad, 1.0, bad], [2, 2], to).unwrap_err();
                let message = error.to_string();
                assert!(
                    message.starts_with("2 of 4 logits are NaN or infinite"),
                    "{message}"
                );
            }
        }
        // The largest finite numbers are accepted.
        let mask = SoftMask::from_logits(&[f32::MAX, f32::MIN], [2, 1], [2, 1]).unwrap();
        assert_eq!(mask.probabilities(), [1.0, 0.0]);
    }

    #[test]
    fn probabilities_are_checked() {
        let mask = SoftMask::from_probabilities(vec![0.0, 0.5, 1.0], [3, 1]).unwrap();
        assert_eq!((mask.width(), mask.height()), (3, 1));
        assert_eq!(mask.probabilities(), [0.0, 0.5, 1.0]);
        for bad in [f32::NAN, f32::INFINITY, -0.1, 1.1] {
            let error = SoftMask::from_probabilities(vec![0.5, bad], [2, 1]).unwrap_err();
            let expected =
                format!("a soft mask has the value {bad}, expected probabilities from 0 to 1");
            assert_eq!(error.to_string(), expected);
        }
        for (count, size) in [(3, [2, 2]), (0, [0, 4])] {
            let error = SoftMask::from_probabilities(vec![0.5; count], size).unwrap_err();
            assert!(
                error.to_string().contains("expected one for each pixel"),
                "{error}"
            );
        }
    }

    #[test]
    fn other_masks_are_suppressed() {
        let soft = |logits: &[f32]| SoftMask::from_logits(logits, [2, 1], [2, 1]).unwrap();
        let mask = soft(&[0.0, 9.0])
            .except(&[soft(&[-30.0, 0.0]), soft(&[-30.0, -30.0])])
            .unwrap();
        let [first, second] = mask.probabilities() else {
            panic!("expected two pixels")
        };
        assert!((first - 0.5).abs() < 1e-6 && (second - 0.5).abs() < 1e-3);
    }

    #[test]
    fn a_pixel_is_inside_if_its_probability_is_above_the_threshold() {
        let soft = SoftMask::from_logits(&[0.0, 3.0, -3.0, 1.0], [4, 1], [4, 1]).unwrap();
        assert_eq!(soft.probabilities()[0], 0.5);
        // A probability equal to the threshold is not above it.
        assert_eq!(soft.coverage(0.5), 0.5);
        assert_eq!(soft.threshold(0.5).to_vec(), [0, 1, 0, 1]);
        assert_eq!(soft.coverage(0.49), 0.75);
        assert_eq!(soft.threshold(0.49).to_vec(), [1, 1, 0, 1]);
        let expected = 1.0 / (1.0 + (-3f32).exp());
        assert!((soft.highest() - expected).abs() < 1e-6);
    }

    #[test]
    fn scores_are_mean_probabilities() {
        let soft = SoftMask::from_probabilities(vec![0.5, 0.25, 0.75, 1.0], [4, 1]).unwrap();
        let mask = Mask::from_vec(4, 1, vec![1, 0, 1, 1]);
        let parts = soft.instances(&mask).unwrap();
        let figures: Vec<_> = parts.iter().map(|part| (part.area, part.score)).collect();
        assert_eq!(figures, [(2, 0.875), (1, 0.5)]);
        assert_eq!(soft.mean_inside(&mask).unwrap(), Some(0.75));
        assert_eq!(soft.mean_inside(&Mask::new(4, 1)).unwrap(), None);
        for error in [
            soft.instances(&Mask::new(1, 4)).map(|_| ()),
            soft.mean_inside(&Mask::new(1, 4)).map(|_| ()),
        ] {
            assert_eq!(
                error.unwrap_err().to_string(),
                "the mask has 1x4 pixels and the soft mask 4x1, expected equal sizes"
            );
        }
    }

    #[test]
    fn invalid_sizes_are_errors() {
        let error = SoftMask::from_logits(&[0.0; 5], [2, 2], [4, 4]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot resize 5 logits from 2x2 to 4x4, expected one logit for each pixel and no side of 0"
        );
        assert!(SoftMask::from_logits(&[0.0; 4], [2, 2], [0, 4]).is_err());
    }
}
