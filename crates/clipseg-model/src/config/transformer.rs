//! Configuration of CLIPSeg's own decoder.

use super::checks::{check_layers, check_parameters, check_width, field_error};
use crate::error::Result;
use clipseg_clip::{ClipConfig, parse_field};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::path::Path;

/// Configuration of the decoder of Lüddecke and Ecker 2022 (arXiv:2112.10003).
///
/// Field names and defaults are those of `CLIPSegConfig` in transformers 4.57.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TransformerDecoderConfig {
    /// Width of the decoder's tokens, D in the paper. Default: 64.
    pub reduce_dim: usize,
    /// 0-based indices of the vision encoder's layers whose outputs the decoder uses, in ascending
    /// order. Default: 3, 6, 9.
    pub extract_layers: Vec<usize>,
    /// Number of attention heads. Default: 4.
    pub decoder_num_attention_heads: usize,
    /// Hidden width of the MLPs. Default: 2,048.
    pub decoder_intermediate_size: usize,
    /// Index of the decoder layer whose input is conditioned on the prompt. Default: 0.
    pub conditional_layer: usize,
    /// Whether the head is the refined one, a convolution and two transposed convolutions, instead of
    /// a single transposed convolution. Default: false.
    pub use_complex_transposed_convolution: bool,
    /// Dropout probability during training, at the four positions of PyTorch's
    /// `TransformerEncoderLayer`. The published decoders were trained with 0.1. Inference ignores it,
    /// and so does transformers. `config.json` contains it only if it is not 0. Default: 0.
    #[serde(skip_serializing_if = "is_zero")]
    pub dropout: f64,
}

fn is_zero(value: &f64) -> bool {
    *value == 0.0
}

impl Default for TransformerDecoderConfig {
    fn default() -> Self {
        Self {
            reduce_dim: 64,
            extract_layers: vec![3, 6, 9],
            decoder_num_attention_heads: 4,
            decoder_intermediate_size: 2_048,
            conditional_layer: 0,
            use_complex_transposed_convolution: false,
            dropout: 0.0,
        }
    }
}

impl TransformerDecoderConfig {
    /// Reads the fields of a parsed `config.json`, where Hugging Face puts them at the top level.
    pub(super) fn from_fields(fields: &Map<String, Value>, path: &Path) -> Result<Self> {
        let default = Self::default();
        macro_rules! field {
            ($name:ident) => {
                parse_field(fields, stringify!($name), path)?.unwrap_or(default.$name)
            };
        }
        Ok(Self {
            reduce_dim: field!(reduce_dim),
            extract_layers: field!(extract_layers),
            decoder_num_attention_heads: field!(decoder_num_attention_heads),
            decoder_intermediate_size: field!(decoder_intermediate_size),
            conditional_layer: field!(conditional_layer),
            use_complex_transposed_convolution: field!(use_complex_transposed_convolution),
            dropout: field!(dropout),
        })
    }

    pub(super) fn validate(&self, clip: &ClipConfig, path: &Path) -> Result<()> {
        let fail = |field: &str, message: String| Err(field_error(path, field, message));
        let (dim, heads) = (self.reduce_dim, self.decoder_num_attention_heads);
        check_width("reduce_dim", dim, 2, path)?;
        if heads == 0 || !dim.is_multiple_of(heads) {
            return fail(
                "decoder_num_attention_heads",
                format!("{heads} heads do not divide the width {dim}"),
            );
        }
        let inner = self.decoder_intermediate_size;
        check_width("decoder_intermediate_size", inner, 1, path)?;
        check_layers("extract_layers", &self.extract_layers, clip, path)?;
        if self.conditional_layer >= self.extract_layers.len() {
            return fail(
                "conditional_layer",
                format!(
                    "{}, but the decoder has {} layers: the prompt would be ignored",
                    self.conditional_layer,
                    self.extract_layers.len()
                ),
            );
        }
        let patch = clip.vision_config.patch_size;
        // The refined head upsamples twice by a quarter of the patch size, in transformers as well,
        // which gives one logit for each pixel only if (patch / 4)² = patch.
        if self.use_complex_transposed_convolution && patch != 16 {
            return fail(
                "use_complex_transposed_convolution",
                format!(
                    "the refined head needs a patch size of 16, but the vision encoder has {patch}; \
                     expected false"
                ),
            );
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return fail(
                "dropout",
                format!("{}, expected 0 to less than 1", self.dropout),
            );
        }
        let (dim, inner) = (dim as f64, inner as f64);
        let layer = dim * (clip.vision_config.hidden_size as f64 + 4.0 * dim + 2.0 * inner);
        let head = dim * (patch as f64 * patch as f64 + 11.0 * dim);
        let parameters = layer * self.extract_layers.len() as f64
            + 2.0 * dim * clip.projection_dim as f64
            + head;
        check_parameters("reduce_dim", parameters, path)
    }
}
