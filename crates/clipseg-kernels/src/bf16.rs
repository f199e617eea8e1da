//! Linear layers whose weights and inputs are rounded to bfloat16, with the dot products of
//! AVX-512.
//!
//! Sums are kept in `f32`. Two numbers that follow each other along the depth are one unit of the
//! instruction, so that both sides are stored as pairs.

use std::arch::x86_64::*;
use std::fmt;

use crate::activation::Activation;
use crate::level::Level;
use crate::linear::After;
use crate::scratch::{Aligned, with_scratch};
use crate::threads::{block, for_each_task, row_blocks};
use crate::unrolled::unrolled;
use crate::view::{View, ViewMut};

/// Columns of a panel.
const WIDTH: usize = 64;
/// Vectors in a row of a panel.
const VECTORS: usize = WIDTH / 16;
/// Rows of a tile.
const TILE_ROWS: usize = 6;
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

/// The bits of the nearest bfloat16, of two equally near the even one. NaN stays NaN.
fn rounded(x: f32) -> u32 {
    let bits = x.to_bits();
    if x.is_nan() {
        (bits >> 16) | 0x40
    } else {
        (bits + 0x7fff + ((bits >> 16) & 1)) >> 16
    }
}

/// Two numbers as one unit of the dot product.
fn pair(low: f32, high: f32) -> f32 {
    f32::from_bits(rounded(low) | (rounded(high) << 16))
}

impl Bf16Linear {
    /// Whether this CPU has the instructions.
    #[must_use]
    pub fn is_supported() -> bool {
        Level::Avx512.is_supported() && std::arch::is_x86_feature_detected!("avx512bf16")
    }

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
        if !Self::is_supported() {
            return None;
        }
        let pairs = inputs.div_ceil(2);
        let mut packed = Aligned::zeros(outputs.div_ceil(WIDTH) * pairs * WIDTH);
        let panels = packed
            .as_mut_slice()
            .chunks_exact_mut((pairs * WIDTH).max(1));
        for (panel, packed) in panels.enumerate() {
            let columns = WIDTH.min(outputs - panel * WIDTH);
            for (index, packed) in packed.chunks_exact_mut(WIDTH).enumerate() {
                let row = |row: usize| {
                    let start = row * outputs + panel * WIDTH;
                    weight.get(start..start + columns).filter(|_| row < inputs)
                };
                let (low, high) = (row(2 * index), row(2 * index + 1));
                for (column, to) in packed[..columns].iter_mut().enumerate() {
                    let at = |row: Option<&[f32]>| row.map_or(0.0, |row| row[column]);
                    *to = pair(at(low), at(high));
                }
            }
        }
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

/// Rounds one row.
///
/// # Safety
///
/// The CPU must have AVX-512 with bfloat16.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma")]
unsafe fn round_row(x: &[f32], units: &mut [f32]) {
    assert_eq!(units.len(), x.len().div_ceil(2));
    let whole = x.len() / 32;
    for index in 0..whole {
        // SAFETY: 32 numbers from `32 * index` on exist, and 16 units from `16 * index` on.
        unsafe {
            let from = x.as_ptr().add(32 * index);
            let bits = _mm512_cvtne2ps_pbh(_mm512_loadu_ps(from.add(16)), _mm512_loadu_ps(from));
            _mm512_storeu_ps(
                units.as_mut_ptr().add(16 * index),
                std::mem::transmute::<__m512bh, __m512>(bits),
            );
        }
    }
    for (numbers, to) in x[32 * whole..].chunks(2).zip(&mut units[16 * whole..]) {
        *to = pair(numbers[0], numbers.get(1).copied().unwrap_or(0.0));
    }
}

/// Rows of pairs times one panel.
///
/// # Safety
///
/// The CPU must have AVX-512 with bfloat16. Nothing else may use `y` meanwhile.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma")]
unsafe fn product(units: View<'_>, weight: &[f32], y: ViewMut<'_>) {
    assert_eq!(weight.len(), units.columns * WIDTH);
    assert_eq!(units.rows, y.rows);
    assert!(y.columns <= WIDTH);
    let mut row = 0;
    // SAFETY: each tile is given rows that exist; the lengths were compared.
    unsafe {
        while row + TILE_ROWS <= units.rows {
            tile::<TILE_ROWS>(units, weight, y, row);
            row += TILE_ROWS;
        }
        if row + 4 <= units.rows {
            tile::<4>(units, weight, y, row);
            row += 4;
        }
        if row + 2 <= units.rows {
            tile::<2>(units, weight, y, row);
            row += 2;
        }
        if row < units.rows {
            tile::<1>(units, weight, y, row);
        }
    }
}

/// `COUNT` rows from `first` on.
///
/// # Safety
///
/// The conditions of [`product`]; the rows must exist.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma")]
unsafe fn tile<const COUNT: usize>(units: View<'_>, weight: &[f32], y: ViewMut<'_>, first: usize) {
    let mut sums = [[_mm512_setzero_ps(); VECTORS]; COUNT];
    // SAFETY: rows `first` to `first + COUNT` of both sides exist, and `weight` has `WIDTH` units
    // for each pair; a row that is not complete is written through a buffer.
    unsafe {
        let a = units.as_ptr().add(first * units.row_stride);
        for pair in 0..units.columns {
            let b = weight.as_ptr().add(pair * WIDTH);
            let mut right = [_mm512_setzero_ps(); VECTORS];
            unrolled!(VECTORS, vector => { right[vector] = _mm512_loadu_ps(b.add(16 * vector)); });
            unrolled!(COUNT, row => {
                let left = _mm512_set1_ps(*a.add(row * units.row_stride + pair));
                unrolled!(VECTORS, vector => {
                    sums[row][vector] = _mm512_dpbf16_ps(
                        sums[row][vector],
                        std::mem::transmute::<__m512, __m512bh>(left),
                        std::mem::transmute::<__m512, __m512bh>(right[vector]),
                    );
                });
            });
        }
        let y_row = y.as_mut_ptr().add(first * y.row_stride);
        if y.columns == WIDTH {
            unrolled!(COUNT, row => unrolled!(VECTORS, vector => {
                _mm512_storeu_ps(y_row.add(row * y.row_stride + 16 * vector), sums[row][vector]);
            }));
        } else {
            let mut buffer = [0.0_f32; WIDTH * TILE_ROWS];
            unrolled!(COUNT, row => unrolled!(VECTORS, vector => {
                _mm512_storeu_ps(buffer.as_mut_ptr().add(WIDTH * row + 16 * vector), sums[row][vector]);
            }));
            for row in 0..COUNT {
                let to = y_row.add(row * y.row_stride);
                to.copy_from_nonoverlapping(buffer.as_ptr().add(WIDTH * row), y.columns);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn numbers_are_rounded_to_the_nearest_even() {
        for (x, expected) in [
            (1.0, 1.0),
            (1.0 + 1.0 / 256.0, 1.0),
            (1.003_906_4, 1.007_812_5),
            (1.0 + 3.0 / 256.0, 1.015_625),
            (-3.0, -3.0),
            (f32::INFINITY, f64::INFINITY),
            (f32::MAX, f64::INFINITY),
            (0.0, 0.0),
        ] {
            assert_eq!(value(x), expected, "{x}");
        }
        assert!(value(f32::NAN).is_nan());
        assert!(value(f32::from_bits(0x7f80_0001)).is_nan());
    }

    #[test]
    fn products_of_rounded_numbers_are_exact_to_f32() {
        if !Bf16Linear::is_supported() {
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
