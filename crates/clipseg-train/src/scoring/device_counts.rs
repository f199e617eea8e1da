//! Counting pixels on the device that computed the logits.

use crate::error::Result;
use crate::readback::floats;
use burn::prelude::*;
use clipseg_metrics::Confusion;

/// Reads a loss `[1]` back together with the confusion counts of each mask, which the device computes. So four
/// numbers of each mask are transferred instead of its logits. A pixel is positive if
/// `sigmoid(logit) > threshold`, as in [`Confusion::from_logits`]; a device whose exponential rounds otherwise may
/// count a pixel otherwise whose probability is the threshold but for rounding.
///
/// # Shapes
///
/// - logits, masks: `[phrases, height, width]`; masks of zeros and ones
///
/// # Errors
///
/// As [`Confusion::from_logits`].
pub(crate) fn loss_and_counts(
    loss: Tensor<1>,
    logits: Tensor<3>,
    masks: &Tensor<3>,
    threshold: f32,
) -> Result<(f32, Vec<Confusion>)> {
    let [phrases, height, width] = logits.dims();
    let pixels = (height * width) as u64;
    // Sums of zeros and ones are exact in single precision up to 2^24, more pixels than a picture has here.
    let count = |inside: Tensor<3>| inside.flatten::<2>(1, 2).sum_dim(1).flatten::<1>(0, 1);
    let finite = logits.clone().abs().lower_equal_elem(f32::MAX).float();
    let predicted = burn::tensor::activation::sigmoid(logits.clone()).greater_elem(threshold);
    let predicted = predicted.float();
    let values = floats(Tensor::cat(
        vec![
            loss,
            count(finite),
            count(predicted.clone()),
            count(masks.clone()),
            count(predicted * masks.clone()),
        ],
        0,
    ))?;
    let row = |kind: usize, phrase: usize| values[1 + kind * phrases + phrase] as u64;
    if (0..phrases).any(|phrase| row(0, phrase) < pixels) || !(0.0..=1.0).contains(&threshold) {
        // Names the mask and the pixel, or the threshold.
        let counts = Confusion::from_logits(logits, masks.clone(), threshold)?;
        return Ok((values[0], counts));
    }
    let counts = (0..phrases).map(|phrase| {
        let [predicted, inside, both] = [1, 2, 3].map(|kind| row(kind, phrase));
        Confusion {
            true_positive: both,
            false_positive: predicted - both,
            false_negative: inside - both,
            true_negative: pixels + both - predicted - inside,
        }
    });
    Ok((values[0], counts.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Distribution;

    #[test]
    fn the_device_counts_as_the_metrics_do() {
        let device = Device::flex();
        let _alone = crate::step::randomness::drawing(&device, 1);
        let logits = Tensor::<3>::random([3, 40, 30], Distribution::Normal(0.0, 3.0), &device);
        let masks = Tensor::<3>::random([3, 40, 30], Distribution::Default, &device);
        let masks = masks.greater_elem(0.7).float();
        for threshold in [0.1, 0.5, 0.9] {
            let loss = Tensor::from_floats([0.25], &device);
            let (loss, counts) = loss_and_counts(loss, logits.clone(), &masks, threshold).unwrap();
            assert_eq!(loss, 0.25);
            let expected = Confusion::from_logits(logits.clone(), masks.clone(), threshold);
            assert_eq!(counts, expected.unwrap());
        }
    }

    #[test]
    fn logits_that_are_not_finite_are_refused() {
        let device = Device::flex();
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let logits = Tensor::<3>::from_floats([[[0.0, 1.0]], [[value, 1.0]]], &device);
            let masks = Tensor::zeros([2, 1, 2], &device);
            let error = loss_and_counts(Tensor::zeros([1], &device), logits, &masks, 0.5);
            let message = error.unwrap_err().to_string();
            assert!(
                message.contains("at pixel 0, expected a finite number"),
                "{message}"
            );
        }
        let [logits, masks] = [0.0, 1.0].map(|value| Tensor::full([1, 1, 2], value, &device));
        let error = loss_and_counts(Tensor::zeros([1], &device), logits, &masks, 1.5);
        assert!(error.unwrap_err().to_string().contains("1.5"));
    }
}
