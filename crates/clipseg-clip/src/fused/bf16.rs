//! Whether the kernels can compute the products of a tower in bf16.

use crate::error::{ClipError, Result};
use burn::prelude::*;

/// Checks that products with a weight can be computed in bf16.
///
/// # Errors
///
/// [`ClipError::Bf16`] with the reason why not.
pub(crate) fn check_bf16<const D: usize>(weight: &Tensor<D>) -> Result<()> {
    obstacle(weight).map_or(Ok(()), |reason| Err(ClipError::Bf16(reason)))
}

/// Without kernels nothing is computed in bf16.
#[cfg(not(feature = "kernels"))]
fn obstacle<const D: usize>(_weight: &Tensor<D>) -> Option<String> {
    let message = "it is built without the feature `kernels` of `clipseg-clip`, which the feature `flex` of \
                   `clipseg` turns on";
    Some(message.into())
}

#[cfg(feature = "kernels")]
fn obstacle<const D: usize>(weight: &Tensor<D>) -> Option<String> {
    let device = weight.device();
    if !super::kernels_are_used() {
        Some("its kernels are turned off, by CLIPSEG_KERNELS or `use_kernels`".into())
    } else if weight.is_autodiff() {
        Some("gradients are computed in single precision only; the weights are on an autodiff device".into())
    } else if !super::on_flex::is_flex(&device) {
        Some(format!(
            "only the device `cpu` (`flex`) has kernels for it; the weights are on {device:?}"
        ))
    } else if weight.dtype() != burn::tensor::DType::F32 {
        Some(format!(
            "the kernels round weights of type F32; the weights are {:?}",
            weight.dtype()
        ))
    } else {
        obstacle_of_cpu(clipseg_kernels::bf16_is_supported())
    }
}

#[cfg(feature = "kernels")]
pub(super) fn obstacle_of_cpu(supported: bool) -> Option<String> {
    let message = "this CPU lacks the instructions, AVX-512 with bfloat16 (`avx512_bf16`)";
    (!supported).then(|| message.into())
}
