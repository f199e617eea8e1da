//! Vectorised operations on the CPU for CLIPSeg.

#![deny(missing_docs)]

mod activation;
mod attention;
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
mod view;

pub use activation::Activation;
pub use attention::Attention;
pub use layer_norm::LayerNorm;
pub use level::{Level, UnsupportedLevel};
pub use linear::PackedLinear;
pub use linear_backward::{LinearGradients, linear_backward};
pub use scratch::free_scratch;
pub use softmax::{softmax, softmax_backward};
