//! The decoders under one roof.

use crate::decoder_config::DecoderConfig;
use crate::features::ImageFeatures;
use crate::transformer_decoder::TransformerDecoder;
use burn::prelude::*;
use clipseg_clip::ClipConfig;

/// Any of the decoders: pictures' features and prompts' embeddings in, logits out.
#[derive(Module, Debug)]
#[non_exhaustive]
pub enum Decoder {
    /// CLIPSeg's own.
    Transformer(TransformerDecoder),
}

impl Decoder {
    /// A decoder with random weights for the given encoders; `device.seed` before it makes them
    /// reproducible.
    pub fn init(config: &DecoderConfig, clip: &ClipConfig, device: &Device) -> Self {
        match config {
            DecoderConfig::Transformer(config) => {
                Self::Transformer(TransformerDecoder::init(config, clip, device))
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
        }
    }
}
