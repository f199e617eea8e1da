//! The operations in plain `f64`.

use clipseg_kernels::{Activation, Attention};

/// An activation of one number.
pub(crate) fn activation(activation: Activation, x: f64) -> f64 {
    let sigmoid = |x: f64| {
        if x > 0.0 {
            1.0 / (1.0 + (-x).exp())
        } else {
            x.exp() / (1.0 + x.exp())
        }
    };
    match activation {
        Activation::Identity => x,
        Activation::Relu => {
            if x > 0.0 || x.is_nan() {
                x
            } else {
                0.0
            }
        }
        Activation::QuickGelu => x * sigmoid(1.702 * x),
        Activation::Sigmoid => sigmoid(x),
        Activation::Exp => x.exp(),
        other => unreachable!("no reference for {other:?}"),
    }
}

/// x · W + b for `x` of `[rows, inputs]` and `weight` of `[inputs, outputs]`.
pub(crate) fn linear(
    x: &[f64],
    weight: &[f64],
    bias: &[f64],
    (rows, inputs, outputs): (usize, usize, usize),
) -> Vec<f64> {
    let mut y = Vec::with_capacity(rows * outputs);
    for row in 0..rows {
        for output in 0..outputs {
            let product: f64 = (0..inputs)
                .map(|i| x[row * inputs + i] * weight[i * outputs + output])
                .sum();
            y.push(product + bias[output]);
        }
    }
    y
}

/// Softmax of each row.
pub(crate) fn softmax(x: &[f64], width: usize) -> Vec<f64> {
    let mut y = x.to_vec();
    for row in y.chunks_exact_mut(width) {
        let largest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        row.iter_mut().for_each(|x| *x = (*x - largest).exp());
        let sum: f64 = row.iter().sum();
        row.iter_mut().for_each(|x| *x /= sum);
    }
    y
}

/// Layer norm of each row.
pub(crate) fn layer_norm(x: &[f64], gamma: &[f64], beta: &[f64], epsilon: f64) -> Vec<f64> {
    let count = gamma.len() as f64;
    let mut y = x.to_vec();
    for row in y.chunks_exact_mut(gamma.len()) {
        let mean = row.iter().sum::<f64>() / count;
        let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / count;
        for ((x, gamma), beta) in row.iter_mut().zip(gamma).zip(beta) {
            *x = (*x - mean) / (variance + epsilon).sqrt() * gamma + beta;
        }
    }
    y
}

/// Attention of queries, keys and values of `[batch, tokens, heads * dim]`.
pub(crate) fn attention(shape: Attention, q: &[f64], k: &[f64], v: &[f64]) -> Vec<f64> {
    let Attention {
        batch,
        tokens,
        heads,
        dim,
        causal,
    } = shape;
    let mut out = vec![0.0; batch * tokens * heads * dim];
    let at = |sequence: usize, token: usize, head: usize| {
        ((sequence * tokens + token) * heads + head) * dim
    };
    for sequence in 0..batch {
        for head in 0..heads {
            for query in 0..tokens {
                let seen = if causal { query + 1 } else { tokens };
                let from = at(sequence, query, head);
                let scores: Vec<f64> = (0..seen)
                    .map(|key| {
                        let to = at(sequence, key, head);
                        let product: f64 = q[from..from + dim]
                            .iter()
                            .zip(&k[to..to + dim])
                            .map(|(q, k)| q * k)
                            .sum();
                        product / (dim as f64).sqrt()
                    })
                    .collect();
                for (key, weight) in softmax(&scores, seen).into_iter().enumerate() {
                    let to = at(sequence, key, head);
                    for d in 0..dim {
                        out[from + d] += weight * v[to + d];
                    }
                }
            }
        }
    }
    out
}
