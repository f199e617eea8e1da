//! CLIP-Deconv, the baseline of Lüddecke and Ecker 2022 (arXiv:2112.10003): how far CLIP goes with
//! hardly any decoder.
//!
//! As `CLIPDenseBaseline` in `models/clipseg.py` of timojl/clipseg: one hidden state is reduced, the
//! prompt scales and shifts it, a small MLP works on each token by itself, and one transposed
//! convolution turns a token into its patch. The class token is dropped first, which changes no
//! number.

use crate::decoder_config::DeconvBaselineConfig;
use crate::features::ImageFeatures;
use crate::spread::Spread;
use burn::nn::conv::{ConvTranspose2d, ConvTranspose2dConfig};
use burn::nn::{Linear, LinearConfig};
use burn::prelude::*;
use clipseg_clip::{Activation, ClipConfig, Mlp, initialise};

/// Turns one hidden state of pictures and prompts' embeddings into logits.
///
/// # Example
///
/// ```
/// use burn::tensor::{Device, Distribution, Tensor};
/// use clipseg_model::clip::ClipConfig;
/// use clipseg_model::{DeconvBaseline, DeconvBaselineConfig, ImageFeatures};
///
/// let device = Device::flex();
/// let config = DeconvBaselineConfig::default();
/// let decoder = DeconvBaseline::init(&config, &ClipConfig::vit_b_16(), &device);
/// let features = ImageFeatures {
///     hidden_states: vec![Tensor::random([1, 1 + 12, 768], Distribution::Default, &device)],
///     grid: [3, 4],
///     pixel_values: None,
/// };
/// let prompts = Tensor::random([2, 512], Distribution::Default, &device);
/// assert_eq!(decoder.forward(&features, prompts).dims(), [2, 48, 64]);
/// ```
#[derive(Module, Debug)]
pub struct DeconvBaseline {
    film_mul: Linear,
    film_add: Linear,
    reduce: Linear,
    mlp: Mlp,
    transposed_convolution: ConvTranspose2d,
}

impl DeconvBaseline {
    /// A decoder with random weights for the given encoders, drawn as PyTorch draws those of the
    /// reference; `device.seed` before it decides every weight.
    pub fn init(config: &DeconvBaselineConfig, clip: &ClipConfig, device: &Device) -> Self {
        let (dim, patch) = (config.reduce_dim, clip.vision_config.patch_size);
        let map = |input, output| LinearConfig::new(input, output).init(device);
        let decoder = Self {
            film_mul: map(clip.projection_dim, dim),
            film_add: map(clip.projection_dim, dim),
            reduce: map(clip.vision_config.hidden_size, dim),
            mlp: Mlp::new(
                [map(dim, config.mlp_dim), map(config.mlp_dim, dim)],
                Activation::Relu,
            ),
            transposed_convolution: ConvTranspose2dConfig::new([dim, 1], [patch, patch])
                .with_stride([patch, patch])
                .init(device),
        };
        initialise(&decoder);
        decoder
    }

    /// Decodes pictures with one prompt each, or one picture with any number of prompts.
    ///
    /// # Shapes
    ///
    /// - `conditional_embedding`: `[prompts, projection_dim]`; as many prompts as pictures, or any
    ///   number if there is one picture
    /// - output: logits, `[prompts, height, width]`
    ///
    /// # Panics
    ///
    /// If the shapes do not fit.
    pub fn forward(&self, features: &ImageFeatures, conditional_embedding: Tensor<2>) -> Tensor<3> {
        let [prompts, _] = conditional_embedding.dims();
        let spread = Spread::evenly(features.pictures(), prompts);
        self.run(features, &conditional_embedding, &spread)
    }

    /// Decodes pictures with several prompts each; `picture_of[i]` is the picture of prompt `i`.
    ///
    /// # Shapes
    ///
    /// As [`forward`](Self::forward), with as many prompts as `picture_of` has entries.
    ///
    /// # Panics
    ///
    /// If the shapes do not fit, or a picture does not exist.
    pub fn forward_grouped(
        &self,
        features: &ImageFeatures,
        conditional_embedding: Tensor<2>,
        picture_of: &[usize],
    ) -> Tensor<3> {
        let device = conditional_embedding.device();
        let spread = Spread::grouped(features.pictures(), picture_of, &device);
        self.run(features, &conditional_embedding, &spread)
    }

    fn run(
        &self,
        features: &ImageFeatures,
        conditional_embedding: &Tensor<2>,
        spread: &Spread,
    ) -> Tensor<3> {
        let [hidden] = features.hidden_states.as_slice() else {
            panic!("one hidden state, not {}", features.hidden_states.len())
        };
        let patches = hidden.clone().slice(s![.., 1.., ..]);
        let film = |map: &Linear| -> Tensor<3> {
            map.forward(conditional_embedding.clone()).unsqueeze_dim(1)
        };
        let x = spread.apply(self.reduce.forward(patches));
        let x = self
            .mlp
            .forward(x * film(&self.film_mul) + film(&self.film_add));
        let ([prompts, _, dim], [rows, columns]) = (x.dims(), features.grid);
        let map = x.swap_dims(1, 2).reshape([prompts, dim, rows, columns]);
        self.transposed_convolution.forward(map).squeeze_dim(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::module::Param;
    use burn::tensor::Distribution;

    /// Makes the map give the same number for every prompt.
    fn fix(map: &mut Linear, value: f32) {
        map.weight = Param::from_tensor(map.weight.val().zeros_like());
        let bias = map.bias.as_ref().map(|bias| bias.val().full_like(value));
        map.bias = bias.map(Param::from_tensor);
    }

    #[test]
    fn the_prompt_scales_and_shifts_what_is_seen() {
        let device = Device::flex();
        let mut clip = ClipConfig {
            projection_dim: 6,
            ..ClipConfig::default()
        };
        clip.vision_config.hidden_size = 20;
        clip.vision_config.patch_size = 4;
        let decoder = DeconvBaseline::init(&DeconvBaselineConfig::default(), &clip, &device);
        let normal = Distribution::Normal(0.0, 1.0);
        let features = ImageFeatures {
            hidden_states: vec![Tensor::random([2, 1 + 6, 20], normal, &device)],
            grid: [2, 3],
            pixel_values: None,
        };
        let prompts = Tensor::<2>::random([2, 6], normal, &device);
        // Picture 0 with prompts 0 and 1, then picture 1 with prompt 0.
        let differences = |decoder: &DeconvBaseline| {
            let prompts = prompts
                .clone()
                .select(0, Tensor::from_data([0, 1, 0], &device));
            let logits = decoder.forward_grouped(&features, prompts, &[0, 0, 1]);
            let first = logits.clone().slice(s![0..1]);
            [1, 2].map(|other| {
                let other = logits.clone().slice(s![other..other + 1]);
                (first.clone() - other).abs().max().into_scalar::<f32>()
            })
        };
        let [by_prompt, by_picture] = differences(&decoder);
        assert!(by_prompt > 1e-4 && by_picture > 1e-4);

        let mut unscaled = decoder.clone();
        fix(&mut unscaled.film_mul, 0.0);
        let [by_prompt, by_picture] = differences(&unscaled);
        assert!(by_prompt > 1e-4 && by_picture == 0.0, "{by_picture}");

        let mut unmoved = decoder.clone();
        fix(&mut unmoved.film_mul, 1.0);
        fix(&mut unmoved.film_add, 0.0);
        let [by_prompt, by_picture] = differences(&unmoved);
        assert!(by_prompt == 0.0 && by_picture > 1e-4, "{by_prompt}");
    }
}
