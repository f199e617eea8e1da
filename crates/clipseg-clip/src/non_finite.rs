//! Finds parameters with NaN or infinite values.

use burn::module::Module;
use burn::prelude::*;
use burn::store::{ModuleSnapshot, bridge};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

/// Collects the names of tensors with NaN or infinite values while the tensors are read.
#[derive(Debug, Clone, Default)]
pub(crate) struct NonFinite(Arc<Mutex<BTreeSet<String>>>);

impl NonFinite {
    pub(crate) fn insert(&self, name: String) {
        let mut names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        names.insert(name);
    }

    pub(crate) fn names(&self) -> Vec<String> {
        let names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        names.iter().cloned().collect()
    }
}

/// Returns the names of the parameters that contain a NaN or an infinite value, as in saved files.
///
/// Check a model with it after training, or after loading if such weights must be refused: loading
/// only warns. All parameters are copied from their device. A parameter that cannot be copied is
/// listed too, because nothing is known about it.
///
/// # Example
///
/// ```
/// use burn::tensor::Device;
/// use clipseg_clip::{Clip, ClipConfig, non_finite};
///
/// let mut config = ClipConfig::small();
/// config.text_config.hidden_size = 32; // small enough for an example
/// let clip = Clip::init(&config, &Device::flex());
/// assert!(non_finite(&clip).is_empty());
/// ```
pub fn non_finite<M: Module>(module: &M) -> Vec<String> {
    let finite = |data: TensorData| all_finite(data.convert::<f32>().as_bytes());
    module
        .collect(None, None, true)
        .into_iter()
        .filter(|tensor| tensor.dtype.is_float())
        .filter_map(|tensor| {
            let name = file_name(&tensor.name);
            (!bridge::into_data(tensor).is_ok_and(finite)).then_some(name)
        })
        .collect()
}

/// The name of a parameter in files. Norms have `gamma` and `beta` in Burn, `weight` and `bias` in files.
fn file_name(path: &str) -> String {
    match path.rsplit_once('.') {
        Some((parent, "gamma")) => format!("{parent}.weight"),
        Some((parent, "beta")) => format!("{parent}.bias"),
        _ => path.to_owned(),
    }
}

/// Whether all single-precision numbers are finite. NaN and infinity have an exponent of all ones.
///
/// The check does not stop within a chunk, so that the compiler can vectorise it: half a gigabyte of
/// weights takes no longer than reading it from memory.
pub(crate) fn all_finite(bytes: &[u8]) -> bool {
    const EXPONENT: u32 = 0x7f80_0000;
    const CHUNK: usize = 1 << 14;
    bytes.chunks(CHUNK).all(|chunk| {
        let (numbers, _) = chunk.as_chunks::<4>();
        let found = numbers.iter().fold(false, |found, number| {
            found | (u32::from_ne_bytes(*number) & EXPONENT == EXPONENT)
        });
        !found
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_nan_and_infinity_are_not_finite() {
        let finite = |values: &[f32]| {
            let bytes: Vec<u8> = values
                .iter()
                .flat_map(|value| value.to_ne_bytes())
                .collect();
            all_finite(&bytes)
        };
        assert!(finite(&[]));
        assert!(finite(&[
            0.0,
            -0.0,
            f32::MAX,
            f32::MIN,
            f32::MIN_POSITIVE / 2.0
        ]));
        for value in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut values = vec![1.0; 10_000];
            assert!(finite(&values));
            values[9_999] = value;
            assert!(!finite(&values));
        }
    }
}
