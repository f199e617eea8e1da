//! Options of captioned pictures.

use crate::error::{DataError, Result};

/// How captioned pictures are made from annotated pictures.
#[derive(Debug, Clone, PartialEq)]
pub struct CaptionOptions {
    /// Side of the pictures in pixels. Entire pictures are resized to it without keeping the aspect ratio
    /// (bilinear).
    pub side: u32,
    /// Number of consecutive samples of one picture in a batch. More than one gives hard negatives: objects
    /// with the same light and background. Default: 4.
    pub per_picture: usize,
    /// Fraction of the samples that are crops around one object, if objects are annotated. Default: 0.6.
    pub crops: f32,
    /// Fraction of the captions with a prompt template such as "a photo of a …". Default: 0.2.
    pub templates: f32,
    /// Maximum number of phrases in the caption of an entire picture. Default: 4.
    pub phrases: usize,
    /// Minimum size of a random crop of an entire picture, as a fraction of its sides. The described objects
    /// always stay within the crop. Default: 0.8.
    pub crop: f32,
    /// Fraction of the pictures that are flipped horizontally, which also swaps "left" and "right" in the
    /// caption. Default: 0.5.
    pub flip: f32,
    /// Maximum change of brightness, contrast and saturation, from 0 to 1. Samples whose caption, or the text
    /// of a region, contains a colour are not changed. Default: 0.2.
    pub colour_jitter: f32,
    /// Maximum number of regions of an entire picture, each the bounding box of an object with a text about
    /// it. Every object gets a region before one gets a second, with another text. A picture has fewer
    /// regions if its objects have fewer texts. Default: 0.
    pub regions: usize,
    /// Random seed. Default: 0.
    pub seed: u64,
}

impl CaptionOptions {
    /// Default options at a size.
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
            regions: 0,
            seed: 0,
        }
    }

    /// Checks all values.
    ///
    /// # Errors
    ///
    /// [`DataError::Input`] with the first invalid field.
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
        if self.regions > 0 && self.crops >= 1.0 {
            let message = format!(
                "{}, expected 0: regions belong to entire pictures, and `crops` is 1",
                self.regions
            );
            return fail("regions", message);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_options_are_reported() {
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
        let regions = message(|o| (o.regions, o.crops) = (5, 1.0));
        assert!(
            regions.starts_with("field `regions`: 5, expected 0"),
            "{regions}"
        );
    }
}
