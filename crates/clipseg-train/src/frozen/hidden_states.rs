//! The hidden states of one picture in half precision.

use half::f16;

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
