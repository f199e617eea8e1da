//! The number of threads.

use clipseg_kernels::{Activation, Attention, LayerNorm, PackedLinear, softmax};

use crate::numbers;

/// The results of all operations in sizes that several threads share.
fn results() -> Vec<Vec<f32>> {
    let (rows, width) = if cfg!(miri) { (50, 4) } else { (485, 192) };
    let x = numbers(rows * width, 1);
    let weight = numbers(width * 3 * width, 2);
    let layer = PackedLinear::new(&weight, None, width, 3 * width);
    let mut qkv = vec![0.0; 3 * x.len()];
    layer.forward(&x, rows, Activation::QuickGelu, None, &mut qkv);
    let mut results = vec![qkv.clone()];
    // One head is less than there are threads, so that its queries are shared.
    for heads in [1, 4] {
        let attention = Attention {
            batch: 1,
            tokens: rows,
            heads,
            dim: width / heads,
            causal: heads == 1,
        };
        let mut out = vec![0.0; x.len()];
        attention.forward_fused(&qkv, &mut out);
        let mut d_qkv = vec![0.0; qkv.len()];
        attention.backward_fused(&qkv, &x, &mut d_qkv);
        results.extend([out, d_qkv]);
    }
    let (gamma, beta) = (numbers(width, 3), numbers(width, 4));
    let mut y = vec![0.0; x.len()];
    LayerNorm {
        gamma: &gamma,
        beta: &beta,
        epsilon: 1e-5,
    }
    .forward(&x, &mut y);
    results.push(y);
    let mut y = vec![0.0; qkv.len()];
    softmax(&qkv, width, &mut y);
    results.push(y);
    results
}

#[test]
fn the_number_of_threads_changes_no_result() {
    let with = |threads| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(results)
    };
    let one = with(1);
    for threads in if cfg!(miri) { vec![2] } else { vec![2, 3, 5] } {
        assert!(with(threads) == one, "{threads} threads");
    }
}
