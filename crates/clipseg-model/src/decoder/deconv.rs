//! CLIP-Deconv, the baseline of Lüddecke and Ecker 2022 (arXiv:2112.10003), which shows how far CLIP's
//! features go with almost no decoder.
//!
//! It follows `CLIPDenseBaseline` in `models/clipseg.py` of timojl/clipseg. One hidden state is projected,
//! the prompt scales and shifts it, a small MLP processes each token, and one transposed convolution turns
//! each token into the logits of its patch. This implementation drops the class token first, which does
//! not change the result.

use super::expansion::Expansion;
use crate::config::DeconvBaselineConfig;
use crate::features::ImageFeatures;
use burn::nn::conv::{ConvTranspose2d, ConvTranspose2dConfig};
use burn::nn::{Linear, LinearConfig};
use burn::prelude::*;
use clipseg_clip::{Activation, ClipConfig, Mlp};

/// The baseline decoder CLIP-Deconv. [`Decoder`](crate::Decoder) creates and runs it.
#[derive(Module, Debug)]
pub struct DeconvBaseline {
    film_mul: Linear,
    film_add: Linear,
    reduce: Linear,
    mlp: Mlp,
    transposed_convolution: ConvTranspose2d,
}

impl DeconvBaseline {
    /// A decoder whose weights come from the reference's initial distributions at their first use.
    pub(super) fn unfilled(
        config: &DeconvBaselineConfig,
        clip: &ClipConfig,
        device: &Device,
    ) -> Self {
        let (dim, patch) = (config.reduce_dim, clip.vision_config.patch_size);
        let linear = |input, output| LinearConfig::new(input, output).init(device);
        Self {
            film_mul: linear(clip.projection_dim, dim),
            film_add: linear(clip.projection_dim, dim),
            reduce: linear(clip.vision_config.hidden_size, dim),
            mlp: Mlp::new(
                [linear(dim, config.mlp_dim), linear(config.mlp_dim, dim)],
                Activation::Relu,
            ),
            transposed_convolution: ConvTranspose2dConfig::new([dim, 1], [patch, patch])
                .with_stride([patch, patch])
                .init(device),
        }
    }

    /// The logits, `[prompts, height, width]`.
    pub(super) fn run(
        &self,
        features: &ImageFeatures,
        conditional_embedding: &Tensor<2>,
        expansion: &Expansion,
    ) -> Tensor<3> {
        let [hidden] = features.hidden_states.as_slice() else {
            let count = features.hidden_states.len();
            panic!("the decoder needs one hidden state, not {count}")
        };
        let patches = hidden.clone().slice(s![.., 1.., ..]);
        let film = |map: &Linear| -> Tensor<3> {
            map.forward(conditional_embedding.clone()).unsqueeze_dim(1)
        };
        let x = expansion.apply(self.reduce.forward(patches));
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

    /// Makes the layer return `value` for every prompt.
    fn fix(map: &mut Linear, value: f32) {
        map.weight = Param::from_tensor(map.weight.val().zeros_like());
        let bias = map.bias.as_ref().map(|bias| bias.val().full_like(value));
        map.bias = bias.map(Param::from_tensor);
    }

    #[test]
    fn the_prompt_scales_and_shifts_the_features() {
        let device = Device::flex();
        let mut clip = ClipConfig {
            projection_dim: 6,
            ..ClipConfig::default()
        };
        clip.vision_config.hidden_size = 20;
        clip.vision_config.patch_size = 4;
        let decoder = DeconvBaseline::unfilled(&DeconvBaselineConfig::default(), &clip, &device);
        clipseg_clip::initialise(&decoder);
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
            let expansion = Expansion::grouped(2, &[0, 0, 1], &device);
            let logits = decoder.run(&features, &prompts, &expansion);
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

        let mut unconditioned = decoder.clone();
        fix(&mut unconditioned.film_mul, 1.0);
        fix(&mut unconditioned.film_add, 0.0);
        let [by_prompt, by_picture] = differences(&unconditioned);
        assert!(by_prompt == 0.0 && by_picture > 1e-4, "{by_prompt}");
    }
}
