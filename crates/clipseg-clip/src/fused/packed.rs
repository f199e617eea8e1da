//! Weights in the layout of the matrix kernel, kept beside the parameters that they were made from.

use super::rows::elements;
use crate::precision::Precision;
use burn::backend::TensorMetadata;
use burn::backend::flex::FlexTensor;
use clipseg_kernels::{Activation, Bf16Linear, PackedLinear};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// The packed weights of a linear layer, made at the first use and again after a change of the layer.
///
/// A module keeps it beside its parameters (`#[module(skip)]`). Clones share it.
#[derive(Clone, Default)]
pub(crate) struct PackedCache {
    entry: Arc<Mutex<Option<Entry>>>,
    bf16: bool,
}

/// A packed layer and the tensors that it was made from.
///
/// The entry keeps these tensors alive, so no other tensor can have their addresses. Burn copies a shared
/// tensor before it changes it, so the same address means the same values.
struct Entry {
    weight: FlexTensor,
    bias: FlexTensor,
    packed: Arc<Packed>,
}

/// A packed layer in the precision of its products.
pub(super) enum Packed {
    F32(PackedLinear),
    Bf16(Bf16Linear),
}

impl fmt::Debug for PackedCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PackedCache")
    }
}

/// Whether two tensors are the same part of the same memory.
fn same(a: &FlexTensor, b: &FlexTensor) -> bool {
    Arc::ptr_eq(&a.data_arc(), &b.data_arc())
        && a.layout().shape() == b.layout().shape()
        && a.layout().strides() == b.layout().strides()
        && a.layout().start_offset() == b.layout().start_offset()
}

impl PackedCache {
    /// An empty cache for products in a precision. bf16 requires that [`check_bf16`](super::check_bf16)
    /// accepts the weights.
    pub(crate) fn new(precision: Precision) -> Self {
        Self {
            entry: Arc::default(),
            bf16: precision == Precision::Bf16,
        }
    }

    /// Whether products with these weights are computed in bf16.
    pub(crate) fn is_bf16(&self) -> bool {
        self.bf16
    }

    /// The packed form of `weight`, `[inputs, outputs]`, and `bias`, `[outputs]`.
    pub(super) fn get(&self, weight: &FlexTensor, bias: &FlexTensor) -> Arc<Packed> {
        let mut entry = self.entry.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = entry.as_ref()
            && same(&entry.weight, weight)
            && same(&entry.bias, bias)
        {
            return entry.packed.clone();
        }
        let packed = Arc::new(self.pack(weight, bias));
        *entry = Some(Entry {
            weight: weight.clone(),
            bias: bias.clone(),
            packed: packed.clone(),
        });
        packed
    }

    fn pack(&self, weight: &FlexTensor, bias: &FlexTensor) -> Packed {
        let [inputs, outputs] = weight.shape().dims();
        let (weight, bias) = (weight.to_contiguous(), bias.to_contiguous());
        let (weight, bias) = (elements(&weight), Some(elements(&bias)));
        if self.bf16 {
            let packed = Bf16Linear::new(weight, bias, inputs, outputs);
            Packed::Bf16(packed.unwrap_or_else(|| unreachable!("the callers check the CPU")))
        } else {
            Packed::F32(PackedLinear::new(weight, bias, inputs, outputs))
        }
    }
}

impl Packed {
    /// Writes `activation(x · weight + bias)` to `y`; `x` has `rows` rows.
    pub(super) fn forward(&self, x: &[f32], rows: usize, activation: Activation, y: &mut [f32]) {
        match self {
            Self::F32(packed) => packed.forward(x, rows, activation, None, y),
            Self::Bf16(packed) => packed.forward(x, rows, activation, None, y),
        }
    }
}
