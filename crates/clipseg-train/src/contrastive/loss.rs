//! The contrastive loss of CLIP.

use burn::prelude::*;
use burn::tensor::activation::log_softmax;
use clipseg_clip::normalise;

/// Far below every logit, so that a masked pair has no weight in the softmax.
const NONE: f32 = -1e9;

/// CLIP's symmetric cross-entropy (Radford et al. 2021, arXiv:2103.00020, figure 3): each picture is
/// classified among the texts of the batch, and each text among the pictures.
///
/// Pairs for which `not_negatives` is true are excluded: the text also describes the picture, although it
/// belongs to another one.
///
/// # Shapes
///
/// - `image_embedding`, `text_embedding`: `[batch, projection_dim]`, not normalised
/// - `logit_scale`: `[1]`, the logarithm of the factor on cosine similarities
/// - `not_negatives`: `[batch, batch]`, pictures by texts, false on the diagonal
/// - output: `[1]`
pub fn contrastive_loss(
    image_embedding: Tensor<2>,
    text_embedding: Tensor<2>,
    logit_scale: Tensor<1>,
    not_negatives: Option<Tensor<2, Bool>>,
) -> Tensor<1> {
    let [batch, _] = image_embedding.dims();
    let device = image_embedding.device();
    let scores = normalise(image_embedding).matmul(normalise(text_embedding).transpose());
    let mut logits = scores * logit_scale.exp().unsqueeze();
    if let Some(not_negatives) = not_negatives {
        logits = logits.mask_fill(not_negatives, NONE);
    }
    let places = Tensor::<1, Int>::arange(0..batch as i64, &device.without_autodiff());
    let own = places.clone().unsqueeze_dim::<2>(1);
    let own = own.equal(places.unsqueeze_dim::<2>(0)).float();
    let pairs = log_softmax(logits.clone(), 1) + log_softmax(logits, 0);
    (pairs * own).sum().div_scalar(-2.0 * batch as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(
        images: [[f32; 2]; 3],
        texts: [[f32; 2]; 3],
        not_negatives: Option<[[bool; 3]; 3]>,
    ) -> f32 {
        let device = Device::flex();
        let tensor = |rows: [[f32; 2]; 3]| Tensor::<2>::from_floats(rows, &device);
        let mask = not_negatives.map(|rows| Tensor::<2, Bool>::from_data(rows, &device));
        let scale = Tensor::from_floats([2.0f32.ln()], &device);
        contrastive_loss(tensor(images), tensor(texts), scale, mask).into_scalar()
    }

    #[test]
    fn the_loss_is_the_mean_of_both_directions() {
        // Cosines: each picture has 1 with its own text and 0 or -1 with the others.
        let rows = [[1.0, 0.0], [0.0, 3.0], [-2.0, 0.0]];
        let (own, none, opposite) = (2f32.exp(), 1f32, (-2f32).exp());
        let side = own.ln() - (own + none + opposite).ln();
        let middle = own.ln() - (own + 2.0 * none).ln();
        let expected = -(2.0 * side + middle) / 3.0;
        assert!((value(rows, rows, None) - expected).abs() < 1e-6);
    }

    #[test]
    fn excluded_pairs_do_not_count() {
        // The first two samples have the same text.
        let images = [[1.0, 0.2], [0.3, 1.0], [-1.0, 0.4]];
        let texts = [[0.5, 0.5], [0.5, 0.5], [-1.0, 0.0]];
        let mut mask = [[false; 3]; 3];
        (mask[0][1], mask[1][0]) = (true, true);
        let cosine = |a: [f32; 2], b: [f32; 2]| {
            (a[0] * b[0] + a[1] * b[1]) / (a[0].hypot(a[1]) * b[0].hypot(b[1]))
        };
        let score = |image: usize, text: usize| 2.0 * cosine(images[image], texts[text]);
        let mut sum = 0.0;
        for (own, masked) in mask.iter().enumerate() {
            let row = (0..3).filter(|&text| !masked[text]);
            let column = (0..3).filter(|&image| !mask[image][own]);
            sum += score(own, own) - row.map(|text| score(own, text).exp()).sum::<f32>().ln();
            sum += score(own, own)
                - column
                    .map(|image| score(image, own).exp())
                    .sum::<f32>()
                    .ln();
        }
        let found = value(images, texts, Some(mask));
        assert!((found + sum / 6.0).abs() < 1e-6, "{found} {}", -sum / 6.0);
        assert!(found < value(images, texts, None));
    }
}
