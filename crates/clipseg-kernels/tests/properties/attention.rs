//! Attention.

use clipseg_kernels::Attention;
use proptest::prelude::*;

use crate::{
    assert_near, at_each_level, cases, differences, numbers, reference, weighted, widened,
};

/// Queries, keys and values of each token behind each other.
fn fuse(shape: Attention, [q, k, v]: [&[f32]; 3]) -> Vec<f32> {
    let width = shape.heads * shape.dim;
    let rows = shape.batch * shape.tokens;
    (0..rows)
        .flat_map(|row| {
            [q, k, v]
                .into_iter()
                .flat_map(move |part| &part[row * width..(row + 1) * width])
        })
        .copied()
        .collect()
}

fn tokens() -> Vec<usize> {
    if cfg!(miri) {
        vec![0, 1, 7, 50]
    } else {
        vec![0, 1, 2, 7, 47, 48, 49, 77, 100, 485]
    }
}

proptest! {
    #![proptest_config(cases(40))]

    #[test]
    fn forward_matches_the_reference(
        batch in 0_usize..3,
        tokens in prop::sample::select(tokens()),
        heads in 1_usize..4,
        dim in prop::sample::select(if cfg!(miri) { vec![1, 5] } else { vec![1_usize, 5, 16, 20, 64, 80] }),
        causal: bool,
        size in prop::sample::select(vec![1.0_f32, 8.0]),
        seed: u32,
    ) {
        let shape = Attention { batch, tokens, heads, dim, causal };
        let count = batch * tokens * heads * dim;
        let [q, k] = [1, 2].map(|i| numbers(count, seed ^ i).into_iter().map(|x| x * size).collect::<Vec<_>>());
        let v = numbers(count, seed ^ 3);
        let expected = reference::attention(shape, &widened(&q), &widened(&k), &widened(&v));
        let fused = fuse(shape, [&q, &k, &v]);
        // An error of a score is a relative error of its weight. Scores are at most size² ·
        // sqrt(dim).
        let allowed = 4e-6 + 4e-7 * f64::from(size * size) * (dim as f64).sqrt();
        at_each_level(|level| {
            let mut out = vec![f32::NAN; count];
            shape.forward(&q, &k, &v, &mut out);
            assert_near(&out, &expected, allowed, &format!("{shape:?} at {level}"));
            let mut again = vec![f32::NAN; count];
            shape.forward_fused(&fused, &mut again);
            assert_eq!(out, again, "a fused projection");
        });
    }
}

proptest! {
    #![proptest_config(cases(12))]

    #[test]
    fn gradients_match_differences(
        batch in 1_usize..3,
        tokens in prop::sample::select(if cfg!(miri) { vec![2, 7] } else { vec![1_usize, 7, 20, 50] }),
        heads in 1_usize..3,
        dim in prop::sample::select(vec![1_usize, 3, 5]),
        causal: bool,
        seed: u32,
    ) {
        let shape = Attention { batch, tokens, heads, dim, causal };
        let count = batch * tokens * heads * dim;
        let [q, k, v] = [1, 2, 3].map(|i| numbers(count, seed ^ i));
        let d_out = numbers(count, !seed);
        let [wide_q, wide_k, wide_v] = [&q, &k, &v].map(|x| widened(x));
        let loss = |q: &[f64], k: &[f64], v: &[f64]| weighted(&reference::attention(shape, q, k, v), &d_out);
        let expected_q = differences(&wide_q, |q| loss(q, &wide_k, &wide_v));
        let expected_k = differences(&wide_k, |k| loss(&wide_q, k, &wide_v));
        let expected_v = differences(&wide_v, |v| loss(&wide_q, &wide_k, v));
        let fused = fuse(shape, [&q, &k, &v]);
        at_each_level(|level| {
            let [mut dq, mut dk, mut dv] = [(); 3].map(|()| vec![f32::NAN; count]);
            shape.backward(&q, &k, &v, &d_out, &mut dq, &mut dk, &mut dv);
            assert_near(&dq, &expected_q, 1e-5, &format!("gradient of the queries, {shape:?} at {level}"));
            assert_near(&dk, &expected_k, 1e-5, &format!("gradient of the keys, {shape:?} at {level}"));
            assert_near(&dv, &expected_v, 1e-5, &format!("gradient of the values, {shape:?} at {level}"));
            let mut d_fused = vec![f32::NAN; 3 * count];
            shape.backward_fused(&fused, &d_out, &mut d_fused);
            assert_eq!(d_fused, fuse(shape, [&dq, &dk, &dv]), "a fused projection");
        });
    }
}

/// A token that sees only one other token with a finite score takes that token's value.
#[test]
fn a_score_that_towers_over_the_others_takes_all_the_weight() {
    let shape = Attention {
        batch: 1,
        tokens: 60,
        heads: 1,
        dim: 2,
        causal: false,
    };
    let q = [1e4, 0.0].repeat(60);
    let mut k = [-1e4, 0.0].repeat(60);
    k[2 * 53] = 1e4;
    let v: Vec<f32> = (0..120).map(|i| i as f32).collect();
    at_each_level(|_| {
        let mut out = vec![0.0; 120];
        shape.forward(&q, &k, &v, &mut out);
        assert_eq!(out, [106.0, 107.0].repeat(60));
    });
}

/// The mask hides later tokens also if they are not finite.
#[test]
fn a_causal_mask_hides_later_keys_that_are_nan() {
    let shape = Attention {
        batch: 1,
        tokens: 52,
        heads: 1,
        dim: 4,
        causal: true,
    };
    let [q, k, v] = [1, 2, 3].map(|i| numbers(52 * 4, i));
    let mut spoiled_k = k.clone();
    spoiled_k[51 * 4] = f32::NAN;
    at_each_level(|_| {
        let (mut clean, mut spoiled) = (vec![0.0; 52 * 4], vec![0.0; 52 * 4]);
        shape.forward(&q, &k, &v, &mut clean);
        shape.forward(&q, &spoiled_k, &v, &mut spoiled);
        assert_eq!(clean[..51 * 4], spoiled[..51 * 4]);
        assert!(spoiled[51 * 4..].iter().all(|x| x.is_nan()));
    });
}

#[test]
#[should_panic(expected = "length of the keys of 4 x 6 numbers")]
fn keys_of_another_length_are_refused() {
    let shape = Attention {
        batch: 2,
        tokens: 2,
        heads: 2,
        dim: 3,
        causal: false,
    };
    shape.forward(&[0.0; 24], &[0.0; 23], &[0.0; 24], &mut [0.0; 24]);
}
