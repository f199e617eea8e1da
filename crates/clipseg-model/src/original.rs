//! Decoder checkpoints of the original CLIPSeg project (`models/clipseg.py` of timojl/clipseg).
//!
//! Such a `.pth` file contains the trained decoder only, so CLIP must be loaded from another file. Its
//! parameters have the names of PyTorch's layers:
//!
//! | Original project | Hugging Face |
//! |---|---|
//! | `blocks.N.self_attn.in_proj_weight` | `layers.N.self_attn.{q,k,v}_proj.weight` |
//! | `blocks.N.linear1`, `.linear2`, `.norm1`, `.norm2` | `layers.N.mlp.fc1`, `.mlp.fc2`, `.layer_norm1`, `.layer_norm2` |
//! | `trans_conv`, or `trans_conv.{0,2,4}` if refined | `transposed_convolution`, `transposed_convolution.{0,2,4}` |
//!
//! Both number the decoder layers from the deepest hidden state of CLIP to the shallowest.

use crate::clipseg::ClipSeg;
use crate::config::{ClipSegConfig, TransformerDecoderConfig};
use crate::decoder::Decoder;
use crate::error::{ModelError, Result};
use clipseg_clip::{Checkpoint, ClipError, PretrainedClip, Source};
use std::path::Path;

/// The settings that a decoder file of the original project does not contain.
///
/// # Example
///
/// ```no_run
/// use burn::tensor::Device;
/// use clipseg_clip::load_clip;
/// use clipseg_model::{ClipSeg, OriginalOptions};
/// use std::path::Path;
///
/// let clip = load_clip(Path::new("clip-vit-base-patch16"), &Device::flex())?;
/// let decoder = Path::new("rd64-uni-refined.pth");
/// let model = ClipSeg::from_original(decoder, clip, &OriginalOptions::default())?;
/// model.save_pretrained(Path::new("clipseg-rd64-refined"))?;
/// # Ok::<(), clipseg_model::ModelError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OriginalOptions {
    /// 0-based indices of the vision encoder's layers whose outputs the decoder uses, in ascending
    /// order; as many as the decoder has layers. Default: 3, 6, 9.
    pub extract_layers: Vec<usize>,
    /// Number of attention heads. Default: 4.
    pub heads: usize,
    /// Index of the decoder layer whose input is conditioned on the prompt. Default: 0.
    pub conditional_layer: usize,
}

impl Default for OriginalOptions {
    fn default() -> Self {
        let TransformerDecoderConfig {
            extract_layers,
            decoder_num_attention_heads: heads,
            conditional_layer,
            ..
        } = TransformerDecoderConfig::default();
        Self {
            extract_layers,
            heads,
            conditional_layer,
        }
    }
}

impl ClipSeg {
    /// Loads a decoder of the original project, such as `rd64-uni.pth` or `rd64-uni-refined.pth`, onto
    /// CLIP's device and combines both. CLIP comes from [`load_clip`](clipseg_clip::load_clip) or
    /// [`load_openai_clip`](clipseg_clip::load_openai_clip). The published decoders were trained on
    /// OpenAI's ViT-B/16.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, is not such a decoder, or does not fit CLIP or the options; the
    /// message lists every tensor that does not fit.
    pub fn from_original(
        decoder: &Path,
        clip: PretrainedClip,
        options: &OriginalOptions,
    ) -> Result<Self> {
        let checkpoint = Checkpoint::from_file(decoder)?.remove_prefix_of("film_mul.weight")?;
        let PretrainedClip {
            config: clip_config,
            clip,
        } = clip;
        let config = ClipSegConfig {
            clip: clip_config,
            decoder: read_config(&checkpoint, options)?.into(),
        };
        config.validate(decoder)?;

        let device = clip.device();
        let mut layers = Decoder::unfilled(&config.decoder, &config.clip, &device);
        checkpoint
            .rename(|name| (!is_unused(name)).then(|| name.to_owned()))
            .load_into_as(&mut layers, source)?;
        Ok(Self::from_parts(config, clip, layers))
    }
}

fn read_config(
    checkpoint: &Checkpoint,
    options: &OriginalOptions,
) -> Result<TransformerDecoderConfig> {
    let rows = |name: &str| {
        let rows = checkpoint
            .shape(name)
            .and_then(|shape| shape.first().copied());
        rows.ok_or_else(|| {
            let message = format!(
                "the tensor `{name}` is missing, so this is not a decoder of the original project"
            );
            ClipError::format(checkpoint.path(), message)
        })
    };
    let reduce_dim = rows("film_mul.weight")?;
    let decoder_intermediate_size = rows("blocks.0.linear1.weight")?;
    let depth = (0..)
        .take_while(|index| {
            checkpoint
                .shape(&format!("reduces.{index}.weight"))
                .is_some()
        })
        .count();
    if depth != options.extract_layers.len() {
        return Err(ModelError::Input(format!(
            "{}: the decoder has {depth} layers, but `extract_layers` is {:?}",
            checkpoint.path().display(),
            options.extract_layers
        )));
    }
    Ok(TransformerDecoderConfig {
        reduce_dim,
        extract_layers: options.extract_layers.clone(),
        decoder_num_attention_heads: options.heads,
        decoder_intermediate_size,
        conditional_layer: options.conditional_layer,
        use_complex_transposed_convolution: checkpoint.shape("trans_conv.0.weight").is_some(),
        dropout: 0.0,
    })
}

/// The published files contain one more linear layer, which the original code never uses.
fn is_unused(name: &str) -> bool {
    name.starts_with("reduce.")
}

/// The location in the file of a parameter of the decoder.
fn source(ours: &str) -> Source {
    let layer = ours
        .strip_prefix("layers.")
        .and_then(|rest| rest.split_once('.'));
    if let Some((index, parameter)) = layer {
        let block = format!("blocks.{index}.");
        if let Some(rest) = parameter.strip_prefix("self_attn.") {
            return Source::packed_attention(&format!("{block}self_attn."), rest);
        }
        let parameter = parameter
            .replace("layer_norm", "norm")
            .replace("mlp.fc", "linear");
        return Source::whole(&format!("{block}{parameter}"));
    }
    for (prefix, theirs) in [
        ("transposed_convolution.conv.", "trans_conv.0."),
        ("transposed_convolution.up1.", "trans_conv.2."),
        ("transposed_convolution.up2.", "trans_conv.4."),
        ("transposed_convolution.", "trans_conv."),
    ] {
        if let Some(rest) = ours.strip_prefix(prefix) {
            return Source::whole(&format!("{theirs}{rest}"));
        }
    }
    Source::whole(ours)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameter_names_are_mapped_to_those_of_pytorch_layers() {
        for (ours, theirs) in [
            ("film_mul.weight", "film_mul.weight"),
            ("reduces.2.bias", "reduces.2.bias"),
            (
                "layers.1.self_attn.out_proj.weight",
                "blocks.1.self_attn.out_proj.weight",
            ),
            ("layers.0.mlp.fc2.bias", "blocks.0.linear2.bias"),
            ("layers.0.layer_norm1.weight", "blocks.0.norm1.weight"),
            ("transposed_convolution.weight", "trans_conv.weight"),
            ("transposed_convolution.up1.bias", "trans_conv.2.bias"),
        ] {
            assert_eq!(source(ours), Source::whole(theirs));
        }
        let key = source("layers.2.self_attn.k_proj.bias");
        assert_eq!(key.name, "blocks.2.self_attn.in_proj_bias");
    }

    #[test]
    fn defaults_are_those_of_the_published_files() {
        let OriginalOptions {
            extract_layers,
            heads,
            conditional_layer,
        } = OriginalOptions::default();
        assert_eq!(
            (extract_layers, heads, conditional_layer),
            (vec![3, 6, 9], 4, 0)
        );
    }
}
