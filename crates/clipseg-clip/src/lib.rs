//! CLIP's text and vision encoders on Burn: tokenizer, preprocessing, weights.
//!
//! This is a port of CLIP (Radford et al. 2021, arXiv:2103.00020) as in Hugging Face's transformers,
//! for use as a frozen backbone: the vision tower returns the hidden states of selected blocks, skips the
//! blocks after them, and accepts pictures of any size.
//!
//! - Models: [`Clip`], its towers [`TextEncoder`] and [`VisionEncoder`], and [`ClipConfig`].
//! - Inputs: [`ClipTokenizer`] for texts, [`ImageProcessor`] for pictures, [`Regions`] for boxes in pictures.
//! - Checkpoints: [`resolve`] finds or downloads a folder, and [`CheckpointFiles`] can be in memory;
//!   [`load_clip`], [`load_openai_clip`] and [`save_clip`] read and write one. [`Checkpoint`], [`Source`]
//!   and [`save_module`] do the same for other modules, such as the decoders of `clipseg-model`.
//! - Layers for such modules: [`SelfAttention`], [`Mlp`], [`LayerNorm`], [`linear`], [`apply_linear`],
//!   [`initialise`]. With the feature `kernels`, they are fast on the `flex` device ([`use_kernels`]).
//! - Files of such modules: [`read_json`] and [`parse_field`] read configurations, and [`mark_as_own`] and
//!   [`refuse_foreign`] protect files of other programs, so that all crates do these in the same way.
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
//! let processor = ImageProcessor::from_folder_or(folder, ImageProcessor::clip(224))?;
//!
//! let photo = clipseg_data::load_rgb(Path::new("cat.jpg"))?;
//! let image = clip.image_embedding(processor.pixel_values(&[photo], &device)?)?;
//! let texts = clip.text_embedding(&tokenizer.batch(&["a cat", "a dog"], &device)?)?;
//! println!("{}", clip.logits_per_image(image, texts));
//! # Ok::<(), clipseg_clip::ClipError>(())
//! ```
//!
//! [`Clip`] has an example that runs without a checkpoint.

#![deny(missing_docs)]

mod checkpoint_files;
mod clip;
mod config;
mod dense;
mod error;
mod files;
mod fused;
#[cfg(feature = "hub")]
mod hub;
mod json_fields;
mod layers;
mod non_finite;
mod openai;
mod outline;
mod position;
mod precision;
mod preprocess;
mod pretrained;
mod regions;
mod repo_id;
mod resolve;
mod source;
mod text;
mod tokenizer;
mod tuned;
mod vision;
mod weight_file;
mod weights;
mod wrappers;

pub use checkpoint_files::CheckpointFiles;
pub use clip::{Clip, normalise};
pub use config::{Activation, ClipConfig, TextConfig, VisionConfig};
pub use error::{ClipError, Result, WeightProblems};
pub use files::{mark_as_own, read_json, refuse_foreign};
pub use fused::{apply_linear, kernels_are_used, use_kernels};
#[cfg(feature = "hub")]
pub use hub::Hub;
pub use json_fields::parse_field;
pub use layers::{AttentionMask, LayerNorm, Mlp, SelfAttention, initialise, linear};
pub use non_finite::non_finite;
pub use precision::Precision;
pub use preprocess::{ImageProcessor, TargetSize};
pub use pretrained::{PretrainedClip, load_clip, load_openai_clip, save_clip};
pub use regions::Regions;
pub use resolve::resolve;
pub use source::{Part, Source};
pub use text::{TextBatch, TextEncoder, TextOutput};
pub use tokenizer::ClipTokenizer;
pub use tuned::{TunedClip, TunedPart};
pub use vision::{HiddenStates, VisionEncoder, VisionOutput};
pub use weights::{Checkpoint, SaveOptions, save_module};
