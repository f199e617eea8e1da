//! CLIPSeg and its decoders on Burn: a picture and a phrase in, a mask out.
//!
//! [`Segmenter`] is for people who have photographs and want masks. [`ClipSeg`] is for people who
//! train: it takes and gives tensors. Both read and write checkpoints, with CLIPSeg's own decoder in
//! Hugging Face's layout. [`Decoder`] is any of the decoders that can be put on CLIP.
//!
//! ```
//! use burn::tensor::Device;
//! use clipseg_model::clip::{ClipTokenizer, ImageProcessor};
//! use clipseg_model::{ClipSeg, ClipSegConfig, Segmenter};
//!
//! // Random weights; `Segmenter::from_pretrained` reads those of a checkpoint.
//! let device = Device::flex();
//! device.seed(0);
//! let mut config = ClipSegConfig::small();
//! config.clip.text_config.hidden_size = 32; // small enough for an example
//! let model = ClipSeg::init(&config, &device);
//! let segmenter = Segmenter::new(model, ClipTokenizer::openai(77)?, ImageProcessor::clipseg(96));
//!
//! let photo = image::RgbImage::from_fn(200, 150, |x, y| image::Rgb([x as u8, y as u8, 0]));
//! let encoded = segmenter.encode_image(&photo)?;
//! for soft in segmenter.segment(&encoded, &["a cat", "a sofa"])? {
//!     let mask = soft.threshold(0.3);
//!     println!("{} pixels in {:?}", mask.area(), mask.bounding_box());
//! }
//! # Ok::<(), clipseg_model::ModelError>(())
//! ```

#![deny(missing_docs)]

#[cfg(feature = "burn-train")]
mod burn_train;
mod clipseg;
mod config;
mod conv_config;
mod conv_decoder;
mod convolution;
mod decoder;
mod decoder_config;
mod deconv_baseline;
mod error;
mod features;
mod label_map;
mod original;
mod prompt;
mod render;
mod segmenter;
mod soft_mask;
mod spread;
mod transformer_decoder;

pub use clipseg_clip as clip;
pub use clipseg_data as data;
pub use clipseg_data::{TEMPLATES, add_legend, overlay, prompt_colour, tint};

#[cfg(feature = "burn-train")]
pub use burn_train::{PromptedBatcher, PromptedPictures};
pub use clipseg::ClipSeg;
pub use config::ClipSegConfig;
pub use conv_config::{ConvDecoderConfig, Upsampling};
pub use conv_decoder::ConvDecoder;
pub use decoder::Decoder;
pub use decoder_config::{DecoderConfig, DeconvBaselineConfig, TransformerDecoderConfig};
pub use deconv_baseline::DeconvBaseline;
pub use error::{ModelError, Result};
pub use features::ImageFeatures;
pub use label_map::{LabelMap, LabelMapBuilder, label_map};
pub use original::OriginalOptions;
pub use prompt::{Prompt, SegmentOptions, VisualPrompt};
pub use render::heat_map;
pub use segmenter::{EncodedImage, Segmenter};
pub use soft_mask::SoftMask;
pub use transformer_decoder::TransformerDecoder;
