//! The layers of the text tower, the vision tower and the decoders of `clipseg-model`.
//!
//! The fields have the names of Hugging Face's checkpoints (`self_attn.q_proj`, `mlp.fc1`, …), so that
//! loading and saving need no table of names.

use crate::config::Activation;
use crate::fused::{self, PackedCache};
use crate::precision::Precision;
use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::nn::{Initializer, Linear, LinearConfig};
use burn::prelude::*;
use burn::tensor::activation::softmax;

/// Which keys a query may attend to.
#[derive(Debug, Clone, Default)]
pub struct AttentionMask {
    /// Whether the tokens after the query are masked.
    pub causal: bool,
    /// `[batch, 1, queries, keys]`, true where a key is masked. Must include the causal mask, because
    /// Burn's kernels accept only one of the two.
    pub hidden: Option<Tensor<4, Bool>>,
}

/// Layer normalisation over the last dimension (Ba et al. 2016, arXiv:1607.06450).
#[derive(Module, Debug)]
pub struct LayerNorm {
    // The names of Burn's own module, by which Burn maps PyTorch's `weight` and `bias`.
    gamma: Param<Tensor<1>>,
    beta: Param<Tensor<1>>,
    epsilon: f64,
}

impl LayerNorm {
    /// A layer normalisation over `width` values that changes neither scale nor mean.
    pub fn init(width: usize, epsilon: f64, device: &Device) -> Self {
        Self {
            gamma: Initializer::Ones.init([width], device),
            beta: Initializer::Zeros.init([width], device),
            epsilon,
        }
    }

    /// A layer normalisation with the given gain and bias, both `[width]`. `epsilon` is added to the
    /// variance.
    pub fn new(gamma: Tensor<1>, beta: Tensor<1>, epsilon: f64) -> Self {
        Self {
            gamma: Param::from_tensor(gamma),
            beta: Param::from_tensor(beta),
            epsilon,
        }
    }

    /// Normalises every row.
    ///
    /// # Shapes
    ///
    /// - x: `[.., width]`
    /// - output: the same
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        fused::layer_norm(x, self.gamma.val(), self.beta.val(), self.epsilon)
    }
}

/// Multi-head self-attention.
#[derive(Module, Debug)]
pub struct SelfAttention {
    q_proj: Linear,
    k_proj: Linear,
    v_proj: Linear,
    out_proj: Linear,
    heads: usize,
    /// For frozen weights: the four maps as packed at their first use.
    #[module(skip)]
    packed: Option<[PackedCache; 4]>,
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
            packed: None,
        }
    }

    /// Applies the attention.
    ///
    /// # Shapes
    ///
    /// - x: `[batch, tokens, width]`
    /// - output: the same
    pub fn forward(&self, x: Tensor<3>, mask: &AttentionMask) -> Tensor<3> {
        let qkv = self.queries_keys_values(x);
        let caches = self.packed.as_ref();
        let bf16 = caches.is_some_and(|caches| caches.iter().all(PackedCache::is_bf16));
        let mixed = fused::attention(qkv, self.heads, mask.causal, mask.hidden.clone(), bf16);
        self.map(3, mixed)
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
        let qkv = self.queries_keys_values(x);
        let [query, key, value] = qkv.map(|x| fused::split(x, self.heads));
        let [.., width] = query.dims();
        let scores = query.matmul(key.transpose()) * (width as f64).powf(-0.5);
        let mixed = on_weights(softmax(scores, 3)).matmul(value);
        self.map(3, fused::join(mixed))
    }

    /// Applies the attention with the keys in place of the queries. `bias` is added to the scaled scores.
    ///
    /// # Shapes
    ///
    /// - x: `[batch, tokens, width]`
    /// - bias: `[tokens, tokens]`
    /// - output: same as x
    pub(crate) fn forward_between_keys(&self, x: Tensor<3>, bias: Tensor<2>) -> Tensor<3> {
        let [key, value] = [1, 2].map(|index| fused::split(self.map(index, x.clone()), self.heads));
        let [.., width] = key.dims();
        let scale = (width as f64).powf(-0.5);
        let scores = key.clone().mul_scalar(scale).matmul(key.transpose()) + bias.unsqueeze();
        self.map(3, fused::join(softmax(scores, 3).matmul(value)))
    }

    /// The queries, keys and values of all heads, each `[batch, tokens, width]`.
    fn queries_keys_values(&self, x: Tensor<3>) -> [Tensor<3>; 3] {
        [0, 1, 2].map(|index| self.map(index, x.clone()))
    }

    /// Applies one of the linear maps: queries, keys, values, output.
    fn map(&self, index: usize, x: Tensor<3>) -> Tensor<3> {
        let maps = [&self.q_proj, &self.k_proj, &self.v_proj, &self.out_proj];
        let cache = self.packed.as_ref().map(|packed| &packed[index]);
        fused::linear(maps[index], x, None, cache)
    }
}

/// A multilayer perceptron: two linear maps with an activation between them.
#[derive(Module, Debug)]
pub struct Mlp {
    fc1: Linear,
    fc2: Linear,
    #[module(skip)]
    activation: Activation,
    /// For frozen weights: the two maps as packed at their first use.
    #[module(skip)]
    packed: Option<[PackedCache; 2]>,
}

impl Mlp {
    /// An MLP with the given linear maps.
    pub fn new([fc1, fc2]: [Linear; 2], activation: Activation) -> Self {
        Self {
            fc1,
            fc2,
            activation,
            packed: None,
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
        let cache = |index: usize| self.packed.as_ref().map(|packed| &packed[index]);
        let hidden = fused::linear(&self.fc1, x, Some(self.activation), cache(0));
        fused::linear(&self.fc2, on_hidden(hidden), None, cache(1))
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
    /// Whether the weights are packed for the matrix kernel at their first use: faster from the second use
    /// on, for as much memory again.
    pub(crate) packed: bool,
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
            packed,
            ..
        } = *shape;
        let scale = (width as f64).powf(-0.5);
        let out = scale * (2.0 * shape.layers as f64).powf(-0.5);
        let norm = || LayerNorm::init(width, epsilon, device);
        let map = |std| linear(width, width, std, device);
        let mlp = [
            linear(width, inner, scale * 2f64.powf(-0.5), device),
            linear(inner, width, out, device),
        ];
        let maps = [map(scale), map(scale), map(scale), map(out)];
        let block = Self {
            layer_norm1: norm(),
            self_attn: SelfAttention::new(maps, heads),
            layer_norm2: norm(),
            mlp: Mlp::new(mlp, activation),
        };
        if packed {
            block.packed_in(Precision::F32)
        } else {
            block
        }
    }

    /// The same block with weights that are packed at their first use, for products in a precision.
    fn packed_in(mut self, precision: Precision) -> Self {
        let cache = |_| PackedCache::new(precision);
        self.self_attn.packed = Some(std::array::from_fn(cache));
        self.mlp.packed = Some(std::array::from_fn(cache));
        self
    }

    pub(crate) fn forward(&self, x: Tensor<3>, mask: &AttentionMask) -> Tensor<3> {
        let x = x.clone() + self.self_attn.forward(self.layer_norm1.forward(x), mask);
        x.clone() + self.mlp.forward(self.layer_norm2.forward(x))
    }

    /// The attention between keys alone, without the residual connections and the MLP; see
    /// [`SelfAttention::forward_between_keys`].
    pub(crate) fn forward_between_keys(&self, x: Tensor<3>, bias: Tensor<2>) -> Tensor<3> {
        self.self_attn
            .forward_between_keys(self.layer_norm1.forward(x), bias)
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

    /// The same blocks with weights that are packed at their first use, for products in a precision.
    /// bf16 requires that [`check_bf16`](fused::check_bf16) accepts the weights.
    pub(crate) fn packed_in(self, precision: Precision) -> Self {
        let layers = self.layers.into_iter();
        Self {
            layers: layers.map(|block| block.packed_in(precision)).collect(),
        }
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
            // One zero, seen in every place: it takes no memory.
            let zero = Tensor::<D>::zeros([1; D], &param.lazy_device());
            Param::from_tensor(zero.expand(param.lazy_shape()))
        }
    }
    module.map(&mut Zero)
}
