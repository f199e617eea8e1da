//! Loss functions of logits.
//!
//! Their values and gradients are finite for logits of up to ±10,000 and for masks that are empty or
//! full.

use burn::prelude::*;
use burn::tensor::activation::{log_sigmoid, sigmoid};
use serde::{Deserialize, Serialize};

/// Panics if the shapes differ. Without this check, axes of size 1 would be broadcast.
fn check_shapes<const D: usize>(logits: &Tensor<D>, targets: &Tensor<D>) {
    assert_eq!(
        logits.dims(),
        targets.dims(),
        "logits and targets must have the same shape"
    );
}

/// Binary cross-entropy of logits, the mean over all elements. Targets are from 0 to 1.
///
/// The formula is `(1 − y) x − (1 + (p − 1) y) log σ(x)`, as in PyTorch's `BCEWithLogitsLoss`.
/// `pos_weight` is p, the weight of positive elements. The loss is finite for all finite logits.
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

/// The pixels over which the sums of the Dice loss are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DiceReduction {
    /// All pixels of the batch.
    Batch,
    /// The pixels of each picture. The loss is the mean over pictures.
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
/// elements. q is the predicted probability of the true class. a is `alpha` for positive elements and
/// `1 − alpha` for negative ones.
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
    // The logit x of q. `(1 − q)^γ` is computed as `exp(γ log σ(−x))`, whose gradient is finite for q = 1.
    let true_logit = logits * targets.clone().mul_scalar(2.0).sub_scalar(1.0);
    let log_q = log_sigmoid(true_logit.clone());
    let modulation = log_sigmoid(true_logit.neg()).mul_scalar(gamma).exp();
    let weight = targets
        .mul_scalar(2.0 * alpha - 1.0)
        .add_scalar(1.0 - alpha);
    (weight * modulation * log_q).mean().neg()
}

/// The Tversky loss (Salehi et al. 2017, arXiv:1706.05721):
/// `1 − (Σ p y + s) / (Σ p y + α Σ p (1 − y) + β Σ (1 − p) y + s)` of each picture, and the mean over
/// pictures.
///
/// `alpha` is the weight of false positives and `beta` that of false negatives. With `alpha = beta = ½`
/// the loss equals [`dice_loss`] for each picture with twice the `smooth`.
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
    let targets = targets.reshape(rows);
    let logits = logits.reshape(rows);
    let positive = sigmoid(logits.clone());
    // Computed from the logit, because 1 − p would be rounded to 0 for p close to 1.
    let negative = sigmoid(logits.neg());
    let true_positives = (positive.clone() * targets.clone()).sum_dim(1);
    let background = targets.clone().neg().add_scalar(1.0);
    let false_positives = (positive * background).sum_dim(1);
    let false_negatives = (negative * targets).sum_dim(1);
    let numerator = true_positives.add_scalar(smooth);
    let denominator =
        numerator.clone() + false_positives.mul_scalar(alpha) + false_negatives.mul_scalar(beta);
    (numerator / denominator).neg().add_scalar(1.0).mean()
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
    fn focal_loss_with_gamma_zero_is_half_of_bce() {
        let (logits, masks) = example();
        let focal = value(focal_loss(logits.clone(), masks.clone(), 0.5, 0.0));
        let bce = value(bce_with_logits(logits, masks, None));
        approx::assert_relative_eq!(focal, 0.5 * bce, max_relative = 1e-6);
    }

    #[test]
    fn a_single_mask_is_not_broadcast() {
        let (logits, masks) = example();
        for loss in ["bce", "dice", "dice_image", "focal", "tversky"] {
            let loss: crate::Loss = loss.parse().unwrap();
            let (logits, one) = (logits.clone(), masks.clone().slice(s![0..1, .., ..]));
            let compared = std::panic::catch_unwind(|| loss.forward(logits, one));
            assert!(compared.is_err(), "{loss}");
        }
    }

    #[test]
    fn tversky_with_equal_weights_is_dice() {
        let (logits, masks) = example();
        let tversky = value(tversky_loss(logits.clone(), masks.clone(), 0.5, 0.5, 1.0));
        let dice = value(dice_loss(logits, masks, 2.0, DiceReduction::Image));
        approx::assert_relative_eq!(tversky, dice, max_relative = 1e-6);
    }
}
