//! Batches of masks, read from their device.

use crate::error::{MetricsError, Result};
use burn::prelude::*;

/// The values of a batch of predictions and of its ground truth.
pub(crate) struct Batch {
    predictions: Vec<f32>,
    targets: Vec<f32>,
    pixels: usize,
}

impl Batch {
    /// Reads predictions and ground truth, both `[batch, height, width]`.
    pub(crate) fn read(predictions: Tensor<3>, targets: Tensor<3>) -> Result<Self> {
        let (shape, expected) = (predictions.dims(), targets.dims());
        if shape != expected {
            return Err(MetricsError::Shape {
                item: "batch".into(),
                found: shape.into(),
                expected: expected.into(),
            });
        }
        let [_, height, width] = shape;
        Ok(Self {
            predictions: values(predictions)?,
            targets: values(targets)?,
            pixels: (height * width).max(1),
        })
    }

    /// For each mask, its name for messages, its predictions and its ground truth.
    pub(crate) fn masks(&self) -> impl Iterator<Item = (String, &[f32], &[f32])> {
        let masks = self.predictions.chunks_exact(self.pixels);
        masks
            .zip(self.targets.chunks_exact(self.pixels))
            .enumerate()
            .map(|(index, (found, truth))| (format!("mask {index}"), found, truth))
    }
}

fn values(tensor: Tensor<3>) -> Result<Vec<f32>> {
    let data = tensor
        .try_into_data()
        .map_err(|error| MetricsError::Device(error.to_string()))?;
    data.convert::<f32>()
        .try_to_vec()
        .map_err(|error| MetricsError::Device(format!("{error:?}")))
}
