//! The shape of a CLIPSeg, as `config.json` writes it down.

use crate::decoder_config::{DecoderConfig, TransformerDecoderConfig};
use crate::error::Result;
use clipseg_clip::{ClipConfig, ClipError, parse_field, read_json};
use serde_json::{Value, json};
use std::path::Path;

/// CLIP and a decoder.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ClipSegConfig {
    /// The encoders.
    pub clip: ClipConfig,
    /// The decoder.
    pub decoder: DecoderConfig,
}

impl ClipSegConfig {
    /// Encoders and a decoder that fit each other.
    ///
    /// # Errors
    ///
    /// If they do not; the message names the field.
    pub fn new(clip: ClipConfig, decoder: impl Into<DecoderConfig>) -> Result<Self> {
        let decoder = decoder.into();
        let config = Self { clip, decoder };
        config.validate(Path::new("config"))?;
        Ok(config)
    }

    /// The published `rd64`: ViT-B/16, D = 64, one transposed convolution.
    pub fn rd64() -> Self {
        Self {
            clip: ClipConfig::vit_b_16(),
            decoder: DecoderConfig::default(),
        }
    }

    /// The published `rd64-refined`: the same with the three-step head.
    pub fn rd64_refined() -> Self {
        let decoder = TransformerDecoderConfig {
            use_complex_transposed_convolution: true,
            ..TransformerDecoderConfig::default()
        };
        Self {
            decoder: decoder.into(),
            ..Self::rd64()
        }
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
            decoder: decoder.into(),
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
        let decoder = DecoderConfig::from_fields(fields, path)?;
        let config = Self { clip, decoder };
        config.validate(path)?;
        Ok(config)
    }

    /// The form that [`from_json`](Self::from_json) reads back; transformers does too if the decoder is
    /// its own.
    pub fn to_json(&self) -> Value {
        let mut json = json!(self.clip);
        if let Some(fields) = json.as_object_mut() {
            fields.extend(self.decoder.to_fields());
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
        self.decoder.validate(&self.clip, path)
    }
}

pub(crate) fn field_error(path: &Path, field: &str, message: String) -> crate::ModelError {
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
        let mut decoder = TransformerDecoderConfig::default();
        change(&mut decoder);
        let clip = ClipConfig::vit_b_16();
        let decoder = decoder.into();
        ClipSegConfig { clip, decoder }
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
    fn dropout_is_written_only_where_there_is_one() {
        let mut config = ClipSegConfig::rd64();
        assert!(config.to_json().get("dropout").is_none());
        let DecoderConfig::Transformer(decoder) = &mut config.decoder else {
            panic!("CLIPSeg's own")
        };
        decoder.dropout = 0.1;
        let json = config.to_json();
        assert_eq!(json["dropout"], 0.1);
        assert_eq!(
            ClipSegConfig::from_json(&json, Path::new("x")).unwrap(),
            config
        );
    }

    #[test]
    fn the_three_step_head_is_for_patches_of_16() {
        for patch in [2, 4, 8, 14, 32] {
            let mut config = ClipSegConfig::rd64_refined();
            config.clip.vision_config.patch_size = patch;
            let error = config
                .validate(Path::new("config.json"))
                .unwrap_err()
                .to_string();
            let expected = "config.json: field `use_complex_transposed_convolution`: ";
            assert!(error.starts_with(expected) && error.contains(&format!("has {patch}")));
        }
        ClipSegConfig::rd64_refined()
            .validate(Path::new("x"))
            .unwrap();
    }

    #[test]
    fn bad_fields_are_named() {
        assert!(message(|c| c.extract_layers = vec![3, 12]).contains("field `extract_layers`"));
        assert!(message(|c| c.conditional_layer = 3).contains("the prompt would be ignored"));
        assert!(message(|c| c.decoder_num_attention_heads = 5).contains("do not divide"));
        assert!(message(|c| c.reduce_dim = 0).contains("field `reduce_dim`"));
        for dropout in [-0.1, 1.0, f64::NAN, f64::INFINITY] {
            let found = message(|c| c.dropout = dropout);
            assert!(found.contains("field `dropout`: "), "{found}");
        }
        let clip = json!({"model_type": "clip", "text_config": {}, "vision_config": {}});
        let error = ClipSegConfig::from_json(&clip, Path::new("config.json")).unwrap_err();
        assert!(
            error.to_string().contains("`clip` has no decoder"),
            "{error}"
        );
    }
}
