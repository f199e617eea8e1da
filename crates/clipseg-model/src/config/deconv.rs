//! Configuration of the CLIP-Deconv baseline.

use super::checks::{check_layers, check_parameters, check_width};
use crate::error::Result;
use clipseg_clip::ClipConfig;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Configuration of the CLIP-Deconv baseline of the CLIPSeg paper. The defaults are the values that the
/// authors trained it with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DeconvBaselineConfig {
    /// Width of the decoder's tokens. Default: 64.
    pub reduce_dim: usize,
    /// Hidden width of the MLP. Default: 64.
    pub mlp_dim: usize,
    /// 0-based index of the vision encoder's layer whose output the decoder uses. Default: 9.
    pub extract_layer: usize,
}

impl Default for DeconvBaselineConfig {
    fn default() -> Self {
        Self {
            reduce_dim: 64,
            mlp_dim: 64,
            extract_layer: 9,
        }
    }
}

impl DeconvBaselineConfig {
    pub(super) fn validate(&self, clip: &ClipConfig, path: &Path) -> Result<()> {
        for (field, value) in [("reduce_dim", self.reduce_dim), ("mlp_dim", self.mlp_dim)] {
            check_width(&format!("decoder_config.{field}"), value, 1, path)?;
        }
        let layers = std::slice::from_ref(&self.extract_layer);
        check_layers("decoder_config.extract_layer", layers, clip, path)?;
        let patch = clip.vision_config.patch_size as f64;
        let each = clip.vision_config.hidden_size as f64
            + 2.0 * clip.projection_dim as f64
            + 2.0 * self.mlp_dim as f64
            + patch * patch;
        let parameters = self.reduce_dim as f64 * each;
        check_parameters("decoder_config.reduce_dim", parameters, path)
    }
}
