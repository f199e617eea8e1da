//! Linear layers.

use clipseg_kernels::{Activation, LinearGradients, PackedLinear, linear, linear_backward};
use proptest::prelude::*;

use crate::{
    assert_near, at_each_level, cases, differences, numbers, reference, weighted, widened,
};

/// Rows, inputs and outputs; inputs over 768 are multiplied in two steps.
fn shapes() -> impl Strategy<Value = (usize, usize, usize)> {
    let sizes = if cfg!(miri) {
        vec![0, 1, 7, 19]
    } else {
        vec![0, 1, 2, 7, 13, 16, 31, 64, 77, 100, 485]
    };
    let inputs = if cfg!(miri) {
        vec![0, 1, 7, 19]
    } else {
        vec![0, 1, 7, 64, 77, 485, 800, 1537]
    };
    let outputs = if cfg!(miri) {
        vec![0, 1, 7, 67]
    } else {
        vec![0, 1, 3, 7, 16, 17, 32, 48, 64, 65, 77, 113, 485]
    };
    (
        prop::sample::select(sizes),
        prop::sample::select(inputs),
        prop::sample::select(outputs),
    )
        .prop_filter("keeps the reference quick", |(rows, inputs, outputs)| {
            rows * inputs * outputs < 30_000_000
        })
}

/// The bound of the rounding error of a sum of `count` products of numbers below 1.
fn rounding(count: usize) -> f64 {
    (count as f64 + 8.0) * f64::from(f32::EPSILON) * 0.5
}

proptest! {
    #![proptest_config(cases(60))]

    #[test]
    fn forward_matches_the_reference(shape in shapes(), seed: u32, with_bias: bool, with_residual: bool) {
        let (rows, inputs, outputs) = shape;
        let scale = 1.0 / (inputs.max(1) as f32).sqrt();
        let x = numbers(rows * inputs, seed);
        let weight: Vec<f32> = numbers(inputs * outputs, seed ^ 1).into_iter().map(|x| x * scale).collect();
        let bias = if with_bias { numbers(outputs, seed ^ 2) } else { vec![0.0; outputs] };
        let residual = with_residual.then(|| numbers(rows * outputs, seed ^ 3));
        let transposed: Vec<f32> = (0..outputs).flat_map(|o| (0..inputs).map(move |i| (i, o)))
            .map(|(i, o)| weight[i * outputs + o]).collect();
        let z = reference::linear(&widened(&x), &widened(&weight), &widened(&bias), shape);
        let given = with_bias.then_some(&bias[..]);
        at_each_level(|level| {
            let layer = PackedLinear::new(&weight, given, inputs, outputs);
            let other = PackedLinear::from_transposed(&transposed, given, inputs, outputs);
            for activation in [Activation::Identity, Activation::Relu, Activation::QuickGelu, Activation::Sigmoid] {
                let expected: Vec<f64> = z
                    .iter()
                    .enumerate()
                    .map(|(i, &z)| reference::activation(activation, z) + residual.as_ref().map_or(0.0, |r| f64::from(r[i])))
                    .collect();
                let mut y = vec![f32::NAN; rows * outputs];
                layer.forward(&x, rows, activation, residual.as_deref(), &mut y);
                assert_near(&y, &expected, 2.0 * rounding(inputs), &format!("{shape:?} {activation:?} at {level}"));
                let mut again = vec![f32::NAN; rows * outputs];
                other.forward(&x, rows, activation, residual.as_deref(), &mut again);
                assert_eq!(y, again, "weights in PyTorch's layout");
                again.fill(f32::NAN);
                linear(&x, (&weight, given), shape, activation, residual.as_deref(), &mut again);
                assert_eq!(y, again, "weights that are used once");
            }
            let mut sum = residual.clone().unwrap_or_else(|| vec![0.0; rows * outputs]);
            let expected: Vec<f64> = z.iter().zip(&sum).map(|(&z, &r)| z + f64::from(r)).collect();
            layer.forward_add(&x, rows, &mut sum);
            assert_near(&sum, &expected, 2.0 * rounding(inputs), &format!("{shape:?} added at {level}"));
        });
    }

    #[test]
    fn gradients_match_differences(
        rows in prop::sample::select(vec![1_usize, 2, 7, 13]),
        inputs in prop::sample::select(vec![1_usize, 3, 8, 17]),
        outputs in prop::sample::select(vec![1_usize, 5, 16, 21]),
        seed: u32,
    ) {
        let shape = (rows, inputs, outputs);
        let x = numbers(rows * inputs, seed);
        let weight = numbers(inputs * outputs, seed ^ 1);
        let bias = numbers(outputs, seed ^ 2);
        let dy = numbers(rows * outputs, !seed);
        for activation in [Activation::Identity, Activation::QuickGelu, Activation::Relu] {
            let (wide_x, wide_weight, wide_bias) = (widened(&x), widened(&weight), widened(&bias));
            let loss = |x: &[f64], weight: &[f64], bias: &[f64]| {
                let z = reference::linear(x, weight, bias, shape);
                weighted(&z.into_iter().map(|z| reference::activation(activation, z)).collect::<Vec<_>>(), &dy)
            };
            let expected_x = differences(&wide_x, |x| loss(x, &wide_weight, &wide_bias));
            let expected_weight = differences(&wide_weight, |weight| loss(&wide_x, weight, &wide_bias));
            let expected_bias = differences(&wide_bias, |bias| loss(&wide_x, &wide_weight, bias));
            // A difference across the corner of ReLU is not its derivative.
            let z = reference::linear(&wide_x, &wide_weight, &wide_bias, shape);
            if activation == Activation::Relu && z.iter().any(|z| z.abs() < 1e-3) {
                continue;
            }
            at_each_level(|level| {
                let layer = PackedLinear::new(&weight, Some(&bias), inputs, outputs);
                let mut z = vec![0.0; rows * outputs];
                layer.forward(&x, rows, Activation::Identity, None, &mut z);
                let mut dz = vec![0.0; rows * outputs];
                activation.backward(&z, &dy, &mut dz);
                let mut dx = vec![f32::NAN; x.len()];
                let mut d_weight = vec![f32::NAN; weight.len()];
                let mut d_bias = vec![f32::NAN; bias.len()];
                let gradients = LinearGradients {
                    dx: Some((&weight, &mut dx)),
                    d_weight: Some((&x, &mut d_weight)),
                    d_bias: Some(&mut d_bias),
                };
                linear_backward(&dz, shape, gradients);
                assert_near(&dx, &expected_x, 2e-5, &format!("input's gradient, {shape:?} at {level}"));
                assert_near(&d_weight, &expected_weight, 2e-5, &format!("weight's gradient, {shape:?} at {level}"));
                assert_near(&d_bias, &expected_bias, 2e-5, &format!("bias's gradient, {shape:?} at {level}"));
            });
        }
    }
}

/// Sizes of the decoder, which all threads share.
#[test]
fn large_gradients_match_the_reference() {
    let shape @ (rows, inputs, outputs) = if cfg!(miri) {
        (9, 5, 70)
    } else {
        (485, 64, 300)
    };
    let (x, weight, dy) = (
        numbers(rows * inputs, 1),
        numbers(inputs * outputs, 2),
        numbers(rows * outputs, 3),
    );
    let (wide_x, wide_weight, wide_dy) = (widened(&x), widened(&weight), widened(&dy));
    let transpose = |from: &[f64], rows: usize, columns: usize| -> Vec<f64> {
        (0..columns)
            .flat_map(|c| (0..rows).map(move |r| (r, c)))
            .map(|(r, c)| from[r * columns + c])
            .collect()
    };
    let weight_across = transpose(&wide_weight, inputs, outputs);
    let expected_x = reference::linear(
        &wide_dy,
        &weight_across,
        &vec![0.0; inputs],
        (rows, outputs, inputs),
    );
    let x_across = transpose(&wide_x, rows, inputs);
    let expected_weight = reference::linear(
        &x_across,
        &wide_dy,
        &vec![0.0; outputs],
        (inputs, rows, outputs),
    );
    at_each_level(|level| {
        let mut dx = vec![f32::NAN; x.len()];
        let mut d_weight = vec![f32::NAN; weight.len()];
        linear_backward(
            &dy,
            shape,
            LinearGradients {
                dx: Some((&weight, &mut dx)),
                d_weight: Some((&x, &mut d_weight)),
                d_bias: None,
            },
        );
        assert_near(
            &dx,
            &expected_x,
            1e-4,
            &format!("input's gradient at {level}"),
        );
        assert_near(
            &d_weight,
            &expected_weight,
            1e-4,
            &format!("weight's gradient at {level}"),
        );
    });
}

#[test]
fn a_repacked_layer_is_the_layer_of_the_new_weights() {
    at_each_level(|_| {
        let mut layer = PackedLinear::new(&[0.0; 6], Some(&[0.0; 3]), 2, 3);
        layer.repack(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], Some(&[0.5, 0.0, -0.5]));
        let mut y = [0.0; 3];
        layer.forward(&[1.0, -1.0], 1, Activation::Identity, None, &mut y);
        assert_eq!(y, [-2.5, -3.0, -3.5]);
    });
}

#[test]
#[should_panic(expected = "length of the input of 2 x 3 numbers")]
fn an_input_of_another_length_is_refused() {
    PackedLinear::new(&[0.0; 6], None, 3, 2).forward(
        &[0.0; 5],
        2,
        Activation::Identity,
        None,
        &mut [0.0; 4],
    );
}

#[test]
fn nan_and_infinity_pass_through_every_activation() {
    at_each_level(|_| {
        let layer = PackedLinear::new(&[1.0; 2], None, 1, 2);
        for activation in [
            Activation::Identity,
            Activation::Relu,
            Activation::QuickGelu,
        ] {
            let mut y = [0.0; 4];
            layer.forward(&[f32::NAN, f32::INFINITY], 2, activation, None, &mut y);
            assert!(y[0].is_nan() && y[1].is_nan(), "{activation:?}");
            assert_eq!(y[2..], [f32::INFINITY; 2], "{activation:?}");
        }
    });
}
