//! The layers of the text tower, the vision tower and the decoders of `clipseg-model`.
//!
//! The fields have the names of Hugging Face's checkpoints (`self_attn.q_proj`, `mlp.fc1`, …), so that
//! loading and saving need no table of names.

use crate::config::Activation;
use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::nn::{Initializer, LayerNorm, LayerNormConfig, Linear, LinearConfig};
use burn::prelude::*;
use burn::tensor::activation::{gelu, relu, sigmoid, softmax};
use burn::tensor::module::attention;
use burn::tensor::ops::AttentionModuleOptions;

impl Activation {
    /// Applies the activation to every element.
    pub fn forward<const D: usize>(self, x: Tensor<D>) -> Tensor<D> {
        match self {
            Self::QuickGelu => x.clone() * sigmoid(x.mul_scalar(1.702)),
            Self::Gelu => gelu(x),
            Self::Relu => relu(x),
        }
    }
}

/// Which keys a query may attend to.
#[derive(Debug, Clone, Default)]
pub struct AttentionMask {
    /// Whether the tokens after the query are masked.
    pub causal: bool,
    /// `[batch, 1, queries, keys]`, true where a key is masked. Must include the causal mask, because
    /// Burn's kernels accept only one of the two.
    pub hidden: Option<Tensor<4, Bool>>,
}

/// Multi-head self-attention.
#[derive(Module, Debug)]
pub struct SelfAttention {
    q_proj: Linear,
    k_proj: Linear,
    v_proj: Linear,
    out_proj: Linear,
    heads: usize,
}

impl SelfAttention {
    /// Attention with the linear maps for queries, keys, values and output. All have the same width, which
    /// must be a multiple of `heads`.
    pub fn new([q_proj, k_proj, v_proj, out_proj]: [Linear; 4], heads: usize) -> Self {
        Self {
            q_proj,
            k_proj,
            v_proj,
            out_proj,
            heads,
        }
    }

    /// Applies the attention, with Burn's fused kernel where no gradient is needed.
    ///
    /// # Shapes
    ///
    /// - x: `[batch, tokens, width]`
    /// - output: the same
    pub fn forward(&self, x: Tensor<3>, mask: &AttentionMask) -> Tensor<3> {
        let [query, key, value] = self.split(x);
        if query.is_autodiff() {
            return self.join(with_gradients(query, key, value, mask));
        }
        let options = AttentionModuleOptions {
            is_causal: mask.causal && mask.hidden.is_none(),
            ..Default::default()
        };
        // Not every backend broadcasts a mask over the heads, so it is repeated.
        let hidden = mask.hidden.clone().map(|m| m.repeat_dim(1, self.heads));
        self.join(attention(query, key, value, hidden, None, options))
    }

    /// Applies the attention without a mask, and `on_weights`, such as dropout, to the attention weights.
    ///
    /// Slower than [`forward`](Self::forward), because no fused kernel supports it.
    ///
    /// # Shapes
    ///
    /// - x: `[batch, tokens, width]`
    /// - attention weights: `[batch, heads, queries, keys]`; each row sums to 1
    /// - output: same as x
    pub fn forward_with(
        &self,
        x: Tensor<3>,
        on_weights: impl FnOnce(Tensor<4>) -> Tensor<4>,
    ) -> Tensor<3> {
        let [query, key, value] = self.split(x);
        let [.., width] = query.dims();
        let scores = query.matmul(key.transpose()) * (width as f64).powf(-0.5);
        self.join(on_weights(softmax(scores, 3)).matmul(value))
    }

    /// The queries, keys and values, each `[batch, heads, tokens, width / heads]`.
    fn split(&self, x: Tensor<3>) -> [Tensor<4>; 3] {
        let [batch, tokens, width] = x.dims();
        [&self.q_proj, &self.k_proj, &self.v_proj].map(|map| {
            map.forward(x.clone())
                .reshape([batch, tokens, self.heads, width / self.heads])
                .swap_dims(1, 2)
        })
    }

    /// Concatenates the heads and applies the output map:
    /// `[batch, heads, tokens, width / heads]` → `[batch, tokens, width]`.
    fn join(&self, mixed: Tensor<4>) -> Tensor<3> {
        let [batch, heads, tokens, width] = mixed.dims();
        let mixed = mixed.swap_dims(1, 2);
        self.out_proj
            .forward(mixed.reshape([batch, tokens, heads * width]))
    }
}

/// Attention for training.
///
/// Burn's own attention records the maximum of each row of scores, although a softmax does not depend
/// on it, and the backward pass of the maximum is a slow scatter over all scores.
///
/// All shapes are `[batch, heads, tokens, width]`.
fn with_gradients(
    query: Tensor<4>,
    key: Tensor<4>,
    value: Tensor<4>,
    mask: &AttentionMask,
) -> Tensor<4> {
    let [_, _, tokens, width] = query.dims();
    let scale = (width as f64).powf(-0.5);
    let scores = query.mul_scalar(scale).matmul(key.transpose());
    let scores = match &mask.hidden {
        Some(hidden) => {
            let hidden = hidden.clone().expand(scores.dims());
            scores.mask_fill(hidden, f32::NEG_INFINITY)
        }
        None if mask.causal => {
            let device = scores.device().without_autodiff();
            let later = Tensor::<2, Bool>::tril_mask([tokens, tokens], 0, &device);
            let later = later.unsqueeze::<4>().expand(scores.dims());
            scores.mask_fill(later, f32::NEG_INFINITY)
        }
        None => scores,
    };
    softmax(scores, 3).matmul(value)
}

/// A multilayer perceptron: two linear maps with an activation between them.
#[derive(Module, Debug)]
pub struct Mlp {
    fc1: Linear,
    fc2: Linear,
    #[module(skip)]
    activation: Activation,
}

impl Mlp {
    /// An MLP with the given linear maps.
    pub fn new([fc1, fc2]: [Linear; 2], activation: Activation) -> Self {
        Self {
            fc1,
            fc2,
            activation,
        }
    }

    /// Applies the MLP to every token.
    ///
    /// # Shapes
    ///
    /// - x: `[batch, tokens, width]`
    /// - output: the same
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        self.forward_with(x, |hidden| hidden)
    }

    /// Applies the MLP, and `on_hidden`, such as dropout, to the values after the activation.
    ///
    /// # Shapes
    ///
    /// - x: `[batch, tokens, width]`
    /// - values after the activation: `[batch, tokens, inner width]`
    /// - output: same as x
    pub fn forward_with(
        &self,
        x: Tensor<3>,
        on_hidden: impl FnOnce(Tensor<3>) -> Tensor<3>,
    ) -> Tensor<3> {
        let hidden = self.activation.forward(self.fc1.forward(x));
        self.fc2.forward(on_hidden(hidden))
    }
}

/// A pre-norm transformer block: `x + attention(norm(x))`, then `x + mlp(norm(x))`.
#[derive(Module, Debug)]
pub(crate) struct EncoderLayer {
    layer_norm1: LayerNorm,
    self_attn: SelfAttention,
    layer_norm2: LayerNorm,
    mlp: Mlp,
}

/// The sizes of an [`Encoder`] and its [`EncoderLayer`]s.
#[derive(Debug, Clone, Copy)]
pub(crate) struct EncoderShape {
    pub(crate) width: usize,
    pub(crate) inner: usize,
    pub(crate) heads: usize,
    pub(crate) layers: usize,
    pub(crate) activation: Activation,
    pub(crate) epsilon: f64,
}

impl EncoderLayer {
    /// A block with random weights; the standard deviations are those of `initialize_parameters` in
    /// OpenAI's `model.py`.
    pub(crate) fn init(shape: &EncoderShape, device: &Device) -> Self {
        let EncoderShape {
            width,
            inner,
            heads,
            activation,
            epsilon,
            ..
        } = *shape;
        let scale = (width as f64).powf(-0.5);
        let out = scale * (2.0 * shape.layers as f64).powf(-0.5);
        let norm = || {
            LayerNormConfig::new(width)
                .with_epsilon(epsilon)
                .init(device)
        };
        let map = |std| linear(width, width, std, device);
        let mlp = [
            linear(width, inner, scale * 2f64.powf(-0.5), device),
            linear(inner, width, out, device),
        ];
        Self {
            layer_norm1: norm(),
            self_attn: SelfAttention::new([map(scale), map(scale), map(scale), map(out)], heads),
            layer_norm2: norm(),
            mlp: Mlp::new(mlp, activation),
        }
    }

    pub(crate) fn forward(&self, x: Tensor<3>, mask: &AttentionMask) -> Tensor<3> {
        let x = x.clone() + self.self_attn.forward(self.layer_norm1.forward(x), mask);
        x.clone() + self.mlp.forward(self.layer_norm2.forward(x))
    }
}

/// The blocks of one tower.
#[derive(Module, Debug)]
pub(crate) struct Encoder {
    layers: Vec<EncoderLayer>,
}

impl Encoder {
    pub(crate) fn init(shape: &EncoderShape, device: &Device) -> Self {
        Self {
            layers: (0..shape.layers)
                .map(|_| EncoderLayer::init(shape, device))
                .collect(),
        }
    }

    pub(crate) fn layers(&self) -> &[EncoderLayer] {
        &self.layers
    }
}

/// A linear map with weights drawn from a normal distribution with standard deviation `std`, and zero bias.
pub fn linear(input: usize, output: usize, std: f64, device: &Device) -> Linear {
    let mut linear = LinearConfig::new(input, output)
        .with_initializer(Initializer::Normal { mean: 0.0, std })
        .init(device);
    linear.bias = Some(Initializer::Zeros.init([output], device));
    linear
}

/// Initialises every parameter that is not initialised yet.
///
/// Burn initialises a parameter at its first use, so the result of a random seed would depend on the
/// order of use. Call this right after a model is created.
pub fn initialise<M: Module>(module: &M) {
    struct Touch;
    impl ModuleVisitor for Touch {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let _ = param.val();
        }
    }
    module.visit(&mut Touch);
}

/// Sets every parameter that is not initialised yet to zeros.
///
/// Loading accesses a parameter before it replaces it. The access would initialise it with random
/// numbers, which takes longer.
pub(crate) fn zeroed<M: Module>(module: M) -> M {
    struct Zero;
    impl ModuleMapper for Zero {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            if param.is_initialized() {
                return param;
            }
            Param::from_tensor(Tensor::zeros(param.lazy_shape(), &param.lazy_device()))
        }
    }
    module.map(&mut Zero)
}
