//! Configuration of the convolutional decoder.

use super::checks::{check_layers, check_parameters, check_width, field_error};
use crate::error::Result;
use clipseg_clip::ClipConfig;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// How feature maps are upsampled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Upsampling {
    /// A transposed convolution whose kernel size equals its stride.
    #[default]
    Transposed,
    /// Bilinear interpolation followed by a 3×3 convolution. It is slower and has no checkerboard
    /// artefacts.
    Bilinear,
}

/// Configuration of a decoder that follows the U-Net of Ronneberger et al. 2015 (arXiv:1505.04597),
/// with CLIP's hidden states as skip connections.
///
/// Level 0 has the resolution of the patch grid, and each further level has twice the resolution of the
/// previous one. A patch size of 16 gives four levels; the head does the last doubling. The deepest of
/// `extract_layers` is the input of level 0, the next one is added at level 1, and so on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ConvDecoderConfig {
    /// 0-based indices of the vision encoder's layers whose outputs the decoder uses, in ascending
    /// order; at most one for each level. Default: 3, 6, 9.
    pub extract_layers: Vec<usize>,
    /// Number of channels at level 0; each further level has half as many. Default: 144.
    pub width: usize,
    /// Lower limit of the number of channels of a level, at least 4. Default: 8.
    pub min_width: usize,
    /// Number of residual blocks, each with one 3×3 convolution, at each level. Default: 2.
    pub blocks: usize,
    /// How feature maps are upsampled. Default: by transposed convolutions.
    pub upsampling: Upsampling,
    /// Whether a convolutional branch adds features of the picture itself at the last level.
    /// Default: false.
    pub picture_branch: bool,
}

/// Group normalisation needs several values in a group; with a single one its output is always zero.
const LEAST_WIDTH: usize = 4;

impl Default for ConvDecoderConfig {
    fn default() -> Self {
        Self::base()
    }
}

impl ConvDecoderConfig {
    /// About 0.1 million parameters on ViT-B/16.
    pub fn tiny() -> Self {
        Self {
            width: 32,
            blocks: 1,
            ..Self::base()
        }
    }

    /// About 1.07 million parameters on ViT-B/16. That is within 10 % of the transformer decoder with
    /// D = 64 and either head. The layers of CLIP are the same too, so that the two can be compared.
    pub fn base() -> Self {
        Self {
            extract_layers: vec![3, 6, 9],
            width: 144,
            min_width: 8,
            blocks: 2,
            upsampling: Upsampling::Transposed,
            picture_branch: false,
        }
    }

    /// About 3.5 million parameters on ViT-B/16.
    pub fn large() -> Self {
        Self {
            width: 256,
            min_width: 16,
            blocks: 3,
            ..Self::base()
        }
    }

    /// The number of channels of each level for a patch size, from level 0 upwards.
    pub fn widths(&self, patch_size: usize) -> Vec<usize> {
        let levels = patch_size.checked_ilog2().unwrap_or(0).max(1);
        (0..levels)
            .map(|level| (self.width >> level).max(self.min_width))
            .collect()
    }

    pub(super) fn validate(&self, clip: &ClipConfig, path: &Path) -> Result<()> {
        let fail = |field: &str, message: String| {
            let field = format!("decoder_config.{field}");
            Err(field_error(path, &field, message))
        };
        for (field, value, least) in [
            ("min_width", self.min_width, LEAST_WIDTH),
            ("blocks", self.blocks, 1),
            ("width", self.width, 1),
        ] {
            check_width(&format!("decoder_config.{field}"), value, least, path)?;
        }
        if self.width < self.min_width {
            return fail(
                "width",
                format!(
                    "{}, expected at least the `min_width` of {}",
                    self.width, self.min_width
                ),
            );
        }
        check_layers(
            "decoder_config.extract_layers",
            &self.extract_layers,
            clip,
            path,
        )?;
        let patch = clip.vision_config.patch_size;
        if patch < 2 {
            return Err(field_error(
                path,
                "vision_config.patch_size",
                format!("{patch}, expected at least 2 for the convolutional decoder"),
            ));
        }
        let (layers, levels) = (self.extract_layers.len(), self.widths(patch).len());
        if layers > levels {
            return fail(
                "extract_layers",
                format!(
                    "{layers} layers, expected at most {levels}: one for each level that a patch size of {patch} gives"
                ),
            );
        }
        check_parameters("decoder_config.width", self.parameters(clip), path)
    }

    /// The approximate number of parameters, in floating point because the fields may hold any number.
    fn parameters(&self, clip: &ClipConfig) -> f64 {
        let mut below = 0.0;
        let widths = self.widths(clip.vision_config.patch_size);
        let levels = widths.iter().zip(0i32..).map(|(&width, level)| {
            let width = width as f64;
            let raise = width * width * 4f64.powi(level).max(9.0);
            let skip = clip.vision_config.hidden_size as f64 * width + raise;
            let film = 2.0 * clip.projection_dim as f64 * width;
            let up = 9.0 * below * width;
            below = width;
            skip + film + up + 9.0 * self.blocks as f64 * width * width
        });
        levels.sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_more_block_adds_a_3x3_convolution_at_each_level() {
        let clip = ClipConfig::default();
        let blocks = |blocks: usize| ConvDecoderConfig {
            blocks,
            ..ConvDecoderConfig::base()
        };
        let squares = blocks(1).widths(clip.vision_config.patch_size);
        let squares: usize = squares.iter().map(|width| width * width).sum();
        let added = blocks(4).parameters(&clip) - blocks(3).parameters(&clip);
        assert!((added - 9.0 * squares as f64).abs() < 1.0, "{added}");
    }
}
