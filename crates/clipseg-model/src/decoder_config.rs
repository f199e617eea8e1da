//! The decoders' shapes.

use crate::config::field_error;
use crate::error::Result;
use clipseg_clip::{ClipConfig, parse_field};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::path::Path;

/// The decoder of Lüddecke and Ecker 2022 (arXiv:2112.10003).
///
/// Defaults are those of `CLIPSegConfig` in transformers 4.57.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TransformerDecoderConfig {
    /// Width of the decoder's tokens, the paper's D. Default: 64.
    pub reduce_dim: usize,
    /// The 0-based blocks of the vision tower whose outputs are used, shallow to deep.
    /// Default: 3, 6, 9.
    pub extract_layers: Vec<usize>,
    /// Heads of the attention. Default: 4.
    pub decoder_num_attention_heads: usize,
    /// Inner width of the MLPs. Default: 2,048.
    pub decoder_intermediate_size: usize,
    /// The decoder layer before which the prompt comes in. Default: 0.
    pub conditional_layer: usize,
    /// The three-step head instead of one transposed convolution. Default: false.
    pub use_complex_transposed_convolution: bool,
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
        }
    }
}

/// One of the decoders, with its numbers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(
    tag = "decoder_type",
    content = "decoder_config",
    rename_all = "snake_case"
)]
#[non_exhaustive]
pub enum DecoderConfig {
    /// CLIPSeg's own.
    Transformer(TransformerDecoderConfig),
}

impl Default for DecoderConfig {
    fn default() -> Self {
        Self::Transformer(TransformerDecoderConfig::default())
    }
}

impl From<TransformerDecoderConfig> for DecoderConfig {
    fn from(config: TransformerDecoderConfig) -> Self {
        Self::Transformer(config)
    }
}

impl DecoderConfig {
    /// The 0-based blocks of the vision tower whose outputs are used, shallow to deep.
    pub fn extract_layers(&self) -> &[usize] {
        match self {
            Self::Transformer(config) => &config.extract_layers,
        }
    }

    /// Whether the decoder looks at the picture itself, beside what CLIP makes of it.
    pub fn uses_pixels(&self) -> bool {
        match self {
            Self::Transformer(_) => false,
        }
    }

    /// Reads the decoder's part of a parsed `config.json`; `path` is for messages.
    ///
    /// Without a `decoder_type` it is a transformer, whose fields Hugging Face keeps at the top.
    pub(crate) fn from_fields(fields: &Map<String, Value>, path: &Path) -> Result<Self> {
        let kind: Option<String> = parse_field(fields, "decoder_type", path)?;
        Ok(match kind.as_deref() {
            None | Some("transformer") => {
                TransformerDecoderConfig::from_fields(fields, path)?.into()
            }
            Some(other) => {
                return Err(field_error(
                    path,
                    "decoder_type",
                    format!("`{other}` is not known, expected `transformer`"),
                ));
            }
        })
    }

    /// The fields that [`from_fields`](Self::from_fields) reads.
    pub(crate) fn to_fields(&self) -> Map<String, Value> {
        let value = match self {
            Self::Transformer(config) => json!(config),
        };
        match value {
            Value::Object(fields) => fields,
            _ => Map::new(),
        }
    }

    /// Checks that the numbers fit together and fit the encoders; `path` is for messages.
    pub(crate) fn validate(&self, clip: &ClipConfig, path: &Path) -> Result<()> {
        match self {
            Self::Transformer(config) => config.validate(clip, path),
        }
    }
}

impl TransformerDecoderConfig {
    fn from_fields(fields: &Map<String, Value>, path: &Path) -> Result<Self> {
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
        })
    }

    fn validate(&self, clip: &ClipConfig, path: &Path) -> Result<()> {
        let fail = |field: &str, message: String| Err(field_error(path, field, message));
        let (dim, heads) = (self.reduce_dim, self.decoder_num_attention_heads);
        if dim < 2 {
            return fail("reduce_dim", format!("{dim}, expected at least 2"));
        }
        if heads == 0 || !dim.is_multiple_of(heads) {
            return fail(
                "decoder_num_attention_heads",
                format!("{heads} heads do not divide the width {dim}"),
            );
        }
        if self.decoder_intermediate_size == 0 {
            return fail("decoder_intermediate_size", "0, expected at least 1".into());
        }
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
        if self.use_complex_transposed_convolution && patch < 4 {
            return fail(
                "use_complex_transposed_convolution",
                format!("needs patches of at least 4 pixels, these have {patch}"),
            );
        }
        Ok(())
    }
}

fn check_layers(field: &str, layers: &[usize], clip: &ClipConfig, path: &Path) -> Result<()> {
    let depth = clip.vision_config.num_hidden_layers;
    if layers.is_empty() || layers.iter().any(|&layer| layer >= depth) {
        let expected = match depth {
            0 => "a tower with blocks".to_owned(),
            _ => format!("one or more of 0 to {}", depth - 1),
        };
        let message = format!("{layers:?}, expected {expected}");
        return Err(field_error(path, field, message));
    }
    Ok(())
}
