//! The configuration of any decoder, and how `config.json` stores it.

use super::checks::field_error;
use super::conv::ConvDecoderConfig;
use super::deconv::DeconvBaselineConfig;
use super::transformer::TransformerDecoderConfig;
use crate::error::Result;
use clipseg_clip::{ClipConfig, parse_field};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::path::Path;

/// The kind of a decoder and its configuration.
///
/// In `config.json`, the fields of the transformer decoder are at the top level, as in Hugging Face's
/// checkpoints. The other decoders have `"decoder_type": "conv"` or `"deconv"` and their fields in an
/// object `decoder_config`; transformers cannot read these.
///
/// ```
/// use clipseg_model::clip::ClipConfig;
/// use clipseg_model::{ClipSegConfig, ConvDecoderConfig};
///
/// let config = ClipSegConfig::new(ClipConfig::vit_b_16(), ConvDecoderConfig::base())?;
/// assert_eq!(config.to_json()["decoder_type"], "conv");
/// # Ok::<(), clipseg_model::ModelError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(
    tag = "decoder_type",
    content = "decoder_config",
    rename_all = "snake_case"
)]
#[non_exhaustive]
pub enum DecoderConfig {
    /// CLIPSeg's own decoder, built from transformer layers.
    Transformer(TransformerDecoderConfig),
    /// A convolutional decoder, similar to a U-Net.
    Conv(ConvDecoderConfig),
    /// The paper's baseline CLIP-Deconv, an MLP and one transposed convolution.
    Deconv(DeconvBaselineConfig),
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

impl From<ConvDecoderConfig> for DecoderConfig {
    fn from(config: ConvDecoderConfig) -> Self {
        Self::Conv(config)
    }
}

impl From<DeconvBaselineConfig> for DecoderConfig {
    fn from(config: DeconvBaselineConfig) -> Self {
        Self::Deconv(config)
    }
}

impl DecoderConfig {
    /// 0-based indices of the vision encoder's layers whose outputs the decoder uses, in ascending
    /// order.
    pub fn extract_layers(&self) -> &[usize] {
        match self {
            Self::Transformer(config) => &config.extract_layers,
            Self::Conv(config) => &config.extract_layers,
            Self::Deconv(config) => std::slice::from_ref(&config.extract_layer),
        }
    }

    /// Whether the decoder needs the pixels of the picture in addition to CLIP's hidden states.
    pub fn uses_pixels(&self) -> bool {
        match self {
            Self::Transformer(_) | Self::Deconv(_) => false,
            Self::Conv(config) => config.picture_branch,
        }
    }

    /// Reads the decoder's part of a parsed `config.json`; `path` is used in error messages.
    ///
    /// A file without `decoder_type` describes a transformer decoder, as Hugging Face's files do.
    pub(super) fn from_fields(fields: &Map<String, Value>, path: &Path) -> Result<Self> {
        let kind: Option<String> = parse_field(fields, "decoder_type", path)?;
        Ok(match kind.as_deref() {
            None | Some("transformer") => {
                TransformerDecoderConfig::from_fields(fields, path)?.into()
            }
            Some("conv") => Self::Conv(decoder_config(fields, path)?),
            Some("deconv") => Self::Deconv(decoder_config(fields, path)?),
            Some(other) => {
                let message =
                    format!("`{other}` is not known, expected `transformer`, `conv` or `deconv`");
                return Err(field_error(path, "decoder_type", message));
            }
        })
    }

    /// The fields that [`from_fields`](Self::from_fields) reads and, for the transformer decoder, the
    /// fields that make transformers recognise the model.
    pub(super) fn to_fields(&self) -> Map<String, Value> {
        let value = match self {
            Self::Transformer(config) => json!(config),
            Self::Conv(_) | Self::Deconv(_) => json!(self),
        };
        let Value::Object(mut fields) = value else {
            unreachable!("a struct serializes to an object")
        };
        if matches!(self, Self::Transformer(_)) {
            fields.insert("model_type".into(), json!("clipseg"));
            fields.insert(
                "architectures".into(),
                json!(["CLIPSegForImageSegmentation"]),
            );
        }
        fields
    }

    /// Checks that the values are valid and fit the encoders; `path` is used in error messages.
    pub(super) fn validate(&self, clip: &ClipConfig, path: &Path) -> Result<()> {
        match self {
            Self::Transformer(config) => config.validate(clip, path),
            Self::Conv(config) => config.validate(clip, path),
            Self::Deconv(config) => config.validate(clip, path),
        }
    }
}

/// Reads the object `decoder_config`.
fn decoder_config<T: serde::de::DeserializeOwned>(
    fields: &Map<String, Value>,
    path: &Path,
) -> Result<T> {
    let field = "decoder_config";
    parse_field(fields, field, path)?
        .ok_or_else(|| field_error(path, field, "missing, expected an object".into()))
}
