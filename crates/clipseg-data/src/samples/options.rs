//! How samples are made of phrases and pictures.

use super::picture::Preprocessing;
use crate::error::{DataError, Result};
use crate::mask::Mask;
use crate::raster::RasterRule;
use serde::{Deserialize, Serialize};

/// The sentences that CLIPSeg was trained with, `shuffle+` in its configuration files
/// (Lüddecke and Ecker 2022, arXiv:2112.10003). It is evaluated with bare phrases.
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

/// How a mask comes to the size of the samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum MaskScaling {
    /// Polygons are filled at the picture's size, then the pixel is taken that the centre of each new
    /// one lies in.
    #[default]
    Resize,
    /// Polygons are filled at the picture's size, then resized by PyTorch's `nearest`, as CLIPSeg's own
    /// code does ([`Mask::resize_floor`]).
    #[serde(rename = "pytorch_nearest")]
    PyTorchNearest,
    /// Polygons are scaled, then filled, so that thin parts are not lost.
    Polygons,
}

impl MaskScaling {
    /// A mask at another size; polygons are not scaled here.
    pub(super) fn resize(self, mask: &Mask, width: u32, height: u32) -> Mask {
        match self {
            Self::PyTorchNearest => mask.resize_floor(width, height),
            Self::Resize | Self::Polygons => mask.resize(width, height),
        }
    }
}

/// Which phrase is put in place of another, to be answered with an empty mask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum NegativeRule {
    /// One of another picture whose name has no word of any phrase of this picture. Of 50 that are
    /// drawn the first such; if none is, the phrase stays as it is.
    #[default]
    NotShown,
    /// Any but the phrase itself: each different text of the selection is as likely, whatever the
    /// picture shows. This is CLIPSeg's own rule.
    Any,
}

/// How samples are made. By default nothing is changed at random.
///
/// ```
/// use clipseg_data::{NegativeRule, SampleOptions, TEMPLATES};
///
/// // What CLIPSeg was trained with.
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
    /// Width of pictures and masks in pixels. Pictures are squashed to it.
    pub width: u32,
    /// Height of pictures and masks in pixels.
    pub height: u32,
    /// How pictures are squashed. Default: as Hugging Face's processor does it.
    #[serde(default)]
    pub preprocessing: Preprocessing,
    /// Which pixels a polygon covers. Default: the evaluator's rule.
    #[serde(default)]
    pub rule: RasterRule,
    /// How masks come to the size of the samples. Default: by the nearest centre.
    #[serde(default)]
    pub mask_scaling: MaskScaling,
    /// Cuts a random square out of the picture, as large as it fits, of up to 50 the first whose part of
    /// the mask is more than this share of the whole picture's pixels, else the best one; CLIPSeg's is
    /// 0.05. Phrases that share a picture share its square, which then is the first that is good for all
    /// of them, or for most. Default: the whole picture.
    #[serde(default)]
    pub crop: Option<f32>,
    /// Probability that a picture is mirrored, and with it `left` and `right` in its phrases.
    /// Default: 0.
    #[serde(default)]
    pub flip: f32,
    /// Brightness, contrast and saturation are each multiplied by a factor that is at most so far from
    /// one, as torchvision's `ColorJitter` does. Default: 0.
    #[serde(default)]
    pub colour_jitter: f32,
    /// Sentences with `{}` for the phrase, one of which is drawn for each, such as [`TEMPLATES`].
    /// Default: none, the bare phrase.
    #[serde(default)]
    pub templates: Vec<String>,
    /// Probability that a phrase is replaced by another and its mask emptied; CLIPSeg's is 0.2. Which
    /// others there are to choose from is up to [`negative_rule`](Self::negative_rule). Default: 0.
    #[serde(default)]
    pub negatives: f32,
    /// Which phrases others are replaced by. Default: those of what the picture does not show.
    #[serde(default)]
    pub negative_rule: NegativeRule,
    /// Whether a second picture of which the same phrase holds comes with each sample, to be shown
    /// instead of the words. Default: no.
    #[serde(default)]
    pub support: bool,
    /// Decides everything that is random. Default: 0.
    #[serde(default)]
    pub seed: u64,
    /// Whether phrases are left out whose masks, by [`rule`](Self::rule) at the pictures' recorded
    /// sizes, have no pixel inside; they are counted
    /// ([`left_out`](super::PhraseCutDataset::left_out)). All masks are drawn once to find out.
    /// Default: no.
    #[serde(default)]
    pub drop_empty: bool,
    /// Most bytes of pictures and masks that are kept in memory. Whole pictures are kept if parts of
    /// them are cut out, else the squashed ones, with four bytes a channel if they are not rounded.
    /// Default: 0, nothing is kept.
    #[serde(default)]
    pub cache_bytes: u64,
}

impl SampleOptions {
    /// Whole pictures and bare phrases at this size.
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

    /// The samples of the paper's evaluation (Lüddecke and Ecker 2022, arXiv:2112.10003), and what its
    /// training begins with, at `side` × `side` pixels: pictures by
    /// [`Preprocessing::ClipSeg`], masks by [`RasterRule::PixelCentre`] and
    /// [`MaskScaling::PyTorchNearest`], phrases with empty masks left out.
    ///
    /// That the [17 pictures](crate::OTHER_SIZE_PICTURES) are skipped is the
    /// [selection](super::Selection)'s default. The published code takes a sample's area from its
    /// instances' boxes, not from its mask.
    pub fn clipseg(side: u32) -> Self {
        Self {
            preprocessing: Preprocessing::ClipSeg,
            rule: RasterRule::PixelCentre,
            mask_scaling: MaskScaling::PyTorchNearest,
            drop_empty: true,
            ..Self::new(side, side)
        }
    }

    /// Checks every number.
    ///
    /// # Errors
    ///
    /// [`DataError::Input`] with the first field that cannot be used.
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
