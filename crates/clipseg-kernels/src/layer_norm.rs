//! Layer norm over rows, forward and backward.

use crate::level::Level;
use crate::scratch::with_scratch;
use crate::simd::{Kernel, Simd, dispatch};
use crate::softmax::{dot, for_each_row_block, rows_of};
use crate::threads::{block, for_each_task, row_blocks};
use crate::view::{View, ViewMut};

/// Layer norm, y = (x - mean) / sqrt(variance + epsilon) · gamma + beta, with mean and (biased)
/// variance of each row.
///
/// The mean is taken away before the squares are summed, so that a large common offset costs no
/// accuracy.
#[derive(Clone, Copy, Debug)]
pub struct LayerNorm<'a> {
    /// Factors, `[width]`.
    pub gamma: &'a [f32],
    /// Offsets, `[width]`.
    pub beta: &'a [f32],
    /// What is added to the variance.
    pub epsilon: f32,
}

impl LayerNorm<'_> {
    /// Writes the normalised rows of `x` to `y`.
    ///
    /// # Shapes
    ///
    /// - `x` and `y`: `[rows, width]`, where `width` is the length of `gamma`
    ///
    /// # Panics
    ///
    /// If the slices do not have these lengths.
    pub fn forward(&self, x: &[f32], y: &mut [f32]) {
        let width = self.width();
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
                    norm: *self,
                    x: x.rows_from(first, count),
                    y,
                },
            );
        });
    }

    /// Writes the gradients of the input, of `gamma` and of `beta`, given the input `x` and the
    /// output's gradient `dy`.
    ///
    /// # Shapes
    ///
    /// - `x`, `dy` and `dx`: `[rows, width]`
    /// - `d_gamma` and `d_beta`: `[width]`
    ///
    /// # Panics
    ///
    /// If the slices do not have these lengths.
    pub fn backward(
        &self,
        x: &[f32],
        dy: &[f32],
        dx: &mut [f32],
        d_gamma: &mut [f32],
        d_beta: &mut [f32],
    ) {
        let width = self.width();
        let rows = rows_of(dx.len(), width);
        assert_eq!(
            x.len(),
            dx.len(),
            "lengths of the input and of its gradient"
        );
        assert_eq!(dy.len(), dx.len(), "lengths of the two gradients");
        assert_eq!(
            (d_gamma.len(), d_beta.len()),
            (width, width),
            "lengths of the gradients of gamma and beta"
        );
        let (x, dy, dx) = (
            View::new(x, rows, width),
            View::new(dy, rows, width),
            ViewMut::new(dx, rows, width),
        );
        let level = Level::active();
        d_gamma.fill(0.0);
        d_beta.fill(0.0);
        if rows == 0 {
            return;
        }
        let blocks = row_blocks(rows, 16, 1);
        with_scratch(2 * width * blocks, |sums| {
            sums.fill(0.0);
            let parts = ViewMut::new(sums, blocks, 2 * width);
            for_each_task(blocks, 32 * rows * width, |index| {
                let (first, count) = block(rows, blocks, index);
                // SAFETY: each task has rows of its own, and one row of the sums.
                let (dx, sums) = unsafe { (dx.part(first, count, 0, width), parts.row(index)) };
                let (d_gamma, d_beta) = sums.split_at_mut(width);
                let (x, dy) = (x.rows_from(first, count), dy.rows_from(first, count));
                dispatch(
                    level,
                    Backward {
                        norm: *self,
                        x,
                        dy,
                        dx,
                        d_gamma,
                        d_beta,
                    },
                );
            });
            for sums in sums.chunks_exact(2 * width) {
                d_gamma
                    .iter_mut()
                    .zip(&sums[..width])
                    .for_each(|(to, x)| *to += x);
                d_beta
                    .iter_mut()
                    .zip(&sums[width..])
                    .for_each(|(to, x)| *to += x);
            }
        });
    }

    fn width(&self) -> usize {
        assert_eq!(
            self.gamma.len(),
            self.beta.len(),
            "lengths of gamma and beta"
        );
        self.gamma.len()
    }
}

/// The mean of a row, and 1 / sqrt(variance + epsilon).
#[inline(always)]
fn statistics<S: Simd>(simd: S, row: &[f32], epsilon: f32) -> (f32, f32) {
    let count = row.len() as f32;
    let parts = row.chunks_exact(S::LANES);
    let rest = parts.remainder();
    let mut sum = simd.load_part(rest, 0.0);
    for part in parts.clone() {
        // SAFETY: the part has `LANES` numbers.
        sum = simd.add(sum, unsafe { simd.load(part.as_ptr()) });
    }
    let mean = simd.sum(sum) / count;
    let center = simd.splat(mean);
    // Lanes without a number hold the mean, so that they add nothing.
    let distance = simd.sub(simd.load_part(rest, mean), center);
    let mut squares = simd.mul(distance, distance);
    for part in parts {
        // SAFETY: the part has `LANES` numbers.
        let distance = simd.sub(unsafe { simd.load(part.as_ptr()) }, center);
        squares = simd.mul_add(distance, distance, squares);
    }
    (mean, 1.0 / (simd.sum(squares) / count + epsilon).sqrt())
}

struct Forward<'a> {
    norm: LayerNorm<'a>,
    x: View<'a>,
    y: ViewMut<'a>,
}

impl Kernel for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        for row in 0..self.y.rows {
            let x = self.x.row(row);
            // SAFETY: the rows belong to this call alone and are taken one at a time.
            let y = unsafe { self.y.row(row) };
            let (mean, factor) = statistics(simd, x, self.norm.epsilon);
            let (mean, factor) = (simd.splat(mean), simd.splat(factor));
            let (gamma, beta) = (self.norm.gamma, self.norm.beta);
            let width = x.len();
            assert_eq!((y.len(), gamma.len(), beta.len()), (width, width, width));
            let whole = width - width % S::LANES;
            for first in (0..whole).step_by(S::LANES) {
                // SAFETY: all four have `width` numbers, so that `LANES` from `first` on exist.
                unsafe {
                    let centered = simd.sub(simd.load(x.as_ptr().add(first)), mean);
                    let gamma = simd.load(gamma.as_ptr().add(first));
                    let beta = simd.load(beta.as_ptr().add(first));
                    let z = simd.mul(centered, factor);
                    simd.store(y.as_mut_ptr().add(first), simd.mul_add(z, gamma, beta));
                }
            }
            if whole < width {
                let z = simd.mul(simd.sub(read(simd, x, whole), mean), factor);
                let last = simd.mul_add(z, read(simd, gamma, whole), read(simd, beta, whole));
                write(simd, y, whole, last);
            }
        }
    }
}

struct Backward<'a> {
    norm: LayerNorm<'a>,
    x: View<'a>,
    dy: View<'a>,
    dx: ViewMut<'a>,
    d_gamma: &'a mut [f32],
    d_beta: &'a mut [f32],
}

impl Kernel for Backward<'_> {
    type Output = ();

    /// With z = (x - mean) · factor and g = dy · gamma: dx = factor · (g - mean(g) - z · mean(g ·
    /// z)).
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let gamma = self.norm.gamma;
        let width = gamma.len();
        for row in 0..self.dx.rows {
            let (x, dy) = (self.x.row(row), self.dy.row(row));
            // SAFETY: the rows belong to this call alone and are taken one at a time.
            let dx = unsafe { self.dx.row(row) };
            let (mean, factor) = statistics(simd, x, self.norm.epsilon);
            // `dx` first holds z; sums of g and of g · z on the way.
            let (center, scale) = (simd.splat(mean), simd.splat(factor));
            for first in (0..width).step_by(S::LANES) {
                let z = simd.mul(simd.sub(read(simd, x, first), center), scale);
                let gradient = read(simd, dy, first);
                let d_gamma = simd.mul_add(gradient, z, read(simd, self.d_gamma, first));
                let d_beta = simd.add(gradient, read(simd, self.d_beta, first));
                write(simd, dx, first, z);
                write(simd, self.d_gamma, first, d_gamma);
                write(simd, self.d_beta, first, d_beta);
            }
            let mean_g = dot(simd, dy, gamma) / width as f32;
            let mut sum = simd.splat(0.0);
            for first in (0..width).step_by(S::LANES) {
                let g = simd.mul(read(simd, dy, first), read(simd, gamma, first));
                sum = simd.mul_add(g, read(simd, dx, first), sum);
            }
            let (mean_g, mean_gz) = (simd.splat(mean_g), simd.splat(simd.sum(sum) / width as f32));
            for first in (0..width).step_by(S::LANES) {
                let g = simd.mul(read(simd, dy, first), read(simd, gamma, first));
                let along = simd.mul(read(simd, dx, first), mean_gz);
                let rest = simd.sub(simd.sub(g, mean_g), along);
                write(simd, dx, first, simd.mul(rest, scale));
            }
        }
    }
}

/// Reads the vector at `first`; lanes behind the end are 0.
#[inline(always)]
fn read<S: Simd>(simd: S, from: &[f32], first: usize) -> S::Vector {
    let from = &from[first..];
    if from.len() >= S::LANES {
        // SAFETY: there are `LANES` numbers.
        unsafe { simd.load(from.as_ptr()) }
    } else {
        simd.load_part(from, 0.0)
    }
}

/// Writes the vector at `first`; lanes behind the end are left out.
#[inline(always)]
fn write<S: Simd>(simd: S, to: &mut [f32], first: usize, x: S::Vector) {
    let to = &mut to[first..];
    if to.len() >= S::LANES {
        // SAFETY: there are `LANES` numbers.
        unsafe { simd.store(to.as_mut_ptr(), x) };
    } else {
        simd.store_part(to, x);
    }
}
