//! One embedding for each patch of a picture, in the space of the texts (NACLIP, Hajimiri et al. 2024,
//! arXiv:2404.08181).
//!
//! CLIP trains the class token only, so its patches do not say what they show. NACLIP changes the last block,
//! without any training: no residual connection and no MLP, and the attention
//! `softmax(k · kᵀ / √d + G)`, in which keys attend to similar keys and `G[i, j] = exp(−distance² / (2 · deviation²))`
//! favours near patches. `G` is 0 in the row and the column of the class token.

use crate::clip::{Clip, normalise};
use crate::error::{ClipError, Result};
use burn::prelude::*;

impl Clip {
    /// Embeds every patch of pictures by NACLIP. The embeddings have unit length, so their products with unit
    /// embeddings of texts are cosine similarities.
    ///
    /// `deviation` is that of the Gaussian `G`, in patches; 5 in the paper. Returns the embeddings, and the rows
    /// and columns of the patch grid.
    ///
    /// # Shapes
    ///
    /// - `pixel_values`: `[batch, channels, height, width]`, normalised as the checkpoint expects
    /// - output: `[batch, rows · columns, projection_dim]`, row by row
    ///
    /// # Errors
    ///
    /// If the pictures do not consist of complete patches, see
    /// [`VisionEncoder::forward`](crate::VisionEncoder::forward), or the deviation is not above 0.
    pub fn patch_embedding(
        &self,
        pixel_values: Tensor<4>,
        deviation: f32,
    ) -> Result<(Tensor<3>, [usize; 2])> {
        if !(deviation > 0.0 && deviation.is_finite()) {
            return Err(ClipError::Input(format!(
                "the deviation of the neighbourhood is {deviation}, expected a number of patches above 0"
            )));
        }
        let device = pixel_values.device();
        let bias = |grid| {
            let [rows, columns] = grid;
            let tokens = 1 + rows * columns;
            let values = neighbourhood(grid, deviation);
            Tensor::from_data(TensorData::new(values, [tokens, tokens]), &device)
        };
        let (patches, grid) = self
            .vision_model()
            .tokens_between_keys(pixel_values, bias)?;
        let [batch, count, width] = patches.dims();
        let embedding = normalise(self.project_pooled(patches.reshape([batch * count, width])));
        let [_, width] = embedding.dims();
        Ok((embedding.reshape([batch, count, width]), grid))
    }
}

/// The bias `G` for a grid of rows and columns, row-major: `[1 + patches, 1 + patches]`, the class token first.
fn neighbourhood([rows, columns]: [usize; 2], deviation: f32) -> Vec<f32> {
    // A Gaussian of a squared distance is the product of those along both axes.
    let along = |count: usize| -> Vec<f64> {
        let denominator = 2.0 * f64::from(deviation).powi(2);
        (0..count)
            .map(|distance| (-((distance * distance) as f64) / denominator).exp())
            .collect()
    };
    let (down, across) = (along(rows), along(columns));
    let patches = rows * columns;
    let mut values = vec![0.0; 1 + patches];
    for from in 0..patches {
        values.push(0.0);
        values.extend((0..patches).map(|to| {
            let steps = [from / columns, to / columns, from % columns, to % columns];
            (down[steps[0].abs_diff(steps[1])] * across[steps[2].abs_diff(steps[3])]) as f32
        }));
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ClipConfig;
    use burn::tensor::Distribution;

    #[test]
    fn near_patches_have_the_largest_bias() {
        let bias = neighbourhood([2, 3], 2.0);
        assert_eq!(bias.len(), 49);
        for index in 0..7 {
            assert_eq!((bias[index], bias[7 * index]), (0.0, 0.0), "class token");
        }
        // Patch 0 is in row 0, column 0; patch 5 in row 1, column 2.
        assert_eq!(bias[7 + 1], 1.0);
        assert!((bias[7 + 2] - (-1f32 / 8.0).exp()).abs() < 1e-7);
        assert!((bias[7 + 6] - (-5f32 / 8.0).exp()).abs() < 1e-7);
        assert_eq!(bias[7 + 6], bias[7 * 6 + 1]);
    }

    #[test]
    fn embeddings_have_unit_length_and_do_not_depend_on_the_batch() {
        let device = Device::flex();
        let mut config = ClipConfig::small();
        config.text_config.hidden_size = 32;
        let clip = Clip::init(&config, &device);
        let pixels = Tensor::<4>::random([2, 3, 16, 24], Distribution::Default, &device);
        let (both, grid) = clip.patch_embedding(pixels.clone(), 5.0).unwrap();
        assert_eq!((both.dims(), grid), ([2, 6, 128], [2, 3]));
        let lengths = both.clone().square().sum_dim(2).into_data();
        for length in lengths.try_to_vec::<f32>().unwrap() {
            assert!((length - 1.0).abs() < 1e-5, "{length}");
        }
        let (second, _) = clip.patch_embedding(pixels.slice(s![1..2]), 5.0).unwrap();
        let worst = (both.slice(s![1..2]) - second).abs().max();
        assert!(worst.into_scalar::<f32>() < 1e-5);
    }

    #[test]
    fn deviations_and_sizes_are_checked() {
        let device = Device::flex();
        let mut config = ClipConfig::small();
        config.text_config.hidden_size = 32;
        let clip = Clip::init(&config, &device);
        let message = |side: usize, deviation: f32| {
            let pixels = Tensor::zeros([1, 3, side, side], &device);
            clip.patch_embedding(pixels, deviation)
                .unwrap_err()
                .to_string()
        };
        for bad in [0.0, -1.0, f32::NAN, f32::INFINITY] {
            assert!(message(8, bad).contains("expected a number of patches above 0"));
        }
        assert!(message(9, 5.0).contains("complete patches"));
    }
}
