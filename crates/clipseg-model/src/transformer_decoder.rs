//! CLIPSeg's decoder: three small transformer layers on the vision tower's hidden states
//! (Lüddecke and Ecker 2022, arXiv:2112.10003; `models/clipseg` of transformers 4.57).
//!
//! Departures from the reference, none of which changes a number: several prompts share what does
//! not depend on the prompt, so a picture's hidden states are reduced once however many prompts
//! there are, and the grid of patches may be rectangular.

use crate::decoder_config::TransformerDecoderConfig;
use crate::features::ImageFeatures;
use crate::spread::Spread;
use burn::nn::conv::{Conv2d, Conv2dConfig, ConvTranspose2d, ConvTranspose2dConfig};
use burn::nn::{
    DropoutConfig, Initializer, LayerNorm, LayerNormConfig, Linear, LinearConfig, PaddingConfig2d,
};
use burn::prelude::*;
use burn::tensor::activation::relu;
use clipseg_clip::{Activation, AttentionMask, ClipConfig, Mlp, SelfAttention, initialise};

/// One post-norm transformer layer.
#[derive(Module, Debug)]
struct DecoderLayer {
    self_attn: SelfAttention,
    layer_norm1: LayerNorm,
    mlp: Mlp,
    layer_norm2: LayerNorm,
    dropout: f64,
}

/// From tokens on the grid of patches to one value for each pixel.
#[derive(Module, Debug)]
#[expect(clippy::large_enum_variant, reason = "a decoder has one of them")]
enum Head {
    /// One transposed convolution from a token to its patch.
    Simple(ConvTranspose2d),
    /// A convolution over neighbouring tokens, then two transposed convolutions.
    Refined(RefinedHead),
}

#[derive(Module, Debug)]
struct RefinedHead {
    conv: Conv2d,
    up1: ConvTranspose2d,
    up2: ConvTranspose2d,
}

/// Turns a picture's hidden states and a prompt's embedding into logits.
#[derive(Module, Debug)]
pub struct TransformerDecoder {
    film_mul: Linear,
    film_add: Linear,
    reduces: Vec<Linear>,
    layers: Vec<DecoderLayer>,
    transposed_convolution: Head,
    conditional_layer: usize,
}

impl DecoderLayer {
    /// Initial values of PyTorch's `TransformerEncoderLayer`, which the reference trains from.
    fn init(config: &TransformerDecoderConfig, device: &Device) -> Self {
        let (dim, inner) = (config.reduce_dim, config.decoder_intermediate_size);
        let map = |initializer: Option<Initializer>| {
            let mut map = LinearConfig::new(dim, dim);
            if let Some(initializer) = initializer {
                map = map.with_initializer(initializer);
            }
            let mut map = map.init(device);
            map.bias = Some(Initializer::Zeros.init([dim], device));
            map
        };
        // Xavier's bound for the matrix of 3 D × D that holds q, k and v together.
        let bound = (6.0 / (4 * dim) as f64).sqrt();
        let qkv = || {
            map(Some(Initializer::Uniform {
                min: -bound,
                max: bound,
            }))
        };
        let mlp = [LinearConfig::new(dim, inner), LinearConfig::new(inner, dim)];
        let norm = || LayerNormConfig::new(dim).init(device);
        Self {
            self_attn: SelfAttention::new(
                [qkv(), qkv(), qkv(), map(None)],
                config.decoder_num_attention_heads,
            ),
            layer_norm1: norm(),
            // Hugging Face's `decoder_hidden_act` is ignored by its own decoder: always ReLU.
            mlp: Mlp::new(mlp.map(|config| config.init(device)), Activation::Relu),
            layer_norm2: norm(),
            dropout: config.dropout,
        }
    }

    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        if self.dropout > 0.0 && x.device().is_autodiff() {
            return self.forward_in_training(x);
        }
        let attended = self.self_attn.forward(x.clone(), &AttentionMask::default());
        let x = self.layer_norm1.forward(x + attended);
        self.layer_norm2.forward(x.clone() + self.mlp.forward(x))
    }

    /// With dropout in the four places of PyTorch's `TransformerEncoderLayer`: the attention weights,
    /// what the attention gives, the values inside the MLP, and what the MLP gives.
    fn forward_in_training(&self, x: Tensor<3>) -> Tensor<3> {
        // Not a field: its flag would be one more tensor in every file.
        let dropout = DropoutConfig::new(self.dropout).init();
        let attended = self
            .self_attn
            .forward_with(x.clone(), |weights| dropout.forward(weights));
        let x = self.layer_norm1.forward(x + dropout.forward(attended));
        let inner = self
            .mlp
            .forward_with(x.clone(), |hidden| dropout.forward(hidden));
        self.layer_norm2.forward(x + dropout.forward(inner))
    }
}

impl Head {
    fn init(config: &TransformerDecoderConfig, patch: usize, device: &Device) -> Self {
        let dim = config.reduce_dim;
        let up = |channels, kernel| {
            ConvTranspose2dConfig::new(channels, [kernel, kernel])
                .with_stride([kernel, kernel])
                .init(device)
        };
        if config.use_complex_transposed_convolution {
            Self::Refined(RefinedHead {
                conv: Conv2dConfig::new([dim, dim], [3, 3])
                    .with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1))
                    .init(device),
                up1: up([dim, dim / 2], patch / 4),
                up2: up([dim / 2, 1], patch / 4),
            })
        } else {
            Self::Simple(up([dim, 1], patch))
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        match self {
            Self::Simple(up) => up.forward(x),
            Self::Refined(head) => {
                let x = relu(head.conv.forward(x));
                head.up2.forward(relu(head.up1.forward(x)))
            }
        }
    }
}

impl TransformerDecoder {
    /// A decoder with random weights, drawn as PyTorch draws those of the reference.
    pub fn init(config: &TransformerDecoderConfig, clip: &ClipConfig, device: &Device) -> Self {
        let (hidden_size, patch_size) = (
            clip.vision_config.hidden_size,
            clip.vision_config.patch_size,
        );
        let dim = config.reduce_dim;
        let depth = config.extract_layers.len();
        let film = || LinearConfig::new(clip.projection_dim, dim).init(device);
        let decoder = Self {
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
        self.run(features, conditional_embedding, &spread, |_| {})
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
        self.run(features, conditional_embedding, &spread, |_| {})
    }

    /// The tokens after each layer, as `output_hidden_states` of transformers gives them, for
    /// comparisons and visualisation; inputs as in [`forward`](Self::forward) with as many prompts
    /// as pictures.
    ///
    /// # Shapes
    ///
    /// - output: `[prompts, 1 + rows · columns, reduce_dim]` each
    ///
    /// # Panics
    ///
    /// If the shapes do not fit.
    pub fn hidden_states(
        &self,
        features: &ImageFeatures,
        conditional_embedding: Tensor<2>,
    ) -> Vec<Tensor<3>> {
        let mut kept = Vec::with_capacity(self.layers.len());
        self.run(features, conditional_embedding, &Spread::Same, |hidden| {
            kept.push(hidden.clone());
        });
        kept
    }

    fn run(
        &self,
        features: &ImageFeatures,
        conditional_embedding: Tensor<2>,
        spread: &Spread,
        mut after_layer: impl FnMut(&Tensor<3>),
    ) -> Tensor<3> {
        assert_eq!(
            features.hidden_states.len(),
            self.layers.len(),
            "one hidden state for each layer"
        );
        // Until the prompt comes in, there is one row for each picture; from then on, one for each
        // prompt.
        let mut tokens: Option<Tensor<3>> = None;
        let deepest_first = features.hidden_states.iter().rev();
        for (index, ((hidden, reduce), layer)) in deepest_first
            .zip(&self.reduces)
            .zip(&self.layers)
            .enumerate()
        {
            let mut reduced = reduce.forward(hidden.clone());
            if index > self.conditional_layer {
                reduced = spread.apply(reduced);
            }
            let mut x = match tokens {
                None => reduced,
                Some(tokens) => reduced + tokens,
            };
            if index == self.conditional_layer {
                let map = |film: &Linear| -> Tensor<3> {
                    film.forward(conditional_embedding.clone()).unsqueeze_dim(1)
                };
                x = spread.apply(x) * map(&self.film_mul) + map(&self.film_add);
            }
            let x = layer.forward(x);
            after_layer(&x);
            tokens = Some(x);
        }
        let Some(tokens) = tokens else {
            unreachable!("a decoder has at least one layer")
        };
        let [prompts, _, dim] = tokens.dims();
        let [rows, columns] = features.grid;
        let patches = tokens.slice(s![.., 1.., ..]).swap_dims(1, 2);
        let map = patches.reshape([prompts, dim, rows, columns]);
        self.transposed_convolution.forward(map).squeeze_dim(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::module::Param;
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
        TransformerDecoder::init(&config, &clip, device)
    }

    #[test]
    fn sharing_a_picture_changes_no_logit() {
        let device = Device::flex();
        for conditional_layer in 0..3 {
            let decoder = decoder(conditional_layer, &device);
            let features = inputs(2, &device);
            let prompts = Tensor::random([4, 5], Distribution::Default, &device);
            let grouped = decoder.forward_grouped(&features, prompts.clone(), &[1, 0, 0, 1]);
            assert_eq!(grouped.dims(), [4, 8, 12]);
            for (prompt, picture) in [1usize, 0, 0, 1].into_iter().enumerate() {
                let hidden = features.hidden_states.iter();
                let one = ImageFeatures {
                    hidden_states: hidden
                        .map(|h| h.clone().slice(s![picture..picture + 1]))
                        .collect(),
                    ..features.clone()
                };
                let alone = decoder.forward(&one, prompts.clone().slice(s![prompt..prompt + 1]));
                let together = grouped.clone().slice(s![prompt..prompt + 1]);
                alone
                    .into_data()
                    .assert_approx_eq::<f32>(&together.into_data(), Tolerance::rel_abs(1e-5, 1e-5));
            }
        }
    }

    /// A layer that passes on what its attention or its MLP gives but for the mean of each token. All
    /// maps are zero, and biases are as asked for: of the attention's values, of its last map, of the
    /// MLP's first and of its last.
    fn see_through(dropout: f64, biases: [f32; 4], device: &Device) -> DecoderLayer {
        const DIM: usize = 32;
        let linear = |weight: Tensor<2>, bias: f32| {
            let mut map = LinearConfig::new(DIM, DIM).init(device);
            map.weight = Param::from_tensor(weight);
            map.bias = Some(Param::from_tensor(Tensor::full([DIM], bias, device)));
            map
        };
        let zeros = || Tensor::zeros([DIM, DIM], device);
        let eye = || Tensor::<2>::eye(DIM, device);
        let norm = || {
            let mut norm = LayerNormConfig::new(DIM).with_epsilon(1e12).init(device);
            norm.gamma = Param::from_tensor(Tensor::full([DIM], 1e6, device));
            norm
        };
        let [value, out, first, last] = biases;
        let maps = [
            linear(zeros(), 0.0),
            linear(zeros(), 0.0),
            linear(zeros(), value),
            linear(eye(), out),
        ];
        let mlp = [linear(zeros(), first), linear(eye(), last)];
        DecoderLayer {
            self_attn: SelfAttention::new(maps, 4),
            layer_norm1: norm(),
            mlp: Mlp::new(mlp, Activation::Relu),
            layer_norm2: norm(),
            dropout,
        }
    }

    /// What such a layer makes of zeros, up to a constant for each token: the lowest is 0.
    fn dropped(dropout: f64, biases: [f32; 4], device: &Device) -> Vec<f32> {
        let layer = see_through(dropout, biases, device);
        let x = layer.forward(Tensor::zeros([8, 50, 32], device));
        let lowest = x.clone().min_dim(2);
        (x - lowest).into_data().try_to_vec().unwrap()
    }

    #[test]
    fn dropout_works_at_four_places_and_keeps_the_mean() {
        const P: f32 = 0.25;
        let kept = 1.0 / (1.0 - P);
        let device = Device::flex().autodiff();
        device.seed(0);
        let share = |values: &[f32], low: f32, high: f32| {
            let inside = values.iter().filter(|v| (low..high).contains(*v));
            inside.count() as f32 / values.len() as f32
        };
        // After the attention, and after the MLP: zeros, and the others larger.
        for biases in [[0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]] {
            let found = dropped(P.into(), biases, &device);
            let zeros = share(&found, 0.0, 1e-3);
            let ones = share(&found, kept - 1e-3, kept + 1e-3);
            assert!((zeros - P).abs() < 0.02, "{biases:?}: {zeros} are zeros");
            assert_eq!(zeros + ones, 1.0, "{biases:?}");
        }
        // Inside the MLP, and after it once more.
        let found = dropped(P.into(), [0.0, 0.0, 1.0, 0.0], &device);
        let zeros = share(&found, 0.0, 1e-3);
        let ones = share(&found, kept * kept - 1e-3, kept * kept + 1e-3);
        assert!((zeros - (1.0 - 0.75 * 0.75)).abs() < 0.02, "{zeros}");
        assert_eq!(zeros + ones, 1.0);
        // The weights of 50 tokens: what is left of their sum of 1 varies, by √(p / (1 − p) / 50).
        let found = dropped(P.into(), [1.0, 0.0, 0.0, 0.0], &device);
        let sums: Vec<f32> = found
            .iter()
            .filter(|v| **v > 1e-3)
            .map(|v| v / kept)
            .collect();
        let mean = sums.iter().sum::<f32>() / sums.len() as f32;
        let deviation =
            (sums.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / sums.len() as f32).sqrt();
        assert!((mean - 1.0).abs() < 0.02, "{mean}");
        assert!((deviation - 0.0816).abs() < 0.01, "{deviation}");
    }

    #[test]
    fn dropout_is_for_training_only() {
        let device = Device::flex();
        let with = |dropout| {
            device.seed(3);
            let mut decoder = decoder(1, &device);
            for layer in &mut decoder.layers {
                layer.dropout = dropout;
            }
            decoder
        };
        let (plain, dropping) = (with(0.0), with(0.5));
        let features = inputs(1, &device);
        let prompts = Tensor::<2>::random([2, 5], Distribution::Default, &device);
        let expected = plain.forward(&features, prompts.clone()).into_data();
        let found = dropping.forward(&features, prompts.clone()).into_data();
        assert_eq!(found, expected, "to the last bit");

        let (features_on_tape, prompts_on_tape) = (features.autodiff(), prompts.clone().autodiff());
        let training = |decoder: &TransformerDecoder| {
            let decoder = decoder.clone().train();
            let logits = decoder.forward(&features_on_tape, prompts_on_tape.clone());
            logits.into_data()
        };
        assert_eq!(training(&plain), training(&plain));
        let [first, second] = [training(&dropping), training(&dropping)];
        assert_ne!(first, second);
        assert_ne!(first, expected);
        // Validation takes it off again.
        let valid = dropping.train().valid();
        assert_eq!(valid.forward(&features, prompts).into_data(), expected);
    }

    #[test]
    fn a_dropout_of_next_to_nothing_changes_next_to_nothing() {
        // The path with dropout computes the same as the other one.
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
            let logits = decoder.train().forward(&features, prompts.clone());
            logits.into_data()
        });
        a.assert_approx_eq::<f32>(&b, Tolerance::rel_abs(1e-5, 1e-5));
    }

    #[test]
    fn published_sizes_have_the_published_number_of_parameters() {
        let device = Device::flex();
        let mut config = TransformerDecoderConfig::default();
        let count = |config: &TransformerDecoderConfig| {
            TransformerDecoder::init(config, &ClipConfig::vit_b_16(), &device).num_params()
        };
        assert_eq!(count(&config), 1_073_153);
        config.use_complex_transposed_convolution = true;
        assert_eq!(count(&config), 1_127_009);
    }
}
