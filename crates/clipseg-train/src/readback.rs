//! Reading tensors back from their device.

use crate::error::{Result, TrainError};
use burn::prelude::*;

/// Reads the values of a tensor back from its device.
pub(crate) fn floats<const D: usize>(tensor: Tensor<D>) -> Result<Vec<f32>> {
    let data = tensor.try_into_data().map_err(TrainError::device)?;
    let values = data.convert::<f32>().try_to_vec();
    values.map_err(|error| TrainError::Device(format!("{error:?}")))
}
