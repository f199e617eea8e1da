//! Training and evaluation of text-prompted segmentation on Burn.
//!
//! CLIP stays frozen: its encoders run on the plain device, where Burn has fused attention, and only
//! the decoder is on the tape.

#![deny(missing_docs)]

mod config;
mod encoding;
mod engine;
mod error;
mod evaluate;
mod order;
mod progress;
mod trainer;

pub use config::{AdamWOptions, TrainConfig};
pub use encoding::FrozenClip;
pub use engine::{TrainOutcome, train};
pub use error::{Result, TrainError};
pub use evaluate::{Evaluation, evaluate};
pub use progress::{Observer, Progress, Silent};
pub use trainer::{DecoderTrainer, StepInput};
