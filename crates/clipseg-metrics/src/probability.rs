//! The sigmoid, bitwise equal to PyTorch's on a CPU.

/// `1 / (1 + exp(−x))`.
///
/// The number of pixels above a threshold depends on the last bit of each probability. That bit differs
/// between devices and between implementations of the exponential. This function follows the steps of
/// PyTorch's vectorized code.
pub(crate) fn sigmoid(logit: f32) -> f32 {
    1.0 / (1.0 + exp(-logit))
}

/// The single-precision exponential of SLEEF (Shibata and Petrogalli 2020, arXiv:2001.09258) with an error
/// below one unit in the last place.
///
/// `exp(x) = 2^q exp(s)`, where q is the integer nearest to `x / ln 2` and `exp(s)` is a polynomial.
fn exp(x: f32) -> f32 {
    // A fused multiply-add with a single rounding; the product is exact in double precision.
    let fused = |a: f32, b: f32, c: f32| (f64::from(a) * f64::from(b) + f64::from(c)) as f32;
    if x > 100.0 {
        return f32::INFINITY;
    }
    if x < -104.0 {
        return 0.0;
    }
    let q = (x * std::f32::consts::LOG2_E).round_ties_even();
    // ln 2 in two parts. The first has few significant bits, so that its product with q is exact.
    let s = fused(q, -0.693_145_75, x);
    let s = fused(q, -1.428_606_8e-6, s);
    let coefficients = [
        1.393_043_6e-3,
        8.333_361e-3,
        4.166_648_5e-2,
        0.166_666_67,
        0.5,
    ];
    let polynomial = coefficients
        .into_iter()
        .fold(1.985_276_2e-4, |sum, coefficient| {
            fused(sum, s, coefficient)
        });
    let value = 1.0 + fused(s * s, polynomial, s);
    let power = f64::from_bits(((q as i64 + 1023) as u64) << 52);
    (f64::from(value) * power) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exponential_is_accurate() {
        let mut x = -104.0f32;
        while x < 88.7 {
            let exact = f64::from(x).exp();
            let ulp = f64::from(f32::from_bits((exact as f32).to_bits() + 1)) - exact;
            let error = (f64::from(exp(x)) - exact).abs();
            assert!(
                error <= 1.1 * ulp.abs().max(1e-45),
                "exp({x}) is off by {error:e}"
            );
            x += 0.003_7;
        }
        assert_eq!(exp(0.0), 1.0);
    }

    #[test]
    fn extreme_logits() {
        assert_eq!(
            [1e4, 200.0, 0.0, -200.0, -1e4].map(sigmoid),
            [1.0, 1.0, 0.5, 0.0, 0.0]
        );
        assert_eq!([f32::INFINITY, f32::NEG_INFINITY].map(sigmoid), [1.0, 0.0]);
        assert!(sigmoid(f32::NAN).is_nan());
    }

    #[test]
    fn the_sigmoid_is_bitwise_equal_to_pytorchs() {
        // The bits of torch.sigmoid of PyTorch 2.15. With a correctly rounded exponential, the last bit
        // of all but two of them would differ.
        for (logit, bits) in TORCH {
            assert_eq!(sigmoid(logit).to_bits(), bits, "sigmoid({logit})");
        }
    }

    const TORCH: [(f32, u32); 12] = [
        (-2.9752877, 0x3d46e176),
        (-0.4345635, 0x3ec93c2a),
        (-10.128782, 0x382767ac),
        (-6.7168536, 0x3a9e7330),
        (-11.165473, 0x376d788e),
        (0.540498, 0x3f21c60d),
        (-2.1253088, 0x3dda712d),
        (-7.2495236, 0x3a3a1fd9),
        (-0.3252704, 0x3ed6ba88),
        (0.45103252, 0x3f1c62f0),
        (-2.0431902, 0x3deafe00),
        (4.113087, 0x3f7be145),
    ];
}
