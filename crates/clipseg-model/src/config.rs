//! The configuration of a CLIPSeg model, as `config.json` stores it.

mod checks;
mod conv;
mod decoder;
mod deconv;
mod transformer;

pub use conv::{ConvDecoderConfig, Upsampling};
pub use decoder::DecoderConfig;
pub use deconv::DeconvBaselineConfig;
pub use transformer::TransformerDecoderConfig;

use crate::error::Result;
use clipseg_clip::{CheckpointFiles, ClipConfig, parse_field, read_json};
use serde_json::{Value, json};
use std::path::Path;

/// The configuration of CLIP and of a decoder.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ClipSegConfig {
    /// Configuration of CLIP's two encoders.
    pub clip: ClipConfig,
    /// Configuration of the decoder.
    pub decoder: DecoderConfig,
}

impl ClipSegConfig {
    /// Combines the configurations of CLIP and of a decoder.
    ///
    /// # Errors
    ///
    /// If a value is invalid or the decoder does not fit the encoders; the message names the field.
    pub fn new(clip: ClipConfig, decoder: impl Into<DecoderConfig>) -> Result<Self> {
        let decoder = decoder.into();
        let config = Self { clip, decoder };
        config.validate(Path::new("config"))?;
        Ok(config)
    }

    /// The published model `rd64`: ViT-B/16 and a transformer decoder with D = 64 whose head is one
    /// transposed convolution.
    pub fn rd64() -> Self {
        Self {
            clip: ClipConfig::vit_b_16(),
            decoder: DecoderConfig::default(),
        }
    }

    /// The published model `rd64-refined`: [`rd64`](Self::rd64) with the refined head.
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

    /// A small model for demonstrations: [`ClipConfig::small`] and a transformer decoder.
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

    /// Reads the `config.json` of a CLIPSeg checkpoint.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, describes another architecture, or has a field with an unsupported
    /// value; the message names the file and the field.
    pub fn from_file(path: &Path) -> Result<Self> {
        Self::from_json(&read_json(path)?, path)
    }

    /// Reads `config.json` among the files of a CLIPSeg checkpoint.
    ///
    /// # Errors
    ///
    /// The same as [`from_file`](Self::from_file).
    pub fn from_folder(files: impl Into<CheckpointFiles>) -> Result<Self> {
        let files = files.into();
        let json = files.read_json("config.json")?;
        Self::from_json(&json, &files.path().join("config.json"))
    }

    /// Reads a parsed `config.json`; `path` is used in error messages.
    ///
    /// # Errors
    ///
    /// The same as [`from_file`](Self::from_file).
    pub fn from_json(json: &Value, path: &Path) -> Result<Self> {
        let clip = ClipConfig::from_json(json, path)?;
        let empty = serde_json::Map::new();
        let fields = json.as_object().unwrap_or(&empty);
        match fields.get("model_type").and_then(Value::as_str) {
            Some("clip") => {
                return Err(checks::field_error(
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

    /// The content of `config.json`, which [`from_json`](Self::from_json) reads. transformers reads it
    /// too if the decoder is the transformer decoder.
    pub fn to_json(&self) -> Value {
        let mut json = json!(self.clip);
        if let Some(fields) = json.as_object_mut() {
            fields.extend(self.decoder.to_fields());
        }
        json
    }

    /// Checks that all values are valid and that the decoder fits the encoders; `path` is used in error
    /// messages.
    ///
    /// # Errors
    ///
    /// For the first invalid field; the message names it.
    pub fn validate(&self, path: &Path) -> Result<()> {
        self.clip.validate(path)?;
        self.decoder.validate(&self.clip, path)
    }
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
    fn json_round_trips() {
        for config in [ClipSegConfig::rd64_refined(), ClipSegConfig::small()] {
            let json = config.to_json();
            assert_eq!(
                ClipSegConfig::from_json(&json, Path::new("x")).unwrap(),
                config
            );
        }
    }

    #[test]
    fn dropout_is_written_only_if_it_is_not_zero() {
        let mut config = ClipSegConfig::rd64();
        assert!(config.to_json().get("dropout").is_none());
        let DecoderConfig::Transformer(decoder) = &mut config.decoder else {
            panic!("expected a transformer decoder")
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
    fn the_refined_head_needs_a_patch_size_of_16() {
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
    fn invalid_fields_are_named() {
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
