//! The operations on tensors of the `flex` device.

use super::kernels_are_used;
use super::ops::FusedOps;
use super::packed::PackedCache;
use burn::backend::{Dispatch, DispatchDevice};
use burn::prelude::*;
use burn::tensor::DType;
use clipseg_kernels::Activation;

/// Whether the kernels can compute with a tensor.
fn is_suitable<const D: usize>(x: &Tensor<D>, autodiff: bool) -> bool {
    x.dtype() == DType::F32 && x.is_autodiff() == autodiff
}

/// Whether a device without autodiff is `flex`.
pub(super) fn is_flex(device: &Device) -> bool {
    matches!(device.as_dispatch(), DispatchDevice::Flex(_))
}

/// Whether the kernels are to be used on the device of `x`.
fn is_on_flex<const D: usize>(x: &Tensor<D>) -> bool {
    is_flex(&x.device().without_autodiff()) && kernels_are_used()
}

/// `activation(x · weight + bias)`, or `None` if the kernels do not apply.
pub(super) fn linear<const D: usize>(
    x: &Tensor<D>,
    weight: &Tensor<2>,
    bias: &Tensor<1>,
    activation: Activation,
    cache: Option<&PackedCache>,
) -> Option<Tensor<D>> {
    let autodiff = x.is_autodiff();
    let suitable = is_suitable(x, autodiff)
        && is_suitable(weight, autodiff)
        && is_suitable(bias, autodiff)
        && is_on_flex(x);
    suitable.then(|| {
        // Weights that are being trained change in each step.
        let cache = cache.filter(|_| !autodiff).cloned();
        Tensor::from_dispatch(<Dispatch as FusedOps>::fused_linear(
            x.clone().into_dispatch(),
            weight.clone().into_dispatch(),
            bias.clone().into_dispatch(),
            activation,
            cache,
        ))
    })
}

/// Attention, or `None` if the kernels do not apply. bf16 is for tensors without gradients.
pub(super) fn attention(
    [query, key, value]: [&Tensor<3>; 3],
    heads: usize,
    causal: bool,
    bf16: bool,
) -> Option<Tensor<3>> {
    let autodiff = query.is_autodiff();
    let suitable = [query, key, value]
        .iter()
        .all(|x| is_suitable(x, autodiff) && x.dims() == query.dims())
        && is_on_flex(query);
    suitable.then(|| {
        let [query, key, value] = [query, key, value].map(|x| x.clone().into_dispatch());
        let bf16 = bf16 && !autodiff;
        let mixed = <Dispatch as FusedOps>::fused_attention(query, key, value, heads, causal, bf16);
        Tensor::from_dispatch(mixed)
    })
}

/// Layer normalisation, or `None` if the kernels do not apply.
pub(super) fn layer_norm<const D: usize>(
    x: &Tensor<D>,
    gamma: &Tensor<1>,
    beta: &Tensor<1>,
    epsilon: f64,
) -> Option<Tensor<D>> {
    let autodiff = x.is_autodiff();
    let suitable = is_suitable(x, autodiff)
        && is_suitable(gamma, autodiff)
        && is_suitable(beta, autodiff)
        && is_on_flex(x);
    suitable.then(|| {
        Tensor::from_dispatch(<Dispatch as FusedOps>::fused_layer_norm(
            x.clone().into_dispatch(),
            gamma.clone().into_dispatch(),
            beta.clone().into_dispatch(),
            epsilon,
        ))
    })
}

/// An activation, or `None` if the kernels do not apply.
pub(super) fn activation<const D: usize>(
    x: &Tensor<D>,
    activation: Activation,
) -> Option<Tensor<D>> {
    (is_suitable(x, x.is_autodiff()) && is_on_flex(x)).then(|| {
        let x = x.clone().into_dispatch();
        Tensor::from_dispatch(<Dispatch as FusedOps>::fused_activation(x, activation))
    })
}
