//! The exponential function and what is made of it, for vectors.
//!
//! All functions treat special values as IEEE 754 suggests: NaN stays NaN, denormal results are
//! exact to the last bits, nothing overflows on the way to a finite result.

use crate::simd::Simd;

/// ln 2 in two parts. The first one has so few bits that its product with an exponent is exact.
const LN_2_HIGH: f32 = 355.0 / 512.0;
const LN_2_LOW: f32 = -2.121_944_4e-4;

/// The range beyond which e^x is 0 or infinite in `f32`.
const LEAST: f32 = -104.0;
const MOST: f32 = 89.0;

/// e^x, within 1.5 ulp.
///
/// x = n ln 2 + r with an integer n and |r| ≤ ln 2 / 2; e^r is its Taylor series, whose remainder
/// after r⁷/7! is below 2⁻²⁷ relative to e^r.
#[inline(always)]
pub(crate) fn exp<S: Simd>(simd: S, x: S::Vector) -> S::Vector {
    // A NaN passes both: it is the second operand.
    let x = simd.min(simd.splat(MOST), simd.max(simd.splat(LEAST), x));
    let n = simd.round(simd.mul(x, simd.splat(std::f32::consts::LOG2_E)));
    let r = simd.mul_add(n, simd.splat(-LN_2_HIGH), x);
    let r = simd.mul_add(n, simd.splat(-LN_2_LOW), r);
    let mut series = simd.splat(1.0 / 5040.0);
    for coefficient in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5] {
        series = simd.mul_add(series, r, simd.splat(coefficient));
    }
    let small = simd.mul_add(simd.mul(r, r), series, r);
    simd.scale(simd.add(simd.splat(1.0), small), n)
}

/// 1 / (1 + e^-x), within 3 ulp.
#[inline(always)]
pub(crate) fn sigmoid<S: Simd>(simd: S, x: S::Vector) -> S::Vector {
    // e^-|x| neither overflows nor loses the bits of a result that is nearly 0.
    let e = exp(simd, simd.sub(simd.splat(0.0), simd.abs(x)));
    let numerator = simd.where_positive(x, simd.splat(1.0), e);
    simd.div(numerator, simd.add(simd.splat(1.0), e))
}

/// The factor of QuickGELU.
pub(crate) const QUICK_GELU: f32 = 1.702;

/// x · sigmoid(1.702 x).
#[inline(always)]
pub(crate) fn quick_gelu<S: Simd>(simd: S, x: S::Vector) -> S::Vector {
    simd.mul(x, sigmoid(simd, simd.mul(x, simd.splat(QUICK_GELU))))
}

/// max(x, 0); NaN stays NaN.
#[inline(always)]
pub(crate) fn relu<S: Simd>(simd: S, x: S::Vector) -> S::Vector {
    simd.max(simd.splat(0.0), x)
}
