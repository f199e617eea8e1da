//! One layer of the transformer decoder.

use crate::config::TransformerDecoderConfig;
use burn::nn::{DropoutConfig, Initializer, LinearConfig};
use burn::prelude::*;
use clipseg_clip::{Activation, AttentionMask, LayerNorm, Mlp, SelfAttention};

/// The default of PyTorch's `LayerNorm`.
const EPSILON: f64 = 1e-5;

/// A transformer layer with layer normalisation after each residual connection (post-norm).
#[derive(Module, Debug)]
pub(super) struct DecoderLayer {
    self_attn: SelfAttention,
    layer_norm1: LayerNorm,
    mlp: Mlp,
    layer_norm2: LayerNorm,
    pub(super) dropout: f64,
}

impl DecoderLayer {
    /// Draws initial values from the distributions of PyTorch's `TransformerEncoderLayer`, with which
    /// the reference starts training.
    pub(super) fn init(config: &TransformerDecoderConfig, device: &Device) -> Self {
        let (dim, inner) = (config.reduce_dim, config.decoder_intermediate_size);
        let linear = |initializer: Option<Initializer>| {
            let mut config = LinearConfig::new(dim, dim);
            if let Some(initializer) = initializer {
                config = config.with_initializer(initializer);
            }
            let mut linear = config.init(device);
            linear.bias = Some(Initializer::Zeros.init([dim], device));
            linear
        };
        // Xavier's bound for PyTorch's combined matrix of q, k and v, which is 3D × D.
        let bound = (6.0 / (4 * dim) as f64).sqrt();
        let qkv = || {
            linear(Some(Initializer::Uniform {
                min: -bound,
                max: bound,
            }))
        };
        let mlp = [LinearConfig::new(dim, inner), LinearConfig::new(inner, dim)];
        let norm = || LayerNorm::init(dim, EPSILON, device);
        Self {
            self_attn: SelfAttention::new(
                [qkv(), qkv(), qkv(), linear(None)],
                config.decoder_num_attention_heads,
            ),
            layer_norm1: norm(),
            // Hugging Face's decoder ignores its field `decoder_hidden_act` and always uses ReLU.
            mlp: Mlp::new(mlp.map(|config| config.init(device)), Activation::Relu),
            layer_norm2: norm(),
            dropout: config.dropout,
        }
    }

    /// # Shapes
    ///
    /// - x and output: `[prompts, tokens, reduce_dim]`
    pub(super) fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        if self.dropout > 0.0 && x.device().is_autodiff() {
            return self.forward_in_training(x);
        }
        let attended = self.self_attn.forward(x.clone(), &AttentionMask::default());
        let x = self.layer_norm1.forward(x + attended);
        self.layer_norm2.forward(x.clone() + self.mlp.forward(x))
    }

    /// The forward pass with dropout at the four positions of PyTorch's `TransformerEncoderLayer`: the
    /// attention weights, the attention's output, the MLP's hidden values and the MLP's output.
    fn forward_in_training(&self, x: Tensor<3>) -> Tensor<3> {
        // Not a field of the module, because Burn would then save one more tensor for it.
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

#[cfg(test)]
mod tests {
    use super::*;
    use burn::module::Param;

    /// A layer whose output is the sum of its attention's and its MLP's output, minus the mean of each
    /// token. The weights are zero or the identity. `biases` are those of the attention's value and
    /// output projections and of the MLP's first and second linear layers.
    fn transparent_layer(dropout: f64, biases: [f32; 4], device: &Device) -> DecoderLayer {
        const DIM: usize = 32;
        let linear = |weight: Tensor<2>, bias: f32| {
            let mut linear = LinearConfig::new(DIM, DIM).init(device);
            linear.weight = Param::from_tensor(weight);
            linear.bias = Some(Param::from_tensor(Tensor::full([DIM], bias, device)));
            linear
        };
        let zeros = || Tensor::zeros([DIM, DIM], device);
        let eye = || Tensor::<2>::eye(DIM, device);
        let norm = || {
            let gamma = Tensor::full([DIM], 1e6, device);
            LayerNorm::new(gamma, Tensor::zeros([DIM], device), 1e12)
        };
        let [value, out, first, last] = biases;
        let projections = [
            linear(zeros(), 0.0),
            linear(zeros(), 0.0),
            linear(zeros(), value),
            linear(eye(), out),
        ];
        let mlp = [linear(zeros(), first), linear(eye(), last)];
        DecoderLayer {
            self_attn: SelfAttention::new(projections, 4),
            layer_norm1: norm(),
            mlp: Mlp::new(mlp, Activation::Relu),
            layer_norm2: norm(),
            dropout,
        }
    }

    /// The output of such a layer for an input of zeros, shifted so that the minimum of each token is 0.
    fn output_for_zeros(dropout: f64, biases: [f32; 4], device: &Device) -> Vec<f32> {
        let layer = transparent_layer(dropout, biases, device);
        let x = layer.forward(Tensor::zeros([8, 50, 32], device));
        let lowest = x.clone().min_dim(2);
        (x - lowest).into_data().try_to_vec().unwrap()
    }

    #[test]
    fn dropout_is_applied_at_four_positions_and_preserves_the_mean() {
        const P: f32 = 0.25;
        let kept = 1.0 / (1.0 - P);
        let device = Device::flex().autodiff();
        device.seed(0);
        let share = |values: &[f32], low: f32, high: f32| {
            let inside = values.iter().filter(|v| (low..high).contains(*v));
            inside.count() as f32 / values.len() as f32
        };
        // At the outputs of the attention and of the MLP: a value is either 0 or scaled by 1 / (1 − p).
        for biases in [[0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]] {
            let found = output_for_zeros(P.into(), biases, &device);
            let zeros = share(&found, 0.0, 1e-3);
            let ones = share(&found, kept - 1e-3, kept + 1e-3);
            assert!(
                (zeros - P).abs() < 0.02,
                "{biases:?}: the share of zeros is {zeros}"
            );
            assert_eq!(zeros + ones, 1.0, "{biases:?}");
        }
        // At the MLP's hidden values, and again at its output.
        let found = output_for_zeros(P.into(), [0.0, 0.0, 1.0, 0.0], &device);
        let zeros = share(&found, 0.0, 1e-3);
        let ones = share(&found, kept * kept - 1e-3, kept * kept + 1e-3);
        assert!((zeros - (1.0 - 0.75 * 0.75)).abs() < 0.02, "{zeros}");
        assert_eq!(zeros + ones, 1.0);
        // At the attention weights of 50 tokens: their sum, 1 on average, has a standard deviation of
        // √(p / (1 − p) / 50).
        let found = output_for_zeros(P.into(), [1.0, 0.0, 0.0, 0.0], &device);
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
}
