//! CLIPSeg's decoder: three small transformer layers on the hidden states of CLIP's vision encoder
//! (Lüddecke and Ecker 2022, arXiv:2112.10003; `models/clipseg` of transformers 4.57).
//!
//! There are two differences from the reference, and neither changes a value. A picture's hidden states
//! are projected once, however many prompts it has. The patch grid may be rectangular.

use super::expansion::Expansion;
use super::head::Head;
use super::transformer_layer::DecoderLayer;
use crate::config::TransformerDecoderConfig;
use crate::features::ImageFeatures;
use burn::nn::{Linear, LinearConfig};
use burn::prelude::*;
use clipseg_clip::{ClipConfig, apply_linear};

/// CLIPSeg's own decoder, built from transformer layers. [`Decoder`](crate::Decoder) creates and runs it.
#[derive(Module, Debug)]
pub struct TransformerDecoder {
    film_mul: Linear,
    film_add: Linear,
    reduces: Vec<Linear>,
    layers: Vec<DecoderLayer>,
    transposed_convolution: Head,
    conditional_layer: usize,
}

impl TransformerDecoder {
    /// A decoder whose weights come from the reference's initial distributions at their first use.
    pub(super) fn unfilled(
        config: &TransformerDecoderConfig,
        clip: &ClipConfig,
        device: &Device,
    ) -> Self {
        let (hidden_size, patch_size) = (
            clip.vision_config.hidden_size,
            clip.vision_config.patch_size,
        );
        let dim = config.reduce_dim;
        let depth = config.extract_layers.len();
        let film = || LinearConfig::new(clip.projection_dim, dim).init(device);
        Self {
            film_mul: film(),
            film_add: film(),
            reduces: (0..depth)
                .map(|_| LinearConfig::new(hidden_size, dim).init(device))
                .collect(),
            layers: (0..depth)
                .map(|_| DecoderLayer::init(config, device))
                .collect(),
            transposed_convolution: Head::init(config, patch_size, device),
            conditional_layer: config.conditional_layer,
        }
    }

    /// The tokens after each layer, the same as `output_hidden_states` of transformers, for comparison
    /// and visualisation. There must be one prompt for each picture.
    ///
    /// # Shapes
    ///
    /// - `conditional_embedding`: `[prompts, projection_dim]`
    /// - output: `[prompts, 1 + rows · columns, reduce_dim]` for each layer
    ///
    /// # Panics
    ///
    /// If the shapes do not match.
    pub fn hidden_states(
        &self,
        features: &ImageFeatures,
        conditional_embedding: Tensor<2>,
    ) -> Vec<Tensor<3>> {
        let mut states = Vec::with_capacity(self.layers.len());
        let one_to_one = Expansion::OneToOne;
        self.tokens(features, &conditional_embedding, &one_to_one, |tokens| {
            states.push(tokens.clone());
        });
        states
    }

    /// The logits, `[prompts, height, width]`.
    pub(super) fn run(
        &self,
        features: &ImageFeatures,
        conditional_embedding: &Tensor<2>,
        expansion: &Expansion,
    ) -> Tensor<3> {
        let tokens = self.tokens(features, conditional_embedding, expansion, |_| {});
        let [prompts, _, dim] = tokens.dims();
        let [rows, columns] = features.grid;
        let patches = tokens.slice(s![.., 1.., ..]);
        let cells = patches.reshape([prompts, rows, columns, dim]);
        self.transposed_convolution.forward(cells).squeeze_dim(1)
    }

    /// The tokens after the last layer, `[prompts, 1 + rows · columns, reduce_dim]`. `after_layer`
    /// receives the tokens after each layer.
    fn tokens(
        &self,
        features: &ImageFeatures,
        conditional_embedding: &Tensor<2>,
        expansion: &Expansion,
        mut after_layer: impl FnMut(&Tensor<3>),
    ) -> Tensor<3> {
        assert_eq!(
            features.hidden_states.len(),
            self.layers.len(),
            "the decoder needs one hidden state for each layer"
        );
        // Tensors have one row for each picture up to the conditional layer, and from there on one row
        // for each prompt.
        let mut tokens: Option<Tensor<3>> = None;
        let deepest_first = features.hidden_states.iter().rev();
        for (index, ((hidden, reduce), layer)) in deepest_first
            .zip(&self.reduces)
            .zip(&self.layers)
            .enumerate()
        {
            let mut reduced = apply_linear(reduce, hidden.clone(), None);
            if index > self.conditional_layer {
                reduced = expansion.apply(reduced);
            }
            let mut x = match tokens {
                None => reduced,
                Some(tokens) => reduced + tokens,
            };
            if index == self.conditional_layer {
                let film = |map: &Linear| -> Tensor<3> {
                    map.forward(conditional_embedding.clone()).unsqueeze_dim(1)
                };
                x = expansion.apply(x) * film(&self.film_mul) + film(&self.film_add);
            }
            let x = layer.forward(x);
            after_layer(&x);
            tokens = Some(x);
        }
        tokens.unwrap_or_else(|| unreachable!("a decoder has at least one layer"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Distribution, Tolerance};

    fn inputs(pictures: usize, device: &Device) -> ImageFeatures {
        ImageFeatures {
            hidden_states: (0..3)
                .map(|_| Tensor::random([pictures, 1 + 6, 20], Distribution::Default, device))
                .collect(),
            grid: [2, 3],
            pixel_values: None,
        }
    }

    fn decoder(conditional_layer: usize, device: &Device) -> TransformerDecoder {
        let config = TransformerDecoderConfig {
            reduce_dim: 8,
            decoder_intermediate_size: 16,
            conditional_layer,
            ..TransformerDecoderConfig::default()
        };
        let mut clip = ClipConfig {
            projection_dim: 5,
            ..ClipConfig::default()
        };
        clip.vision_config.hidden_size = 20;
        clip.vision_config.patch_size = 4;
        let decoder = TransformerDecoder::unfilled(&config, &clip, device);
        clipseg_clip::initialise(&decoder);
        decoder
    }

    fn forward(
        decoder: &TransformerDecoder,
        features: &ImageFeatures,
        prompts: &Tensor<2>,
    ) -> Tensor<3> {
        let expansion = Expansion::even(features.pictures(), prompts.dims()[0]);
        decoder.run(features, prompts, &expansion)
    }

    #[test]
    fn dropout_affects_training_only() {
        let device = Device::flex();
        let plain = decoder(1, &device);
        let mut dropping = plain.clone();
        for layer in &mut dropping.layers {
            layer.dropout = 0.5;
        }
        let features = inputs(1, &device);
        let prompts = Tensor::<2>::random([2, 5], Distribution::Default, &device);
        let expected = forward(&plain, &features, &prompts).into_data();
        let found = forward(&dropping, &features, &prompts).into_data();
        assert_eq!(found, expected, "must be bitwise equal");

        let (tracked_features, tracked_prompts) = (features.autodiff(), prompts.clone().autodiff());
        let training = |decoder: &TransformerDecoder| {
            let decoder = decoder.clone().train();
            let logits = forward(&decoder, &tracked_features, &tracked_prompts);
            logits.into_data()
        };
        assert_eq!(training(&plain), training(&plain));
        let [first, second] = [training(&dropping), training(&dropping)];
        assert_ne!(first, second);
        assert_ne!(first, expected);
        // `valid` moves the decoder off the autodiff device, which turns dropout off.
        let valid = dropping.train().valid();
        assert_eq!(forward(&valid, &features, &prompts).into_data(), expected);
    }

    #[test]
    fn the_forward_pass_with_dropout_equals_the_one_without_if_nothing_is_dropped() {
        let device = Device::flex();
        device.seed(5);
        let plain = decoder(0, &device);
        let mut dropping = plain.clone();
        for layer in &mut dropping.layers {
            layer.dropout = 1e-12;
        }
        let features = inputs(2, &device).autodiff();
        let prompts = Tensor::<2>::random([2, 5], Distribution::Default, &device).autodiff();
        let [a, b] = [plain, dropping].map(|decoder| {
            let logits = forward(&decoder.train(), &features, &prompts);
            logits.into_data()
        });
        a.assert_approx_eq::<f32>(&b, Tolerance::rel_abs(1e-5, 1e-5));
    }

    #[test]
    fn published_configurations_have_the_published_number_of_parameters() {
        let device = Device::flex();
        let mut config = TransformerDecoderConfig::default();
        let count = |config: &TransformerDecoderConfig| {
            TransformerDecoder::unfilled(config, &ClipConfig::vit_b_16(), &device).num_params()
        };
        assert_eq!(count(&config), 1_073_153);
        config.use_complex_transposed_convolution = true;
        assert_eq!(count(&config), 1_127_009);
    }
}
