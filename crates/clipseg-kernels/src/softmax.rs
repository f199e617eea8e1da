//! Softmax over rows, forward and backward.

use crate::level::Level;
use crate::math;
use crate::simd::{Kernel, Simd, dispatch};
use crate::threads::{block, for_each_task, row_blocks};
use crate::view::{View, ViewMut};

/// Replaces each number of `row` by e^(scale · (number - largest number)) and returns the sum of
/// the results.
///
/// A row with a NaN, or without a finite number, becomes NaN.
#[inline(always)]
pub(crate) fn exponentials<S: Simd>(simd: S, row: &mut [f32], scale: f32) -> f32 {
    let whole = row.len() - row.len() % S::LANES;
    let mut largest = simd.splat(f32::NEG_INFINITY);
    for part in row[..whole].chunks_exact(S::LANES) {
        // SAFETY: the part has `LANES` numbers.
        largest = simd.max(largest, unsafe { simd.load(part.as_ptr()) });
    }
    let largest = simd.largest(simd.max(largest, simd.load_part(&row[whole..], f32::NEG_INFINITY)));
    let (shift, factor) = (simd.splat(-largest), simd.splat(scale));
    // Sums of every fourth vector: shorter sums have smaller errors and do not wait for each other.
    let mut sums = [simd.splat(0.0); 4];
    for (index, part) in row[..whole].chunks_exact_mut(S::LANES).enumerate() {
        // SAFETY: the part has `LANES` numbers.
        unsafe {
            let x = simd.add(simd.load(part.as_ptr()), shift);
            let power = math::exp(simd, simd.mul(x, factor));
            sums[index % 4] = simd.add(sums[index % 4], power);
            simd.store(part.as_mut_ptr(), power);
        }
    }
    let mut sum = simd.add(simd.add(sums[0], sums[1]), simd.add(sums[2], sums[3]));
    let rest = &mut row[whole..];
    if !rest.is_empty() {
        let x = simd.add(simd.load_part(rest, f32::NEG_INFINITY), shift);
        let power = math::exp(simd, simd.mul(x, factor));
        simd.store_part(rest, power);
        sum = simd.add(sum, power);
    }
    simd.sum(sum)
}

/// Multiplies each number of `row` by `factor`.
#[inline(always)]
pub(crate) fn multiply_by<S: Simd>(simd: S, row: &mut [f32], factor: f32) {
    let factor = simd.splat(factor);
    let mut parts = row.chunks_exact_mut(S::LANES);
    for part in parts.by_ref() {
        // SAFETY: the part has `LANES` numbers.
        unsafe {
            simd.store(
                part.as_mut_ptr(),
                simd.mul(simd.load(part.as_ptr()), factor),
            )
        };
    }
    let rest = parts.into_remainder();
    let product = simd.mul(simd.load_part(rest, 0.0), factor);
    simd.store_part(rest, product);
}

/// The sum of the products of the numbers of two rows.
#[inline(always)]
pub(crate) fn dot<S: Simd>(simd: S, a: &[f32], b: &[f32]) -> f32 {
    let mut sum = simd.splat(0.0);
    let (mut a, mut b) = (a.chunks_exact(S::LANES), b.chunks_exact(S::LANES));
    for (a, b) in a.by_ref().zip(b.by_ref()) {
        // SAFETY: both parts have `LANES` numbers.
        sum = unsafe { simd.mul_add(simd.load(a.as_ptr()), simd.load(b.as_ptr()), sum) };
    }
    let (a, b) = (
        simd.load_part(a.remainder(), 0.0),
        simd.load_part(b.remainder(), 0.0),
    );
    simd.sum(simd.mul_add(a, b, sum))
}

/// Replaces each number of `dy` by scale · y · (dy - dot(y, dy)): the gradient of what softmax was
/// applied to.
#[inline(always)]
pub(crate) fn gradient<S: Simd>(simd: S, y: &[f32], dy: &mut [f32], scale: f32) {
    let mean = simd.splat(dot(simd, y, dy));
    let scale = simd.splat(scale);
    let (mut y, mut dy) = (y.chunks_exact(S::LANES), dy.chunks_exact_mut(S::LANES));
    for (y, dy) in y.by_ref().zip(dy.by_ref()) {
        // SAFETY: both parts have `LANES` numbers.
        unsafe {
            simd.store(
                dy.as_mut_ptr(),
                difference(
                    simd,
                    scale,
                    mean,
                    simd.load(y.as_ptr()),
                    simd.load(dy.as_ptr()),
                ),
            )
        };
    }
    let (y, dy) = (y.remainder(), dy.into_remainder());
    let rest = difference(
        simd,
        scale,
        mean,
        simd.load_part(y, 0.0),
        simd.load_part(dy, 0.0),
    );
    simd.store_part(dy, rest);
}

/// scale · y · (dy - mean)
#[inline(always)]
fn difference<S: Simd>(
    simd: S,
    scale: S::Vector,
    mean: S::Vector,
    y: S::Vector,
    dy: S::Vector,
) -> S::Vector {
    simd.mul(simd.mul(scale, y), simd.sub(dy, mean))
}

/// Writes the softmax of each row of `x` to `y`.
///
/// The error of a result is at most (4 + d + width / 128) ulp, where d is the distance of its
/// number from the row's largest one. As in PyTorch, a row becomes NaN if it has a NaN or
/// +infinity, or if all its numbers are -infinity.
///
/// # Shapes
///
/// - `x` and `y`: `[rows, width]`, where `rows` is their length divided by `width`
///
/// # Panics
///
/// If the slices differ in length, or if that length is no multiple of `width`.
pub fn softmax(x: &[f32], width: usize, y: &mut [f32]) {
    let rows = rows_of(y.len(), width);
    assert_eq!(x.len(), y.len(), "lengths of input and output");
    let (x, y) = (View::new(x, rows, width), ViewMut::new(y, rows, width));
    let level = Level::active();
    for_each_row_block(rows, width, |first, count| {
        // SAFETY: each task has rows of its own.
        let y = unsafe { y.part(first, count, 0, width) };
        dispatch(
            level,
            Forward {
                x: x.rows_from(first, count),
                y,
            },
        );
    });
}

/// Writes the gradient of softmax's input to `dx`, given its output `y` and that output's gradient
/// `dy`.
///
/// # Shapes
///
/// - `y`, `dy` and `dx`: `[rows, width]`, where `rows` is their length divided by `width`
///
/// # Panics
///
/// If the slices differ in length, or if that length is no multiple of `width`.
pub fn softmax_backward(y: &[f32], dy: &[f32], width: usize, dx: &mut [f32]) {
    let rows = rows_of(dx.len(), width);
    assert_eq!(
        y.len(),
        dx.len(),
        "lengths of the output and of the gradient"
    );
    assert_eq!(dy.len(), dx.len(), "lengths of the two gradients");
    let (y, dy, dx) = (
        View::new(y, rows, width),
        View::new(dy, rows, width),
        ViewMut::new(dx, rows, width),
    );
    let level = Level::active();
    for_each_row_block(rows, width, |first, count| {
        // SAFETY: each task has rows of its own.
        let dx = unsafe { dx.part(first, count, 0, width) };
        dispatch(
            level,
            Backward {
                y: y.rows_from(first, count),
                dy: dy.rows_from(first, count),
                dx,
            },
        );
    });
}

/// The number of rows of `width` numbers in `len` numbers.
pub(crate) fn rows_of(len: usize, width: usize) -> usize {
    assert!(
        len == 0 || (width > 0 && len.is_multiple_of(width)),
        "{len} numbers are not rows of {width}"
    );
    len.checked_div(width).unwrap_or(0)
}

/// Calls `work` with the first row and the number of rows of blocks of rows, on all threads if
/// there are many numbers.
pub(crate) fn for_each_row_block(
    rows: usize,
    width: usize,
    work: impl Fn(usize, usize) + Send + Sync,
) {
    /// Roughly what one number costs, in floating-point operations at the rate of a matrix product.
    const OPERATIONS: usize = 16;
    let blocks = row_blocks(rows, 1, 1);
    for_each_task(blocks, rows * width * OPERATIONS, |index| {
        let (first, count) = block(rows, blocks, index);
        work(first, count);
    });
}

struct Forward<'a> {
    x: View<'a>,
    y: ViewMut<'a>,
}

impl Kernel for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        for row in 0..self.y.rows {
            // SAFETY: the rows belong to this call alone and are taken one at a time.
            let y = unsafe { self.y.row(row) };
            y.copy_from_slice(self.x.row(row));
            let sum = exponentials(simd, y, 1.0);
            multiply_by(simd, y, 1.0 / sum);
        }
    }
}

struct Backward<'a> {
    y: View<'a>,
    dy: View<'a>,
    dx: ViewMut<'a>,
}

impl Kernel for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        for row in 0..self.dx.rows {
            // SAFETY: the rows belong to this call alone and are taken one at a time.
            let dx = unsafe { self.dx.row(row) };
            dx.copy_from_slice(self.dy.row(row));
            gradient(simd, self.y.row(row), dx, 1.0);
        }
    }
}
