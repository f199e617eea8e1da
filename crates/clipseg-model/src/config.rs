//! The shape of a CLIPSeg, as Hugging Face's `config.json` writes it down.

use crate::error::Result;
use clipseg_clip::{ClipConfig, ClipError, parse_field, read_json};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
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

/// CLIP and a decoder.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ClipSegConfig {
    /// The encoders.
    pub clip: ClipConfig,
    /// The decoder.
    pub decoder: TransformerDecoderConfig,
}

impl ClipSegConfig {
    /// Encoders and a decoder that fit each other.
    ///
    /// # Errors
    ///
    /// If they do not; the message names the field.
    pub fn new(clip: ClipConfig, decoder: TransformerDecoderConfig) -> Result<Self> {
        let config = Self { clip, decoder };
        config.validate(Path::new("config"))?;
        Ok(config)
    }

    /// The published `rd64`: ViT-B/16, D = 64, one transposed convolution.
    pub fn rd64() -> Self {
        Self {
            clip: ClipConfig::vit_b_16(),
            decoder: TransformerDecoderConfig::default(),
        }
    }

    /// The published `rd64-refined`: the same with the three-step head.
    pub fn rd64_refined() -> Self {
        let mut config = Self::rd64();
        config.decoder.use_complex_transposed_convolution = true;
        config
    }

    /// [`ClipConfig::small`] with a decoder to match, for demonstrations.
    pub fn small() -> Self {
        let decoder = TransformerDecoderConfig {
            extract_layers: vec![0, 1, 3],
            decoder_intermediate_size: 256,
            ..TransformerDecoderConfig::default()
        };
        Self {
            clip: ClipConfig::small(),
            decoder,
        }
    }

    /// Reads `config.json` of a CLIPSeg checkpoint.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, is of another architecture, or has a field with a value that is
    /// not supported; the message names the file and the field.
    pub fn from_file(path: &Path) -> Result<Self> {
        Self::from_json(&read_json(path)?, path)
    }

    /// Reads the parsed `config.json`; `path` is for messages.
    ///
    /// # Errors
    ///
    /// As [`from_file`](Self::from_file).
    pub fn from_json(json: &Value, path: &Path) -> Result<Self> {
        let clip = ClipConfig::from_json(json, path)?;
        let empty = serde_json::Map::new();
        let fields = json.as_object().unwrap_or(&empty);
        match fields.get("model_type").and_then(Value::as_str) {
            Some("clip") => {
                return Err(field_error(
                    path,
                    "model_type",
                    "`clip` has no decoder; expected `clipseg`".into(),
                ));
            }
            _ => parse_field::<String>(fields, "model_type", path)?,
        };
        let default = TransformerDecoderConfig::default();
        macro_rules! field {
            ($name:ident) => {
                parse_field(fields, stringify!($name), path)?.unwrap_or(default.$name)
            };
        }
        let decoder = TransformerDecoderConfig {
            reduce_dim: field!(reduce_dim),
            extract_layers: field!(extract_layers),
            decoder_num_attention_heads: field!(decoder_num_attention_heads),
            decoder_intermediate_size: field!(decoder_intermediate_size),
            conditional_layer: field!(conditional_layer),
            use_complex_transposed_convolution: field!(use_complex_transposed_convolution),
        };
        let config = Self { clip, decoder };
        config.validate(path)?;
        Ok(config)
    }

    /// The form that transformers reads back.
    pub fn to_json(&self) -> Value {
        let mut json = json!(self.clip);
        let (json_fields, decoder) = (json.as_object_mut(), json!(self.decoder));
        if let (Some(fields), Value::Object(decoder)) = (json_fields, decoder) {
            fields.extend(decoder);
            fields.insert("model_type".into(), json!("clipseg"));
            fields.insert(
                "architectures".into(),
                json!(["CLIPSegForImageSegmentation"]),
            );
        }
        json
    }

    /// Checks that the numbers fit together; `path` is for messages.
    ///
    /// # Errors
    ///
    /// With the first field that does not.
    pub fn validate(&self, path: &Path) -> Result<()> {
        self.clip.validate(path)?;
        let decoder = &self.decoder;
        let fail = |field: &str, message: String| Err(field_error(path, field, message));
        let (dim, heads) = (decoder.reduce_dim, decoder.decoder_num_attention_heads);
        if dim < 2 {
            return fail("reduce_dim", format!("{dim}, expected at least 2"));
        }
        if heads == 0 || !dim.is_multiple_of(heads) {
            return fail(
                "decoder_num_attention_heads",
                format!("{heads} heads do not divide the width {dim}"),
            );
        }
        if decoder.decoder_intermediate_size == 0 {
            return fail("decoder_intermediate_size", "0, expected at least 1".into());
        }
        let depth = self.clip.vision_config.num_hidden_layers;
        if decoder.extract_layers.is_empty()
            || decoder.extract_layers.iter().any(|&layer| layer >= depth)
        {
            return fail(
                "extract_layers",
                format!(
                    "{:?}, expected one or more of 0 to {}",
                    decoder.extract_layers,
                    depth - 1
                ),
            );
        }
        if decoder.conditional_layer >= decoder.extract_layers.len() {
            return fail(
                "conditional_layer",
                format!(
                    "{}, but the decoder has {} layers: the prompt would be ignored",
                    decoder.conditional_layer,
                    decoder.extract_layers.len()
                ),
            );
        }
        let patch = self.clip.vision_config.patch_size;
        if decoder.use_complex_transposed_convolution && patch < 4 {
            return fail(
                "use_complex_transposed_convolution",
                format!("needs patches of at least 4 pixels, these have {patch}"),
            );
        }
        Ok(())
    }
}

fn field_error(path: &Path, field: &str, message: String) -> crate::ModelError {
    ClipError::Config {
        path: path.to_owned(),
        field: field.to_owned(),
        message,
    }
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(change: impl FnOnce(&mut TransformerDecoderConfig)) -> String {
        let mut config = ClipSegConfig::rd64();
        change(&mut config.decoder);
        config
            .validate(Path::new("config.json"))
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn what_is_written_is_read_back() {
        for config in [ClipSegConfig::rd64_refined(), ClipSegConfig::small()] {
            let json = config.to_json();
            assert_eq!(
                ClipSegConfig::from_json(&json, Path::new("x")).unwrap(),
                config
            );
        }
    }

    #[test]
    fn bad_fields_are_named() {
        assert!(message(|c| c.extract_layers = vec![3, 12]).contains("field `extract_layers`"));
        assert!(message(|c| c.conditional_layer = 3).contains("the prompt would be ignored"));
        assert!(message(|c| c.decoder_num_attention_heads = 5).contains("do not divide"));
        assert!(message(|c| c.reduce_dim = 0).contains("field `reduce_dim`"));
        let clip = json!({"model_type": "clip", "text_config": {}, "vision_config": {}});
        let error = ClipSegConfig::from_json(&clip, Path::new("config.json")).unwrap_err();
        assert!(
            error.to_string().contains("`clip` has no decoder"),
            "{error}"
        );
    }
}
