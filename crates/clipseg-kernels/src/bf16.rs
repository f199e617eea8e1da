//! Rounding to bfloat16, and matrix products of rounded numbers with the dot products of AVX-512.
//!
//! Sums are kept in `f32`. Two numbers that follow each other along the depth are one unit of the
//! instruction, so that both sides are stored as pairs. A pair takes the place of one `f32`.

use std::arch::x86_64::*;

use crate::level::Level;
use crate::unrolled::unrolled;
use crate::view::{View, ViewMut};

/// Columns of a panel of the right-hand side.
pub(crate) const WIDTH: usize = 64;
/// Vectors in a row of a panel.
const VECTORS: usize = WIDTH / 16;
/// Rows of a tile.
const TILE_ROWS: usize = 6;

/// Whether this CPU has the instructions for [`Bf16Linear`](crate::Bf16Linear) and for
/// [`Attention::forward_bf16`](crate::Attention::forward_bf16).
#[must_use]
pub fn bf16_is_supported() -> bool {
    Level::Avx512.is_supported() && std::arch::is_x86_feature_detected!("avx512bf16")
}

/// The bits of the nearest bfloat16, of two equally near the even one. NaN stays NaN.
pub(crate) fn rounded(x: f32) -> u32 {
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

/// Rounds one row.
///
/// # Safety
///
/// The CPU must have AVX-512 with bfloat16.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma")]
pub(crate) unsafe fn round_row(x: &[f32], units: &mut [f32]) {
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

/// Rounds two rows and pairs the numbers of each column; without a second row, they are paired with
/// 0.
///
/// # Safety
///
/// The CPU must have AVX-512 with bfloat16.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma")]
pub(crate) unsafe fn pair_rows(low: &[f32], high: Option<&[f32]>, units: &mut [f32]) {
    /// Where the instruction that rounds two vectors leaves the halves of each pair.
    const ORDER: [i16; 32] = {
        let mut order = [0; 32];
        let mut index = 0;
        while index < 16 {
            order[2 * index] = index as i16;
            order[2 * index + 1] = index as i16 + 16;
            index += 1;
        }
        order
    };
    assert_eq!(units.len(), low.len());
    let whole = low.len() / 16 * 16;
    if let Some(high) = high {
        assert_eq!(high.len(), low.len());
    }
    for first in (0..whole).step_by(16) {
        // SAFETY: 16 numbers from `first` on exist in all rows.
        unsafe {
            let order = _mm512_loadu_si512(ORDER.as_ptr().cast());
            let below = _mm512_loadu_ps(low.as_ptr().add(first));
            let above = match high {
                Some(high) => _mm512_loadu_ps(high.as_ptr().add(first)),
                None => _mm512_setzero_ps(),
            };
            let bits = _mm512_cvtne2ps_pbh(above, below);
            let bits = std::mem::transmute::<__m512bh, __m512i>(bits);
            let pairs = _mm512_permutexvar_epi16(order, bits);
            _mm512_storeu_si512(units.as_mut_ptr().add(first).cast(), pairs);
        }
    }
    for column in whole..low.len() {
        units[column] = pair(low[column], high.map_or(0.0, |high| high[column]));
    }
}

/// Rows of pairs times one panel.
///
/// # Safety
///
/// The CPU must have AVX-512 with bfloat16. Nothing else may use `y` meanwhile.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma")]
pub(crate) unsafe fn product(units: View<'_>, weight: &[f32], y: ViewMut<'_>) {
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
    fn vectors_are_rounded_as_single_numbers() {
        if !bf16_is_supported() {
            return;
        }
        let low: Vec<f32> = (0..77).map(|i| (i as f32 - 30.0) * 1.234_567).collect();
        let high: Vec<f32> = (0..77).map(|i| (i as f32 - 50.0) * 0.345_678).collect();
        for length in [0, 1, 15, 16, 33, 77] {
            let (low, high) = (&low[..length], &high[..length]);
            for high in [None, Some(high)] {
                let mut units = vec![0.0; length];
                // SAFETY: the CPU has the instructions.
                unsafe { pair_rows(low, high, &mut units) };
                for (i, unit) in units.iter().enumerate() {
                    let expected = pair(low[i], high.map_or(0.0, |high| high[i]));
                    assert_eq!(unit.to_bits(), expected.to_bits());
                }
            }
            let mut units = vec![0.0; length.div_ceil(2)];
            // SAFETY: the CPU has the instructions.
            unsafe { round_row(low, &mut units) };
            for (numbers, unit) in low.chunks(2).zip(&units) {
                let expected = pair(numbers[0], numbers.get(1).copied().unwrap_or(0.0));
                assert_eq!(unit.to_bits(), expected.to_bits());
            }
        }
    }
}
