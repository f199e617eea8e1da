//! The limits of a configuration.

use super::ClipConfig;
use crate::error::{ClipError, Result};
use std::path::Path;

/// The largest vocabulary.
const MOST_TOKENS: usize = 1 << 22;
/// The largest width of a layer, and the largest number of positions.
const WIDEST: usize = 1 << 16;
/// The largest number of blocks of a tower.
const DEEPEST: usize = 1 << 10;
/// The largest side of a picture or a patch, in pixels.
const LONGEST_SIDE: usize = 1 << 13;

impl ClipConfig {
    /// Checks that all values are within limits and fit each other; `path` is used in messages.
    ///
    /// # Errors
    ///
    /// [`ClipError::Config`] with the first field whose value is not valid.
    pub fn validate(&self, path: &Path) -> Result<()> {
        let (text, vision) = (&self.text_config, &self.vision_config);
        let fail = |field: &str, message: String| ClipError::Config {
            path: path.to_owned(),
            field: field.to_owned(),
            message,
        };
        // The upper limits are far above any CLIP. Without them a wrong digit could need more memory
        // than the machine has, before the shapes are compared with those of the weights.
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
            // A text has at least the start and the end token.
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
            // Photographs have three channels.
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
                    "{} is smaller than the patch size {}",
                    vision.image_size, vision.patch_size
                ),
            ));
        }
        for (field, epsilon) in [
            ("text_config.layer_norm_eps", text.layer_norm_eps),
            ("vision_config.layer_norm_eps", vision.layer_norm_eps),
        ] {
            // It is added in single precision.
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
