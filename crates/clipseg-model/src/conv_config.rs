//! The shape of the convolutional decoder.

use crate::config::field_error;
use crate::decoder_config::{check_layers, check_parameters, check_width};
use crate::error::Result;
use clipseg_clip::ClipConfig;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// How maps become larger.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Upsampling {
    /// A transposed convolution whose kernel is its stride.
    #[default]
    Transposed,
    /// Bilinear interpolation and a convolution of 3×3, which costs more and leaves no grid.
    Bilinear,
}

/// A decoder like the U-Net of Ronneberger et al. 2015 (arXiv:1505.04597), fed by CLIP.
///
/// Level 0 has the resolution of the grid of patches, and each further level has twice that of the
/// one before; a patch of 16 gives four levels, and the last doubling belongs to the head. The
/// deepest of `extract_layers` enters at level 0, the next at level 1, and so on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ConvDecoderConfig {
    /// The 0-based blocks of the vision tower whose outputs are used, shallow to deep; at most one
    /// for each level. Default: 3, 6, 9.
    pub extract_layers: Vec<usize>,
    /// Channels at level 0; each level has half of those of the one before. Default: 144.
    pub width: usize,
    /// Channels below which no level falls, at least 4. Default: 8.
    pub min_width: usize,
    /// Convolutions of 3×3 at each level. Default: 2.
    pub blocks: usize,
    /// How maps become larger. Default: by transposed convolution.
    pub upsampling: Upsampling,
    /// Whether the picture itself enters, at the last level. Default: false.
    pub picture_branch: bool,
}

/// A norm over fewer values tells nothing, and over one of them only zeros are left.
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

    /// As many parameters on ViT-B/16, within 10 %, as the transformer decoder at D = 64 with either
    /// head, and the same layers of CLIP, so that the two can be compared.
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

    /// The channels of each level for patches of a size, from the grid of patches upwards.
    pub fn widths(&self, patch_size: usize) -> Vec<usize> {
        let levels = patch_size.checked_ilog2().unwrap_or(0).max(1);
        (0..levels)
            .map(|level| (self.width >> level).max(self.min_width))
            .collect()
    }

    pub(crate) fn validate(&self, clip: &ClipConfig, path: &Path) -> Result<()> {
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
                format!("{patch}, the convolutional decoder needs at least 2"),
            ));
        }
        let (layers, levels) = (self.extract_layers.len(), self.widths(patch).len());
        if layers > levels {
            return fail(
                "extract_layers",
                format!(
                    "{layers} layers, but patches of {patch} pixels give {levels} levels to enter at"
                ),
            );
        }
        check_parameters("decoder_config.width", self.parameters(clip), path)
    }

    /// About how many parameters there are, for numbers of any size.
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
    fn a_further_block_adds_a_convolution_of_three_by_three_at_each_level() {
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
