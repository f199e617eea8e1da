//! How a photograph is looked at: its input size, overlapping tiles, and its mirror image.
//!
//! A model sees a photograph at the size of its preprocessing, so small objects of large photographs cover few
//! pixels of what it sees. With tiles it sees parts of the photograph beside all of it.

mod blending;
mod encoding;
mod left_right;
mod plan;
mod tiles;
mod view;

pub use plan::ViewPlan;

pub(crate) use blending::Blend;
pub use left_right::names_a_side;
pub(crate) use left_right::swap_left_right;
pub(crate) use view::EncodedView;

use crate::error::{ModelError, Result};

/// The largest number of tiles along the longer side.
const MOST_TILES: u32 = 32;

/// How photographs are encoded. The default is the checkpoint's preprocessing, once for the entire photograph.
///
/// # Tiles
///
/// Tiles overlap by a quarter of their side. The mask of the entire photograph and the blend of the tiles' masks are
/// averaged with equal weights. In overlaps the weight of a tile falls smoothly towards its edge, so that no seam
/// shows. One tile is the entire photograph, so it changes nothing.
///
/// # The mirror image
///
/// The masks of the photograph and of its mirror image are averaged. What is on the left is on the right in the mirror
/// image, so there the words `left` and `right` of texts are exchanged ([`names_a_side`] finds them).
///
/// # Example
///
/// ```
/// # use burn::tensor::Device;
/// # use clipseg_model::clip::{ClipTokenizer, ImageProcessor};
/// # use clipseg_model::{ClipSeg, ClipSegConfig, Segmenter};
/// use clipseg_model::Views;
///
/// # let mut config = ClipSegConfig::small();
/// # config.clip.text_config.hidden_size = 32; // small enough for an example
/// # let model = ClipSeg::init(&config, &Device::flex());
/// # let segmenter = Segmenter::new(model, ClipTokenizer::openai(77)?, ImageProcessor::clipseg(96));
/// # let photo = image::RgbImage::new(200, 100);
/// let views = Views::default().with_tiles(2).with_flip(true);
/// let plan = segmenter.plan_views([photo.width(), photo.height()], &views)?;
/// println!("{plan}"); // the entire photograph and two tiles, each also mirrored
/// assert_eq!(plan.count(), 6);
/// let encoded = segmenter.encode_views(&photo, &views, |_| {})?;
/// let masks = segmenter.segment(&encoded, &["a cat", "the cup on the left"])?;
/// assert_eq!((masks[0].width(), masks[0].height()), (200, 100));
/// # Ok::<(), clipseg_model::ModelError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Views {
    /// Side in pixels of the square to which the photograph, or a tile, is resized; a multiple of the patch size.
    /// Position embeddings are interpolated. Default: the size of the checkpoint's preprocessing.
    pub size: Option<u32>,
    /// Whether the aspect ratio is kept: the input has about as many pixels as the square, its sides are multiples
    /// of the patch size, and nothing is cropped. Default: no.
    pub keep_aspect: bool,
    /// Number of tiles along the longer side, 1 to 32, and along the shorter side in proportion. A tile is at least
    /// 32 pixels long, so a small photograph has fewer. Default: 1.
    pub tiles: u32,
    /// Whether the mask is averaged with that of the mirror image. Default: no.
    pub flip: bool,
}

impl Default for Views {
    fn default() -> Self {
        Self {
            size: None,
            keep_aspect: false,
            tiles: 1,
            flip: false,
        }
    }
}

impl Views {
    /// Sets the side of the square input in pixels.
    #[must_use]
    pub fn with_size(mut self, pixels: u32) -> Self {
        self.size = Some(pixels);
        self
    }

    /// Sets whether the aspect ratio is kept.
    #[must_use]
    pub fn with_keep_aspect(mut self, keep: bool) -> Self {
        self.keep_aspect = keep;
        self
    }

    /// Sets the number of tiles along the longer side.
    #[must_use]
    pub fn with_tiles(mut self, tiles: u32) -> Self {
        self.tiles = tiles;
        self
    }

    /// Sets whether the mask is averaged with that of the mirror image.
    #[must_use]
    pub fn with_flip(mut self, flip: bool) -> Self {
        self.flip = flip;
        self
    }

    /// Checks the options for a model with patches of a side in pixels.
    ///
    /// # Errors
    ///
    /// If the number of tiles is out of its range, or the size is 0 or not a multiple of the patch size.
    pub fn validate(&self, patch_size: usize) -> Result<()> {
        if !(1..=MOST_TILES).contains(&self.tiles) {
            return Err(ModelError::Input(format!(
                "`tiles` is {}, expected 1 to {MOST_TILES}",
                self.tiles
            )));
        }
        match self.size {
            Some(size) if size == 0 || !(size as usize).is_multiple_of(patch_size) => {
                Err(ModelError::Input(format!(
                    "`size` is {size}, expected a multiple of the patch size {patch_size}"
                )))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_and_sizes_are_checked() {
        Views::default().validate(16).unwrap();
        Views::default()
            .with_size(352)
            .with_tiles(32)
            .validate(16)
            .unwrap();
        let message = |views: Views| views.validate(16).unwrap_err().to_string();
        for size in [0, 100] {
            let expected = format!("`size` is {size}, expected a multiple of the patch size 16");
            assert_eq!(message(Views::default().with_size(size)), expected);
        }
        for tiles in [0, 33] {
            let expected = format!("`tiles` is {tiles}, expected 1 to 32");
            assert_eq!(message(Views::default().with_tiles(tiles)), expected);
        }
    }
}
