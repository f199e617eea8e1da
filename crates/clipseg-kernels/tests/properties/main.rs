//! Every kernel at every level of this CPU against a plain reference in `f64`, on odd sizes.

mod activation;
mod attention;
mod layer_norm;
mod linear;
mod reference;
mod softmax;
mod threads;

use clipseg_kernels::Level;
use proptest::prelude::*;

/// Runs `work` at each level that this CPU has.
fn at_each_level(work: impl Fn(Level)) {
    for level in Level::ALL.into_iter().filter(|level| level.is_supported()) {
        Level::scope(level, || work(level)).unwrap();
    }
}

/// How many random cases a property is tried with. Miri is a thousand times slower.
fn cases(count: u32) -> ProptestConfig {
    let cases = if cfg!(miri) { 2 } else { count };
    ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

/// `count` repeatable numbers between -1 and 1.
fn numbers(count: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_769).wrapping_add(1);
    (0..count)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        })
        .collect()
}

/// Asserts that each number of `found` is within `tolerance` of the one of `expected`.
#[track_caller]
fn assert_near(found: &[f32], expected: &[f64], tolerance: f64, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}: lengths");
    for (index, (&found, &expected)) in found.iter().zip(expected).enumerate() {
        let error = (f64::from(found) - expected).abs();
        assert!(
            error <= tolerance,
            "{what}: at {index} found {found}, expected {expected}, allowed {tolerance:e}"
        );
    }
}

/// The distance of `found` from `expected` in units of the last place of `expected` as an `f32`.
fn ulps(found: f32, expected: f64) -> f64 {
    let nearest = expected as f32;
    if found == nearest || (found.is_nan() && expected.is_nan()) {
        return 0.0;
    }
    if !nearest.is_finite() || !found.is_finite() {
        // The step from the largest finite number to infinity is as large as the one before it.
        let largest = f64::from(f32::MAX);
        let clamp = |x: f64| x.clamp(-largest, largest);
        let step = largest - f64::from(f32::MAX.next_down());
        return if found.is_nan() || expected.is_nan() {
            f64::INFINITY
        } else {
            (clamp(f64::from(found)) - clamp(expected)).abs() / step + 1.0
        };
    }
    let size = nearest.abs();
    let step = f64::from(size.next_up().min(f32::MAX)) - f64::from(size);
    (f64::from(found) - expected).abs() / if step > 0.0 { step } else { 2e31 }
}

/// The gradient of `function` at `x` by central differences.
fn differences(x: &[f64], function: impl Fn(&[f64]) -> f64) -> Vec<f64> {
    const STEP: f64 = 1e-5;
    let mut x = x.to_vec();
    (0..x.len())
        .map(|index| {
            let value = x[index];
            x[index] = value + STEP;
            let above = function(&x);
            x[index] = value - STEP;
            let below = function(&x);
            x[index] = value;
            (above - below) / (2.0 * STEP)
        })
        .collect()
}

/// The numbers as `f64`.
fn widened(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&x| f64::from(x)).collect()
}

/// The sum of products: a loss whose gradient is `weights`.
fn weighted(values: &[f64], weights: &[f32]) -> f64 {
    values
        .iter()
        .zip(weights)
        .map(|(&value, &weight)| value * f64::from(weight))
        .sum()
}
