//! The options of AdamW.

use crate::config::values;
use crate::error::Result;
use serde::{Deserialize, Deserializer, Serialize};

/// The options of AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101).
///
/// The defaults are PyTorch's, not Burn's. [`AdamWOptions::clip`] returns those of CLIP.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdamWOptions {
    /// Weight decay: each step multiplies the weights by one minus this times the learning rate.
    /// Default: 0.01; for CLIP 0.1.
    pub weight_decay: f32,
    /// Whether weight decay also applies to biases, to the weights of layer norms and to CLIP's
    /// temperature. Default: true, as in PyTorch; for CLIP false.
    pub decay_biases_and_norms: bool,
    /// Decay rate of the running mean of the gradients (β₁). Default: 0.9.
    pub beta_1: f32,
    /// Decay rate of the running mean of the squared gradients (β₂). Default: 0.999; for CLIP 0.98.
    pub beta_2: f32,
    /// Added to the denominator of the update (ε). Default: 1e-8; for CLIP 1e-6.
    pub epsilon: f32,
}

impl Default for AdamWOptions {
    fn default() -> Self {
        Self {
            weight_decay: 1e-2,
            decay_biases_and_norms: true,
            beta_1: 0.9,
            beta_2: 0.999,
            epsilon: 1e-8,
        }
    }
}

impl AdamWOptions {
    /// The options with which CLIP was trained (Radford et al. 2021, arXiv:2103.00020, table 18), with
    /// a weight decay of 0.1.
    pub fn clip() -> Self {
        Self {
            weight_decay: 0.1,
            decay_biases_and_norms: false,
            beta_1: 0.9,
            beta_2: 0.98,
            epsilon: 1e-6,
        }
    }

    /// Checks every value; the fields are named with the section `optimizer`.
    pub(crate) fn check(&self) -> Result<()> {
        values::share("optimizer.weight_decay", self.weight_decay)?;
        values::below_one("optimizer.beta_1", self.beta_1)?;
        values::below_one("optimizer.beta_2", self.beta_2)?;
        values::positive("optimizer.epsilon", self.epsilon)
    }
}

/// Reads options of which missing ones are those of CLIP.
pub(crate) fn with_clip_defaults<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<AdamWOptions, D::Error> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Given {
        weight_decay: Option<f32>,
        decay_biases_and_norms: Option<bool>,
        beta_1: Option<f32>,
        beta_2: Option<f32>,
        epsilon: Option<f32>,
    }
    let (given, clip) = (Given::deserialize(deserializer)?, AdamWOptions::clip());
    Ok(AdamWOptions {
        weight_decay: given.weight_decay.unwrap_or(clip.weight_decay),
        decay_biases_and_norms: given
            .decay_biases_and_norms
            .unwrap_or(clip.decay_biases_and_norms),
        beta_1: given.beta_1.unwrap_or(clip.beta_1),
        beta_2: given.beta_2.unwrap_or(clip.beta_2),
        epsilon: given.epsilon.unwrap_or(clip.epsilon),
    })
}
