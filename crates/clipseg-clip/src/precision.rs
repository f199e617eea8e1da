//! The floating-point types of weights.

use crate::error::{ClipError, Result};
use burn::tensor::{bf16, f16};
use safetensors::tensor::Dtype;
use serde::{Deserialize, Serialize};

/// The floating-point type of weights.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// Single precision.
    #[default]
    F32,
    /// Half precision, with an exponent of 5 bits.
    F16,
    /// Half precision, with the exponent of single precision (8 bits).
    Bf16,
}

impl Precision {
    const ALL: [Self; 3] = [Self::F32, Self::F16, Self::Bf16];

    /// The name in configurations and on the command line: `f32`, `f16` or `bf16`.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
        }
    }

    /// The data type in safetensors files.
    pub(crate) fn dtype(self) -> Dtype {
        match self {
            Self::F32 => Dtype::F32,
            Self::F16 => Dtype::F16,
            Self::Bf16 => Dtype::BF16,
        }
    }

    /// A number rounded to this precision.
    pub fn round(self, value: f32) -> f32 {
        match self {
            Self::F32 => value,
            Self::F16 => f16::from_f32(value).to_f32(),
            Self::Bf16 => bf16::from_f32(value).to_f32(),
        }
    }

    /// Numbers in little-endian bytes of this precision.
    pub(crate) fn encode(self, values: &[f32]) -> Vec<u8> {
        match self {
            Self::F32 => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
            Self::F16 => {
                let halves = values.iter().map(|value| f16::from_f32(*value));
                halves.flat_map(f16::to_le_bytes).collect()
            }
            Self::Bf16 => {
                let halves = values.iter().map(|value| bf16::from_f32(*value));
                halves.flat_map(bf16::to_le_bytes).collect()
            }
        }
    }
}

impl std::fmt::Display for Precision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl std::str::FromStr for Precision {
    type Err = ClipError;

    fn from_str(name: &str) -> Result<Self> {
        let known = Self::ALL.into_iter().find(|known| known.name() == name);
        known.ok_or_else(|| {
            ClipError::Input(format!(
                "`{name}` is not a precision, expected f32, f16 or bf16"
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_rounded_to_the_nearest() {
        // Half precision has 11 significant bits and a largest value of 65504; bfloat16 has 8 bits.
        assert_eq!(
            Precision::F16.round(1.0 + 0.75 / 1024.0),
            1.0 + 1.0 / 1024.0
        );
        assert_eq!(Precision::F16.round(65_504.0), 65_504.0);
        assert_eq!(Precision::F16.round(65_520.0), f32::INFINITY);
        assert_eq!(Precision::F16.round(1e-8), 0.0);
        assert_eq!(Precision::Bf16.round(1.0 + 0.75 / 128.0), 1.0 + 1.0 / 128.0);
        assert_eq!(Precision::F32.round(0.1), 0.1);
        assert_eq!(
            Precision::F16.encode(&[1.0, -2.0]),
            [0x00, 0x3c, 0x00, 0xc0]
        );
        assert_eq!(Precision::Bf16.encode(&[1.0]), [0x80, 0x3f]);
        assert_eq!(Precision::F32.encode(&[1.0]), [0, 0, 0x80, 0x3f]);
    }

    #[test]
    fn names_are_read_back() {
        for precision in Precision::ALL {
            assert_eq!(precision.name().parse::<Precision>().unwrap(), precision);
        }
        let error = "fp16".parse::<Precision>().unwrap_err().to_string();
        assert_eq!(
            error,
            "`fp16` is not a precision, expected f32, f16 or bf16"
        );
    }
}
