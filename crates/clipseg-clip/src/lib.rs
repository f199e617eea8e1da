//! CLIP's text and vision encoders on Burn: tokenizer, preprocessing, weights.
//!
//! A port of CLIP (Radford et al. 2021, arXiv:2103.00020) as Hugging Face's transformers has it,
//! made to serve as a frozen backbone: the vision tower hands out its inner hidden states, takes
//! pictures of any size, and computes no block more than was asked for.
//!
//! ```no_run
//! use burn::tensor::Device;
//! use clipseg_clip::{ClipTokenizer, ImageProcessor, PretrainedClip, load_clip};
//! use std::path::Path;
//!
//! let device = Device::flex();
//! let folder = Path::new("clip-vit-base-patch16");
//! let PretrainedClip { config, clip } = load_clip(folder, &device)?;
//! let tokenizer = ClipTokenizer::from_folder(folder, &config.text_config)?;
//! let processor = ImageProcessor::from_folder(folder)?.unwrap_or(ImageProcessor::clip(224));
//!
//! let photo = clipseg_data::load_rgb(Path::new("cat.jpg"))?;
//! let image = clip.image_embedding(processor.pixel_values(&[photo], &device)?)?;
//! let texts = clip.text_embedding(&tokenizer.batch(&["a cat", "a dog"], &device)?)?;
//! println!("{}", clip.logits_per_image(image, texts));
//! # Ok::<(), clipseg_clip::ClipError>(())
//! ```
//!
//! A runnable example without a checkpoint stands at [`Clip`].

#![deny(missing_docs)]

mod clip;
mod config;
mod container;
mod error;
mod files;
#[cfg(feature = "hub")]
mod hub;
mod layers;
mod openai;
mod outline;
mod position;
mod preprocess;
mod pretrained;
mod repo_id;
mod resolve;
mod source;
mod text;
mod tokenizer;
mod vision;
mod weights;
mod wrappers;

pub use clip::{Clip, normalise};
pub use config::{Activation, ClipConfig, TextConfig, VisionConfig, parse_field};
pub use error::{ClipError, Result, WeightProblems};
pub use files::{mark_as_own, read_json, refuse_foreign};
#[cfg(feature = "hub")]
pub use hub::Hub;
pub use layers::{AttentionMask, Mlp, SelfAttention, initialise, linear};
pub use preprocess::{ImageProcessor, TargetSize};
pub use pretrained::{PretrainedClip, load_clip, load_openai_clip, save_clip};
pub use resolve::resolve;
pub use source::{Part, Source, non_finite};
pub use text::{TextBatch, TextEncoder, TextOutput};
pub use tokenizer::ClipTokenizer;
pub use vision::{HiddenStates, VisionEncoder, VisionOutput};
pub use weights::{Checkpoint, save_module};
