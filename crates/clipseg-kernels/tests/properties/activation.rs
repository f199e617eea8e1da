//! Activations: accuracy over the whole range, special values, derivatives.

use clipseg_kernels::Activation;
use proptest::prelude::*;

use crate::{at_each_level, cases, differences, numbers, reference, ulps, weighted, widened};

const ALL: [Activation; 5] = [
    Activation::Identity,
    Activation::Relu,
    Activation::QuickGelu,
    Activation::Sigmoid,
    Activation::Exp,
];

/// Numbers of all sizes, close together where the functions are neither 0 nor 1 nor infinite.
fn sweep() -> Vec<f32> {
    let step = if cfg!(miri) { 8_000_003 } else { 1009 };
    let positive = (0..f32::INFINITY.to_bits())
        .step_by(step)
        .map(f32::from_bits);
    let near = (-120_000..120_000)
        .step_by(if cfg!(miri) { 5003 } else { 1 })
        .map(|i| i as f32 * 1e-3);
    positive.flat_map(|x| [x, -x]).chain(near).collect()
}

/// The documented error bound in ulp.
fn bound(activation: Activation, x: f32) -> f64 {
    match activation {
        Activation::Exp => 1.5,
        Activation::Sigmoid => 3.0,
        Activation::QuickGelu if x.is_finite() => 3.0 + 1.5 * (1.702 * f64::from(x)).abs(),
        _ => 0.0,
    }
}

#[test]
fn errors_are_within_the_documented_bounds() {
    let x = sweep();
    at_each_level(|level| {
        for activation in ALL {
            let mut y = vec![f32::NAN; x.len()];
            activation.forward(&x, &mut y);
            let mut worst = (0.0, 0.0);
            for (&x, &y) in x.iter().zip(&y) {
                let error = ulps(y, reference::activation(activation, f64::from(x)));
                assert!(
                    error <= bound(activation, x),
                    "{activation:?} of {x:e} at {level}: {y:e}, {error} ulp"
                );
                if error > worst.0 {
                    worst = (error, x);
                }
            }
            println!(
                "{level} {activation:?}: at most {:.2} ulp, at {:e}",
                worst.0, worst.1
            );
        }
    });
}

#[test]
fn special_values_are_right() {
    let (inf, nan, tiny) = (f32::INFINITY, f32::NAN, f32::from_bits(1));
    let x = [
        0.0, -0.0, inf, -inf, nan, tiny, -tiny, 88.722_83, 88.73, -87.5, -103.9, -104.5, -3e38,
        3e38,
    ];
    at_each_level(|level| {
        // 9 values more let them pass through a complete vector and the remainder of every level.
        for start in 0..17 {
            let mut input = vec![0.5; start];
            input.extend(x);
            for activation in ALL {
                let mut y = vec![0.0; input.len()];
                activation.forward(&input, &mut y);
                let mut same = input.clone();
                activation.forward_in_place(&mut same);
                for (i, (&y, &same)) in y.iter().zip(&same).enumerate() {
                    assert_eq!(y.to_bits(), same.to_bits(), "{activation:?} in place");
                    let x = input[i];
                    let expected = match activation {
                        Activation::QuickGelu if x == -inf => f64::NAN,
                        _ => reference::activation(activation, f64::from(x)),
                    };
                    let error = ulps(y, expected);
                    assert!(
                        error <= bound(activation, x),
                        "{activation:?} of {x:e} at {level}: {y:e}, not {expected:e}"
                    );
                }
            }
        }
    });
}

proptest! {
    #![proptest_config(cases(30))]

    #[test]
    fn derivatives_match_differences(length in 0_usize..70, seed: u32) {
        let x: Vec<f32> = numbers(length, seed).into_iter().map(|x| 6.0 * x).collect();
        let dy = numbers(length, !seed);
        let wide = widened(&x);
        for activation in ALL {
            let value = |x: &[f64]| {
                let y: Vec<f64> = x.iter().map(|&x| reference::activation(activation, x)).collect();
                weighted(&y, &dy)
            };
            let expected = differences(&wide, value);
            at_each_level(|level| {
                let mut y = vec![0.0; length];
                activation.forward(&x, &mut y);
                let saved = if matches!(activation, Activation::Sigmoid | Activation::Exp) { &y } else { &x };
                let mut dx = vec![f32::NAN; length];
                activation.backward(saved, &dy, &mut dx);
                for i in 0..length {
                    let allowed = 2e-6 * (1.0 + expected[i].abs());
                    let error = (f64::from(dx[i]) - expected[i]).abs();
                    assert!(error < allowed, "{activation:?} at {}, {level}: {} not {}", x[i], dx[i], expected[i]);
                }
            });
        }
    }
}

#[test]
fn a_large_slice_is_the_same_as_its_parts() {
    let x = numbers(if cfg!(miri) { 5000 } else { 300_001 }, 3);
    at_each_level(|_| {
        for activation in ALL {
            let mut whole = vec![0.0; x.len()];
            activation.forward(&x, &mut whole);
            for (x, whole) in x.chunks(1000).zip(whole.chunks(1000)) {
                let mut part = vec![0.0; x.len()];
                activation.forward(x, &mut part);
                // A number may be computed in another lane, but never differently.
                assert_eq!(part, whole);
            }
        }
    });
}
