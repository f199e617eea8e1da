//! Training and evaluation of text-prompted segmentation on Burn.
//!
//! CLIP stays frozen: its encoders run on the plain device, where Burn has fused attention, and only
//! the decoder is on the tape.
//!
//! ```
//! # #[cfg(feature = "flex")] {
//! use clipseg_clip::{ClipTokenizer, ImageProcessor, device};
//! use clipseg_data::{
//!     PhraseCut, PhraseCutDataset, SampleOptions, ScenesConfig, Split, generate_scenes,
//! };
//! use clipseg_model::{ClipSeg, ClipSegConfig};
//! use clipseg_train::{FrozenClip, Silent, TrainConfig, train};
//! use std::sync::Arc;
//!
//! let folder = tempfile::tempdir()?;
//! let scenes = folder.path().join("scenes");
//! generate_scenes(&scenes, &ScenesConfig { images: 10, size: 64, seed: 7 })?;
//! let data = Arc::new(PhraseCut::open(&scenes)?);
//! let training = PhraseCutDataset::new(data, Split::Train, SampleOptions::new(64, 64))?;
//!
//! let device = device("cpu")?;
//! device.seed(0);
//! let mut config = ClipSegConfig::small();
//! config.clip.text_config.hidden_size = 32; // small enough for an example
//! let (clip, decoder) = ClipSeg::init(&config, &device).into_parts();
//! let tokenizer = ClipTokenizer::openai(77)?;
//! let mut clip = FrozenClip::new(clip, config, tokenizer, ImageProcessor::clipseg(64));
//!
//! let run = TrainConfig { steps: 2, batch_size: 4, ..TrainConfig::default() };
//! let outcome = train(&mut clip, decoder, &training, &run, &mut Silent)?;
//! assert_eq!(outcome.losses.len(), 2);
//! # }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![deny(missing_docs)]

mod config;
mod encoding;
mod engine;
mod error;
mod evaluate;
mod phrasecut_tasks;
mod prediction_folder;
mod progress;
mod trainer;

pub use config::{AdamWOptions, TrainConfig};
pub use encoding::FrozenClip;
pub use engine::{TrainOutcome, train};
pub use error::{Result, TrainError};
pub use evaluate::evaluate;
pub use phrasecut_tasks::{WordRanks, evaluate_phrasecut, phrasecut_task};
pub use prediction_folder::PredictionFolder;
pub use progress::{Observer, Progress, Silent};
pub use trainer::{DecoderTrainer, StepInput};
