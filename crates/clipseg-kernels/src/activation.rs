//! Functions of single numbers on slices: forward and backward, vectorised, on all threads when the
//! slice is large.

use crate::level::Level;
use crate::math;
use crate::simd::{Kernel, Simd, dispatch};
use crate::threads::for_each_task;

/// A function that is applied to each number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Activation {
    /// x
    #[default]
    Identity,
    /// max(x, 0); NaN stays NaN.
    Relu,
    /// x · sigmoid(1.702 x), the activation of CLIP. At -infinity it is NaN, as in PyTorch.
    ///
    /// The error is at most (3 + 1.5 · |1.702 x|) ulp: for a negative x, the product 1.702 x, whose
    /// factor and result are rounded, is an exponent.
    QuickGelu,
    /// 1 / (1 + e^-x), within 3 ulp, denormal results included.
    Sigmoid,
    /// e^x, within 1.5 ulp, denormal and infinite results included.
    Exp,
}

impl Activation {
    /// The function of one vector.
    #[inline(always)]
    pub(crate) fn vector<S: Simd>(self, simd: S, x: S::Vector) -> S::Vector {
        match self {
            Self::Identity => x,
            Self::Relu => math::relu(simd, x),
            Self::QuickGelu => math::quick_gelu(simd, x),
            Self::Sigmoid => math::sigmoid(simd, x),
            Self::Exp => math::exp(simd, x),
        }
    }

    /// The derivative times `gradient`. `saved` is what [`Activation::backward`] says.
    #[inline(always)]
    fn derivative<S: Simd>(self, simd: S, saved: S::Vector, gradient: S::Vector) -> S::Vector {
        let one = simd.splat(1.0);
        match self {
            Self::Identity => gradient,
            Self::Relu => simd.where_positive(saved, gradient, simd.splat(0.0)),
            Self::QuickGelu => {
                // s + 1.702 x s (1 - s)
                let scaled = simd.mul(saved, simd.splat(math::QUICK_GELU));
                let s = math::sigmoid(simd, scaled);
                let slope = simd.mul_add(simd.mul(scaled, s), simd.sub(one, s), s);
                simd.mul(gradient, slope)
            }
            Self::Sigmoid => simd.mul(gradient, simd.mul(saved, simd.sub(one, saved))),
            Self::Exp => simd.mul(gradient, saved),
        }
    }

    /// Writes the function of each number of `x` to `y`.
    ///
    /// # Panics
    ///
    /// If `x` and `y` differ in length.
    pub fn forward(self, x: &[f32], y: &mut [f32]) {
        assert_eq!(x.len(), y.len(), "lengths of input and output");
        let level = Level::active();
        in_chunks(y, |first, y| {
            dispatch(
                level,
                Forward {
                    activation: self,
                    x: &x[first..][..y.len()],
                    y,
                },
            )
        });
    }

    /// Replaces each number of `x` by its function.
    pub fn forward_in_place(self, x: &mut [f32]) {
        let level = Level::active();
        in_chunks(x, |_, x| {
            dispatch(
                level,
                InPlace {
                    activation: self,
                    x,
                },
            )
        });
    }

    /// Writes the gradient of the input to `dx`, given the gradient `dy` of the output.
    ///
    /// `saved` is the output for [`Activation::Sigmoid`] and [`Activation::Exp`], the input for
    /// [`Activation::QuickGelu`], either of them for [`Activation::Relu`]; [`Activation::Identity`]
    /// does not read it. The derivative of ReLU at 0 and at NaN is 0, as in PyTorch.
    ///
    /// # Panics
    ///
    /// If the slices differ in length.
    pub fn backward(self, saved: &[f32], dy: &[f32], dx: &mut [f32]) {
        assert_eq!(
            saved.len(),
            dx.len(),
            "lengths of the saved numbers and of the gradient"
        );
        assert_eq!(dy.len(), dx.len(), "lengths of the two gradients");
        let level = Level::active();
        in_chunks(dx, |first, dx| {
            let range = first..first + dx.len();
            dispatch(
                level,
                Backward {
                    activation: self,
                    saved: &saved[range.clone()],
                    dy: &dy[range],
                    dx,
                },
            );
        });
    }
}

/// Calls `work` with parts of `y` and the index of each part's first number, on all threads if `y`
/// is large.
fn in_chunks(y: &mut [f32], work: impl Fn(usize, &mut [f32]) + Send + Sync) {
    /// Numbers in a part: as many as fit the first-level cache together with the input.
    const CHUNK: usize = 4096;
    /// Roughly what one number costs, in floating-point operations at the rate of a matrix product.
    const OPERATIONS: usize = 16;
    use crate::view::ViewMut;
    let len = y.len();
    let rows = len / CHUNK;
    let (whole, rest) = y.split_at_mut(rows * CHUNK);
    let whole = ViewMut::new(whole, rows, CHUNK);
    for_each_task(rows, len * OPERATIONS, |row| {
        // SAFETY: each task has a row of its own.
        work(row * CHUNK, unsafe { whole.row(row) });
    });
    if !rest.is_empty() {
        work(rows * CHUNK, rest);
    }
}

struct Forward<'a> {
    activation: Activation,
    x: &'a [f32],
    y: &'a mut [f32],
}

impl Kernel for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let mut x = self.x.chunks_exact(S::LANES);
        let mut y = self.y.chunks_exact_mut(S::LANES);
        for (x, y) in x.by_ref().zip(y.by_ref()) {
            // SAFETY: both parts have `LANES` numbers.
            unsafe {
                simd.store(
                    y.as_mut_ptr(),
                    self.activation.vector(simd, simd.load(x.as_ptr())),
                )
            };
        }
        let (x, y) = (x.remainder(), y.into_remainder());
        simd.store_part(y, self.activation.vector(simd, simd.load_part(x, 0.0)));
    }
}

struct InPlace<'a> {
    activation: Activation,
    x: &'a mut [f32],
}

impl Kernel for InPlace<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let mut x = self.x.chunks_exact_mut(S::LANES);
        for x in x.by_ref() {
            // SAFETY: the part has `LANES` numbers.
            unsafe {
                simd.store(
                    x.as_mut_ptr(),
                    self.activation.vector(simd, simd.load(x.as_ptr())),
                )
            };
        }
        let x = x.into_remainder();
        let y = self.activation.vector(simd, simd.load_part(x, 0.0));
        simd.store_part(x, y);
    }
}

struct Backward<'a> {
    activation: Activation,
    saved: &'a [f32],
    dy: &'a [f32],
    dx: &'a mut [f32],
}

impl Kernel for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let mut saved = self.saved.chunks_exact(S::LANES);
        let mut dy = self.dy.chunks_exact(S::LANES);
        let mut dx = self.dx.chunks_exact_mut(S::LANES);
        for ((saved, dy), dx) in saved.by_ref().zip(dy.by_ref()).zip(dx.by_ref()) {
            // SAFETY: all three parts have `LANES` numbers.
            unsafe {
                let gradient = self.activation.derivative(
                    simd,
                    simd.load(saved.as_ptr()),
                    simd.load(dy.as_ptr()),
                );
                simd.store(dx.as_mut_ptr(), gradient);
            }
        }
        let (saved, dy) = (
            simd.load_part(saved.remainder(), 0.0),
            simd.load_part(dy.remainder(), 0.0),
        );
        simd.store_part(
            dx.into_remainder(),
            self.activation.derivative(simd, saved, dy),
        );
    }
}
