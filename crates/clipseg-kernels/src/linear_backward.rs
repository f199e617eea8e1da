//! The gradients of a linear layer.

use rayon::prelude::*;

use crate::level::Level;
use crate::matmul::{Store, multiply_deep, multiply_unpacked};
use crate::view::{View, ViewMut};

/// Gradients of a linear layer, y = x · W + b, that are wanted, each with the input that it is computed from.
#[derive(Debug, Default)]
pub struct LinearGradients<'a> {
    /// W, `[inputs, outputs]`, and the gradient of x, `[rows, inputs]`.
    pub dx: Option<(&'a [f32], &'a mut [f32])>,
    /// x, `[rows, inputs]`, and the gradient of W, `[inputs, outputs]`.
    pub d_weight: Option<(&'a [f32], &'a mut [f32])>,
    /// Gradient of b, `[outputs]`.
    pub d_bias: Option<&'a mut [f32]>,
}

/// Writes the gradients of a linear layer, given the gradient `dy` of its output.
///
/// If an activation follows, `dy` is the gradient before it: what
/// [`Activation::backward`](crate::Activation::backward) returns.
///
/// # Shapes
///
/// - `dy`: `[rows, outputs]`
///
/// # Panics
///
/// If a slice does not have its length.
pub fn linear_backward(
    dy: &[f32],
    (rows, inputs, outputs): (usize, usize, usize),
    gradients: LinearGradients<'_>,
) {
    assert_eq!(
        dy.len(),
        rows * outputs,
        "length of the output's gradient of {rows} x {outputs} numbers"
    );
    let level = Level::active();
    let dy_view = View::new(dy, rows, outputs);
    if let Some((weight, dx)) = gradients.dx {
        assert_eq!(
            weight.len(),
            inputs * outputs,
            "length of the weight of {inputs} x {outputs} numbers"
        );
        assert_eq!(
            dx.len(),
            rows * inputs,
            "length of the input's gradient of {rows} x {inputs} numbers"
        );
        let weight = View::new(weight, inputs, outputs).transposed();
        multiply_unpacked(
            level,
            dy_view,
            weight,
            ViewMut::new(dx, rows, inputs),
            Store::Replace,
            |_, _, _| {},
        );
    }
    if let Some((x, d_weight)) = gradients.d_weight {
        assert_eq!(
            x.len(),
            rows * inputs,
            "length of the input of {rows} x {inputs} numbers"
        );
        assert_eq!(
            d_weight.len(),
            inputs * outputs,
            "length of the weight's gradient of {inputs} x {outputs} numbers"
        );
        let x = View::new(x, rows, inputs).transposed();
        multiply_deep(level, x, dy_view, ViewMut::new(d_weight, inputs, outputs));
    }
    if let Some(d_bias) = gradients.d_bias {
        assert_eq!(d_bias.len(), outputs, "length of the bias's gradient");
        sum_rows(dy, d_bias);
    }
}

/// Writes the sum of the rows of `rows` to `sums`.
fn sum_rows(rows: &[f32], sums: &mut [f32]) {
    /// Columns that one task adds.
    const COLUMNS: usize = 256;
    /// Numbers from which on all threads help.
    const LARGE: usize = 1 << 17;
    let width = sums.len();
    let add = |(index, sums): (usize, &mut [f32])| {
        sums.fill(0.0);
        for row in rows.chunks_exact(width) {
            let row = &row[index * COLUMNS..][..sums.len()];
            sums.iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
        }
    };
    if rows.len() < LARGE {
        sums.chunks_mut(COLUMNS).enumerate().for_each(add);
    } else {
        sums.par_chunks_mut(COLUMNS).enumerate().for_each(add);
    }
}
