//! A vector of `f32` for each instruction set behind one trait, and the one place where a level's
//! instructions are switched on.
//!
//! Kernels are written once, generic over [`Simd`]. [`dispatch`] runs them inside a function that
//! is compiled for the level's instructions. For that to work, everything between [`Kernel::run`]
//! and the vector operations must be `#[inline(always)]`: what is not inlined would be compiled
//! without those instructions. A closure cannot be marked so; vector operations are kept out of
//! them.

#[cfg(all(target_arch = "x86_64", not(miri)))]
mod avx2;
#[cfg(all(target_arch = "x86_64", not(miri)))]
mod avx512;
mod plain;

use crate::level::Level;

/// The vector operations of one level.
///
/// A value of the implementing type is a proof that the CPU has the level's instructions: only
/// [`dispatch`] makes one.
pub(crate) trait Simd: Copy + Send + Sync {
    /// `LANES` numbers.
    type Vector: Copy;

    /// Numbers in a vector.
    const LANES: usize;
    /// Vectors in a full panel of the right-hand side of a matrix product.
    const PANEL_VECTORS: usize;

    /// The same number in all lanes.
    fn splat(self, x: f32) -> Self::Vector;

    /// Reads `LANES` numbers; no alignment is needed.
    ///
    /// # Safety
    ///
    /// `from` must be valid for reading `LANES` numbers.
    unsafe fn load(self, from: *const f32) -> Self::Vector;

    /// Writes `LANES` numbers; no alignment is needed.
    ///
    /// # Safety
    ///
    /// `to` must be valid for writing `LANES` numbers.
    unsafe fn store(self, to: *mut f32, x: Self::Vector);

    fn add(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    fn sub(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    fn mul(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    fn div(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// `a * b + c`, rounded once where the CPU can.
    fn mul_add(self, a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector;
    /// The larger number of each lane; `b` where either is NaN.
    fn max(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// The smaller number of each lane; `b` where either is NaN.
    fn min(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    fn abs(self, x: Self::Vector) -> Self::Vector;
    /// The nearest integer, of two equally near the even one. `x` must lie within ±2²¹.
    fn round(self, x: Self::Vector) -> Self::Vector;
    /// `x * 2^n` for an integral `n` within [-252, 254], denormal and infinite results included.
    fn scale(self, x: Self::Vector, n: Self::Vector) -> Self::Vector;
    /// `a` where `x > 0`, else `b` (also where `x` is NaN).
    fn where_positive(self, x: Self::Vector, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// The sum of all lanes.
    fn sum(self, x: Self::Vector) -> f32;
    /// The largest of all lanes. A NaN may be ignored.
    fn largest(self, x: Self::Vector) -> f32;

    /// Reads the first numbers of `from`, at most `LANES`, and puts `other` into the lanes that are
    /// left.
    #[inline(always)]
    fn load_part(self, from: &[f32], other: f32) -> Self::Vector {
        let mut whole = [other; 16];
        let count = from.len().min(Self::LANES);
        whole[..count].copy_from_slice(&from[..count]);
        // SAFETY: `LANES` is at most 16, so that many numbers of `whole` can be read.
        unsafe { self.load(whole.as_ptr()) }
    }

    /// Writes the first lanes into `to`, at most `LANES`.
    #[inline(always)]
    fn store_part(self, to: &mut [f32], x: Self::Vector) {
        let mut whole = [0.0; 16];
        // SAFETY: `LANES` is at most 16, so that many numbers of `whole` can be written.
        unsafe { self.store(whole.as_mut_ptr(), x) };
        let count = to.len().min(Self::LANES);
        to[..count].copy_from_slice(&whole[..count]);
    }
}

/// Work that is written once for all levels. `run` must be `#[inline(always)]`.
pub(crate) trait Kernel {
    /// What the work returns.
    type Output;
    /// Does the work with the vectors of one level.
    fn run<S: Simd>(self, simd: S) -> Self::Output;
}

/// Runs `kernel` with the instructions of `level`.
///
/// The level must be supported: [`Level::active`] returns no other.
#[inline]
pub(crate) fn dispatch<K: Kernel>(level: Level, kernel: K) -> K::Output {
    match level {
        // SAFETY: `Level::active` returns a level only if the CPU has its instructions.
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        Level::Avx512 => unsafe { avx512::run(kernel) },
        // SAFETY: as above.
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        Level::Avx2 => unsafe { avx2::run(kernel) },
        _ => kernel.run(plain::Plain::new()),
    }
}

/// Numbers in a vector, and vectors in a full panel, of `level`.
pub(crate) fn panel_shape(level: Level) -> (usize, usize) {
    struct Shape;
    impl Kernel for Shape {
        type Output = (usize, usize);
        #[inline(always)]
        fn run<S: Simd>(self, _: S) -> (usize, usize) {
            (S::LANES, S::PANEL_VECTORS)
        }
    }
    dispatch(level, Shape)
}
