//! CLIPSeg on [Burn](https://burn.dev): segmentation of a picture by a text or a visual prompt.
//!
//! CLIPSeg (Lüddecke and Ecker 2022, arXiv:2112.10003) is a small decoder on a frozen CLIP. The decoder
//! takes hidden states of CLIP's vision encoder and the embedding of a prompt, and computes a mask.
//! Besides the decoder of the paper, this crate has a convolutional decoder and the paper's baseline.
//!
//! | To | Use |
//! |---|---|
//! | segment photographs | [`Segmenter`]; [`resolve`] finds its checkpoint |
//! | compute logits from tensors, or train | [`ClipSeg`], [`Decoder`] |
//! | configure a model | [`ClipSegConfig`], [`DecoderConfig`] |
//! | move the edges of masks to those of the photograph | [`SoftMask::refine`], [`Refinement`] |
//! | find small objects in large photographs | [`Views`], [`Segmenter::encode_views`] |
//! | segment with a CLIP alone, without a decoder | [`DenseClip`] |
//! | combine the masks of several prompts | [`MaskExpression`], [`label_map`], [`overlay`] |
//! | split a mask into objects | [`SoftMask::instances`] |
//!
//! Checkpoints with CLIPSeg's own decoder are read and written in Hugging Face's layout;
//! [`Segmenter::export`] writes one for other programs, in half precision if wanted, and [`convert`] converts
//! checkpoints of other programs.
//!
//! ```
//! use burn::tensor::Device;
//! use clipseg_model::clip::{ClipTokenizer, ImageProcessor};
//! use clipseg_model::{ClipSeg, ClipSegConfig, Segmenter};
//!
//! // A small model with random weights; `Segmenter::from_pretrained` loads a checkpoint instead.
//! let config = ClipSegConfig::small();
//! # let mut config = config;
//! # config.clip.text_config.hidden_size = 32; // small enough for an example
//! let model = ClipSeg::init(&config, &Device::flex());
//! let segmenter = Segmenter::new(model, ClipTokenizer::openai(77)?, ImageProcessor::clipseg(96));
//!
//! let photo = image::RgbImage::from_fn(200, 150, |x, y| image::Rgb([x as u8, y as u8, 0]));
//! let encoded = segmenter.encode_image(&photo)?;
//! for soft_mask in segmenter.segment(&encoded, &["a cat", "a sofa"])? {
//!     let mask = soft_mask.threshold(0.3);
//!     println!("{} pixels in {:?}", mask.area(), mask.bounding_box());
//! }
//! # Ok::<(), clipseg_model::ModelError>(())
//! ```

#![deny(missing_docs)]

mod clipseg;
mod config;
mod convert;
mod cutout;
mod decoder;
mod dense;
mod encoded_image;
mod error;
mod export;
mod expression;
mod features;
mod heat_map;
mod label_map;
mod masks;
mod original;
mod phrase_model;
mod prompt;
mod read_values;
mod refine;
mod resolve;
mod scenes;
mod segmenter;
mod sentences;
mod soft_mask;
mod text_cache;
mod threshold;
mod views;
mod visual_prompt;

pub use clipseg_clip as clip;
pub use clipseg_data as data;
pub use clipseg_data::{TEMPLATES, add_legend, overlay, prompt_colour, tint};

pub use clipseg::ClipSeg;
pub use config::{
    ClipSegConfig, ConvDecoderConfig, DecoderConfig, DeconvBaselineConfig,
    TransformerDecoderConfig, Upsampling,
};
pub use convert::{ConvertOptions, convert};
pub use decoder::{ConvDecoder, Decoder, DeconvBaseline, TransformerDecoder};
pub use dense::{DenseClass, DenseClip, DenseImage, DenseOptions};
pub use encoded_image::EncodedImage;
pub use error::{ModelError, Result};
pub use export::{ExportOptions, Exported};
pub use expression::MaskExpression;
pub use features::ImageFeatures;
pub use heat_map::heat_map;
pub use label_map::{LabelMap, LabelMapBuilder, label_map};
pub use original::OriginalOptions;
pub use phrase_model::{DenseClipWithOptions, PhraseLogits, PhraseModel, SegmenterWithViews};
pub use prompt::{Prompt, SegmentOptions};
pub use refine::Refinement;
pub use resolve::resolve;
pub use scenes::SCENES;
#[cfg(feature = "scenes")]
pub use scenes::scenes;
pub use segmenter::Segmenter;
pub use sentences::read_sentences;
pub use soft_mask::SoftMask;
pub use views::{ViewPlan, Views, names_a_side};
pub use visual_prompt::VisualPrompt;
