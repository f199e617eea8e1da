//! Options of segmentation by a CLIP alone.

use super::class::{DenseClass, check_names};
use crate::error::{ModelError, Result};
use crate::prompt::check_templates;
use clipseg_clip::VisionConfig;

/// The largest resized photograph in pixels: one plane of similarities takes 64 MiB.
const MOST_PIXELS: u64 = 1 << 24;

/// Options of [`DenseClip`](crate::DenseClip). The defaults are those of NACLIP (Hajimiri et al. 2024,
/// arXiv:2404.08181), but for the sentences, of which there are none by default.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct DenseOptions {
    /// Shorter side in pixels to which photographs are resized. Default: one and a half windows, 336 for a CLIP of
    /// 224 pixels.
    pub size: Option<u32>,
    /// Side of the square windows in pixels, a multiple of the patch size. Default: the size of the pictures that
    /// CLIP was trained on.
    pub window: Option<u32>,
    /// Distance in pixels between windows, at most the window's side. Default: half a window.
    pub stride: Option<u32>,
    /// Sentences with `{}` in place of a name, whose embeddings are averaged. Default: none, the name alone.
    pub templates: Vec<String>,
    /// Names of what belongs to no class, such as `sky`. They take part in the softmax. Default: none.
    pub background: Vec<String>,
    /// Standard deviation in patches of the Gaussian that favours near patches. Default: 5.
    pub deviation: f32,
    /// Factor on the cosine similarities before the softmax. Default: 40.
    pub scale: f32,
    /// Rounds of PAMR (Araslanov and Roth 2020, arXiv:2005.08104) over the similarities at the resized size;
    /// NACLIP uses 10. Default: no PAMR. [`SoftMask::refine`](crate::SoftMask::refine) refines the resulting
    /// masks instead.
    pub pamr_rounds: Option<u32>,
}

impl Default for DenseOptions {
    fn default() -> Self {
        Self {
            size: None,
            window: None,
            stride: None,
            templates: Vec::new(),
            background: Vec::new(),
            deviation: 5.0,
            scale: 40.0,
            pamr_rounds: None,
        }
    }
}

/// The sizes with which a photograph is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sizes {
    pub(super) shorter_side: u32,
    pub(super) window: u32,
    pub(super) stride: u32,
}

impl DenseOptions {
    /// Sets the shorter side in pixels to which photographs are resized.
    #[must_use]
    pub fn with_size(mut self, pixels: u32) -> Self {
        self.size = Some(pixels);
        self
    }

    /// Sets the side of the windows in pixels. The stride stays half a window unless it is set too.
    #[must_use]
    pub fn with_window(mut self, pixels: u32) -> Self {
        self.window = Some(pixels);
        self
    }

    /// Sets the distance between windows in pixels.
    #[must_use]
    pub fn with_stride(mut self, pixels: u32) -> Self {
        self.stride = Some(pixels);
        self
    }

    /// Sets the sentences, each with `{}` in place of the name.
    #[must_use]
    pub fn with_templates<S: Into<String>>(
        mut self,
        templates: impl IntoIterator<Item = S>,
    ) -> Self {
        self.templates = templates.into_iter().map(Into::into).collect();
        self
    }

    /// Sets the names of the background.
    #[must_use]
    pub fn with_background<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        self.background = names.into_iter().map(Into::into).collect();
        self
    }

    /// Sets the rounds of PAMR over the similarities.
    #[must_use]
    pub fn with_pamr_rounds(mut self, rounds: u32) -> Self {
        self.pamr_rounds = Some(rounds);
        self
    }

    /// Checks everything that depends on no model: templates, names, and numbers.
    ///
    /// # Errors
    ///
    /// For the first option that is invalid; the message names it.
    pub fn validate(&self) -> Result<()> {
        check_templates(&self.templates)?;
        if let Some(index) = self.background.iter().position(|n| n.trim().is_empty()) {
            let number = index + 1;
            return Err(ModelError::Input(format!(
                "name {number} of the background is empty"
            )));
        }
        for (value, name) in [(self.deviation, "deviation"), (self.scale, "scale")] {
            if !(value > 0.0 && value <= 1000.0) {
                return Err(ModelError::Input(format!(
                    "`{name}` is {value}, expected a number above 0 and at most 1000"
                )));
            }
        }
        if self.pamr_rounds == Some(0) {
            return Err(ModelError::Input(
                "`pamr_rounds` is 0, expected at least 1".into(),
            ));
        }
        Ok(())
    }

    /// Checks classes together with the background.
    ///
    /// # Errors
    ///
    /// If two names are equal, or there is one class and no background.
    pub fn check_classes(&self, classes: &[DenseClass]) -> Result<()> {
        check_names(classes, &self.background)
    }

    /// Checks the sizes for a CLIP with this vision tower.
    ///
    /// # Errors
    ///
    /// If the window is not a multiple of the patch size, the photograph would be resized to less than a window, or
    /// the stride is 0 or larger than a window.
    pub fn check_sizes(&self, vision: &VisionConfig) -> Result<()> {
        self.sizes(vision).map(|_| ())
    }

    /// The sizes for a CLIP with this vision tower.
    pub(super) fn sizes(&self, vision: &VisionConfig) -> Result<Sizes> {
        let patch = vision.patch_size as u32;
        let window = self.window.unwrap_or(vision.image_size as u32);
        if window == 0 || !window.is_multiple_of(patch) {
            return Err(ModelError::Input(format!(
                "`window` is {window}, expected a multiple of the patch size {patch}"
            )));
        }
        let shorter_side = self.size.unwrap_or(window.saturating_add(window / 2));
        if shorter_side < window {
            return Err(ModelError::Input(format!(
                "`size` is {shorter_side}, expected at least the window's side of {window}"
            )));
        }
        let stride = self.stride.unwrap_or((window / 2).max(1));
        if stride == 0 || stride > window {
            return Err(ModelError::Input(format!(
                "`stride` is {stride}, expected 1 to the window's side of {window}"
            )));
        }
        Ok(Sizes {
            shorter_side,
            window,
            stride,
        })
    }
}

impl Sizes {
    /// Width and height of a resized photograph.
    pub(super) fn resized(&self, width: u32, height: u32) -> Result<[u32; 2]> {
        let short = u64::from(width.min(height));
        if short == 0 {
            return Err(ModelError::Input(format!(
                "a picture of {width}x{height} has no pixels"
            )));
        }
        let [width_to, height_to] = [width, height].map(|side| {
            let edge = u64::from(self.shorter_side);
            (edge * u64::from(side) + short / 2) / short
        });
        if width_to * height_to > MOST_PIXELS {
            return Err(ModelError::Input(format!(
                "a picture of {width}x{height} would be resized to {width_to}x{height_to}, expected at most \
                 {MOST_PIXELS} pixels; choose a smaller `size`"
            )));
        }
        Ok([width_to as u32, height_to as u32])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// That of the published ViT-B/16.
    fn vision() -> VisionConfig {
        clipseg_clip::ClipConfig::vit_b_16().vision_config
    }

    #[test]
    fn sizes_depend_on_the_model_unless_given() {
        let sizes = |options: DenseOptions| {
            let sizes = options.sizes(&vision()).unwrap();
            [sizes.shorter_side, sizes.window, sizes.stride]
        };
        assert_eq!(sizes(DenseOptions::default()), [336, 224, 112]);
        let small = DenseOptions::default().with_window(112);
        assert_eq!(sizes(small.clone()), [168, 112, 56]);
        assert_eq!(sizes(small.with_size(448).with_stride(30)), [448, 112, 30]);
        let sizes = DenseOptions::default().sizes(&vision()).unwrap();
        assert_eq!(sizes.resized(640, 480).unwrap(), [448, 336]);
        assert_eq!(sizes.resized(3, 2).unwrap(), [504, 336]);
    }

    #[test]
    fn invalid_options_are_named() {
        let message = |options: DenseOptions| {
            let checked = options.validate().and_then(|()| options.sizes(&vision()));
            checked.unwrap_err().to_string()
        };
        let default = DenseOptions::default;
        for (options, expected) in [
            (default().with_templates(["a"]), "the template `a`"),
            (
                default().with_background(["sky", " "]),
                "name 2 of the background",
            ),
            (default().with_pamr_rounds(0), "`pamr_rounds` is 0"),
            (default().with_window(100), "`window` is 100"),
            (default().with_window(0), "`window` is 0"),
            (default().with_size(200), "`size` is 200"),
            (default().with_stride(0), "`stride` is 0"),
            (default().with_stride(225), "`stride` is 225"),
        ] {
            let message = message(options);
            assert!(message.starts_with(expected), "{message}");
        }
        for bad in [0.0, -1.0, f32::NAN, f32::INFINITY] {
            let options = DenseOptions {
                scale: bad,
                ..default()
            };
            assert!(message(options).starts_with("`scale` is"));
            let options = DenseOptions {
                deviation: bad,
                ..default()
            };
            assert!(message(options).starts_with("`deviation` is"));
        }
        let sizes = default().sizes(&vision()).unwrap();
        assert!(sizes.resized(0, 5).is_err());
        let message = sizes.resized(2, 40_000).unwrap_err().to_string();
        assert!(message.contains("choose a smaller `size`"), "{message}");
    }
}
