//! The decoders under one roof.

use crate::conv_decoder::ConvDecoder;
use crate::decoder_config::DecoderConfig;
use crate::deconv_baseline::DeconvBaseline;
use crate::features::ImageFeatures;
use crate::transformer_decoder::TransformerDecoder;
use burn::prelude::*;
use clipseg_clip::ClipConfig;

/// Any of the decoders: pictures' features and prompts' embeddings in, logits out.
///
/// # Example
///
/// ```
/// use burn::tensor::{Device, Distribution, Tensor};
/// use clipseg_model::clip::{Clip, ClipConfig};
/// use clipseg_model::{ConvDecoderConfig, Decoder, DecoderConfig, ImageFeatures};
///
/// let device = Device::flex();
/// let mut clip_config = ClipConfig::small();
/// clip_config.text_config.hidden_size = 32; // small enough for an example
/// let config = DecoderConfig::from(ConvDecoderConfig {
///     extract_layers: vec![0, 1, 3],
///     ..ConvDecoderConfig::tiny()
/// });
/// let clip = Clip::init(&clip_config, &device);
/// let decoder = Decoder::init(&config, &clip_config, &device);
///
/// let pictures = Tensor::random([2, 3, 64, 96], Distribution::Default, &device);
/// let features = ImageFeatures::extract(&clip, &config, pictures)?;
/// let prompts = Tensor::random([3, 128], Distribution::Default, &device);
/// // Two prompts of the first picture, one of the second.
/// let logits = decoder.forward_grouped(&features, prompts, &[0, 0, 1]);
/// assert_eq!(logits.dims(), [3, 64, 96]);
/// # Ok::<(), clipseg_model::ModelError>(())
/// ```
#[derive(Module, Debug)]
#[non_exhaustive]
pub enum Decoder {
    /// CLIPSeg's own.
    Transformer(TransformerDecoder),
    /// Convolutions at rising resolutions.
    Conv(ConvDecoder),
    /// The paper's baseline, hardly any decoder.
    Deconv(DeconvBaseline),
}

impl Decoder {
    /// A decoder with random weights for the given encoders; `device.seed` before it makes them
    /// reproducible.
    pub fn init(config: &DecoderConfig, clip: &ClipConfig, device: &Device) -> Self {
        match config {
            DecoderConfig::Transformer(config) => {
                Self::Transformer(TransformerDecoder::init(config, clip, device))
            }
            DecoderConfig::Conv(config) => Self::Conv(ConvDecoder::init(config, clip, device)),
            DecoderConfig::Deconv(config) => {
                Self::Deconv(DeconvBaseline::init(config, clip, device))
            }
        }
    }

    /// Decodes pictures with one prompt each, or one picture with any number of prompts.
    ///
    /// # Shapes
    ///
    /// - `conditional_embedding`: `[prompts, projection_dim]`; as many prompts as pictures, or any
    ///   number if there is one picture
    /// - output: logits, `[prompts, height, width]`
    ///
    /// # Panics
    ///
    /// If the shapes do not fit.
    pub fn forward(&self, features: &ImageFeatures, conditional_embedding: Tensor<2>) -> Tensor<3> {
        match self {
            Self::Transformer(decoder) => decoder.forward(features, conditional_embedding),
            Self::Conv(decoder) => decoder.forward(features, conditional_embedding),
            Self::Deconv(decoder) => decoder.forward(features, conditional_embedding),
        }
    }

    /// Decodes pictures with several prompts each; `picture_of[i]` is the picture of prompt `i`.
    ///
    /// What does not depend on the prompt is computed once for each picture.
    ///
    /// # Shapes
    ///
    /// As [`forward`](Self::forward), with as many prompts as `picture_of` has entries.
    ///
    /// # Panics
    ///
    /// If the shapes do not fit, or a picture does not exist.
    pub fn forward_grouped(
        &self,
        features: &ImageFeatures,
        conditional_embedding: Tensor<2>,
        picture_of: &[usize],
    ) -> Tensor<3> {
        match self {
            Self::Transformer(decoder) => {
                decoder.forward_grouped(features, conditional_embedding, picture_of)
            }
            Self::Conv(decoder) => {
                decoder.forward_grouped(features, conditional_embedding, picture_of)
            }
            Self::Deconv(decoder) => {
                decoder.forward_grouped(features, conditional_embedding, picture_of)
            }
        }
    }
}
