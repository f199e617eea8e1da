//! CLIPSeg and its decoders on Burn: a picture and a phrase in, a mask out.

#![deny(missing_docs)]

mod clipseg;
mod config;
mod error;
mod original;
mod render;
mod segmenter;
mod soft_mask;
mod transformer_decoder;

pub use clipseg::{ClipSeg, ImageFeatures};
pub use config::{ClipSegConfig, TransformerDecoderConfig};
pub use error::{ModelError, Result};
pub use original::OriginalOptions;
pub use render::{heat_map, overlay, prompt_colour};
pub use segmenter::{EncodedImage, Segmenter};
pub use soft_mask::SoftMask;
pub use transformer_decoder::TransformerDecoder;
