//! The types of mask values, and checks of masks, probabilities and logits.

use crate::error::{MetricsError, Result};

mod sealed {
    pub trait Sealed {
        /// 1 inside, 0 outside, and greater for invalid values.
        fn code(self) -> u8;
        /// The value for messages.
        fn value(self) -> f32;
    }
}

/// A value of a mask: 1 inside, 0 outside. Implemented for `u8`, `f32` and `bool`.
pub trait MaskValue: Copy + sealed::Sealed {}

impl sealed::Sealed for u8 {
    fn code(self) -> u8 {
        self
    }

    fn value(self) -> f32 {
        self.into()
    }
}

impl sealed::Sealed for bool {
    fn code(self) -> u8 {
        self.into()
    }

    fn value(self) -> f32 {
        self.into()
    }
}

impl sealed::Sealed for f32 {
    fn code(self) -> u8 {
        u8::from(self == 1.0) | (u8::from(self != 0.0 && self != 1.0) << 1)
    }

    fn value(self) -> f32 {
        self
    }
}

impl MaskValue for u8 {}
impl MaskValue for bool {}
impl MaskValue for f32 {}

/// Checks that all values are 0 or 1.
pub(crate) fn check_binary<T: MaskValue>(mask: &[T], what: &'static str, item: &str) -> Result<()> {
    match mask.iter().position(|value| value.code() > 1) {
        None => Ok(()),
        Some(pixel) => Err(MetricsError::NotBinary {
            item: item.to_owned(),
            what,
            value: mask[pixel].value(),
            pixel,
        }),
    }
}

/// Whether a value is from 0 to 1; false for NaN.
pub(crate) fn is_probability(value: f32) -> bool {
    (0.0..=1.0).contains(&value)
}

/// Checks that all values are probabilities.
pub(crate) fn check_probabilities(values: &[f32], item: &str) -> Result<()> {
    match values.iter().position(|&value| !is_probability(value)) {
        None => Ok(()),
        Some(pixel) => Err(MetricsError::NotAProbability {
            item: item.to_owned(),
            value: values[pixel],
            pixel,
        }),
    }
}

/// Checks that no logit is NaN or infinite.
pub(crate) fn check_finite(logits: &[f32], item: &str) -> Result<()> {
    match logits.iter().position(|value| !value.is_finite()) {
        None => Ok(()),
        Some(pixel) => Err(MetricsError::NotFinite {
            item: item.to_owned(),
            value: logits[pixel],
            pixel,
        }),
    }
}

/// Checks that a threshold is a probability.
pub(crate) fn check_threshold(threshold: f32) -> Result<()> {
    if is_probability(threshold) {
        return Ok(());
    }
    Err(MetricsError::Option {
        field: "threshold",
        message: format!("{threshold}, expected a probability from 0 to 1"),
    })
}

/// Checks that a prediction has as many values as its ground truth.
pub(crate) fn check_length(found: usize, expected: usize, item: &str) -> Result<()> {
    if found == expected {
        return Ok(());
    }
    Err(MetricsError::Shape {
        item: item.to_owned(),
        found: vec![found],
        expected: vec![expected],
    })
}
