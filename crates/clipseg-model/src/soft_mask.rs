//! A probability for each pixel of a photograph.

use crate::error::{ModelError, Result};
use clipseg_data::{Mask, resize_plane};

/// How probable it is that a pixel belongs to what a prompt names.
#[derive(Debug, Clone, PartialEq)]
pub struct SoftMask {
    width: u32,
    height: u32,
    probabilities: Vec<f32>,
}

impl SoftMask {
    /// Resizes logits bilinearly (PyTorch's `align_corners=False` where they grow, antialiased where
    /// they shrink) and takes their sigmoid.
    ///
    /// # Errors
    ///
    /// If there are not `from[0] · from[1]` logits, a size is zero, or a logit is NaN or infinite.
    pub fn from_logits(logits: &[f32], from: [u32; 2], to: [u32; 2]) -> Result<Self> {
        let expected = from[0] as usize * from[1] as usize;
        if logits.len() != expected || expected == 0 || to[0] == 0 || to[1] == 0 {
            return Err(ModelError::Input(format!(
                "{} logits of {}x{} cannot become a mask of {}x{}",
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

    /// Width in pixels.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Height in pixels.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// The probabilities, row by row.
    pub fn probabilities(&self) -> &[f32] {
        &self.probabilities
    }

    /// The highest probability.
    pub fn highest(&self) -> f32 {
        self.probabilities.iter().copied().fold(0.0, f32::max)
    }

    /// The share of pixels above a threshold, from 0 to 1.
    pub fn coverage(&self, threshold: f32) -> f64 {
        let inside = self
            .probabilities
            .iter()
            .filter(|&&p| p > threshold)
            .count();
        inside as f64 / self.probabilities.len() as f64
    }

    /// What is left of a mask when what others find is taken away: each probability times one minus
    /// the highest of theirs.
    ///
    /// # Errors
    ///
    /// If the sizes differ.
    pub fn except(&self, others: &[Self]) -> Result<Self> {
        let mut left = self.clone();
        if let Some((first, rest)) = others.split_first() {
            let mut found = first.clone();
            for other in rest {
                found.join(other)?;
            }
            left.take_away(&found)?;
        }
        Ok(left)
    }

    /// Raises each probability to another mask's where that is higher.
    pub(crate) fn join(&mut self, other: &Self) -> Result<()> {
        self.check_size(other)?;
        for (value, &other) in self.probabilities.iter_mut().zip(&other.probabilities) {
            *value = value.max(other);
        }
        Ok(())
    }

    /// Multiplies each probability by one minus another mask's.
    pub(crate) fn take_away(&mut self, other: &Self) -> Result<()> {
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
            "soft masks of {}x{} and of {}x{} do not lie on each other",
            self.width, self.height, other.width, other.height
        )))
    }

    /// The pixels whose probability is above a threshold.
    pub fn threshold(&self, threshold: f32) -> Mask {
        let inside = self
            .probabilities
            .iter()
            .map(|&p| u8::from(p > threshold))
            .collect();
        Mask::from_vec(self.width, self.height, inside)
    }
}

/// That a probability can be made of every logit.
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
    fn logits_that_are_not_finite_are_errors() {
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
        // The largest number that there is, is one.
        let mask = SoftMask::from_logits(&[f32::MAX, f32::MIN], [2, 1], [2, 1]).unwrap();
        assert_eq!(mask.probabilities(), [1.0, 0.0]);
    }

    #[test]
    fn what_others_find_is_taken_away() {
        let soft = |logits: &[f32]| SoftMask::from_logits(logits, [2, 1], [2, 1]).unwrap();
        let left = soft(&[0.0, 9.0])
            .except(&[soft(&[-30.0, 0.0]), soft(&[-30.0, -30.0])])
            .unwrap();
        let [first, second] = left.probabilities() else {
            panic!("two pixels")
        };
        assert!((first - 0.5).abs() < 1e-6 && (second - 0.5).abs() < 1e-3);
    }

    #[test]
    fn inside_is_what_is_above_the_threshold() {
        let soft = SoftMask::from_logits(&[0.0, 3.0, -3.0, 1.0], [4, 1], [4, 1]).unwrap();
        assert_eq!(soft.probabilities()[0], 0.5);
        // Not what is at it.
        assert_eq!(soft.coverage(0.5), 0.5);
        assert_eq!(soft.threshold(0.5).to_vec(), [0, 1, 0, 1]);
        assert_eq!(soft.coverage(0.49), 0.75);
        assert_eq!(soft.threshold(0.49).to_vec(), [1, 1, 0, 1]);
        let expected = 1.0 / (1.0 + (-3f32).exp());
        assert!((soft.highest() - expected).abs() < 1e-6);
    }

    #[test]
    fn sizes_that_do_not_fit_are_told() {
        let error = SoftMask::from_logits(&[0.0; 5], [2, 2], [4, 4]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "5 logits of 2x2 cannot become a mask of 4x4"
        );
        assert!(SoftMask::from_logits(&[0.0; 4], [2, 2], [0, 4]).is_err());
    }
}
