//! Where in a file a parameter lies, and how it gets from there into a module.
//!
//! Names are asked for from the module's side: each parameter says which tensor it comes from, so
//! what is missing, unexpected or misshapen can be told in the file's own names and shapes, before
//! anything is read.

use burn::module::Module;
use burn::prelude::*;
use burn::store::burn_pack::Tensor as PackTensor;
use burn::store::{ModuleSnapshot, bridge};
use burn::tensor::DType;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

/// The place of a parameter in a file of another naming.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The tensor in the file.
    pub name: String,
    /// How the parameter lies in it.
    pub part: Part,
}

/// How a parameter lies in a tensor of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// It is the tensor.
    Whole,
    /// It is the matrix with rows and columns exchanged.
    Transposed,
    /// It is one of several equal groups of rows.
    Rows {
        /// Which of them, from 0.
        index: usize,
        /// How many there are.
        of: usize,
    },
}

impl Source {
    /// A whole tensor.
    pub fn whole(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            part: Part::Whole,
        }
    }

    /// A matrix with rows and columns exchanged.
    pub fn transposed(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            part: Part::Transposed,
        }
    }

    /// A parameter of an attention whose file is PyTorch's: `q_proj.weight` and its like are thirds
    /// of `in_proj_weight` or `in_proj_bias`, and everything else has its own name. `attention` is
    /// what stands before these names in the file, with its dot.
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
    /// What keeps a parameter of shape `wanted` from being taken from a tensor.
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
        (!found.dtype.is_float())
            .then(|| format!("holds {:?}, expected floating-point numbers", found.dtype))
    }

    /// The parameter in single precision, to be read when it is needed. `found` must fit.
    pub(crate) fn take(
        self,
        found: PackTensor,
        file_name: String,
        wanted: String,
        shape: Shape,
        strange: Strange,
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
                    let turned = transpose(&bytes, rows, columns, dtype.size());
                    TensorData::from_bytes_vec(turned, target.clone(), dtype)
                }
                _ => TensorData::from_bytes(bytes, target.clone(), dtype),
            };
            let data = data.convert::<f32>();
            if !all_finite(data.as_bytes()) {
                strange.insert(file_name.clone());
            }
            data
        })
    }
}

fn transpose(bytes: &[u8], rows: usize, columns: usize, width: usize) -> Vec<u8> {
    let mut turned = Vec::with_capacity(bytes.len());
    for column in 0..columns {
        for row in 0..rows {
            let at = (row * columns + column) * width;
            turned.extend_from_slice(&bytes[at..at + width]);
        }
    }
    turned
}

/// Names of tensors that hold infinities or what is no number, collected while they are read.
#[derive(Debug, Clone, Default)]
pub(crate) struct Strange(Arc<Mutex<BTreeSet<String>>>);

impl Strange {
    fn insert(&self, name: String) {
        let mut names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        names.insert(name);
    }

    pub(crate) fn names(&self) -> Vec<String> {
        let names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        names.iter().cloned().collect()
    }
}

/// Names of the parameters that hold an infinity or what is no number, as
/// [`save_module`](crate::save_module) is given them.
///
/// A parameter that cannot be read from its device is named too, for nothing is known of it. Loading
/// does this by itself, at less cost; this is for weights after training.
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

/// Burn calls the parameters of a norm `gamma` and `beta`; files call them `weight` and `bias`.
fn file_name(path: &str) -> String {
    match path.rsplit_once('.') {
        Some((parent, "gamma")) => format!("{parent}.weight"),
        Some((parent, "beta")) => format!("{parent}.bias"),
        _ => path.to_owned(),
    }
}

/// Whether single-precision numbers are all finite: the exponent of those that are not is all ones.
///
/// There is no early end within a run, so that the processor can look at several at once: half a
/// gigabyte of weights takes as long as reading it from memory.
fn all_finite(bytes: &[u8]) -> bool {
    const EXPONENT: u32 = 0x7f80_0000;
    const RUN: usize = 1 << 14;
    bytes.chunks(RUN).all(|run| {
        let (numbers, _) = run.as_chunks::<4>();
        let strange = numbers.iter().fold(false, |strange, number| {
            strange | (u32::from_ne_bytes(*number) & EXPONENT == EXPONENT)
        });
        !strange
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attention_is_taken_from_thirds() {
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
    fn only_infinities_and_what_is_no_number_are_strange() {
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
        for strange in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut values = vec![1.0; 10_000];
            assert!(finite(&values));
            values[9_999] = strange;
            assert!(!finite(&values));
        }
    }

    #[test]
    fn transposing_exchanges_rows_and_columns() {
        let turned = transpose(&[0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5], 2, 3, 2);
        assert_eq!(turned, [0, 0, 3, 3, 1, 1, 4, 4, 2, 2, 5, 5]);
    }
}
