//! The configuration of a CLIP, as in Hugging Face's `config.json`.
//!
//! The defaults are those of `CLIPTextConfig` and `CLIPVisionConfig` in transformers 4.57, so a field
//! that is missing in a checkpoint has the same value as in transformers.

use crate::checkpoint_files::CheckpointFiles;
use crate::error::{ClipError, Result};
use crate::files::read_json;
use crate::json_fields::{parse, parse_field};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::path::Path;

/// The file of the configuration.
const CONFIG: &str = "config.json";

/// The activation of the MLP in a transformer block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Activation {
    /// `x · sigmoid(1.702 x)`, used by OpenAI's models.
    QuickGelu,
    /// `x · Φ(x)`, used by most models of open_clip.
    Gelu,
    /// `max(x, 0)`.
    Relu,
}

/// The configuration of the text tower.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TextConfig {
    /// Size of the vocabulary. Default: 49,408.
    pub vocab_size: usize,
    /// Width of the hidden states. Default: 512.
    pub hidden_size: usize,
    /// Inner width of the MLP. Default: 2,048.
    pub intermediate_size: usize,
    /// Number of blocks. Default: 12.
    pub num_hidden_layers: usize,
    /// Number of attention heads. Default: 8.
    pub num_attention_heads: usize,
    /// Largest number of tokens of a text. Default: 77.
    pub max_position_embeddings: usize,
    /// Activation of the MLP. Default: QuickGELU.
    pub hidden_act: Activation,
    /// Epsilon of the layer norms. Default: 1e-5.
    pub layer_norm_eps: f64,
    /// Id of the end-of-text token. Default: 49,407. Old exports have the wrong value 2, which selects
    /// another rule for the pooled position; see [`TextEncoder`](crate::TextEncoder).
    pub eos_token_id: i64,
    /// Id of the start-of-text token. Default: 49,406.
    pub bos_token_id: i64,
    /// Id of the padding token. Default: 1.
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

/// The configuration of the vision tower.
///
/// Every field is serialised, also with its default value. The hidden states of a picture depend on
/// this configuration and the weights only, so caches of hidden states use it in their keys.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct VisionConfig {
    /// Width of the hidden states. Default: 768.
    pub hidden_size: usize,
    /// Inner width of the MLP. Default: 3,072.
    pub intermediate_size: usize,
    /// Number of blocks. Default: 12.
    pub num_hidden_layers: usize,
    /// Number of attention heads. Default: 12.
    pub num_attention_heads: usize,
    /// Number of colour channels. Default: 3, the only value that [`ClipConfig::validate`] accepts.
    pub num_channels: usize,
    /// Side in pixels of the square pictures that the position embeddings are for. Default: 224.
    pub image_size: usize,
    /// Side in pixels of a patch. Default: 32.
    pub patch_size: usize,
    /// Activation of the MLP. Default: QuickGELU.
    pub hidden_act: Activation,
    /// Epsilon of the layer norms. Default: 1e-5.
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

/// The configuration of a CLIP: both towers and the shared embedding space.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClipConfig {
    /// The text tower.
    pub text_config: TextConfig,
    /// The vision tower.
    pub vision_config: VisionConfig,
    /// Width of the embeddings of pictures and texts. Default: 512.
    pub projection_dim: usize,
    /// Initial logit scale: the logarithm of the factor on similarities. Default: 2.6592.
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

    /// A small model for demonstrations, with CLIP's vocabulary: pictures of 96 pixels in patches of 8,
    /// four vision blocks and two text blocks.
    ///
    /// There are no published weights of this size. Even with random weights the towers distinguish
    /// colours, positions and words, which is enough for a decoder to learn simple scenes.
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
    /// If the file cannot be read, describes another architecture, or has a field whose value is not
    /// supported; the message names the file and the field.
    pub fn from_file(path: &Path) -> Result<Self> {
        Self::from_json(&read_json(path)?, path)
    }

    /// Reads `config.json` among the files of a CLIP or a CLIPSeg checkpoint.
    ///
    /// # Errors
    ///
    /// As [`from_file`](Self::from_file).
    pub fn from_folder(files: impl Into<CheckpointFiles>) -> Result<Self> {
        let files = files.into();
        Self::from_json(&files.read_json(CONFIG)?, &files.location(CONFIG))
    }

    /// The content of `config.json`, which transformers reads as that of a `CLIPModel`.
    pub fn to_json(&self) -> Value {
        let mut json = json!(self);
        if let Some(fields) = json.as_object_mut() {
            fields.insert("model_type".into(), json!("clip"));
            fields.insert("architectures".into(), json!(["CLIPModel"]));
        }
        json
    }

    /// Reads the parsed `config.json` of a CLIP or a CLIPSeg checkpoint; `path` is used in messages.
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
            // Exports of 2021 and 2022 have each tower a second time under `…_dict`, which takes
            // precedence.
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
}

mod validate;

#[cfg(test)]
mod tests;
