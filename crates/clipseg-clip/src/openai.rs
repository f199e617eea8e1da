//! The tensor names of OpenAI and open_clip, and where the parameters of [`Clip`](crate::Clip) are.
//!
//! | OpenAI and open_clip | Hugging Face |
//! |---|---|
//! | `visual.conv1`, `visual.positional_embedding`, `visual.proj` | `vision_model.embeddings.…`, `visual_projection` |
//! | `transformer.resblocks.N.attn.in_proj_weight` | `…encoder.layers.N.self_attn.{q,k,v}_proj.weight` |
//! | `….mlp.c_fc`, `….mlp.c_proj`, `….ln_1`, `….ln_2` | `….mlp.fc1`, `….mlp.fc2`, `….layer_norm1`, `….layer_norm2` |
//! | `text_projection`, used as `x · W` | `text_projection.weight`, used as `x · Wᵀ` |

use crate::config::{Activation, ClipConfig, TextConfig, VisionConfig};
use crate::error::{ClipError, Result};
use crate::source::Source;
use crate::weights::Checkpoint;

/// A tensor that only checkpoints with these names have.
pub(crate) const PATCHES: &str = "visual.conv1.weight";
const POSITIONS: &str = "visual.positional_embedding";

/// Whether a checkpoint has the names of OpenAI and open_clip.
pub(crate) fn is_openai(checkpoint: &Checkpoint) -> bool {
    checkpoint.shape(PATCHES).is_some()
}

/// The number of attention heads of the text tower, which cannot be inferred from the shapes.
///
/// Heads have a width of 64 in all text towers that were published under these names, and in the
/// vision towers up to ViT-L with its width of 1,024.
fn heads(width: usize) -> usize {
    (width / 64).max(1)
}

/// The number of attention heads of the vision tower. ViT-H to ViT-bigG, which are wider than ViT-L, have
/// 16 heads.
fn vision_heads(width: usize) -> usize {
    if width > 1_024 { 16 } else { heads(width) }
}

/// Infers the configuration from the shapes. The activation cannot be inferred; see
/// [`load_openai_clip`](crate::load_openai_clip).
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
        numbers.max().map_or(0, |last| last.saturating_add(1))
    };
    let vision_width = side(PATCHES, 0)?;
    let patch_size = side(PATCHES, 2)?;
    let grid = (side(POSITIONS, 0)?.saturating_sub(1)).isqrt();
    let text_width = side("ln_final.weight", 0)?;
    let vocab_size = side("token_embedding.weight", 0)?;
    let config = ClipConfig {
        text_config: TextConfig {
            vocab_size,
            hidden_size: text_width,
            intermediate_size: side("transformer.resblocks.0.mlp.c_fc.weight", 0)?,
            num_hidden_layers: layers("transformer.resblocks."),
            num_attention_heads: heads(text_width),
            max_position_embeddings: side("positional_embedding", 0)?,
            hidden_act: activation,
            // OpenAI's code pools at the highest token id. In CLIP's vocabulary the end-of-text token
            // is the last, and the start-of-text token precedes it.
            eos_token_id: vocab_size as i64 - 1,
            bos_token_id: vocab_size as i64 - 2,
            pad_token_id: 0,
            ..TextConfig::default()
        },
        vision_config: VisionConfig {
            hidden_size: vision_width,
            intermediate_size: side("visual.transformer.resblocks.0.mlp.c_fc.weight", 0)?,
            num_hidden_layers: layers("visual.transformer.resblocks."),
            num_attention_heads: vision_heads(vision_width),
            num_channels: side(PATCHES, 1)?,
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

/// The tensor of the file for a parameter of [`Clip`](crate::Clip).
pub(crate) fn source(ours: &str) -> Source {
    for (tower, theirs) in [("vision_model", "visual."), ("text_model", "")] {
        let block = ours
            .strip_prefix(tower)
            .and_then(|rest| rest.strip_prefix(".encoder.layers.")?.split_once('.'));
        if let Some((index, parameter)) = block {
            return block_source(
                &format!("{theirs}transformer.resblocks.{index}."),
                parameter,
            );
        }
    }
    for (prefix, theirs) in [
        ("vision_model.pre_layrnorm.", "visual.ln_pre."),
        ("vision_model.post_layernorm.", "visual.ln_post."),
        ("text_model.final_layer_norm.", "ln_final."),
    ] {
        if let Some(rest) = ours.strip_prefix(prefix) {
            return Source::whole(&format!("{theirs}{rest}"));
        }
    }
    match ours {
        "vision_model.embeddings.class_embedding" => Source::whole("visual.class_embedding"),
        "vision_model.embeddings.patch_embedding.weight" => Source::whole(PATCHES),
        "vision_model.embeddings.position_embedding.weight" => Source::whole(POSITIONS),
        "visual_projection.weight" => Source::transposed("visual.proj"),
        "text_model.embeddings.token_embedding.weight" => Source::whole("token_embedding.weight"),
        "text_model.embeddings.position_embedding.weight" => Source::whole("positional_embedding"),
        "text_projection.weight" => Source::transposed("text_projection"),
        other => Source::whole(other),
    }
}

/// The same for a parameter of a transformer block.
fn block_source(block: &str, parameter: &str) -> Source {
    if let Some(rest) = parameter.strip_prefix("self_attn.") {
        return Source::packed_attention(&format!("{block}attn."), rest);
    }
    let parameter = parameter
        .replace("layer_norm", "ln_")
        .replace("mlp.fc1", "mlp.c_fc")
        .replace("mlp.fc2", "mlp.c_proj");
    Source::whole(&format!("{block}{parameter}"))
}

/// Whether a tensor is one of the sizes that TorchScript archives contain besides the weights. The shapes
/// give the same sizes.
pub(crate) fn is_size(name: &str) -> bool {
    matches!(name, "input_resolution" | "context_length" | "vocab_size")
}
