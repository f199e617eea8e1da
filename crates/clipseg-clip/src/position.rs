//! Interpolates position embeddings for another grid of patches.
//!
//! This is PyTorch's bicubic interpolation (`align_corners=False`, a = −0.75, no antialiasing) as two
//! matrix products. They are differentiable on every device, unlike Burn's own interpolation, and
//! support rectangular grids.

use burn::prelude::*;
use burn::tensor::FloatDType;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// A cache of interpolation weights, on the devices that they were used on.
///
/// The interpolated table is not cached, because training may change the table.
#[derive(Debug, Clone, Default)]
pub(crate) struct CubicWeights(Arc<Mutex<WeightsBySizes>>);

/// Weights by the old and the new number of positions along an axis; a matrix for each device.
type WeightsBySizes = HashMap<(usize, usize), Vec<Tensor<2>>>;

impl CubicWeights {
    /// Interpolates a table for a grid of `to` rows and columns.
    ///
    /// # Shapes
    ///
    /// - table: `[1 + from · from, width]`, the class position first
    /// - output: `[1, 1 + rows · columns, width]`
    pub(crate) fn resize(&self, table: Tensor<2>, from: usize, to: [usize; 2]) -> Tensor<3> {
        if to == [from, from] {
            return table.unsqueeze();
        }
        let [_, width] = table.dims();
        let device = table.device();
        let [height, columns] = to;
        // The weights have single precision; the table may have half.
        let dtype = table.dtype();
        let table = table.cast(FloatDType::F32);
        let class = table.clone().slice(s![0..1, ..]);
        let grid = table.slice(s![1.., ..]).reshape([from, from * width]);
        let rows = self.matrix(from, height, &device).matmul(grid);
        let rows = rows.reshape([height, from, width]);
        let both = self
            .matrix(from, columns, &device)
            .unsqueeze::<3>()
            .matmul(rows);
        let resized = Tensor::cat(vec![class, both.reshape([height * columns, width])], 0);
        resized.cast(FloatDType::from(dtype)).unsqueeze()
    }

    /// The weights as a matrix `[to, from]`.
    fn matrix(&self, from: usize, to: usize, device: &Device) -> Tensor<2> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let matrices = known.entry((from, to)).or_default();
        let plain = device.clone().without_autodiff();
        let known = matrices.iter().find(|matrix| matrix.device() == plain);
        let matrix = known.cloned().unwrap_or_else(|| {
            let weights = TensorData::new(cubic(from, to), [to, from]);
            let matrix = Tensor::from_data(weights, &plain);
            matrices.push(matrix.clone());
            matrix
        });
        if device.is_autodiff() {
            matrix.autodiff()
        } else {
            matrix
        }
    }
}

/// The weight of every old position for every new one: `[to, from]`, row-major.
fn cubic(from: usize, to: usize) -> Vec<f32> {
    const A: f64 = -0.75;
    let near = |x: f64| ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0;
    let far = |x: f64| ((A * x - 5.0 * A) * x + 8.0 * A) * x - 4.0 * A;
    let mut weights = vec![0.0; to * from];
    for (target, row) in weights.chunks_exact_mut(from).enumerate() {
        let centre = (target as f64 + 0.5) * from as f64 / to as f64 - 0.5;
        let (first, t) = (centre.floor(), centre - centre.floor());
        for (offset, weight) in [
            (-1.0, far(t + 1.0)),
            (0.0, near(t)),
            (1.0, near(1.0 - t)),
            (2.0, far(2.0 - t)),
        ] {
            // Positions beyond the border repeat the last one.
            let source = (first + offset).clamp(0.0, (from - 1) as f64) as usize;
            row[source] += weight as f32;
        }
    }
    weights
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_equal_those_of_pytorch() {
        // torch.nn.functional.interpolate of one-hot vectors of 4, to 8, bicubic.
        let weights = cubic(4, 8);
        let row = &weights[3 * 4..4 * 4];
        for (found, expected) in row
            .iter()
            .zip([-0.10546875, 0.87890625, 0.26171875, -0.03515625])
        {
            assert!((found - expected).abs() < 1e-6, "{row:?}");
        }
        for row in weights.chunks(4) {
            assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-6);
        }
    }

    #[test]
    fn a_square_table_is_interpolated_for_a_rectangular_grid() {
        // torch.nn.functional.interpolate of this table to (2, 4), bicubic, align_corners=False;
        // 7 is the class position.
        let table = [7.0, 3.0, 1.0, 4.0, 1.0, 5.0, 9.0, 2.0, 6.0, 5.0];
        let table = Tensor::<1>::from_floats(table, &Device::flex()).reshape([10, 1]);
        let found = CubicWeights::default().resize(table, 3, [2, 4]);
        let expected = [
            7.0, 2.557701, 1.728151, 3.026752, 5.517649, 1.400875, 4.378191, 6.437218, 6.094088,
        ];
        let expected = TensorData::new(expected.to_vec(), [1, 9, 1]);
        let tolerance = burn::tensor::Tolerance::absolute(1e-5);
        found
            .into_data()
            .assert_approx_eq::<f32>(&expected, tolerance);
    }
}
