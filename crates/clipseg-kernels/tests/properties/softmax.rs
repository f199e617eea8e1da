//! Softmax.

use clipseg_kernels::{softmax, softmax_backward};
use proptest::prelude::*;

use crate::{
    assert_near, at_each_level, cases, differences, numbers, reference, ulps, weighted, widened,
};

proptest! {
    #![proptest_config(cases(40))]

    #[test]
    fn errors_are_within_the_documented_bound(
        rows in 0_usize..5,
        width in prop::sample::select(vec![1_usize, 2, 7, 16, 31, 77, 485]),
        size in prop::sample::select(vec![1.0_f32, 10.0, 60.0]),
        seed: u32,
    ) {
        let x: Vec<f32> = numbers(rows * width, seed).into_iter().map(|x| x * size).collect();
        let expected = reference::softmax(&widened(&x), width);
        at_each_level(|level| {
            let mut y = vec![f32::NAN; x.len()];
            softmax(&x, width, &mut y);
            for (row, (x, y)) in x.chunks(width).zip(y.chunks(width)).enumerate() {
                let largest = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                for (column, (&x, &y)) in x.iter().zip(y).enumerate() {
                    let error = ulps(y, expected[row * width + column]);
                    let bound = 4.0 + f64::from(largest - x) + width as f64 / 128.0;
                    assert!(error <= bound, "{x} of {width} at {level}: {error} ulp, allowed {bound}");
                }
            }
        });
    }

    #[test]
    fn gradients_match_differences(rows in 1_usize..4, width in 1_usize..40, seed: u32) {
        let x: Vec<f32> = numbers(rows * width, seed).into_iter().map(|x| 3.0 * x).collect();
        let dy = numbers(rows * width, !seed);
        let expected = differences(&widened(&x), |x| weighted(&reference::softmax(x, width), &dy));
        at_each_level(|level| {
            let (mut y, mut dx) = (vec![0.0; x.len()], vec![f32::NAN; x.len()]);
            softmax(&x, width, &mut y);
            softmax_backward(&y, &dy, width, &mut dx);
            assert_near(&dx, &expected, 1e-6, &format!("gradient at {level}"));
        });
    }
}

#[test]
fn special_values_are_those_of_pytorch() {
    let (inf, nan) = (f32::INFINITY, f32::NAN);
    at_each_level(|level| {
        for width in [3, 20, 33] {
            let of = |first: [f32; 2]| {
                let mut x = vec![0.0; width];
                x[width - 1] = first[0];
                x[0] = first[1];
                let mut y = vec![0.0; width];
                softmax(&x, width, &mut y);
                y
            };
            assert!(of([nan, 1.0]).iter().all(|y| y.is_nan()), "NaN, {level}");
            assert!(
                of([inf, 1.0]).iter().all(|y| y.is_nan()),
                "infinity, {level}"
            );
            let hidden = of([-inf, 1.0]);
            assert_eq!(hidden[width - 1], 0.0, "-infinity, {level}");
            assert!((hidden.iter().sum::<f32>() - 1.0).abs() < 1e-6);
            assert_eq!(of([3e38, -3e38])[width - 1], 1.0, "large numbers, {level}");
            let mut none = vec![0.0; width];
            softmax(&vec![-inf; width], width, &mut none);
            assert!(none.iter().all(|y| y.is_nan()), "only -infinity, {level}");
        }
    });
}

#[test]
fn many_rows_are_the_same_as_one_at_a_time() {
    let (rows, width) = if cfg!(miri) { (40, 33) } else { (2000, 77) };
    let x = numbers(rows * width, 1);
    at_each_level(|_| {
        let mut whole = vec![0.0; x.len()];
        softmax(&x, width, &mut whole);
        for (x, whole) in x.chunks(width).zip(whole.chunks(width)) {
            let mut row = vec![0.0; width];
            softmax(x, width, &mut row);
            assert_eq!(row, whole);
        }
    });
}

#[test]
#[should_panic(expected = "7 numbers are not rows of 3")]
fn a_length_that_is_no_multiple_of_the_width_is_refused() {
    softmax(&[0.0; 7], 3, &mut [0.0; 7]);
}
