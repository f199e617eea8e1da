//! The shape of a CLIP, as Hugging Face's `config.json` writes it down.
//!
//! Defaults are those of `CLIPTextConfig` and `CLIPVisionConfig` in transformers 4.57, so a field
//! that a checkpoint leaves out means here what it means there.

use crate::error::{ClipError, Result};
use crate::files::read_json;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::path::Path;

/// Most tokens of a vocabulary.
const MOST_TOKENS: usize = 1 << 22;
/// Widest layer, and most positions.
const WIDEST: usize = 1 << 16;
/// Most blocks of a tower.
const DEEPEST: usize = 1 << 10;
/// Longest side of a picture or a patch, in pixels.
const LONGEST_SIDE: usize = 1 << 13;

/// The non-linearity between the two maps of a block's MLP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Activation {
    /// `x · sigmoid(1.702 x)`, which OpenAI's CLIP was trained with.
    QuickGelu,
    /// `x · Φ(x)`, which most of open_clip's models were trained with.
    Gelu,
    /// `max(x, 0)`.
    Relu,
}

/// The text tower.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TextConfig {
    /// Number of tokens. Default: 49,408.
    pub vocab_size: usize,
    /// Width of a token. Default: 512.
    pub hidden_size: usize,
    /// Inner width of the MLP. Default: 2,048.
    pub intermediate_size: usize,
    /// Number of blocks. Default: 12.
    pub num_hidden_layers: usize,
    /// Heads of the attention. Default: 8.
    pub num_attention_heads: usize,
    /// Most tokens that a text can have. Default: 77.
    pub max_position_embeddings: usize,
    /// Non-linearity of the MLP. Default: QuickGELU.
    pub hidden_act: Activation,
    /// Added to the variance by the norms. Default: 1e-5.
    pub layer_norm_eps: f64,
    /// The token that ends a text. Default: 49,407. The value 2 stands in old exports and selects
    /// their rule for the pooled position; see [`TextEncoder`](crate::TextEncoder).
    pub eos_token_id: i64,
    /// The token that starts a text. Default: 49,406.
    pub bos_token_id: i64,
    /// The token that fills up a batch. Default: 1.
    pub pad_token_id: i64,
}

impl Default for TextConfig {
    fn default() -> Self {
        Self {
            vocab_size: 49_408,
            hidden_size: 512,
            intermediate_size: 2_048,
            num_hidden_layers: 12,
            num_attention_heads: 8,
            max_position_embeddings: 77,
            hidden_act: Activation::QuickGelu,
            layer_norm_eps: 1e-5,
            eos_token_id: 49_407,
            bos_token_id: 49_406,
            pad_token_id: 1,
        }
    }
}

/// The vision tower.
///
/// Its JSON has every field, those with default values too: beside the weights it is all that the
/// hidden states of a picture depend on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct VisionConfig {
    /// Width of a token. Default: 768.
    pub hidden_size: usize,
    /// Inner width of the MLP. Default: 3,072.
    pub intermediate_size: usize,
    /// Number of blocks. Default: 12.
    pub num_hidden_layers: usize,
    /// Heads of the attention. Default: 12.
    pub num_attention_heads: usize,
    /// Colour channels. Default, and the only number that [`ClipConfig::validate`] accepts: 3.
    pub num_channels: usize,
    /// Side in pixels of the square that the position table was made for. Default: 224.
    pub image_size: usize,
    /// Side in pixels of a patch. Default: 32.
    pub patch_size: usize,
    /// Non-linearity of the MLP. Default: QuickGELU.
    pub hidden_act: Activation,
    /// Added to the variance by the norms. Default: 1e-5.
    pub layer_norm_eps: f64,
}

impl Default for VisionConfig {
    fn default() -> Self {
        Self {
            hidden_size: 768,
            intermediate_size: 3_072,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            num_channels: 3,
            image_size: 224,
            patch_size: 32,
            hidden_act: Activation::QuickGelu,
            layer_norm_eps: 1e-5,
        }
    }
}

/// Both towers and the space that they share.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClipConfig {
    /// The text tower.
    pub text_config: TextConfig,
    /// The vision tower.
    pub vision_config: VisionConfig,
    /// Width of the shared embeddings. Default: 512.
    pub projection_dim: usize,
    /// Logarithm of the factor on image–text scores, before training. Default: 2.6592.
    pub logit_scale_init_value: f64,
}

impl Default for ClipConfig {
    fn default() -> Self {
        Self {
            text_config: TextConfig::default(),
            vision_config: VisionConfig::default(),
            projection_dim: 512,
            logit_scale_init_value: 2.6592,
        }
    }
}

impl ClipConfig {
    /// OpenAI's ViT-B/16, the backbone of the published CLIPSeg weights.
    pub fn vit_b_16() -> Self {
        let vision_config = VisionConfig {
            patch_size: 16,
            ..VisionConfig::default()
        };
        Self {
            vision_config,
            ..Self::default()
        }
    }

    /// OpenAI's ViT-B/32.
    pub fn vit_b_32() -> Self {
        Self::default()
    }

    /// A small one for demonstrations, with CLIP's vocabulary: 96-pixel pictures in patches of 8,
    /// four blocks in each tower.
    ///
    /// There are no published weights of this size. Even with random weights its towers keep
    /// apart colours, positions and words, which is enough for a decoder to learn simple scenes.
    pub fn small() -> Self {
        Self {
            text_config: TextConfig {
                hidden_size: 128,
                intermediate_size: 256,
                num_hidden_layers: 2,
                num_attention_heads: 4,
                pad_token_id: 49_407,
                ..TextConfig::default()
            },
            vision_config: VisionConfig {
                hidden_size: 128,
                intermediate_size: 256,
                num_hidden_layers: 4,
                num_attention_heads: 4,
                image_size: 96,
                patch_size: 8,
                ..VisionConfig::default()
            },
            projection_dim: 128,
            ..Self::default()
        }
    }

    /// Reads `config.json` of a CLIP or a CLIPSeg checkpoint.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, is of another architecture, or has a field with a value that is
    /// not supported; the message names the file and the field.
    pub fn from_file(path: &Path) -> Result<Self> {
        Self::from_json(&read_json(path)?, path)
    }

    /// Reads the parsed `config.json` of a CLIP or a CLIPSeg checkpoint; `path` is for messages.
    ///
    /// # Errors
    ///
    /// As [`from_file`](Self::from_file).
    pub fn from_json(json: &Value, path: &Path) -> Result<Self> {
        let fail = |field: &str, message: String| ClipError::Config {
            path: path.to_owned(),
            field: field.to_owned(),
            message,
        };
        let object = json
            .as_object()
            .ok_or_else(|| ClipError::format(path, "expected a JSON object"))?;
        match object.get("model_type").and_then(Value::as_str) {
            None | Some("clip" | "clipseg") => {}
            Some(other) => {
                return Err(fail(
                    "model_type",
                    format!("`{other}` is another architecture; expected `clip` or `clipseg`"),
                ));
            }
        }
        let tower = |name: &str| -> Result<Value> {
            // Exports of 2021 and 2022 hold the towers a second time under `…_dict`, which wins.
            let mut merged = serde_json::Map::new();
            let mut found = false;
            for key in [name.to_owned(), format!("{name}_dict")] {
                match object.get(&key) {
                    None | Some(Value::Null) => {}
                    Some(Value::Object(fields)) => {
                        found = true;
                        merged.extend(fields.clone());
                    }
                    Some(other) => {
                        return Err(fail(&key, format!("expected an object, found {other}")));
                    }
                }
            }
            if !found {
                return Err(fail(name, "missing, expected an object".into()));
            }
            merged.retain(|_, value| !value.is_null());
            Ok(Value::Object(merged))
        };
        let config = Self {
            text_config: parse(tower("text_config")?, "text_config", path)?,
            vision_config: parse(tower("vision_config")?, "vision_config", path)?,
            projection_dim: parse_field(object, "projection_dim", path)?.unwrap_or(512),
            logit_scale_init_value: parse_field(object, "logit_scale_init_value", path)?
                .unwrap_or(2.6592),
        };
        config.validate(path)?;
        Ok(config)
    }

    /// Checks that the numbers fit together and are of a size that models have; `path` is for messages.
    ///
    /// # Errors
    ///
    /// [`ClipError::Config`] with the first field that does not.
    pub fn validate(&self, path: &Path) -> Result<()> {
        let (text, vision) = (&self.text_config, &self.vision_config);
        let fail = |field: &str, message: String| ClipError::Config {
            path: path.to_owned(),
            field: field.to_owned(),
            message,
        };
        // The largest are well above any CLIP. Without them a wrong digit asks for more memory than
        // there is before it can be seen that the weights do not fit.
        let bounds = [
            ("text_config.vocab_size", text.vocab_size, 1..=MOST_TOKENS),
            ("text_config.hidden_size", text.hidden_size, 1..=WIDEST),
            (
                "text_config.intermediate_size",
                text.intermediate_size,
                1..=WIDEST,
            ),
            (
                "text_config.num_hidden_layers",
                text.num_hidden_layers,
                0..=DEEPEST,
            ),
            (
                "text_config.num_attention_heads",
                text.num_attention_heads,
                1..=WIDEST,
            ),
            // There must be room for the start and the end token.
            (
                "text_config.max_position_embeddings",
                text.max_position_embeddings,
                2..=WIDEST,
            ),
            ("vision_config.hidden_size", vision.hidden_size, 1..=WIDEST),
            (
                "vision_config.intermediate_size",
                vision.intermediate_size,
                1..=WIDEST,
            ),
            (
                "vision_config.num_hidden_layers",
                vision.num_hidden_layers,
                0..=DEEPEST,
            ),
            (
                "vision_config.num_attention_heads",
                vision.num_attention_heads,
                1..=WIDEST,
            ),
            // Photographs have three.
            ("vision_config.num_channels", vision.num_channels, 3..=3),
            (
                "vision_config.patch_size",
                vision.patch_size,
                1..=LONGEST_SIDE,
            ),
            (
                "vision_config.image_size",
                vision.image_size,
                1..=LONGEST_SIDE,
            ),
            ("projection_dim", self.projection_dim, 1..=WIDEST),
        ];
        for (field, value, bounds) in bounds {
            if !bounds.contains(&value) {
                let (least, most) = bounds.into_inner();
                let expected = match least == most {
                    true => least.to_string(),
                    false => format!("{least} to {most}"),
                };
                return Err(fail(field, format!("{value}, expected {expected}")));
            }
        }
        for (tower, width, heads) in [
            ("text_config", text.hidden_size, text.num_attention_heads),
            (
                "vision_config",
                vision.hidden_size,
                vision.num_attention_heads,
            ),
        ] {
            if !width.is_multiple_of(heads) {
                return Err(fail(
                    &format!("{tower}.num_attention_heads"),
                    format!("{heads} heads do not divide the width {width}"),
                ));
            }
        }
        if vision.image_size < vision.patch_size {
            return Err(fail(
                "vision_config.image_size",
                format!(
                    "{} is smaller than a patch of {}",
                    vision.image_size, vision.patch_size
                ),
            ));
        }
        for (field, epsilon) in [
            ("text_config.layer_norm_eps", text.layer_norm_eps),
            ("vision_config.layer_norm_eps", vision.layer_norm_eps),
        ] {
            // In single precision, as it is added.
            if !((epsilon as f32) > 0.0 && epsilon < 1.0) {
                return Err(fail(
                    field,
                    format!("{epsilon}, expected a number above 0 and below 1"),
                ));
            }
        }
        if !(self.logit_scale_init_value as f32).is_finite() {
            let message = format!("{}, expected a number", self.logit_scale_init_value);
            return Err(fail("logit_scale_init_value", message));
        }
        Ok(())
    }
}

/// Parses one field of a JSON object; `None` if it is missing or null.
///
/// # Errors
///
/// [`ClipError::Config`] that names the field.
pub fn parse_field<T: serde::de::DeserializeOwned>(
    object: &serde_json::Map<String, Value>,
    field: &str,
    path: &Path,
) -> Result<Option<T>> {
    match object.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => parse(value.clone(), field, path).map(Some),
    }
}

fn parse<T: serde::de::DeserializeOwned>(value: Value, prefix: &str, path: &Path) -> Result<T> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let inner = error.path().to_string();
        let field = if inner == "." {
            prefix.to_owned()
        } else {
            format!("{prefix}.{inner}")
        };
        ClipError::Config {
            path: path.to_owned(),
            field,
            message: error.inner().to_string(),
        }
    })
}

#[cfg(test)]
mod tests;
