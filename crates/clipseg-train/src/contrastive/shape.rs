//! The size of a new CLIP.

use clipseg_clip::{ClipConfig, TextConfig, VisionConfig};
use serde::{Deserialize, Serialize};

/// The size of a new CLIP.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClipShape {
    /// Side of the pictures in pixels. Default: 128.
    pub image_size: usize,
    /// Side of a patch in pixels. Default: 8.
    pub patch_size: usize,
    /// Hidden size of the vision tower. Default: 192.
    pub vision_width: usize,
    /// Layers of the vision tower. Default: 6.
    pub vision_layers: usize,
    /// Attention heads of the vision tower. Default: 3.
    pub vision_heads: usize,
    /// Intermediate size of the vision tower's MLPs. Default: 768.
    pub vision_inner: usize,
    /// Hidden size of the text tower. Default: 128.
    pub text_width: usize,
    /// Layers of the text tower. Default: 4.
    pub text_layers: usize,
    /// Attention heads of the text tower. Default: 4.
    pub text_heads: usize,
    /// Intermediate size of the text tower's MLPs. Default: 256.
    pub text_inner: usize,
    /// Largest number of tokens of a text; longer texts are truncated. Default: 32.
    pub tokens: usize,
    /// Largest number of tokens of the vocabulary. Default: 1,024.
    pub vocabulary: usize,
    /// Size of the shared embeddings. Default: 128.
    pub projection: usize,
}

impl Default for ClipShape {
    fn default() -> Self {
        Self {
            image_size: 128,
            patch_size: 8,
            vision_width: 192,
            vision_layers: 6,
            vision_heads: 3,
            vision_inner: 768,
            text_width: 128,
            text_layers: 4,
            text_heads: 4,
            text_inner: 256,
            tokens: 32,
            vocabulary: 1_024,
            projection: 128,
        }
    }
}

impl ClipShape {
    /// The configuration of a CLIP with a vocabulary of `vocab_size` tokens; `start` and `end` are the ids
    /// of the tokens that start and end a text.
    pub(crate) fn to_config(&self, vocab_size: usize, start: u32, end: u32) -> ClipConfig {
        ClipConfig {
            text_config: TextConfig {
                vocab_size,
                hidden_size: self.text_width,
                intermediate_size: self.text_inner,
                num_hidden_layers: self.text_layers,
                num_attention_heads: self.text_heads,
                max_position_embeddings: self.tokens,
                bos_token_id: i64::from(start),
                eos_token_id: i64::from(end),
                pad_token_id: i64::from(end),
                ..TextConfig::default()
            },
            vision_config: VisionConfig {
                hidden_size: self.vision_width,
                intermediate_size: self.vision_inner,
                num_hidden_layers: self.vision_layers,
                num_attention_heads: self.vision_heads,
                image_size: self.image_size,
                patch_size: self.patch_size,
                ..VisionConfig::default()
            },
            projection_dim: self.projection,
            ..ClipConfig::default()
        }
    }
}
