//! The choice of the decoder to train; each kind has its own settings.

use clipseg_model::Upsampling;
use serde::{Deserialize, Serialize};

/// The decoder to train. A file selects it by `kind` or by `pretrained = true`; a setting of another
/// decoder is an error.
///
/// # Example
///
/// ```
/// use clipseg_train::{DecoderChoice, TrainConfig};
///
/// let text = "[decoder]\nkind = \"conv\"\nsize = \"tiny\"\n";
/// let config = TrainConfig::from_toml(text, "example".as_ref())?;
/// assert!(matches!(config.decoder, DecoderChoice::Conv(_)));
///
/// let text = "[decoder]\nkind = \"conv\"\nreduce_dim = 128\n";
/// let error = TrainConfig::from_toml(text, "example".as_ref()).unwrap_err();
/// assert!(error.to_string().contains("field `decoder.reduce_dim`: has no effect"));
/// # Ok::<(), clipseg_train::TrainError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
#[non_exhaustive]
pub enum DecoderChoice {
    /// CLIPSeg's decoder with random weights, the default.
    Transformer(TransformerChoice),
    /// A decoder of convolutions at increasing resolutions, with random weights.
    Conv(ConvChoice),
    /// The minimal decoder of the paper's baseline CLIP-Deconv, with random weights.
    Deconv(DeconvChoice),
    /// The decoder of the checkpoint, which is fine-tuned; the checkpoint defines its shape.
    Pretrained(PretrainedChoice),
}

impl Default for DecoderChoice {
    fn default() -> Self {
        Self::Transformer(TransformerChoice::default())
    }
}

/// The settings of CLIPSeg's decoder.
#[derive(Debug, Clone, PartialEq)]
pub struct TransformerChoice {
    /// Hidden size of the tokens, D in the paper. Default: 64.
    pub reduce_dim: usize,
    /// Intermediate size of the MLPs. Default: 2,048, or 256 on a CLIP whose vision tower
    /// is narrower than 256.
    pub intermediate_size: Option<usize>,
    /// The 0-based layers of the vision tower whose outputs the decoder uses, shallow to deep. Default:
    /// 3, 6, 9, or layers at the same fractions of the depth of another tower.
    pub extract_layers: Option<Vec<usize>>,
    /// Uses the upsampling head of three steps instead of one transposed convolution. Default: false.
    pub refined: bool,
    /// Dropout probability in training; 0.1 in the paper. Default: 0.
    pub dropout: f64,
}

impl Default for TransformerChoice {
    fn default() -> Self {
        Self {
            reduce_dim: 64,
            intermediate_size: None,
            extract_layers: None,
            refined: false,
            dropout: 0.0,
        }
    }
}

/// The settings of the convolutional decoder.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ConvChoice {
    /// Its width and depth. Default: `base`, with about as many parameters as the transformer decoder at
    /// D = 64.
    pub size: ConvSize,
    /// The upsampling of feature maps. Default: `transposed`.
    pub upsampling: Upsampling,
    /// Whether the pixels of the picture are an input, too. Default: false.
    pub picture_branch: bool,
    /// The 0-based layers of the vision tower whose outputs the decoder uses, shallow to deep. Default:
    /// 3, 6, 9, or layers at the same fractions of the depth of another tower.
    pub extract_layers: Option<Vec<usize>>,
}

/// The settings of the paper's baseline.
#[derive(Debug, Clone, PartialEq)]
pub struct DeconvChoice {
    /// Hidden size of the tokens, D in the paper. Default: 64.
    pub reduce_dim: usize,
    /// The 0-based layer of the vision tower whose output the decoder uses, as a list of one. Default: 9,
    /// or the layer at the same fraction of the depth of another tower.
    pub extract_layers: Option<Vec<usize>>,
}

impl Default for DeconvChoice {
    fn default() -> Self {
        Self {
            reduce_dim: 64,
            extract_layers: None,
        }
    }
}

/// The settings of a checkpoint's decoder.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PretrainedChoice {
    /// The required kind of the checkpoint's decoder. Default: any.
    pub kind: Option<DecoderKind>,
    /// Dropout probability in training, for a `transformer`. Default: that in the checkpoint's
    /// configuration, or 0.
    pub dropout: Option<f64>,
}

/// The architecture of a decoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum DecoderKind {
    /// CLIPSeg's decoder.
    Transformer,
    /// Convolutions at increasing resolutions.
    Conv,
    /// The minimal decoder of the paper's baseline CLIP-Deconv.
    Deconv,
}

impl DecoderKind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Transformer => "transformer",
            Self::Conv => "conv",
            Self::Deconv => "deconv",
        }
    }
}

/// Sizes of the convolutional decoder, those of [`ConvDecoderConfig`](clipseg_model::ConvDecoderConfig).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ConvSize {
    /// About a tenth of the parameters of `base`.
    Tiny,
    /// About a million parameters on ViT-B/16.
    #[default]
    Base,
    /// About three times the parameters of `base`.
    Large,
}

impl DecoderChoice {
    /// The configured dropout probability; 0 if none is configured.
    pub(crate) fn dropout(&self) -> f64 {
        match self {
            Self::Transformer(choice) => choice.dropout,
            Self::Pretrained(choice) => choice.dropout.unwrap_or(0.0),
            Self::Conv(_) | Self::Deconv(_) => 0.0,
        }
    }
}

/// The section `decoder` of a file, with the fields of all decoders.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Written {
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<DecoderKind>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pretrained: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reduce_dim: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    intermediate_size: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<ConvSize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    upsampling: Option<Upsampling>,
    #[serde(skip_serializing_if = "Option::is_none")]
    picture_branch: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    extract_layers: Option<Vec<usize>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refined: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dropout: Option<f64>,
}

impl Written {
    /// The first given field that is not among `fields`.
    fn other_than(&self, fields: &[&str]) -> Option<&'static str> {
        [
            ("reduce_dim", self.reduce_dim.is_some()),
            ("intermediate_size", self.intermediate_size.is_some()),
            ("size", self.size.is_some()),
            ("upsampling", self.upsampling.is_some()),
            ("picture_branch", self.picture_branch.is_some()),
            ("extract_layers", self.extract_layers.is_some()),
            ("refined", self.refined.is_some()),
            ("dropout", self.dropout.is_some()),
        ]
        .into_iter()
        .find(|(name, given)| *given && !fields.contains(name))
        .map(|(name, _)| name)
    }
}

/// The prefix of error messages of the section, before the field.
pub(crate) const SECTION: &str = "decoder.";

impl TryFrom<Written> for DecoderChoice {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        let pretrained = written.pretrained.unwrap_or(false);
        let kind = written.kind.unwrap_or(DecoderKind::Transformer);
        let (decoder, fields): (String, &[&str]) = match (pretrained, kind) {
            (true, _) => ("the decoder of a checkpoint".into(), &["dropout"]),
            (false, DecoderKind::Transformer) => (
                format!("`{}`", kind.name()),
                &[
                    "reduce_dim",
                    "intermediate_size",
                    "extract_layers",
                    "refined",
                    "dropout",
                ],
            ),
            (false, DecoderKind::Conv) => (
                format!("`{}`", kind.name()),
                &["size", "upsampling", "picture_branch", "extract_layers"],
            ),
            (false, DecoderKind::Deconv) => (
                format!("`{}`", kind.name()),
                &["reduce_dim", "extract_layers"],
            ),
        };
        if let Some(field) = written.other_than(fields) {
            return Err(format!(
                "{SECTION}{field}: has no effect on {decoder}, expected {}",
                fields.join(", ")
            ));
        }
        let default = TransformerChoice::default();
        Ok(match (pretrained, kind) {
            (true, _) => Self::Pretrained(PretrainedChoice {
                kind: written.kind,
                dropout: written.dropout,
            }),
            (false, DecoderKind::Transformer) => Self::Transformer(TransformerChoice {
                reduce_dim: written.reduce_dim.unwrap_or(default.reduce_dim),
                intermediate_size: written.intermediate_size,
                extract_layers: written.extract_layers,
                refined: written.refined.unwrap_or(default.refined),
                dropout: written.dropout.unwrap_or(default.dropout),
            }),
            (false, DecoderKind::Conv) => Self::Conv(ConvChoice {
                size: written.size.unwrap_or_default(),
                upsampling: written.upsampling.unwrap_or_default(),
                picture_branch: written.picture_branch.unwrap_or_default(),
                extract_layers: written.extract_layers,
            }),
            (false, DecoderKind::Deconv) => Self::Deconv(DeconvChoice {
                reduce_dim: written.reduce_dim.unwrap_or(default.reduce_dim),
                extract_layers: written.extract_layers,
            }),
        })
    }
}

impl From<DecoderChoice> for Written {
    fn from(choice: DecoderChoice) -> Self {
        match choice {
            DecoderChoice::Transformer(choice) => Self {
                kind: Some(DecoderKind::Transformer),
                reduce_dim: Some(choice.reduce_dim),
                intermediate_size: choice.intermediate_size,
                extract_layers: choice.extract_layers,
                refined: Some(choice.refined),
                dropout: Some(choice.dropout),
                ..Self::default()
            },
            DecoderChoice::Conv(choice) => Self {
                kind: Some(DecoderKind::Conv),
                size: Some(choice.size),
                upsampling: Some(choice.upsampling),
                picture_branch: Some(choice.picture_branch),
                extract_layers: choice.extract_layers,
                ..Self::default()
            },
            DecoderChoice::Deconv(choice) => Self {
                kind: Some(DecoderKind::Deconv),
                reduce_dim: Some(choice.reduce_dim),
                extract_layers: choice.extract_layers,
                ..Self::default()
            },
            DecoderChoice::Pretrained(choice) => Self {
                kind: choice.kind,
                pretrained: Some(true),
                dropout: choice.dropout,
                ..Self::default()
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::train_config::TrainConfig;

    #[test]
    fn a_field_of_another_decoder_is_named() {
        let own: [(&str, &[&str]); 4] = [
            (
                "kind=\"transformer\"",
                &[
                    "reduce_dim",
                    "intermediate_size",
                    "extract_layers",
                    "refined",
                    "dropout",
                ],
            ),
            (
                "kind=\"conv\"",
                &["size", "upsampling", "picture_branch", "extract_layers"],
            ),
            ("kind=\"deconv\"", &["reduce_dim", "extract_layers"]),
            ("pretrained=true", &["dropout", "kind"]),
        ];
        let values = [
            ("reduce_dim", "128"),
            ("intermediate_size", "64"),
            ("size", "\"tiny\""),
            ("upsampling", "\"bilinear\""),
            ("picture_branch", "false"),
            ("extract_layers", "[2]"),
            ("refined", "false"),
            ("dropout", "0.1"),
        ];
        for (choice, fields) in own {
            for (field, value) in values {
                let text = format!("[decoder]\n{choice}\n{field}={value}\n");
                let read = TrainConfig::from_toml(&text, "x".as_ref());
                let set = TrainConfig::default().with_overrides(&[
                    format!("decoder.{choice}"),
                    format!("decoder.{field}={value}"),
                ]);
                if fields.contains(&field) {
                    assert_eq!(read.unwrap().decoder, set.unwrap().decoder, "{text}");
                    continue;
                }
                let message = read.unwrap_err().to_string();
                let expected = format!("field `decoder.{field}`: has no effect on ");
                assert!(
                    message.starts_with("x, line 1: ") && message.contains(&expected),
                    "{message}"
                );
                let message = set.unwrap_err().to_string();
                assert!(message.starts_with(&expected), "{message}");
            }
        }
    }

    #[test]
    fn another_decoder_starts_with_its_defaults() {
        let paper = TrainConfig::preset("paper").unwrap();
        let conv = paper
            .clone()
            .with_overrides(&["decoder.kind=conv"])
            .unwrap();
        assert_eq!(conv.decoder, DecoderChoice::Conv(ConvChoice::default()));
        let same = paper
            .clone()
            .with_overrides(&["decoder.kind=transformer"])
            .unwrap();
        assert_eq!(same.decoder, paper.decoder);
        // The order of the overrides does not matter.
        let given = ["decoder.size=tiny", "decoder.kind=conv"];
        let tiny = paper.clone().with_overrides(&given).unwrap();
        assert!(
            matches!(tiny.decoder, DecoderChoice::Conv(choice) if choice.size == ConvSize::Tiny)
        );
        let given = ["decoder.reduce_dim=8", "decoder.kind=conv"];
        let message = paper
            .clone()
            .with_overrides(&given)
            .unwrap_err()
            .to_string();
        assert!(
            message.starts_with("field `decoder.reduce_dim`: has no effect"),
            "{message}"
        );

        let student = TrainConfig::preset("student").unwrap();
        assert!(matches!(student.decoder, DecoderChoice::Pretrained(_)));
        let checked = student.with_overrides(&["decoder.kind=conv"]).unwrap();
        let DecoderChoice::Pretrained(choice) = checked.decoder.clone() else {
            panic!("{:?}", checked.decoder)
        };
        assert_eq!(choice.kind, Some(DecoderKind::Conv));
        let random = checked
            .with_overrides(&["decoder.pretrained=false"])
            .unwrap();
        assert_eq!(random.decoder, DecoderChoice::default());
    }
}
