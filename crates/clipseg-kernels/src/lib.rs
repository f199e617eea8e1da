//! Vectorised CPU operations for transformers in the sizes of CLIPSeg: forward and backward, on
//! plain slices, independent of any tensor library.
//!
//! ```
//! use clipseg_kernels::{Activation, Attention, LayerNorm, PackedLinear};
//!
//! // One block of a small transformer: 5 tokens, 2 heads of 4.
//! let (tokens, width) = (5, 8);
//! let attention = Attention { batch: 1, tokens, heads: 2, dim: 4, causal: false };
//! let project = PackedLinear::new(&vec![0.1; width * 3 * width], None, width, 3 * width);
//! let (gamma, beta) = (vec![1.0; width], vec![0.0; width]);
//! let norm = LayerNorm { gamma: &gamma, beta: &beta, epsilon: 1e-5 };
//!
//! let x: Vec<f32> = (0..tokens * width).map(|i| i as f32).collect();
//! let (mut y, mut qkv) = (vec![0.0; x.len()], vec![0.0; 3 * x.len()]);
//! norm.forward(&x, &mut y);
//! project.forward(&y, tokens, Activation::Identity, None, &mut qkv);
//! attention.forward_fused(&qkv, &mut y);
//! assert!(y.iter().all(|y| y.abs() < 1e-5));
//! ```
//!
//! | Operation | Forward | Backward |
//! |---|---|---|
//! | linear layer with activation and residual | [`PackedLinear`], [`linear()`], [`Bf16Linear`] | [`linear_backward`] |
//! | attention of several heads, also causal | [`Attention`] | [`Attention`] |
//! | layer norm | [`LayerNorm`] | [`LayerNorm`] |
//! | softmax | [`softmax()`] | [`softmax_backward`] |
//! | exp, sigmoid, ReLU, QuickGELU | [`Activation`] | [`Activation`] |
//!
//! - **Instruction sets.** AVX-512, AVX2 with FMA, or plain Rust, chosen at run time; [`Level`] tells
//!   which and can force a lower one. Results of different levels differ by rounding.
//! - **Threads.** Large operations use the threads of rayon's current pool, small ones only the
//!   calling thread. The number of threads does not change a result, except the gradients of
//!   [`LayerNorm`]'s parameters, whose sums are formed in parts.
//! - **Memory.** Results are written to the caller's slices. Intermediate results are kept in scratch
//!   memory, which each thread keeps; [`free_scratch`] frees it.
//! - **Allocation.** The feature `allocator` has an allocator for programs, which keeps the memory of
//!   freed tensors for the next ones.
//! - **Shapes** that do not fit are a mistake of the caller: the operations panic and name the length
//!   that they expect.
//! - **Unsafe code** is confined to this crate: vector instructions, and threads that write different
//!   parts of one slice.

#![deny(missing_docs)]
#![allow(
    unsafe_code,
    reason = "vector instructions, and threads that write parts of one slice"
)]

mod activation;
#[cfg(feature = "allocator")]
mod allocator;
mod attention;
#[cfg(all(target_arch = "x86_64", not(miri)))]
mod bf16;
#[cfg(all(target_arch = "x86_64", not(miri)))]
mod bf16_attention;
#[cfg(not(all(target_arch = "x86_64", not(miri))))]
mod bf16_elsewhere;
#[cfg(all(target_arch = "x86_64", not(miri)))]
mod bf16_linear;
mod layer_norm;
mod level;
mod linear;
mod linear_backward;
mod math;
mod matmul;
mod panels;
mod scratch;
mod simd;
mod softmax;
mod threads;
mod tile;
mod unrolled;
mod view;

pub use activation::Activation;
#[cfg(feature = "allocator")]
pub use allocator::Allocator;
pub use attention::Attention;
#[cfg(all(target_arch = "x86_64", not(miri)))]
pub use bf16::bf16_is_supported;
#[cfg(not(all(target_arch = "x86_64", not(miri))))]
pub use bf16_elsewhere::{Bf16Linear, bf16_is_supported};
#[cfg(all(target_arch = "x86_64", not(miri)))]
pub use bf16_linear::Bf16Linear;
pub use layer_norm::LayerNorm;
pub use level::{Level, UnknownLevel, UnsupportedLevel};
pub use linear::{PackedLinear, linear};
pub use linear_backward::{LinearGradients, linear_backward};
pub use scratch::free_scratch;
pub use softmax::{softmax, softmax_backward};
