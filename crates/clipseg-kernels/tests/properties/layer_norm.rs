//! Layer norm.

use clipseg_kernels::LayerNorm;
use proptest::prelude::*;

use crate::{
    assert_near, at_each_level, cases, differences, numbers, reference, weighted, widened,
};

proptest! {
    #![proptest_config(cases(40))]

    #[test]
    fn rows_are_normalised(
        rows in prop::sample::select(vec![0_usize, 1, 7, 77]),
        width in prop::sample::select(vec![1_usize, 2, 7, 16, 31, 64, 768]),
        offset in prop::sample::select(vec![0.0_f32, 5.0, -100.0]),
        seed: u32,
    ) {
        let x: Vec<f32> = numbers(rows * width, seed).into_iter().map(|x| x + offset).collect();
        let (gamma, beta) = (numbers(width, seed ^ 1), numbers(width, seed ^ 2));
        let norm = LayerNorm { gamma: &gamma, beta: &beta, epsilon: 1e-5 };
        let expected = reference::layer_norm(&widened(&x), &widened(&gamma), &widened(&beta), f64::from(norm.epsilon));
        at_each_level(|level| {
            let mut y = vec![f32::NAN; x.len()];
            norm.forward(&x, &mut y);
            // The mean is rounded to the precision of the largest number, and divided by the
            // deviation.
            for (row, x) in x.chunks(width).enumerate() {
                let largest = x.iter().fold(0.0, |a: f64, &x| a.max(f64::from(x).abs()));
                let count = width as f64;
                let mean = x.iter().map(|&x| f64::from(x)).sum::<f64>() / count;
                let variance = x.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / count;
                let step = f64::from(f32::EPSILON);
                let allowed = 8.0 * step * (largest / (variance + 1e-5).sqrt() + count.sqrt());
                let range = row * width..(row + 1) * width;
                assert_near(&y[range.clone()], &expected[range], allowed, &format!("row {row} of {width} at {level}"));
            }
        });
    }

    #[test]
    fn gradients_match_differences(rows in 1_usize..40, width in 2_usize..21, seed: u32) {
        let x = numbers(rows * width, seed);
        let dy = numbers(rows * width, !seed);
        let (gamma, beta) = (numbers(width, seed ^ 1), numbers(width, seed ^ 2));
        let norm = LayerNorm { gamma: &gamma, beta: &beta, epsilon: 1e-2 };
        let epsilon = f64::from(norm.epsilon);
        let (wide, wide_gamma, wide_beta) = (widened(&x), widened(&gamma), widened(&beta));
        let loss = |x: &[f64], gamma: &[f64], beta: &[f64]| weighted(&reference::layer_norm(x, gamma, beta, epsilon), &dy);
        let expected_x = differences(&wide, |x| loss(x, &wide_gamma, &wide_beta));
        let expected_gamma = differences(&wide_gamma, |gamma| loss(&wide, gamma, &wide_beta));
        let expected_beta = differences(&wide_beta, |beta| loss(&wide, &wide_gamma, beta));
        at_each_level(|level| {
            let mut dx = vec![f32::NAN; x.len()];
            let (mut d_gamma, mut d_beta) = (vec![f32::NAN; width], vec![f32::NAN; width]);
            norm.backward(&x, &dy, &mut dx, &mut d_gamma, &mut d_beta);
            assert_near(&dx, &expected_x, 2e-5, &format!("input's gradient at {level}"));
            assert_near(&d_gamma, &expected_gamma, 2e-5, &format!("gamma's gradient at {level}"));
            assert_near(&d_beta, &expected_beta, 2e-5, &format!("beta's gradient at {level}"));
        });
    }
}

#[test]
fn no_rows_have_a_gradient_of_zero() {
    let norm = LayerNorm {
        gamma: &[1.0; 3],
        beta: &[0.0; 3],
        epsilon: 1e-5,
    };
    let (mut d_gamma, mut d_beta) = ([f32::NAN; 3], [f32::NAN; 3]);
    norm.backward(&[], &[], &mut [], &mut d_gamma, &mut d_beta);
    assert_eq!((d_gamma, d_beta), ([0.0; 3], [0.0; 3]));
}

#[test]
fn a_nan_spoils_its_own_row_only() {
    let norm = LayerNorm {
        gamma: &[1.0; 20],
        beta: &[0.0; 20],
        epsilon: 1e-5,
    };
    at_each_level(|_| {
        let mut x = numbers(40, 1);
        x[3] = f32::NAN;
        let mut y = [0.0; 40];
        norm.forward(&x, &mut y);
        assert!(y[..20].iter().all(|y| y.is_nan()) && y[20..].iter().all(|y| y.is_finite()));
    });
}
