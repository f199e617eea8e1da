//! The hidden states of one picture in half precision, and their way from and to a device.

use crate::error::{Result, TrainError};
use crate::readback::floats;
use burn::prelude::*;
use half::f16;
use half::slice::HalfFloatSliceExt;
use std::sync::Arc;

/// The hidden states of one picture in half precision.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct HiddenStates {
    /// Layers, tokens, hidden size.
    pub(crate) shape: [usize; 3],
    /// All values, layer by layer.
    pub(crate) values: Vec<f16>,
}

impl HiddenStates {
    /// The bytes that these take in memory, with an allowance for the map's entry.
    pub(crate) fn bytes(&self) -> u64 {
        (2 * self.values.len() + 128) as u64
    }
}

/// Rounds the hidden states of pictures to half precision; one tensor for each layer,
/// `[pictures, tokens, hidden_size]`.
pub(crate) fn halved(hidden_states: Vec<Tensor<3>>, pictures: usize) -> Result<Vec<HiddenStates>> {
    let mut shape = [hidden_states.len(), 0, 0];
    let mut layers = Vec::with_capacity(hidden_states.len());
    for hidden in hidden_states {
        let [_, tokens, width] = hidden.dims();
        (shape[1], shape[2]) = (tokens, width);
        layers.push(floats(hidden)?);
    }
    let size = shape[1] * shape[2];
    (0..pictures)
        .map(|picture| {
            let mut values = vec![f16::ZERO; shape[0] * size];
            for (halves, layer) in values.chunks_exact_mut(size.max(1)).zip(&layers) {
                halves.convert_from_f32_slice(&layer[picture * size..][..size]);
            }
            if values.iter().any(|value| !value.is_finite()) {
                let message = "a hidden state is too large for the cache's half precision; set \
                               `cache.memory` to 0 and remove `cache.folder`";
                return Err(TrainError::field("cache.memory", message));
            }
            Ok(HiddenStates { shape, values })
        })
        .collect()
}

/// Sends a layer of the hidden states of pictures to a device in one transfer,
/// `[pictures, tokens, hidden_size]`.
pub(crate) fn upload(hidden: &[Arc<HiddenStates>], layer: usize, device: &Device) -> Tensor<3> {
    let [_, tokens, width] = hidden.first().map_or([0; 3], |first| first.shape);
    let size = tokens * width;
    let mut single = vec![0f32; hidden.len() * size];
    for (values, hidden) in single.chunks_exact_mut(size.max(1)).zip(hidden) {
        hidden.values[layer * size..][..size].convert_to_f32_slice(values);
    }
    Tensor::from_data(
        TensorData::new(single, [hidden.len(), tokens, width]),
        device,
    )
}
