//! How captioned pictures are made.

use crate::error::{DataError, Result};

/// How captioned pictures are made of pictures and what is known about them.
#[derive(Debug, Clone, PartialEq)]
pub struct CaptionOptions {
    /// Side of the pictures in pixels; whole pictures are squashed to it, bilinear.
    pub side: u32,
    /// Samples of one picture, which stand next to each other in a batch. More than one makes hard
    /// negatives: objects of the same light and ground. Default: 4.
    pub per_picture: usize,
    /// Share of the samples that show one object and some of what is around it, where objects are
    /// known. Default: 0.6.
    pub crops: f32,
    /// Share of the captions that are put into a sentence such as "a photo of a …". Default: 0.2.
    pub templates: f32,
    /// Most phrases that are joined to the caption of a whole picture. Default: 4.
    pub phrases: usize,
    /// The smallest share of a whole picture's sides that is seen; what the caption names always is.
    /// Default: 0.8.
    pub crop: f32,
    /// Share of the pictures that are mirrored, and with them "left" and "right". Default: 0.5.
    pub flip: f32,
    /// How far brightness, contrast and saturation may change, from 0 to 1. Captions that name a
    /// colour are spared. Default: 0.2.
    pub colour_jitter: f32,
    /// Decides everything random. Default: 0.
    pub seed: u64,
}

impl CaptionOptions {
    /// The defaults at a size.
    pub fn new(side: u32) -> Self {
        Self {
            side,
            per_picture: 4,
            crops: 0.6,
            templates: 0.2,
            phrases: 4,
            crop: 0.8,
            flip: 0.5,
            colour_jitter: 0.2,
            seed: 0,
        }
    }

    /// Checks every number.
    ///
    /// # Errors
    ///
    /// [`DataError::Input`] with the first field that cannot be used.
    pub fn validate(&self) -> Result<()> {
        let fail = |field: &str, message: String| {
            Err(DataError::Input(format!("field `{field}`: {message}")))
        };
        if !(32..=4_096).contains(&self.side) {
            return fail("side", format!("{}, expected 32 to 4096", self.side));
        }
        for (field, value) in [("per_picture", self.per_picture), ("phrases", self.phrases)] {
            if value == 0 {
                return fail(field, "0, expected at least 1".into());
            }
        }
        for (field, share) in [
            ("crops", self.crops),
            ("templates", self.templates),
            ("flip", self.flip),
            ("colour_jitter", self.colour_jitter),
        ] {
            if !(0.0..=1.0).contains(&share) {
                return fail(field, format!("{share}, expected 0 to 1"));
            }
        }
        if !(self.crop > 0.0 && self.crop <= 1.0) {
            let message = format!("{}, expected more than 0 and at most 1", self.crop);
            return fail("crop", message);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_numbers_are_named() {
        let message = |change: fn(&mut CaptionOptions)| {
            let mut options = CaptionOptions::new(64);
            options.validate().unwrap();
            change(&mut options);
            options.validate().unwrap_err().to_string()
        };
        assert_eq!(
            message(|o| o.crops = 1.5),
            "field `crops`: 1.5, expected 0 to 1"
        );
        assert!(message(|o| o.side = 8).contains("field `side`: 8"));
        assert!(message(|o| o.per_picture = 0).contains("field `per_picture`: 0"));
        assert!(message(|o| o.crop = 0.0).contains("field `crop`: 0"));
        assert!(message(|o| o.flip = f32::NAN).contains("field `flip`: NaN"));
    }
}
