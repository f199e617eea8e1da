//! The operations that a backend extension adds to Burn's `flex` backend.

use super::packed::PackedCache;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, backend_extension};
use clipseg_kernels::Activation;

/// The operations, on tensors of 32-bit floats.
#[backend_extension(Flex, Autodiff)]
pub(super) trait FusedOps: Backend {
    /// `activation(x · weight + bias)`; with a cache, the weights are packed once.
    fn fused_linear(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        activation: Activation,
        cache: Option<PackedCache>,
    ) -> FloatTensor<Self>;

    /// Multi-head attention of queries, keys and values, each `[batch, tokens, heads * dim]`. With
    /// `bf16`, which only `Flex` supports, these and the attention weights are rounded to bf16.
    fn fused_attention(
        query: FloatTensor<Self>,
        key: FloatTensor<Self>,
        value: FloatTensor<Self>,
        heads: usize,
        causal: bool,
        bf16: bool,
    ) -> FloatTensor<Self>;

    /// Layer normalisation over the last dimension.
    fn fused_layer_norm(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        epsilon: f64,
    ) -> FloatTensor<Self>;

    /// The activation of each element.
    fn fused_activation(x: FloatTensor<Self>, activation: Activation) -> FloatTensor<Self>;
}

/// The gradients of the operations with respect to their inputs.
pub(super) trait FusedGradients: FusedOps {
    /// The gradients of `x`, `weight` and `bias` of `x · weight + bias`: that of `x` if `weight` is given,
    /// that of `weight` if `x` is given, and that of the bias if it is wanted.
    fn linear_gradients(
        x: Option<FloatTensor<Self>>,
        weight: Option<FloatTensor<Self>>,
        gradient: FloatTensor<Self>,
        bias_is_wanted: bool,
    ) -> [Option<FloatTensor<Self>>; 3];

    /// The gradient of the activation's input. `saved` is the input or the output, see [`saves_output`].
    fn activation_gradient(
        saved: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        activation: Activation,
    ) -> FloatTensor<Self>;

    /// The gradients of query, key and value.
    fn attention_gradients(
        inputs: [FloatTensor<Self>; 3],
        gradient: FloatTensor<Self>,
        heads: usize,
        causal: bool,
    ) -> [FloatTensor<Self>; 3];

    /// The gradients of `x`, `gamma` and `beta`.
    fn layer_norm_gradients(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        epsilon: f64,
    ) -> [FloatTensor<Self>; 3];
}

/// Whether the gradient of an activation is computed from its output, so that the input need not be kept.
pub(super) fn saves_output(activation: Activation) -> bool {
    !matches!(activation, Activation::QuickGelu)
}
