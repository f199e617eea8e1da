//! Describes from which tensor of a file a parameter of a module is taken.
//!
//! Every parameter maps to one tensor of the file. Missing, unexpected and misshapen tensors can
//! therefore be reported under the file's names and shapes, before any tensor is read.

use crate::non_finite::{NonFinite, all_finite};
use burn::prelude::*;
use burn::store::bridge;
use burn::store::burn_pack::Tensor as PackTensor;
use burn::tensor::DType;

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
    fn transposing_swaps_rows_and_columns() {
        let transposed = transpose(&[0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5], 2, 3, 2);
        assert_eq!(transposed, [0, 0, 3, 3, 1, 1, 4, 4, 2, 2, 5, 5]);
    }
}
