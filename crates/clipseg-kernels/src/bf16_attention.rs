//! Attention whose products are computed in bfloat16. The softmax between them stays in `f32`.

use crate::attention::{Attention, Divide, Inputs, QUERIES, Weights, with_parts};
use crate::bf16::{WIDTH, bf16_is_supported, product, round_row};
use crate::bf16_linear::pack_pairs;
use crate::level::Level;
use crate::panels::PanelLayout;
use crate::simd::dispatch;
use crate::threads::for_each_task;
use crate::view::{View, ViewMut};

impl Attention {
    /// [`Attention::forward`] with queries, keys, values and weights rounded to bfloat16.
    ///
    /// # Panics
    ///
    /// If the slices do not have their lengths, or if this CPU does not have the instructions
    /// ([`bf16_is_supported`]).
    pub fn forward_bf16(&self, q: &[f32], k: &[f32], v: &[f32], out: &mut [f32]) {
        self.run_bf16(self.separate(q, k, v), out);
    }

    /// [`Attention::forward_fused`] with queries, keys, values and weights rounded to bfloat16.
    ///
    /// # Panics
    ///
    /// If the slices do not have their lengths, or if this CPU does not have the instructions
    /// ([`bf16_is_supported`]).
    pub fn forward_fused_bf16(&self, qkv: &[f32], out: &mut [f32]) {
        self.run_bf16(self.fused(qkv), out);
    }

    fn run_bf16(&self, inputs: Inputs<'_>, out: &mut [f32]) {
        assert!(
            bf16_is_supported(),
            "this CPU does not have AVX-512 with bfloat16"
        );
        let (rows, width) = (self.rows(), self.width());
        assert_eq!(
            out.len(),
            rows * width,
            "length of the output of {rows} x {width} numbers"
        );
        if out.is_empty() {
            return;
        }
        let out = ViewMut::new(out, rows, width);
        for_each_task(
            self.batch * self.heads,
            2 * rows * self.tokens * width,
            |task| {
                let (sequence, head) = (task / self.heads, task % self.heads);
                let [q, k, v] =
                    [inputs.q, inputs.k, inputs.v].map(|whole| self.head(whole, sequence, head));
                // SAFETY: each task has a head of its own, and the CPU has the instructions.
                unsafe { self.head_bf16(q, k, v, self.head_mut(out, sequence, head)) };
            },
        );
    }

    /// One head.
    ///
    /// # Safety
    ///
    /// The CPU must have AVX-512 with bfloat16. Nothing else may use `out` meanwhile.
    unsafe fn head_bf16(&self, q: View<'_>, k: View<'_>, v: View<'_>, out: ViewMut<'_>) {
        let pairs = self.dim.div_ceil(2);
        // Whole panels of keys: those that do not exist are 0.
        let padded = self.tokens.next_multiple_of(WIDTH);
        let keys_layout = PanelLayout::new(Level::Avx512, pairs, padded);
        let key_pairs = self.tokens.div_ceil(2);
        let lengths = [
            padded * pairs,
            keys_layout.len(),
            self.dim.div_ceil(WIDTH) * key_pairs * WIDTH,
            QUERIES * pairs,
            QUERIES * padded,
            QUERIES * key_pairs,
        ];
        with_parts(
            lengths,
            |[rounded, keys, values, queries, scores, weights]| {
                // SAFETY: the CPU has the instructions.
                unsafe { round_rows(k, &mut rounded[..self.tokens * pairs]) };
                rounded[self.tokens * pairs..].fill(0.0);
                keys_layout.pack(View::new(rounded, padded, pairs).transposed(), keys);
                values.fill(0.0);
                pack_pairs(v, values);
                for query in (0..self.tokens).step_by(QUERIES) {
                    let count = QUERIES.min(self.tokens - query);
                    let seen = self.keys(query, count);
                    let queries = &mut queries[..count * pairs];
                    // SAFETY: the CPU has the instructions.
                    unsafe { round_rows(q.rows_from(query, count), queries) };
                    let queries = View::new(queries, count, pairs);
                    let whole = ViewMut::strided(scores, count, padded, padded);
                    for (panel, keys) in keys.chunks_exact(pairs * WIDTH).enumerate() {
                        let column = panel * WIDTH;
                        if column >= seen {
                            break;
                        }
                        // SAFETY: the panels are computed one after another; the CPU has the
                        // instructions.
                        unsafe { product(queries, keys, whole.part(0, count, column, WIDTH)) };
                    }
                    let mut sums = [0.0; QUERIES];
                    let sums = &mut sums[..count];
                    let stride = padded;
                    dispatch(
                        Level::Avx512,
                        Weights {
                            attention: self,
                            query,
                            stride,
                            scores: &mut *scores,
                            sums,
                        },
                    );
                    let seen_pairs = seen.div_ceil(2);
                    let weights = &mut weights[..count * seen_pairs];
                    // SAFETY: the CPU has the instructions.
                    unsafe { round_rows(View::strided(scores, count, seen, padded, 1), weights) };
                    let weights = View::new(weights, count, seen_pairs);
                    for (panel, values) in values.chunks_exact(key_pairs * WIDTH).enumerate() {
                        let column = panel * WIDTH;
                        let columns = WIDTH.min(self.dim - column);
                        // SAFETY: the panels are computed one after another; the CPU has the
                        // instructions.
                        unsafe {
                            let out = out.part(query, count, column, columns);
                            product(weights, &values[..seen_pairs * WIDTH], out);
                        }
                    }
                    // SAFETY: the head's output belongs to this call.
                    let out = unsafe { out.part(query, count, 0, self.dim) };
                    dispatch(Level::Avx512, Divide { out, sums });
                }
            },
        );
    }
}

/// Rounds rows to rows of pairs.
///
/// # Safety
///
/// The CPU must have AVX-512 with bfloat16.
unsafe fn round_rows(rows: View<'_>, units: &mut [f32]) {
    for (row, units) in units.chunks_exact_mut(rows.columns.div_ceil(2)).enumerate() {
        // SAFETY: a condition of this function.
        unsafe { round_row(rows.row(row), units) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(count: usize, seed: u32) -> Vec<f32> {
        let mut state = seed;
        (0..count)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 8) as f32 / (1 << 23) as f32 - 1.0
            })
            .collect()
    }

    #[test]
    fn the_result_is_near_that_of_f32() {
        if !bf16_is_supported() {
            return;
        }
        for (batch, tokens, heads, dim) in [
            (0, 3, 1, 4),
            (1, 1, 1, 1),
            (2, 7, 3, 5),
            (1, 49, 2, 16),
            (1, 77, 2, 64),
            (1, 130, 1, 80),
        ] {
            for causal in [false, true] {
                let shape = Attention {
                    batch,
                    tokens,
                    heads,
                    dim,
                    causal,
                };
                let count = batch * tokens * heads * dim;
                let [q, k, v] = [1, 2, 3].map(|seed| numbers(count, seed));
                let (mut exact, mut rounded) = (vec![f32::NAN; count], vec![f32::NAN; count]);
                shape.forward(&q, &k, &v, &mut exact);
                shape.forward_bf16(&q, &k, &v, &mut rounded);
                for (exact, rounded) in exact.iter().zip(&rounded) {
                    // Three numbers of 8 bits: weights, values, and scores of at most about 3.
                    assert!(
                        (exact - rounded).abs() < 0.02,
                        "{shape:?}: {rounded}, not {exact}"
                    );
                }
            }
        }
    }

    /// With small integers nothing is rounded but the weights, which are all the same.
    #[test]
    fn equal_scores_average_the_values() {
        if !bf16_is_supported() {
            return;
        }
        let shape = Attention {
            batch: 1,
            tokens: 8,
            heads: 1,
            dim: 2,
            causal: false,
        };
        let v: Vec<f32> = (0..16).map(|i| i as f32).collect();
        let mut out = vec![0.0; 16];
        shape.forward_bf16(&[0.0; 16], &[1.0; 16], &v, &mut out);
        assert_eq!(out, [7.0, 8.0].repeat(8));
    }
}
