//! Reads numbers from the device of a tensor.

use crate::error::{ModelError, Result};
use crate::soft_mask::check_finite;
use burn::prelude::*;

/// Reads a tensor in row-major order and checks that all values are finite.
pub(crate) fn read_values<const D: usize>(tensor: Tensor<D>) -> Result<Vec<f32>> {
    let values = tensor
        .try_into_data()
        .map_err(|error| ModelError::Device(error.to_string()))?
        .convert::<f32>()
        .try_to_vec::<f32>()
        .map_err(|error| ModelError::Device(format!("{error:?}")))?;
    check_finite(&values)?;
    Ok(values)
}
