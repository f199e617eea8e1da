//! The decoders' shapes.

use crate::config::field_error;
use crate::conv_config::ConvDecoderConfig;
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
    /// Share of values that training makes zeros of, at the four places of PyTorch's
    /// `TransformerEncoderLayer`; the published decoders were trained with 0.1. It has no effect
    /// where nothing is trained. A `config.json` holds it only if it is not 0; transformers ignores
    /// it. Default: 0.
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

/// The baseline CLIP-Deconv of the same paper; defaults are those that it was trained with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DeconvBaselineConfig {
    /// Width of the decoder's tokens. Default: 64.
    pub reduce_dim: usize,
    /// Inner width of the MLP. Default: 64.
    pub mlp_dim: usize,
    /// The 0-based block of the vision tower whose output is used. Default: 9.
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

/// One of the decoders, with its numbers.
///
/// In a `config.json` a transformer's numbers are where Hugging Face keeps them; the others' are our
/// own layout: `"decoder_type": "conv"` or `"deconv"`, and an object `decoder_config`.
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
    /// CLIPSeg's own.
    Transformer(TransformerDecoderConfig),
    /// Convolutions at rising resolutions.
    Conv(ConvDecoderConfig),
    /// The paper's baseline, hardly any decoder.
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
    /// The 0-based blocks of the vision tower whose outputs are used, shallow to deep.
    pub fn extract_layers(&self) -> &[usize] {
        match self {
            Self::Transformer(config) => &config.extract_layers,
            Self::Conv(config) => &config.extract_layers,
            Self::Deconv(config) => std::slice::from_ref(&config.extract_layer),
        }
    }

    /// Whether the decoder looks at the picture itself, beside what CLIP makes of it.
    pub fn uses_pixels(&self) -> bool {
        match self {
            Self::Transformer(_) | Self::Deconv(_) => false,
            Self::Conv(config) => config.picture_branch,
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
            Some("conv") => Self::Conv(own_fields(fields, path)?),
            Some("deconv") => Self::Deconv(own_fields(fields, path)?),
            Some(other) => {
                let message =
                    format!("`{other}` is not known, expected `transformer`, `conv` or `deconv`");
                return Err(field_error(path, "decoder_type", message));
            }
        })
    }

    /// The fields that [`from_fields`](Self::from_fields) reads, and those by which transformers
    /// knows its own kind.
    pub(crate) fn to_fields(&self) -> Map<String, Value> {
        let value = match self {
            Self::Transformer(config) => json!(config),
            Self::Conv(_) | Self::Deconv(_) => json!(self),
        };
        let Value::Object(mut fields) = value else {
            unreachable!("a struct becomes an object")
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

    /// Checks that the numbers fit together and fit the encoders; `path` is for messages.
    pub(crate) fn validate(&self, clip: &ClipConfig, path: &Path) -> Result<()> {
        match self {
            Self::Transformer(config) => config.validate(clip, path),
            Self::Conv(config) => config.validate(clip, path),
            Self::Deconv(config) => config.validate(clip, path),
        }
    }
}

fn own_fields<T: serde::de::DeserializeOwned>(
    fields: &Map<String, Value>,
    path: &Path,
) -> Result<T> {
    let field = "decoder_config";
    parse_field(fields, field, path)?
        .ok_or_else(|| field_error(path, field, "missing, expected an object".into()))
}

impl DeconvBaselineConfig {
    fn validate(&self, clip: &ClipConfig, path: &Path) -> Result<()> {
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
            dropout: field!(dropout),
        })
    }

    fn validate(&self, clip: &ClipConfig, path: &Path) -> Result<()> {
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
        // The published head enlarges twice by a quarter of a patch, in transformers as well.
        if self.use_complex_transposed_convolution && patch != 16 {
            return fail(
                "use_complex_transposed_convolution",
                format!(
                    "the three-step head makes 16x16 pixels of a patch only where it has 16, this one \
                     has {patch}; expected false"
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

/// The widest that a layer of a decoder may be.
const WIDEST: usize = 1 << 16;
/// The most parameters that a decoder may have, a gibibyte of them: a wrong number in a file is told
/// before the memory for it is asked for.
const MOST_PARAMETERS: f64 = (1u64 << 28) as f64;

/// That a width is one that a layer can have.
pub(crate) fn check_width(field: &str, value: usize, least: usize, path: &Path) -> Result<()> {
    if value < least {
        let message = format!("{value}, expected at least {least}");
        return Err(field_error(path, field, message));
    }
    if value > WIDEST {
        let message = format!("{value}, expected at most {WIDEST}");
        return Err(field_error(path, field, message));
    }
    Ok(())
}

/// That a decoder of about so many parameters can be made.
pub(crate) fn check_parameters(field: &str, parameters: f64, path: &Path) -> Result<()> {
    if parameters <= MOST_PARAMETERS {
        return Ok(());
    }
    let message = format!(
        "gives a decoder of {parameters:.1e} parameters, expected at most {MOST_PARAMETERS:.1e}"
    );
    Err(field_error(path, field, message))
}

/// That there are layers, that the vision tower has them, and that they go from shallow to deep.
pub(crate) fn check_layers(
    field: &str,
    layers: &[usize],
    clip: &ClipConfig,
    path: &Path,
) -> Result<()> {
    let depth = clip.vision_config.num_hidden_layers;
    if layers.is_empty() || layers.iter().any(|&layer| layer >= depth) {
        let expected = match depth {
            0 => "a tower with blocks".to_owned(),
            _ => format!("one or more of 0 to {}", depth - 1),
        };
        let message = format!("{layers:?}, expected {expected}");
        return Err(field_error(path, field, message));
    }
    if !layers.is_sorted_by(|shallow, deep| shallow < deep) {
        let message = format!("{layers:?}, expected each layer once, shallow to deep");
        return Err(field_error(path, field, message));
    }
    Ok(())
}
