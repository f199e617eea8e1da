//! What training minimises, from logits, on any device.

use crate::error::MetricsError;
use burn::prelude::*;
use burn::tensor::activation::{log_sigmoid, sigmoid};
use serde::{Deserialize, Serialize};
use std::str::FromStr;

/// Binary cross-entropy of logits against truths from 0 to 1, the mean over all elements.
///
/// `(1 − y) x − (1 + (p − 1) y) log σ(x)`, as PyTorch's `BCEWithLogitsLoss`; `pos_weight` is p, the
/// weight of the elements that are inside. Finite for any finite logit.
///
/// # Shapes
///
/// - logits, targets: the same
/// - output: `[1]`
pub fn bce_with_logits<const D: usize>(
    logits: Tensor<D>,
    targets: Tensor<D>,
    pos_weight: Option<f64>,
) -> Tensor<1> {
    let outside = targets.clone().neg().add_scalar(1.0) * logits.clone();
    let mut inside = log_sigmoid(logits);
    if let Some(weight) = pos_weight {
        inside = inside * (targets.mul_scalar(weight - 1.0).add_scalar(1.0));
    }
    (outside - inside).mean()
}

/// Over what the sums of the Dice loss run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DiceReduction {
    /// Over the whole batch at once.
    Batch,
    /// Over each picture; the loss is the mean of theirs.
    Image,
}

/// The Dice loss (Milletari et al. 2016, arXiv:1606.04797, without the squares):
/// `1 − (2 Σ p y + s) / (Σ p + Σ y + s)` with `p = σ(x)`.
///
/// # Shapes
///
/// - logits, targets: `[batch, height, width]`
/// - output: `[1]`
pub fn dice_loss(
    logits: Tensor<3>,
    targets: Tensor<3>,
    smooth: f64,
    reduction: DiceReduction,
) -> Tensor<1> {
    let [batch, height, width] = logits.dims();
    let rows = match reduction {
        DiceReduction::Batch => [1, batch * height * width],
        DiceReduction::Image => [batch, height * width],
    };
    let probabilities = sigmoid(logits).reshape(rows);
    let targets = targets.reshape(rows);
    let overlap = (probabilities.clone() * targets.clone()).sum_dim(1);
    let total = probabilities.sum_dim(1) + targets.sum_dim(1);
    let dice = overlap.mul_scalar(2.0).add_scalar(smooth) / total.add_scalar(smooth);
    dice.neg().add_scalar(1.0).mean()
}

/// A loss by name, for configurations and command lines.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[non_exhaustive]
pub enum Loss {
    /// [`bce_with_logits`] without weights.
    Bce,
    /// [`dice_loss`] over the whole batch with a smoothing term of 1.
    Dice,
}

impl Loss {
    /// Binary cross-entropy.
    pub fn bce() -> Self {
        Self::Bce
    }

    /// The Dice loss.
    pub fn dice() -> Self {
        Self::Dice
    }

    /// The loss of a batch.
    ///
    /// # Shapes
    ///
    /// - logits, targets: `[batch, height, width]`
    /// - output: `[1]`
    pub fn forward(&self, logits: Tensor<3>, targets: Tensor<3>) -> Tensor<1> {
        match self {
            Self::Bce => bce_with_logits(logits, targets, None),
            Self::Dice => dice_loss(logits, targets, 1.0, DiceReduction::Batch),
        }
    }
}

impl FromStr for Loss {
    type Err = MetricsError;

    fn from_str(name: &str) -> Result<Self, MetricsError> {
        match name {
            "bce" => Ok(Self::Bce),
            "dice" => Ok(Self::Dice),
            other => Err(MetricsError::UnknownLoss(other.to_owned())),
        }
    }
}

impl std::fmt::Display for Loss {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Bce => "bce",
            Self::Dice => "dice",
        })
    }
}

impl TryFrom<String> for Loss {
    type Error = MetricsError;

    fn try_from(name: String) -> Result<Self, MetricsError> {
        name.parse()
    }
}

impl From<Loss> for String {
    fn from(loss: Loss) -> Self {
        loss.to_string()
    }
}
