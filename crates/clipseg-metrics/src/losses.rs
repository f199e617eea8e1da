//! What training minimises, from logits, on any device.
//!
//! All of these have finite values and gradients for logits as large as ±10,000 and for masks that
//! are empty or full.

use burn::prelude::*;
use burn::tensor::activation::{log_sigmoid, sigmoid};
use serde::{Deserialize, Serialize};

/// Tensors of one element along some axis would be repeated along it, without a word.
fn check_shapes<const D: usize>(logits: &Tensor<D>, targets: &Tensor<D>) {
    assert_eq!(
        logits.dims(),
        targets.dims(),
        "logits and targets must have the same shape"
    );
}

/// Binary cross-entropy of logits against truths from 0 to 1, the mean over all elements.
///
/// `(1 − y) x − (1 + (p − 1) y) log σ(x)`, as PyTorch's `BCEWithLogitsLoss`; `pos_weight` is p, the
/// weight of the elements that are inside. Finite for any finite logit.
///
/// # Shapes
///
/// - logits, targets: the same
/// - output: `[1]`
///
/// # Panics
///
/// If the shapes differ.
pub fn bce_with_logits<const D: usize>(
    logits: Tensor<D>,
    targets: Tensor<D>,
    pos_weight: Option<f64>,
) -> Tensor<1> {
    check_shapes(&logits, &targets);
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
///
/// # Panics
///
/// If the shapes differ.
pub fn dice_loss(
    logits: Tensor<3>,
    targets: Tensor<3>,
    smooth: f64,
    reduction: DiceReduction,
) -> Tensor<1> {
    check_shapes(&logits, &targets);
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

/// The focal loss (Lin et al. 2017, arXiv:1708.02002): `−a (1 − q)^γ log q`, the mean over all
/// elements. q is the probability given to the truth, a is `alpha` inside and `1 − alpha` outside.
///
/// # Shapes
///
/// - logits, targets: the same; targets are zeros and ones
/// - output: `[1]`
///
/// # Panics
///
/// If the shapes differ.
pub fn focal_loss<const D: usize>(
    logits: Tensor<D>,
    targets: Tensor<D>,
    alpha: f64,
    gamma: f64,
) -> Tensor<1> {
    check_shapes(&logits, &targets);
    // The logit of q. As `(1 − q)^γ = exp(γ log σ(−x))`, no power of zero is differentiated.
    let toward_truth = logits * targets.clone().mul_scalar(2.0).sub_scalar(1.0);
    let certainty = log_sigmoid(toward_truth.clone());
    let doubt = log_sigmoid(toward_truth.neg()).mul_scalar(gamma).exp();
    let weight = targets
        .mul_scalar(2.0 * alpha - 1.0)
        .add_scalar(1.0 - alpha);
    (weight * doubt * certainty).mean().neg()
}

/// The Tversky loss (Salehi et al. 2017, arXiv:1706.05721):
/// `1 − (Σ p y + s) / (Σ p y + α Σ p (1 − y) + β Σ (1 − p) y + s)` of each picture, and their mean.
///
/// `alpha` weighs false alarms and `beta` what is missed; with ½ and ½ this is the Dice loss with
/// half of its `smooth`.
///
/// # Shapes
///
/// - logits, targets: `[batch, height, width]`
/// - output: `[1]`
///
/// # Panics
///
/// If the shapes differ.
pub fn tversky_loss(
    logits: Tensor<3>,
    targets: Tensor<3>,
    alpha: f64,
    beta: f64,
    smooth: f64,
) -> Tensor<1> {
    check_shapes(&logits, &targets);
    let [batch, height, width] = logits.dims();
    let rows = [batch, height * width];
    let inside = targets.reshape(rows);
    let logits = logits.reshape(rows);
    let found = sigmoid(logits.clone());
    // 1 − p would round to 0 where p is nearly 1.
    let left_out = sigmoid(logits.neg());
    let hits = (found.clone() * inside.clone()).sum_dim(1);
    let outside = inside.clone().neg().add_scalar(1.0);
    let false_alarms = (found * outside).sum_dim(1);
    let misses = (left_out * inside).sum_dim(1);
    let part = hits.add_scalar(smooth);
    let whole = part.clone() + false_alarms.mul_scalar(alpha) + misses.mul_scalar(beta);
    (part / whole).neg().add_scalar(1.0).mean()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(loss: Tensor<1>) -> f32 {
        loss.into_scalar()
    }

    fn example() -> (Tensor<3>, Tensor<3>) {
        let device = Device::flex();
        let logits = Tensor::from_data(
            [[[2.0, -1.0], [0.5, -3.0]], [[0.1, 0.2], [-0.3, 4.0]]],
            &device,
        );
        let masks = Tensor::from_data(
            [[[1.0, 0.0], [0.0, 1.0]], [[0.0, 0.0], [1.0, 1.0]]],
            &device,
        );
        (logits, masks)
    }

    #[test]
    fn focal_without_focus_is_half_of_bce() {
        let (logits, masks) = example();
        let focal = value(focal_loss(logits.clone(), masks.clone(), 0.5, 0.0));
        let bce = value(bce_with_logits(logits, masks, None));
        approx::assert_relative_eq!(focal, 0.5 * bce, max_relative = 1e-6);
    }

    #[test]
    fn one_mask_is_not_compared_with_all_logits() {
        let (logits, masks) = example();
        for loss in ["bce", "dice", "dice_image", "focal", "tversky"] {
            let loss: crate::Loss = loss.parse().unwrap();
            let (logits, one) = (logits.clone(), masks.clone().slice(s![0..1, .., ..]));
            let compared = std::panic::catch_unwind(|| loss.forward(logits, one));
            assert!(compared.is_err(), "{loss}");
        }
    }

    #[test]
    fn tversky_in_balance_is_dice() {
        let (logits, masks) = example();
        let tversky = value(tversky_loss(logits.clone(), masks.clone(), 0.5, 0.5, 1.0));
        let dice = value(dice_loss(logits, masks, 2.0, DiceReduction::Image));
        approx::assert_relative_eq!(tversky, dice, max_relative = 1e-6);
    }
}
