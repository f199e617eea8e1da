//! The operations in bfloat16 where this crate has no kernels for them: on other architectures than
//! x86-64, and under Miri. Callers compile everywhere and ask [`bf16_is_supported`] at run time.

use std::convert::Infallible;

use crate::activation::Activation;
use crate::attention::Attention;

/// Whether this CPU has the instructions for [`Bf16Linear`] and for [`Attention::forward_bf16`]. It does
/// not: only x86-64 has kernels for them.
#[must_use]
pub fn bf16_is_supported() -> bool {
    false
}

/// A linear layer, y = activation(x · W + b) + residual, whose products are computed in bfloat16.
///
/// No value exists on this architecture, because [`Bf16Linear::new`] returns `None`.
#[derive(Clone, Debug)]
pub struct Bf16Linear(Infallible);

impl Bf16Linear {
    /// `None`, because this CPU does not have the instructions. `weight` is `[inputs, outputs]` and `bias`
    /// `[outputs]`.
    ///
    /// # Panics
    ///
    /// If the slices do not have these lengths.
    #[must_use]
    pub fn new(
        weight: &[f32],
        bias: Option<&[f32]>,
        inputs: usize,
        outputs: usize,
    ) -> Option<Self> {
        assert_eq!(
            weight.len(),
            inputs * outputs,
            "length of the weight of {inputs} x {outputs} numbers"
        );
        if let Some(bias) = bias {
            assert_eq!(bias.len(), outputs, "length of the bias");
        }
        None
    }

    /// Width of the input.
    #[must_use]
    pub fn inputs(&self) -> usize {
        match self.0 {}
    }

    /// Width of the output.
    #[must_use]
    pub fn outputs(&self) -> usize {
        match self.0 {}
    }

    /// Writes activation(x · W + b) + residual to `y`.
    pub fn forward(
        &self,
        _x: &[f32],
        _rows: usize,
        _activation: Activation,
        _residual: Option<&[f32]>,
        _y: &mut [f32],
    ) {
        match self.0 {}
    }
}

impl Attention {
    /// [`Attention::forward`] with queries, keys, values and weights rounded to bfloat16.
    ///
    /// # Panics
    ///
    /// Always, because this CPU does not have the instructions ([`bf16_is_supported`]).
    pub fn forward_bf16(&self, _q: &[f32], _k: &[f32], _v: &[f32], _out: &mut [f32]) {
        panic!("this CPU does not have AVX-512 with bfloat16");
    }

    /// [`Attention::forward_fused`] with queries, keys, values and weights rounded to bfloat16.
    ///
    /// # Panics
    ///
    /// Always, because this CPU does not have the instructions ([`bf16_is_supported`]).
    pub fn forward_fused_bf16(&self, _qkv: &[f32], _out: &mut [f32]) {
        panic!("this CPU does not have AVX-512 with bfloat16");
    }
}
