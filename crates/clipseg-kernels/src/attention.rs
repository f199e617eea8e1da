//! Scaled dot-product attention of several heads.
//!
//! Queries, keys and values are read where a linear layer wrote them, `[batch, tokens, heads ·
//! dim]`, also as parts of one fused projection `[batch, tokens, 3 · heads · dim]`; nothing is
//! transposed in main memory. One task is one head of one sequence: it packs the head's keys and
//! values, then takes some queries at a time, so that their scores stay in the second-level cache.

use crate::level::Level;
use crate::matmul::{Packed, Store, multiply};
use crate::panels::PanelLayout;
use crate::scratch::with_scratch;
use crate::simd::{Kernel, Simd, dispatch};
use crate::softmax::{exponentials, gradient, multiply_by};
use crate::threads::{block, for_each_task, row_blocks};
use crate::view::{View, ViewMut};

/// Queries whose scores are computed together. A multiple of the rows of every tile.
pub(crate) const QUERIES: usize = 48;

/// The shape of an attention layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attention {
    /// Sequences.
    pub batch: usize,
    /// Tokens in each sequence.
    pub tokens: usize,
    /// Heads.
    pub heads: usize,
    /// Width of a head. Scores are divided by its square root.
    pub dim: usize,
    /// Whether a token attends only to itself and to the tokens before it.
    pub causal: bool,
}

/// Queries, keys and values, each `[batch · tokens, heads · dim]`.
#[derive(Clone, Copy)]
pub(crate) struct Inputs<'a> {
    pub(crate) q: View<'a>,
    pub(crate) k: View<'a>,
    pub(crate) v: View<'a>,
}

impl Attention {
    /// Writes the attention of queries `q`, keys `k` and values `v` to `out`.
    ///
    /// # Shapes
    ///
    /// - all four: `[batch, tokens, heads * dim]`
    ///
    /// # Panics
    ///
    /// If the slices do not have these lengths.
    pub fn forward(&self, q: &[f32], k: &[f32], v: &[f32], out: &mut [f32]) {
        self.run(self.separate(q, k, v), out);
    }

    /// Writes the attention of a fused projection to `out`.
    ///
    /// # Shapes
    ///
    /// - `qkv`: `[batch, tokens, 3 * heads * dim]`: queries, keys and values of a token follow each other
    /// - `out`: `[batch, tokens, heads * dim]`
    ///
    /// # Panics
    ///
    /// If the slices do not have these lengths.
    pub fn forward_fused(&self, qkv: &[f32], out: &mut [f32]) {
        self.run(self.fused(qkv), out);
    }

    /// Writes the gradients of queries, keys and values, given the gradient `d_out` of the output.
    ///
    /// # Shapes
    ///
    /// - all: `[batch, tokens, heads * dim]`
    ///
    /// # Panics
    ///
    /// If the slices do not have these lengths.
    #[expect(
        clippy::too_many_arguments,
        reason = "three inputs and their gradients"
    )]
    pub fn backward(
        &self,
        q: &[f32],
        k: &[f32],
        v: &[f32],
        d_out: &[f32],
        dq: &mut [f32],
        dk: &mut [f32],
        dv: &mut [f32],
    ) {
        let (rows, width) = (self.rows(), self.width());
        let gradients = [dq, dk, dv].map(|gradient| {
            assert_eq!(
                gradient.len(),
                rows * width,
                "length of a gradient of {rows} x {width} numbers"
            );
            ViewMut::new(gradient, rows, width)
        });
        self.run_backward(self.separate(q, k, v), d_out, gradients);
    }

    /// Writes the gradient of a fused projection, given the gradient `d_out` of the output.
    ///
    /// # Shapes
    ///
    /// - `qkv` and `d_qkv`: `[batch, tokens, 3 * heads * dim]`
    /// - `d_out`: `[batch, tokens, heads * dim]`
    ///
    /// # Panics
    ///
    /// If the slices do not have these lengths.
    pub fn backward_fused(&self, qkv: &[f32], d_out: &[f32], d_qkv: &mut [f32]) {
        let (rows, width) = (self.rows(), self.width());
        assert_eq!(
            d_qkv.len(),
            3 * rows * width,
            "length of the gradient of {rows} x {} numbers",
            3 * width
        );
        let whole = ViewMut::new(d_qkv, rows, 3 * width);
        // SAFETY: the three parts are different columns.
        let gradients = [0, 1, 2].map(|index| unsafe { whole.part(0, rows, index * width, width) });
        self.run_backward(self.fused(qkv), d_out, gradients);
    }

    pub(crate) fn rows(&self) -> usize {
        self.batch * self.tokens
    }

    pub(crate) fn width(&self) -> usize {
        self.heads * self.dim
    }

    fn scale(&self) -> f32 {
        1.0 / (self.dim as f32).sqrt()
    }

    pub(crate) fn separate<'a>(&self, q: &'a [f32], k: &'a [f32], v: &'a [f32]) -> Inputs<'a> {
        let (rows, width) = (self.rows(), self.width());
        let [q, k, v] = [("queries", q), ("keys", k), ("values", v)].map(|(name, data)| {
            assert_eq!(
                data.len(),
                rows * width,
                "length of the {name} of {rows} x {width} numbers"
            );
            View::new(data, rows, width)
        });
        Inputs { q, k, v }
    }

    pub(crate) fn fused<'a>(&self, qkv: &'a [f32]) -> Inputs<'a> {
        let (rows, width) = (self.rows(), self.width());
        assert_eq!(
            qkv.len(),
            3 * rows * width,
            "length of the projection of {rows} x {} numbers",
            3 * width
        );
        let whole = View::new(qkv, rows, 3 * width);
        let [q, k, v] = [0, 1, 2].map(|index| whole.columns_from(index * width, width));
        Inputs { q, k, v }
    }

    /// How many keys the queries from `first` on, `count` of them, see together.
    pub(crate) fn keys(&self, first: usize, count: usize) -> usize {
        if self.causal {
            first + count
        } else {
            self.tokens
        }
    }

    /// How many keys the query at `index` sees.
    fn visible(&self, index: usize) -> usize {
        self.keys(index, 1)
    }

    /// One head of one sequence.
    pub(crate) fn head<'a>(&self, whole: View<'a>, sequence: usize, head: usize) -> View<'a> {
        whole
            .rows_from(sequence * self.tokens, self.tokens)
            .columns_from(head * self.dim, self.dim)
    }

    /// One head of one sequence.
    ///
    /// # Safety
    ///
    /// Nothing else may use the same head of the same sequence meanwhile.
    pub(crate) unsafe fn head_mut<'a>(
        &self,
        whole: ViewMut<'a>,
        sequence: usize,
        head: usize,
    ) -> ViewMut<'a> {
        // SAFETY: a condition of this function.
        unsafe {
            whole.part(
                sequence * self.tokens,
                self.tokens,
                head * self.dim,
                self.dim,
            )
        }
    }

    fn run(&self, inputs: Inputs<'_>, out: &mut [f32]) {
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
        let level = Level::active();
        let heads = self.batch * self.heads;
        // Each task packs all keys and values of its head: more than one task for a head is only
        // worth it if there are fewer heads than threads.
        let blocks = if heads >= rayon::current_num_threads() {
            1
        } else {
            row_blocks(self.tokens, QUERIES, heads)
        };
        let operations = 4 * rows * self.tokens * width;
        for_each_task(heads * blocks, operations, |task| {
            let (sequence, head) = (task / blocks / self.heads, task / blocks % self.heads);
            let [q, k, v] =
                [inputs.q, inputs.k, inputs.v].map(|whole| self.head(whole, sequence, head));
            // SAFETY: each task has a head, or different queries of a head, of its own.
            let out = unsafe { self.head_mut(out, sequence, head) };
            self.forward_head(
                level,
                q,
                k,
                v,
                out,
                block(self.tokens, blocks, task % blocks),
            );
        });
    }

    /// The queries from `first` on, `count` of them, of one head.
    fn forward_head(
        &self,
        level: Level,
        q: View<'_>,
        k: View<'_>,
        v: View<'_>,
        out: ViewMut<'_>,
        (first, count): (usize, usize),
    ) {
        let keys_layout = PanelLayout::new(level, self.dim, self.tokens);
        let values_layout = PanelLayout::new(level, self.tokens, self.dim);
        let stride = self.tokens.next_multiple_of(16);
        let lengths = [keys_layout.len(), values_layout.len(), QUERIES * stride];
        with_parts(lengths, |[keys, values, scores]| {
            keys_layout.pack(k.transposed(), keys);
            values_layout.pack(v, values);
            let keys = Packed {
                layout: keys_layout,
                data: keys,
            };
            let values = Packed {
                layout: values_layout,
                data: values,
            };
            for query in (first..first + count).step_by(QUERIES) {
                let count = QUERIES.min(first + count - query);
                let seen = self.keys(query, count);
                multiply(
                    q.rows_from(query, count),
                    keys,
                    ViewMut::strided(scores, count, seen, stride),
                    Store::Replace,
                );
                let mut sums = [0.0; QUERIES];
                dispatch(
                    level,
                    Weights {
                        attention: self,
                        query,
                        stride,
                        scores: &mut *scores,
                        sums: &mut sums[..count],
                    },
                );
                // SAFETY: the queries belong to this task.
                let out = unsafe { out.part(query, count, 0, self.dim) };
                multiply(
                    View::strided(scores, count, seen, stride, 1),
                    values,
                    out,
                    Store::Replace,
                );
                dispatch(
                    level,
                    Divide {
                        out,
                        sums: &sums[..count],
                    },
                );
            }
        });
    }

    fn run_backward(&self, inputs: Inputs<'_>, d_out: &[f32], [dq, dk, dv]: [ViewMut<'_>; 3]) {
        let (rows, width) = (self.rows(), self.width());
        assert_eq!(
            d_out.len(),
            rows * width,
            "length of the output's gradient of {rows} x {width} numbers"
        );
        if d_out.is_empty() {
            return;
        }
        let d_out = View::new(d_out, rows, width);
        let level = Level::active();
        let operations = 14 * rows * self.tokens * width;
        for_each_task(self.batch * self.heads, operations, |task| {
            let (sequence, head) = (task / self.heads, task % self.heads);
            let [q, k, v, d_out] =
                [inputs.q, inputs.k, inputs.v, d_out].map(|whole| self.head(whole, sequence, head));
            // SAFETY: each task has a head of its own.
            let gradients =
                [dq, dk, dv].map(|whole| unsafe { self.head_mut(whole, sequence, head) });
            self.backward_head(level, [q, k, v, d_out], gradients);
        });
    }

    /// All queries of one head.
    ///
    /// The weights W of some queries are computed again; then dV += Wᵀ·dO, dW = dO·Vᵀ, dS is the
    /// gradient of the softmax, dQ = dS·K and dK += dSᵀ·Q.
    fn backward_head(
        &self,
        level: Level,
        [q, k, v, d_out]: [View<'_>; 4],
        [dq, dk, dv]: [ViewMut<'_>; 3],
    ) {
        let across = PanelLayout::new(level, self.dim, self.tokens);
        let along = PanelLayout::new(level, self.tokens, self.dim);
        let few = |count| PanelLayout::new(level, count, self.dim);
        let stride = self.tokens.next_multiple_of(16);
        let lengths = [
            across.len(),
            across.len(),
            along.len(),
            few(QUERIES).len(),
            few(QUERIES).len(),
            QUERIES * stride,
            QUERIES * stride,
        ];
        with_parts(
            lengths,
            |[
                keys_across,
                values_across,
                keys,
                queries,
                d_outs,
                weights,
                d_scores,
            ]| {
                across.pack(k.transposed(), keys_across);
                across.pack(v.transposed(), values_across);
                along.pack(k, keys);
                let keys_across = Packed {
                    layout: across,
                    data: keys_across,
                };
                let values_across = Packed {
                    layout: across,
                    data: values_across,
                };
                let keys = Packed {
                    layout: along,
                    data: keys,
                };
                // The last queries see all keys also with a causal mask. They come first, so that
                // every row of dK and dV is written before it is added to.
                for (index, query) in (0..self.tokens).step_by(QUERIES).rev().enumerate() {
                    let count = QUERIES.min(self.tokens - query);
                    let seen = self.keys(query, count);
                    let store = if index == 0 {
                        Store::Replace
                    } else {
                        Store::Add
                    };
                    let (q, d_out) = (q.rows_from(query, count), d_out.rows_from(query, count));
                    multiply(
                        q,
                        keys_across,
                        ViewMut::strided(weights, count, seen, stride),
                        Store::Replace,
                    );
                    let mut sums = [0.0; QUERIES];
                    dispatch(
                        level,
                        Weights {
                            attention: self,
                            query,
                            stride,
                            scores: &mut *weights,
                            sums: &mut sums[..count],
                        },
                    );
                    dispatch(
                        level,
                        Divide {
                            out: ViewMut::strided(weights, count, seen, stride),
                            sums: &sums[..count],
                        },
                    );
                    multiply(
                        d_out,
                        values_across,
                        ViewMut::strided(d_scores, count, seen, stride),
                        Store::Replace,
                    );

                    let layout = few(count);
                    let weights = View::strided(weights, count, seen, stride, 1);
                    let d_outs = &mut d_outs[..layout.len()];
                    layout.pack(d_out, d_outs);
                    // SAFETY: the head's gradients belong to this task.
                    let (dk, dv) =
                        unsafe { (dk.part(0, seen, 0, self.dim), dv.part(0, seen, 0, self.dim)) };
                    multiply(
                        weights.transposed(),
                        Packed {
                            layout,
                            data: d_outs,
                        },
                        dv,
                        store,
                    );

                    let scale = self.scale();
                    dispatch(
                        level,
                        ScoreGradient {
                            weights,
                            d_scores: ViewMut::strided(d_scores, count, seen, stride),
                            scale,
                        },
                    );
                    let d_scores = View::strided(d_scores, count, seen, stride, 1);
                    let queries = &mut queries[..layout.len()];
                    layout.pack(q, queries);
                    multiply(
                        d_scores.transposed(),
                        Packed {
                            layout,
                            data: queries,
                        },
                        dk,
                        store,
                    );
                    // SAFETY: the head's gradients belong to this task.
                    let dq = unsafe { dq.part(query, count, 0, self.dim) };
                    multiply(d_scores, keys, dq, Store::Replace);
                }
            },
        );
    }
}

/// Runs `work` with parts of one piece of scratch memory, each of which starts at a cache line.
pub(crate) fn with_parts<const N: usize, R>(
    lengths: [usize; N],
    work: impl FnOnce([&mut [f32]; N]) -> R,
) -> R {
    let padded = lengths.map(|length| length.next_multiple_of(16));
    with_scratch(padded.iter().sum(), |mut rest| {
        let mut index = 0;
        let parts = padded.map(|length| {
            let (part, after) = std::mem::take(&mut rest).split_at_mut(length);
            rest = after;
            index += 1;
            &mut part[..lengths[index - 1]]
        });
        work(parts)
    })
}

/// Turns scores into weights that are not yet divided by their sums.
pub(crate) struct Weights<'a> {
    pub(crate) attention: &'a Attention,
    /// The first query.
    pub(crate) query: usize,
    pub(crate) stride: usize,
    pub(crate) scores: &'a mut [f32],
    /// One sum for each query.
    pub(crate) sums: &'a mut [f32],
}

impl Kernel for Weights<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let scale = self.attention.scale();
        let seen = self.attention.keys(self.query, self.sums.len());
        for (row, sum) in self.sums.iter_mut().enumerate() {
            let scores = &mut self.scores[row * self.stride..][..seen];
            let (scores, hidden) = scores.split_at_mut(self.attention.visible(self.query + row));
            *sum = exponentials(simd, scores, scale);
            hidden.fill(0.0);
        }
    }
}

/// Divides each row by its sum.
pub(crate) struct Divide<'a> {
    pub(crate) out: ViewMut<'a>,
    pub(crate) sums: &'a [f32],
}

impl Kernel for Divide<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        for (row, sum) in self.sums.iter().enumerate() {
            // SAFETY: the rows belong to this call alone and are taken one at a time.
            multiply_by(simd, unsafe { self.out.row(row) }, 1.0 / sum);
        }
    }
}

/// Turns the gradient of the weights into that of the scores before scaling.
struct ScoreGradient<'a> {
    weights: View<'a>,
    d_scores: ViewMut<'a>,
    scale: f32,
}

impl Kernel for ScoreGradient<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        for row in 0..self.d_scores.rows {
            // SAFETY: the rows belong to this call alone and are taken one at a time.
            let d_scores = unsafe { self.d_scores.row(row) };
            gradient(simd, self.weights.row(row), d_scores, self.scale);
        }
    }
}
