//! Weights in the layout of the matrix kernel, kept beside the parameters that they were made from.

use super::rows::elements;
use burn::backend::TensorMetadata;
use burn::backend::flex::FlexTensor;
use clipseg_kernels::PackedLinear;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// The packed weights of a linear layer, made at the first use and again after a change of the layer.
///
/// A module keeps it beside its parameters (`#[module(skip)]`). Clones share it.
#[derive(Clone, Default)]
pub(crate) struct PackedCache(Arc<Mutex<Option<Entry>>>);

/// A packed layer and the tensors that it was made from.
///
/// The entry keeps these tensors alive, so no other tensor can have their addresses. Burn copies a shared
/// tensor before it changes it, so the same address means the same values.
struct Entry {
    weight: FlexTensor,
    bias: FlexTensor,
    packed: Arc<PackedLinear>,
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
    /// The packed form of `weight`, `[inputs, outputs]`, and `bias`, `[outputs]`.
    pub(super) fn get(&self, weight: &FlexTensor, bias: &FlexTensor) -> Arc<PackedLinear> {
        let mut entry = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = entry.as_ref()
            && same(&entry.weight, weight)
            && same(&entry.bias, bias)
        {
            return entry.packed.clone();
        }
        let [inputs, outputs] = weight.shape().dims();
        let (rows, bias_row) = (weight.to_contiguous(), bias.to_contiguous());
        let bias_row = Some(elements(&bias_row));
        let packed = Arc::new(PackedLinear::new(
            elements(&rows),
            bias_row,
            inputs,
            outputs,
        ));
        *entry = Some(Entry {
            weight: weight.clone(),
            bias: bias.clone(),
            packed: packed.clone(),
        });
        packed
    }
}
