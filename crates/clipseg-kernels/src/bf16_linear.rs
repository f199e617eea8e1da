//! Linear layers whose weights and inputs are rounded to bfloat16.

use std::fmt;

use rayon::prelude::*;

use crate::activation::Activation;
use crate::bf16::{WIDTH, bf16_is_supported, pair_rows, product, round_row};
use crate::level::Level;
use crate::linear::After;
use crate::scratch::{Aligned, with_scratch};
use crate::threads::{block, for_each_task, row_blocks};
use crate::view::{View, ViewMut};

/// Rows that are finished together. A multiple of a tile's.
const ROWS: usize = 24;

/// A linear layer, y = activation(x · W + b) + residual, whose products are computed in bfloat16.
///
/// `W` and `x` are rounded to 8 significant bits; products and sums are `f32`. Bias, activation and
/// residual are those of [`PackedLinear`](crate::PackedLinear).
#[derive(Clone)]
pub struct Bf16Linear {
    inputs: usize,
    outputs: usize,
    /// Panels of `WIDTH` columns; in each, pairs of rows; in each, `WIDTH` pairs. A pair is the
    /// bits of one `f32`.
    weight: Aligned,
    bias: Option<Vec<f32>>,
}

impl fmt::Debug for Bf16Linear {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bf16Linear")
            .field("inputs", &self.inputs)
            .field("outputs", &self.outputs)
            .field("bias", &self.bias.is_some())
            .finish()
    }
}

impl Bf16Linear {
    /// Rounds and packs `weight`, `[inputs, outputs]`, and keeps a copy of `bias`, `[outputs]`;
    /// `None` if this CPU does not have the instructions.
    ///
    /// # Panics
    ///
    /// If the slices do not have these lengths.
    #[must_use]
    pub fn new(
        weight: &[f32],
        bias: Option<&[f32]>,
        inputs: usize,
        outputs: usize,
    ) -> Option<Self> {
        assert_eq!(
            weight.len(),
            inputs * outputs,
            "length of the weight of {inputs} x {outputs} numbers"
        );
        if let Some(bias) = bias {
            assert_eq!(bias.len(), outputs, "length of the bias");
        }
        if !bf16_is_supported() {
            return None;
        }
        let pairs = inputs.div_ceil(2);
        let mut packed = Aligned::zeros(outputs.div_ceil(WIDTH) * pairs * WIDTH);
        pack_pairs(View::new(weight, inputs, outputs), packed.as_mut_slice());
        Some(Self {
            inputs,
            outputs,
            weight: packed,
            bias: bias.map(<[f32]>::to_vec),
        })
    }

    /// Width of the input.
    #[must_use]
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Width of the output.
    #[must_use]
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// Writes activation(x · W + b) + residual to `y`.
    ///
    /// # Shapes
    ///
    /// - `x`: `[rows, inputs]`
    /// - `residual` and `y`: `[rows, outputs]`
    ///
    /// # Panics
    ///
    /// If the slices do not have these lengths.
    pub fn forward(
        &self,
        x: &[f32],
        rows: usize,
        activation: Activation,
        residual: Option<&[f32]>,
        y: &mut [f32],
    ) {
        let (inputs, outputs) = (self.inputs, self.outputs);
        assert_eq!(
            x.len(),
            rows * inputs,
            "length of the input of {rows} x {inputs} numbers"
        );
        assert_eq!(
            y.len(),
            rows * outputs,
            "length of the output of {rows} x {outputs} numbers"
        );
        let after = After::new(self.bias.as_deref(), activation, residual, (rows, outputs));
        let y = ViewMut::new(y, rows, outputs);
        let pairs = inputs.div_ceil(2);
        with_scratch(rows * pairs, |units| {
            round_rows(x, inputs, units);
            let units = View::new(units, rows, pairs);
            let panels = outputs.div_ceil(WIDTH);
            let blocks = row_blocks(rows, ROWS, panels);
            for_each_task(panels * blocks, rows * inputs * outputs, |task| {
                let (first, count) = block(rows, blocks, task % blocks);
                let panel = task / blocks;
                let column = panel * WIDTH;
                let columns = WIDTH.min(outputs - column);
                let weight = &self.weight.as_slice()[panel * pairs * WIDTH..][..pairs * WIDTH];
                for row in (first..first + count).step_by(ROWS) {
                    let count = ROWS.min(first + count - row);
                    // SAFETY: each task has its own panel or block of rows.
                    let part = unsafe { y.part(row, count, column, columns) };
                    // SAFETY: `new` makes a layer only if the CPU has the instructions.
                    unsafe { product(units.rows_from(row, count), weight, part) };
                    after.apply(Level::Avx512, row, column, part);
                }
            });
        });
    }
}

/// Rounds `matrix` and lays it out in panels of `WIDTH` columns: in each, pairs of rows; in each,
/// `WIDTH` pairs. Columns that are left in the last panel keep their values.
pub(crate) fn pack_pairs(matrix: View<'_>, packed: &mut [f32]) {
    let length = matrix.rows.div_ceil(2) * WIDTH;
    if length == 0 {
        return;
    }
    packed
        .par_chunks_exact_mut(length)
        .enumerate()
        .for_each(|(panel, packed)| {
            let columns = WIDTH.min(matrix.columns - panel * WIDTH);
            let matrix = matrix.columns_from(panel * WIDTH, columns);
            for (index, packed) in packed.chunks_exact_mut(WIDTH).enumerate() {
                let (low, high) = (2 * index, 2 * index + 1);
                let high = (high < matrix.rows).then(|| matrix.row(high));
                // SAFETY: callers have checked that the CPU has the instructions.
                unsafe { pair_rows(matrix.row(low), high, &mut packed[..columns]) };
            }
        });
}

/// Rounds rows of `inputs` numbers to rows of pairs; an odd last number is paired with 0.
fn round_rows(x: &[f32], inputs: usize, units: &mut [f32]) {
    if inputs == 0 {
        return;
    }
    let pairs = inputs.div_ceil(2);
    let rows = x.len() / inputs;
    let units = ViewMut::new(units, rows, pairs);
    let blocks = row_blocks(rows, 8, 1);
    for_each_task(blocks, 8 * x.len(), |index| {
        let (first, count) = block(rows, blocks, index);
        for row in first..first + count {
            // SAFETY: each task has rows of its own, which it takes one at a time.
            let units = unsafe { units.row(row) };
            // SAFETY: layers exist only where the CPU has the instructions.
            unsafe { round_row(&x[row * inputs..][..inputs], units) };
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bf16::rounded;

    fn numbers(count: usize, seed: u32) -> Vec<f32> {
        let mut state = seed;
        (0..count)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 8) as f32 / (1 << 23) as f32 - 1.0
            })
            .collect()
    }

    /// The value of a rounded number.
    fn value(x: f32) -> f64 {
        f64::from(f32::from_bits(rounded(x) << 16))
    }

    #[test]
    fn products_of_rounded_numbers_are_exact_to_f32() {
        if !bf16_is_supported() {
            return;
        }
        for (rows, inputs, outputs) in [
            (0, 3, 3),
            (1, 1, 1),
            (7, 33, 65),
            (13, 64, 64),
            (77, 512, 40),
            (485, 100, 200),
        ] {
            let (x, w) = (numbers(rows * inputs, 1), numbers(inputs * outputs, 2));
            let (bias, residual) = (numbers(outputs, 3), numbers(rows * outputs, 4));
            let Some(layer) = Bf16Linear::new(&w, Some(&bias), inputs, outputs) else {
                panic!("the CPU has the instructions");
            };
            let mut y = vec![f32::NAN; rows * outputs];
            layer.forward(&x, rows, Activation::Relu, Some(&residual), &mut y);
            for row in 0..rows {
                for column in 0..outputs {
                    let product: f64 = (0..inputs)
                        .map(|i| value(x[row * inputs + i]) * value(w[i * outputs + column]))
                        .sum();
                    let index = row * outputs + column;
                    let expected =
                        (product + f64::from(bias[column])).max(0.0) + f64::from(residual[index]);
                    let error = (f64::from(y[index]) - expected).abs();
                    assert!(
                        error < 1e-6 * (inputs as f64 + 8.0),
                        "{rows} {inputs} {outputs}: {error:e}"
                    );
                }
            }
        }
    }
}
