//! Options of samples.

use super::picture::Preprocessing;
use crate::error::{DataError, Result};
use crate::mask::Mask;
use crate::raster::RasterRule;
use serde::{Deserialize, Serialize};

/// The prompt templates of CLIPSeg's training, `shuffle+` in its configuration files (Lüddecke and Ecker
/// 2022, arXiv:2112.10003). CLIPSeg is evaluated with phrases without a template.
pub const TEMPLATES: [&str; 9] = [
    "a photo of a {}.",
    "a photograph of a {}.",
    "an image of a {}.",
    "{}.",
    "a cropped photo of a {}.",
    "a good photo of a {}.",
    "a photo of one {}.",
    "a bad photo of a {}.",
    "a photo of the {}.",
];

/// How masks are drawn at the size of samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum MaskScaling {
    /// Polygons are filled at the size of the picture, and the mask is resized by the nearest pixel
    /// ([`Mask::resize`]).
    #[default]
    Resize,
    /// Polygons are filled at the size of the picture, and the mask is resized by PyTorch's `nearest`, as in
    /// CLIPSeg's own code ([`Mask::resize_floor`]).
    #[serde(rename = "pytorch_nearest")]
    PyTorchNearest,
    /// Polygons are scaled and then filled, so that thin parts are kept.
    Polygons,
}

impl MaskScaling {
    /// Resizes a mask that is already drawn.
    pub(super) fn resize(self, mask: &Mask, width: u32, height: u32) -> Mask {
        match self {
            Self::PyTorchNearest => mask.resize_floor(width, height),
            Self::Resize | Self::Polygons => mask.resize(width, height),
        }
    }
}

/// Which phrases may replace another as a negative, whose mask is empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum NegativeRule {
    /// A phrase of another picture whose object name shares no word with any phrase of this picture. It is
    /// the first such of 50 random ones; if there is none, the phrase is not replaced.
    #[default]
    NotShown,
    /// Any other text of the selection with equal probability, whatever the picture shows. This is
    /// CLIPSeg's own rule.
    Any,
}

/// Options of samples. By default there is no random augmentation.
///
/// ```
/// use clipseg_data::{NegativeRule, SampleOptions, TEMPLATES};
///
/// // The options of CLIPSeg's training.
/// let options = SampleOptions {
///     crop: Some(0.05),
///     negatives: 0.2,
///     negative_rule: NegativeRule::Any,
///     templates: TEMPLATES.map(str::to_owned).to_vec(),
///     support: true,
///     ..SampleOptions::clipseg(352)
/// };
/// # assert!(options.validate().is_ok());
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SampleOptions {
    /// Width of pictures and masks in pixels. The aspect ratio is not kept.
    pub width: u32,
    /// Height of pictures and masks in pixels.
    pub height: u32,
    /// How pictures are resized. Default: like Hugging Face's processor.
    #[serde(default)]
    pub preprocessing: Preprocessing,
    /// Which pixels a polygon covers. Default: the rule of PhraseCut's evaluator.
    #[serde(default)]
    pub rule: RasterRule,
    /// How masks are drawn at the size of samples. Default: resized by the nearest pixel.
    #[serde(default)]
    pub mask_scaling: MaskScaling,
    /// Crops the picture to a random square with its shorter side. Of up to 50 random squares, the first is
    /// used whose part of the mask covers more than this fraction of the entire picture; if there is none,
    /// the one with the largest part. CLIPSeg uses 0.05. Phrases that share a picture share the square, which
    /// is the first that satisfies all of them, or else the one that satisfies most. Default: no crop.
    #[serde(default)]
    pub crop: Option<f32>,
    /// Probability of a horizontal flip, which also swaps `left` and `right` in the phrases. Default: 0.
    #[serde(default)]
    pub flip: f32,
    /// Brightness, contrast and saturation are changed by random factors between `1 - jitter` and
    /// `1 + jitter`, as in torchvision's `ColorJitter`. Default: 0.
    #[serde(default)]
    pub colour_jitter: f32,
    /// Prompt templates with `{}` for the phrase, such as [`TEMPLATES`]. One is drawn for each phrase.
    /// Default: none; the phrase is used alone.
    #[serde(default)]
    pub templates: Vec<String>,
    /// Probability that a phrase is replaced by a negative with an empty mask. CLIPSeg uses 0.2. The
    /// negatives are defined by [`negative_rule`](Self::negative_rule). Default: 0.
    #[serde(default)]
    pub negatives: f32,
    /// Which phrases are used as negatives. Default: those that do not describe the picture.
    #[serde(default)]
    pub negative_rule: NegativeRule,
    /// Whether each sample has a support picture: another picture with the same phrase, for visual prompts.
    /// Default: no.
    #[serde(default)]
    pub support: bool,
    /// Random seed. Default: 0.
    #[serde(default)]
    pub seed: u64,
    /// Whether phrases with an empty mask, by [`rule`](Self::rule) at the recorded size, are left out and
    /// counted ([`left_out`](super::PhraseCutDataset::left_out)). This draws all masks once. Default: no.
    #[serde(default)]
    pub drop_empty: bool,
    /// Maximum size in bytes of the cache of pictures and masks in memory. With [`crop`](Self::crop) it
    /// contains pictures at their own size, else resized ones, with 4 bytes per channel if they are not
    /// rounded. Default: 0, no cache.
    #[serde(default)]
    pub cache_bytes: u64,
}

impl SampleOptions {
    /// Default options at a size: uncropped pictures and phrases without templates.
    pub fn new(width: u32, height: u32) -> Self {
        Self {
            width,
            height,
            preprocessing: Preprocessing::default(),
            rule: RasterRule::default(),
            mask_scaling: MaskScaling::default(),
            crop: None,
            flip: 0.0,
            colour_jitter: 0.0,
            templates: Vec::new(),
            negatives: 0.0,
            negative_rule: NegativeRule::default(),
            support: false,
            seed: 0,
            drop_empty: false,
            cache_bytes: 0,
        }
    }

    /// Options of CLIPSeg's evaluation (Lüddecke and Ecker 2022, arXiv:2112.10003), and the basis of those
    /// of its training, at `side` × `side` pixels: pictures by
    /// [`Preprocessing::ClipSeg`], masks by [`RasterRule::PixelCentre`] and
    /// [`MaskScaling::PyTorchNearest`], without phrases with empty masks.
    ///
    /// The [17 pictures](crate::OTHER_SIZE_PICTURES) are skipped by default by the
    /// [selection](super::Selection). The published code computes the area of a sample from its instances'
    /// boxes, not from its mask.
    pub fn clipseg(side: u32) -> Self {
        Self {
            preprocessing: Preprocessing::ClipSeg,
            rule: RasterRule::PixelCentre,
            mask_scaling: MaskScaling::PyTorchNearest,
            drop_empty: true,
            ..Self::new(side, side)
        }
    }

    /// Checks all values.
    ///
    /// # Errors
    ///
    /// [`DataError::Input`] with the first invalid field.
    pub fn validate(&self) -> Result<()> {
        if self.width == 0 || self.height == 0 {
            return Err(DataError::Input(format!(
                "samples of {}x{} have no pixels",
                self.width, self.height
            )));
        }
        for (field, value) in [
            ("crop", self.crop.unwrap_or(0.0)),
            ("flip", self.flip),
            ("colour_jitter", self.colour_jitter),
            ("negatives", self.negatives),
        ] {
            if !(0.0..=1.0).contains(&value) {
                return Err(DataError::Input(format!(
                    "field `{field}`: {value}, expected a number from 0 to 1"
                )));
            }
        }
        match self
            .templates
            .iter()
            .find(|template| !template.contains("{}"))
        {
            Some(template) => Err(DataError::Input(format!(
                "field `templates`: `{template}` has no `{{}}` for the phrase"
            ))),
            None => Ok(()),
        }
    }
}
