//! Operations of a transformer that pass over their data once: a linear map with its activation, the
//! attention of all heads, layer normalisation.
//!
//! On the `flex` device and with the feature `kernels`, they are computed by `clipseg-kernels`, with their
//! gradients. Elsewhere they consist of Burn's own operations, which GPU backends fuse themselves.

#[cfg(feature = "kernels")]
mod autodiff;
mod bf16;
#[cfg(feature = "kernels")]
mod flex;
#[cfg(feature = "kernels")]
mod on_flex;
#[cfg(feature = "kernels")]
mod ops;
#[cfg(feature = "kernels")]
mod packed;
#[cfg(feature = "kernels")]
mod rows;
mod switch;
#[cfg(all(test, feature = "kernels"))]
mod tests;

use crate::config::Activation;
use burn::nn::Linear;
use burn::prelude::*;
use burn::tensor::DType;
use burn::tensor::activation::{gelu, relu, sigmoid, softmax};
use burn::tensor::module::{attention as burn_attention, layer_norm as burn_layer_norm};
use burn::tensor::ops::AttentionModuleOptions;

pub(crate) use bf16::check_bf16;
#[cfg(feature = "kernels")]
pub(crate) use packed::PackedCache;
pub use switch::{kernels_are_used, use_kernels};

/// Without kernels nothing is packed.
#[cfg(not(feature = "kernels"))]
#[derive(Debug, Clone, Default)]
pub(crate) struct PackedCache;

#[cfg(not(feature = "kernels"))]
impl PackedCache {
    pub(crate) fn new(_precision: crate::Precision) -> Self {
        Self
    }

    /// Nothing is computed in bf16: [`check_bf16`] refuses it.
    pub(crate) fn is_bf16(&self) -> bool {
        false
    }
}

/// The kernel's name of an activation, if it has one.
#[cfg(feature = "kernels")]
fn kernel(activation: Option<Activation>) -> Option<clipseg_kernels::Activation> {
    use clipseg_kernels::Activation as Kernel;
    match activation {
        None => Some(Kernel::Identity),
        Some(Activation::QuickGelu) => Some(Kernel::QuickGelu),
        Some(Activation::Relu) => Some(Kernel::Relu),
        Some(Activation::Gelu) => None,
    }
}

/// Applies a linear map to the last dimension, then the activation.
///
/// # Shapes
///
/// - x: `[.., inputs]`
/// - output: `[.., outputs]`
pub fn apply_linear<const D: usize>(
    map: &Linear,
    x: Tensor<D>,
    activation: Option<Activation>,
) -> Tensor<D> {
    linear(map, x, activation, None)
}

/// [`apply_linear`] with the weights packed once, which is faster for weights that stay the same. The
/// precision of the products is the cache's.
#[cfg_attr(
    not(feature = "kernels"),
    allow(unused_variables, reason = "nothing is packed")
)]
pub(crate) fn linear<const D: usize>(
    map: &Linear,
    x: Tensor<D>,
    activation: Option<Activation>,
    cache: Option<&PackedCache>,
) -> Tensor<D> {
    #[cfg(feature = "kernels")]
    if let Some(bias) = &map.bias {
        let run = |fused| on_flex::linear(&x, &map.weight.val(), &bias.val(), fused, cache);
        if let Some(fused) = kernel(activation) {
            if let Some(y) = run(fused) {
                return y;
            }
        } else if cache.is_some_and(PackedCache::is_bf16)
            && let Some(y) = run(clipseg_kernels::Activation::Identity)
        {
            // Burn's product would be computed in single precision.
            return activation.map_or(y.clone(), |activation| activate(y, activation));
        }
    }
    let y = map.forward(x);
    match activation {
        Some(activation) => activate(y, activation),
        None => y,
    }
}

/// The activation of each element.
pub(crate) fn activate<const D: usize>(x: Tensor<D>, activation: Activation) -> Tensor<D> {
    #[cfg(feature = "kernels")]
    if let Some(kernel) = kernel(Some(activation))
        && let Some(y) = on_flex::activation(&x, kernel)
    {
        return y;
    }
    match activation {
        Activation::QuickGelu => x.clone() * sigmoid(x.mul_scalar(1.702)),
        Activation::Gelu => gelu(x),
        Activation::Relu => relu(x),
    }
}

/// Layer normalisation over the last dimension (Ba et al. 2016, arXiv:1607.06450), with gain `gamma` and
/// bias `beta`.
pub(crate) fn layer_norm<const D: usize>(
    x: Tensor<D>,
    gamma: Tensor<1>,
    beta: Tensor<1>,
    epsilon: f64,
) -> Tensor<D> {
    #[cfg(feature = "kernels")]
    if let Some(y) = on_flex::layer_norm(&x, &gamma, &beta, epsilon) {
        return y;
    }
    let dtype = x.dtype();
    if dtype == DType::F16 {
        // A sum of squares may be larger than the largest half-precision number.
        let [gamma, beta] = [gamma, beta].map(|x| x.cast(DType::F32));
        let y = burn_layer_norm(x.cast(DType::F32), gamma, Some(beta), epsilon);
        return y.cast(dtype);
    }
    burn_layer_norm(x, gamma, Some(beta), epsilon)
}

/// Multi-head attention.
///
/// # Shapes
///
/// - query, key, value and output: `[batch, tokens, heads · dim]`
/// - `hidden`: `[batch, 1, queries, keys]`, true where a key is masked; must include the causal mask,
///   because Burn's kernels accept only one of the two
///
/// With `bf16`, the kernel rounds queries, keys, values and attention weights to bf16.
#[cfg_attr(
    not(feature = "kernels"),
    allow(unused_variables, reason = "only the kernels compute in bf16")
)]
pub(crate) fn attention(
    qkv: [Tensor<3>; 3],
    heads: usize,
    causal: bool,
    hidden: Option<Tensor<4, Bool>>,
    bf16: bool,
) -> Tensor<3> {
    #[cfg(feature = "kernels")]
    if hidden.is_none()
        && let Some(mixed) = on_flex::attention(qkv.each_ref(), heads, causal, bf16)
    {
        return mixed;
    }
    let [query, key, value] = qkv.map(|x| split(x, heads));
    if query.is_autodiff() {
        return join(attention_with_gradients(query, key, value, causal, hidden));
    }
    let options = AttentionModuleOptions {
        is_causal: causal && hidden.is_none(),
        ..Default::default()
    };
    // Not every backend broadcasts a mask over the heads, so it is repeated.
    let hidden = hidden.map(|mask| mask.repeat_dim(1, heads));
    join(burn_attention(query, key, value, hidden, None, options))
}

/// `[batch, tokens, heads · dim]` → `[batch, heads, tokens, dim]`.
pub(crate) fn split(x: Tensor<3>, heads: usize) -> Tensor<4> {
    let [batch, tokens, width] = x.dims();
    x.reshape([batch, tokens, heads, width / heads])
        .swap_dims(1, 2)
}

/// `[batch, heads, tokens, dim]` → `[batch, tokens, heads · dim]`.
pub(crate) fn join(x: Tensor<4>) -> Tensor<3> {
    let [batch, heads, tokens, dim] = x.dims();
    x.swap_dims(1, 2).reshape([batch, tokens, heads * dim])
}

/// Attention for training.
///
/// Burn's own attention records the maximum of each row of scores, although a softmax does not depend
/// on it, and the backward pass of the maximum is a slow scatter over all scores.
///
/// All shapes are `[batch, heads, tokens, dim]`.
fn attention_with_gradients(
    query: Tensor<4>,
    key: Tensor<4>,
    value: Tensor<4>,
    causal: bool,
    hidden: Option<Tensor<4, Bool>>,
) -> Tensor<4> {
    let [_, _, tokens, dim] = query.dims();
    let scale = (dim as f64).powf(-0.5);
    let scores = query.mul_scalar(scale).matmul(key.transpose());
    let scores = match hidden {
        Some(hidden) => {
            let hidden = hidden.expand(scores.dims());
            scores.mask_fill(hidden, f32::NEG_INFINITY)
        }
        None if causal => {
            let device = scores.device().without_autodiff();
            let later = Tensor::<2, Bool>::tril_mask([tokens, tokens], 0, &device);
            let later = later.unsqueeze::<4>().expand(scores.dims());
            scores.mask_fill(later, f32::NEG_INFINITY)
        }
        None => scores,
    };
    softmax(scores, 3).matmul(value)
}
