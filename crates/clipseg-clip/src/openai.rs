//! Checkpoints of OpenAI and open_clip: other names, and three matrices in one.
//!
//! | Theirs | Hugging Face's |
//! |---|---|
//! | `visual.conv1`, `visual.positional_embedding`, `visual.proj` | `vision_model.embeddings.…`, `visual_projection` |
//! | `transformer.resblocks.N.attn.in_proj_weight` | `…encoder.layers.N.self_attn.{q,k,v}_proj.weight` |
//! | `….mlp.c_fc`, `….mlp.c_proj`, `….ln_1`, `….ln_2` | `….mlp.fc1`, `….mlp.fc2`, `….layer_norm1`, `….layer_norm2` |
//! | `text_projection`, used as `x · W` | `text_projection.weight`, used as `x · Wᵀ` |

use crate::config::{Activation, ClipConfig, TextConfig, VisionConfig};
use crate::error::{ClipError, Result};
use crate::weights::{Checkpoint, Reshape};

/// Whether the names are those of OpenAI and open_clip.
pub(crate) fn is_openai(checkpoint: &Checkpoint) -> bool {
    checkpoint.shape("visual.conv1.weight").is_some()
}

/// Width of a head in every CLIP transformer that was published under these names.
const HEAD: usize = 64;

/// Reads the configuration off the shapes. The activation is not in the file: OpenAI's models, and
/// those of open_clip whose names end in `-quickgelu`, have [`Activation::QuickGelu`], the others
/// [`Activation::Gelu`].
pub(crate) fn infer_config(checkpoint: &Checkpoint, activation: Activation) -> Result<ClipConfig> {
    let shape = |name: &str| {
        checkpoint.shape(name).ok_or_else(|| {
            ClipError::format(checkpoint.path(), format!("the tensor `{name}` is missing"))
        })
    };
    let side = |name: &str, axis: usize| {
        let shape = shape(name)?;
        shape.get(axis).copied().ok_or_else(|| {
            ClipError::format(checkpoint.path(), format!("`{name}` has shape {shape:?}"))
        })
    };
    let layers = |prefix: &str| {
        let numbers = checkpoint.names().filter_map(|name| {
            name.strip_prefix(prefix)?
                .split('.')
                .next()?
                .parse::<usize>()
                .ok()
        });
        numbers.max().map_or(0, |last| last + 1)
    };
    let vision_width = side("visual.conv1.weight", 0)?;
    let patch_size = side("visual.conv1.weight", 2)?;
    let grid = (side("visual.positional_embedding", 0)?.saturating_sub(1)).isqrt();
    let text_width = side("ln_final.weight", 0)?;
    let config = ClipConfig {
        text_config: TextConfig {
            vocab_size: side("token_embedding.weight", 0)?,
            hidden_size: text_width,
            intermediate_size: side("transformer.resblocks.0.mlp.c_fc.weight", 0)?,
            num_hidden_layers: layers("transformer.resblocks."),
            num_attention_heads: (text_width / HEAD).max(1),
            max_position_embeddings: side("positional_embedding", 0)?,
            hidden_act: activation,
            pad_token_id: 0,
            ..TextConfig::default()
        },
        vision_config: VisionConfig {
            hidden_size: vision_width,
            intermediate_size: side("visual.transformer.resblocks.0.mlp.c_fc.weight", 0)?,
            num_hidden_layers: layers("visual.transformer.resblocks."),
            num_attention_heads: (vision_width / HEAD).max(1),
            num_channels: side("visual.conv1.weight", 1)?,
            image_size: grid * patch_size,
            patch_size,
            hidden_act: activation,
            ..VisionConfig::default()
        },
        projection_dim: side("text_projection", 1)?,
        ..ClipConfig::default()
    };
    config.validate(checkpoint.path())?;
    Ok(config)
}

/// Where a tensor goes, and what is done to it on the way.
pub(crate) fn convert(name: &str) -> Option<(Reshape, Vec<String>)> {
    let keep = |new: &str| Some((Reshape::Keep, vec![new.to_owned()]));
    let transpose = |new: &str| Some((Reshape::Transpose, vec![new.to_owned()]));
    // What TorchScript archives carry besides the weights.
    if matches!(name, "input_resolution" | "context_length" | "vocab_size") {
        return None;
    }
    if let Some(rest) = name.strip_prefix("visual.transformer.resblocks.") {
        return block("vision_model", rest);
    }
    if let Some(rest) = name.strip_prefix("transformer.resblocks.") {
        return block("text_model", rest);
    }
    for (theirs, ours) in [
        ("visual.ln_pre.", "vision_model.pre_layrnorm."),
        ("visual.ln_post.", "vision_model.post_layernorm."),
        ("ln_final.", "text_model.final_layer_norm."),
    ] {
        if let Some(rest) = name.strip_prefix(theirs) {
            return keep(&format!("{ours}{rest}"));
        }
    }
    match name {
        "visual.class_embedding" => keep("vision_model.embeddings.class_embedding"),
        "visual.conv1.weight" => keep("vision_model.embeddings.patch_embedding.weight"),
        "visual.positional_embedding" => keep("vision_model.embeddings.position_embedding.weight"),
        "visual.proj" => transpose("visual_projection.weight"),
        "token_embedding.weight" => keep("text_model.embeddings.token_embedding.weight"),
        "positional_embedding" => keep("text_model.embeddings.position_embedding.weight"),
        "text_projection" => transpose("text_projection.weight"),
        other => keep(other),
    }
}

fn block(tower: &str, rest: &str) -> Option<(Reshape, Vec<String>)> {
    let (index, rest) = rest.split_once('.')?;
    let layer = format!("{tower}.encoder.layers.{index}");
    if let Some(kind) = rest.strip_prefix("attn.in_proj_") {
        return Some((Reshape::SplitRows, qkv(&format!("{layer}.self_attn"), kind)));
    }
    let rest = rest
        .replace("attn.out_proj", "self_attn.out_proj")
        .replace("ln_1", "layer_norm1")
        .replace("ln_2", "layer_norm2")
        .replace("mlp.c_fc", "mlp.fc1")
        .replace("mlp.c_proj", "mlp.fc2");
    Some((Reshape::Keep, vec![format!("{layer}.{rest}")]))
}

/// The names of the three parts of PyTorch's `in_proj_weight` or `in_proj_bias`.
pub fn qkv(attention: &str, kind: &str) -> Vec<String> {
    ["q", "k", "v"]
        .map(|part| format!("{attention}.{part}_proj.{kind}"))
        .into()
}
