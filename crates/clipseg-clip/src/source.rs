//! Describes from which tensor of a file a parameter of a module is taken.
//!
//! Every parameter maps to one tensor of the file. Missing, unexpected and misshapen tensors can
//! therefore be reported under the file's names and shapes, before any tensor is read.

use burn::module::Module;
use burn::prelude::*;
use burn::store::burn_pack::Tensor as PackTensor;
use burn::store::{ModuleSnapshot, bridge};
use burn::tensor::DType;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

/// The tensor of a file from which a parameter is taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The name of the tensor in the file.
    pub name: String,
    /// Which part of the tensor the parameter is.
    pub part: Part,
}

/// Which part of a tensor a parameter is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The entire tensor.
    Whole,
    /// The entire matrix, transposed.
    Transposed,
    /// One of several groups of rows of equal size.
    Rows {
        /// The index of the group, from 0.
        index: usize,
        /// The number of groups.
        of: usize,
    },
}

impl Source {
    /// The entire tensor of this name.
    pub fn whole(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            part: Part::Whole,
        }
    }

    /// The transpose of the matrix of this name.
    pub fn transposed(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            part: Part::Transposed,
        }
    }

    /// The tensor for a parameter of an attention layer in a file with the names of PyTorch's
    /// `nn.MultiheadAttention`: the `q_proj`, `k_proj` and `v_proj` are thirds of `in_proj_weight` and
    /// `in_proj_bias`; the other names are the same. `attention` is the prefix of the layer in the
    /// file, with its dot, and `parameter` the name without prefix.
    pub fn packed_attention(attention: &str, parameter: &str) -> Self {
        let third = ["q_proj.", "k_proj.", "v_proj."]
            .into_iter()
            .enumerate()
            .find_map(|(index, part)| Some((index, parameter.strip_prefix(part)?)));
        match third {
            Some((index, kind)) => Self {
                name: format!("{attention}in_proj_{kind}"),
                part: Part::Rows { index, of: 3 },
            },
            None => Self::whole(&format!("{attention}{parameter}")),
        }
    }
}

impl Part {
    /// Why a parameter of shape `wanted` cannot be taken from a tensor; `None` if it can.
    pub(crate) fn misfit(self, found: &PackTensor, wanted: &Shape) -> Option<String> {
        let mut expected = wanted.to_vec();
        match self {
            Self::Whole => {}
            Self::Transposed => expected.reverse(),
            Self::Rows { of, .. } => expected.iter_mut().take(1).for_each(|rows| *rows *= of),
        }
        let shape = found.shape.to_vec();
        let scalar = shape.is_empty() && expected == [1];
        if shape != expected && !scalar {
            return Some(format!("has shape {shape:?}, expected {expected:?}"));
        }
        (!found.dtype.is_float()).then(|| {
            format!(
                "has the data type {:?}, expected floating-point numbers",
                found.dtype
            )
        })
    }

    /// The parameter in single precision, which is read from `found` when it is used. `found` must fit.
    pub(crate) fn take(
        self,
        found: PackTensor,
        file_name: String,
        wanted: String,
        shape: Shape,
        non_finite: NonFinite,
    ) -> PackTensor {
        let target = shape.clone();
        bridge::map_data(found, wanted, DType::F32, shape, move |data| {
            let (bytes, shape, dtype) = data.into_parts();
            let data = match (self, shape.to_vec().as_slice()) {
                (Self::Rows { index, of }, _) => {
                    let size = bytes.len() / of;
                    let rows = bytes[index * size..(index + 1) * size].to_vec();
                    TensorData::from_bytes_vec(rows, target.clone(), dtype)
                }
                (Self::Transposed, &[rows, columns]) => {
                    let transposed = transpose(&bytes, rows, columns, dtype.size());
                    TensorData::from_bytes_vec(transposed, target.clone(), dtype)
                }
                _ => TensorData::from_bytes(bytes, target.clone(), dtype),
            };
            let data = data.convert::<f32>();
            if !all_finite(data.as_bytes()) {
                non_finite.insert(file_name.clone());
            }
            data
        })
    }
}

fn transpose(bytes: &[u8], rows: usize, columns: usize, width: usize) -> Vec<u8> {
    let mut transposed = Vec::with_capacity(bytes.len());
    for column in 0..columns {
        for row in 0..rows {
            let at = (row * columns + column) * width;
            transposed.extend_from_slice(&bytes[at..at + width]);
        }
    }
    transposed
}

/// Collects the names of tensors with NaN or infinite values while the tensors are read.
#[derive(Debug, Clone, Default)]
pub(crate) struct NonFinite(Arc<Mutex<BTreeSet<String>>>);

impl NonFinite {
    fn insert(&self, name: String) {
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
fn all_finite(bytes: &[u8]) -> bool {
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
    fn queries_keys_and_values_are_thirds_of_a_packed_tensor() {
        let source = |parameter| Source::packed_attention("blocks.1.self_attn.", parameter);
        let third = |kind: &str, index| Source {
            name: format!("blocks.1.self_attn.in_proj_{kind}"),
            part: Part::Rows { index, of: 3 },
        };
        assert_eq!(source("q_proj.weight"), third("weight", 0));
        assert_eq!(source("k_proj.bias"), third("bias", 1));
        assert_eq!(source("v_proj.weight"), third("weight", 2));
        let out = Source::whole("blocks.1.self_attn.out_proj.bias");
        assert_eq!(source("out_proj.bias"), out);
    }

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

    #[test]
    fn transposing_swaps_rows_and_columns() {
        let transposed = transpose(&[0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5], 2, 3, 2);
        assert_eq!(transposed, [0, 0, 3, 3, 1, 1, 4, 4, 2, 2, 5, 5]);
    }
}
