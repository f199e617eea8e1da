//! Four numbers at a time in plain Rust, for every CPU. The compiler turns the loops into SSE2 or
//! NEON instructions.

use super::Simd;

/// Plain Rust; every CPU has it.
#[derive(Clone, Copy)]
pub(crate) struct Plain(());

impl Plain {
    pub(crate) const fn new() -> Self {
        Self(())
    }
}

/// Applies `f` to each lane.
#[inline(always)]
fn each(f: impl Fn(usize) -> f32) -> [f32; 4] {
    [f(0), f(1), f(2), f(3)]
}

/// 1.5 · 2²³: adding it to a small number and taking it away again rounds to an integer.
const ROUNDER: f32 = 12_582_912.0;

impl Simd for Plain {
    type Vector = [f32; 4];

    const LANES: usize = 4;
    const PANEL_VECTORS: usize = 2;

    #[inline(always)]
    fn splat(self, x: f32) -> [f32; 4] {
        [x; 4]
    }

    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> [f32; 4] {
        // SAFETY: the caller vouches for the pointer; no alignment beyond that of `f32` is assumed.
        unsafe { from.cast::<[f32; 4]>().read() }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32, x: [f32; 4]) {
        // SAFETY: the caller vouches for the pointer; no alignment beyond that of `f32` is assumed.
        unsafe { to.cast::<[f32; 4]>().write(x) }
    }

    #[inline(always)]
    fn add(self, a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
        each(|i| a[i] + b[i])
    }

    #[inline(always)]
    fn sub(self, a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
        each(|i| a[i] - b[i])
    }

    #[inline(always)]
    fn mul(self, a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
        each(|i| a[i] * b[i])
    }

    #[inline(always)]
    fn div(self, a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
        each(|i| a[i] / b[i])
    }

    #[inline(always)]
    fn mul_add(self, a: [f32; 4], b: [f32; 4], c: [f32; 4]) -> [f32; 4] {
        // Without the instruction, `f32::mul_add` is a slow library call.
        if cfg!(any(target_feature = "fma", target_arch = "aarch64")) {
            each(|i| a[i].mul_add(b[i], c[i]))
        } else {
            each(|i| a[i] * b[i] + c[i])
        }
    }

    #[inline(always)]
    fn max(self, a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
        each(|i| if a[i] > b[i] { a[i] } else { b[i] })
    }

    #[inline(always)]
    fn min(self, a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
        each(|i| if a[i] < b[i] { a[i] } else { b[i] })
    }

    #[inline(always)]
    fn abs(self, x: [f32; 4]) -> [f32; 4] {
        each(|i| x[i].abs())
    }

    #[inline(always)]
    fn round(self, x: [f32; 4]) -> [f32; 4] {
        each(|i| (x[i] + ROUNDER) - ROUNDER)
    }

    #[inline(always)]
    fn scale(self, x: [f32; 4], n: [f32; 4]) -> [f32; 4] {
        // A float's exponent covers only half of the wanted range, so that the scaling takes two
        // steps. The sum with `ROUNDER` has the integer in its low bits.
        each(|i| {
            let n = (n[i] + ROUNDER)
                .to_bits()
                .wrapping_sub(ROUNDER.to_bits())
                .cast_signed();
            let first = n >> 1;
            let second = n.wrapping_sub(first);
            let power = |n: i32| f32::from_bits(n.wrapping_add(127).cast_unsigned() << 23);
            x[i] * power(first) * power(second)
        })
    }

    #[inline(always)]
    fn where_positive(self, x: [f32; 4], a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
        each(|i| if x[i] > 0.0 { a[i] } else { b[i] })
    }

    #[inline(always)]
    fn sum(self, x: [f32; 4]) -> f32 {
        (x[0] + x[2]) + (x[1] + x[3])
    }

    #[inline(always)]
    fn largest(self, x: [f32; 4]) -> f32 {
        f32::max(f32::max(x[0], x[2]), f32::max(x[1], x[3]))
    }
}
