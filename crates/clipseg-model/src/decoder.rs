//! The decoders behind one interface.

mod conv;
mod conv_level;
mod convolution;
mod deconv;
mod expansion;
mod head;
mod transformer;
mod transformer_layer;

pub use conv::ConvDecoder;
pub use deconv::DeconvBaseline;
pub use transformer::TransformerDecoder;

use crate::config::DecoderConfig;
use crate::features::ImageFeatures;
use burn::prelude::*;
use clipseg_clip::ClipConfig;
use expansion::Expansion;

/// Any of the decoders. It computes logits from the features of pictures and the embeddings of prompts.
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
/// // Two prompts for the first picture, one for the second.
/// let logits = decoder.forward_grouped(&features, prompts, &[0, 0, 1]);
/// assert_eq!(logits.dims(), [3, 64, 96]);
/// # Ok::<(), clipseg_model::ModelError>(())
/// ```
#[derive(Module, Debug)]
#[non_exhaustive]
pub enum Decoder {
    /// CLIPSeg's own decoder, built from transformer layers.
    Transformer(TransformerDecoder),
    /// A convolutional decoder, similar to a U-Net.
    Conv(ConvDecoder),
    /// The paper's baseline CLIP-Deconv, an MLP and one transposed convolution.
    Deconv(DeconvBaseline),
}

impl Decoder {
    /// Creates a decoder with random weights that fits the given encoders. Call `device.seed` first to
    /// make the weights reproducible.
    pub fn init(config: &DecoderConfig, clip: &ClipConfig, device: &Device) -> Self {
        let decoder = Self::unfilled(config, clip, device);
        clipseg_clip::initialise(&decoder);
        decoder
    }

    /// A decoder to load weights into, which draws no random numbers unless it is used before.
    pub(crate) fn unfilled(config: &DecoderConfig, clip: &ClipConfig, device: &Device) -> Self {
        match config {
            DecoderConfig::Transformer(config) => {
                Self::Transformer(TransformerDecoder::unfilled(config, clip, device))
            }
            DecoderConfig::Conv(config) => Self::Conv(ConvDecoder::unfilled(config, clip, device)),
            DecoderConfig::Deconv(config) => {
                Self::Deconv(DeconvBaseline::unfilled(config, clip, device))
            }
        }
    }

    /// Computes the logits of pictures with one prompt each, or of one picture with any number of
    /// prompts.
    ///
    /// # Shapes
    ///
    /// - `conditional_embedding`: `[prompts, projection_dim]`; as many prompts as pictures, or any
    ///   number if there is one picture
    /// - output: logits, `[prompts, height, width]`
    ///
    /// # Panics
    ///
    /// If the shapes do not match, or `features` lacks the pixels and the decoder uses them.
    pub fn forward(&self, features: &ImageFeatures, conditional_embedding: Tensor<2>) -> Tensor<3> {
        let [prompts, _] = conditional_embedding.dims();
        let expansion = Expansion::even(features.pictures(), prompts);
        self.run(features, &conditional_embedding, &expansion)
    }

    /// Computes the logits of pictures with several prompts each; prompt `i` belongs to the picture
    /// with index `picture_of[i]`.
    ///
    /// Everything that does not depend on the prompt is computed once for each picture.
    ///
    /// # Shapes
    ///
    /// The same as [`forward`](Self::forward), with as many prompts as `picture_of` has entries.
    ///
    /// # Panics
    ///
    /// The same as [`forward`](Self::forward), or if an index of `picture_of` is out of range.
    pub fn forward_grouped(
        &self,
        features: &ImageFeatures,
        conditional_embedding: Tensor<2>,
        picture_of: &[usize],
    ) -> Tensor<3> {
        let device = conditional_embedding.device();
        let expansion = Expansion::grouped(features.pictures(), picture_of, &device);
        self.run(features, &conditional_embedding, &expansion)
    }

    fn run(
        &self,
        features: &ImageFeatures,
        conditional_embedding: &Tensor<2>,
        expansion: &Expansion,
    ) -> Tensor<3> {
        match self {
            Self::Transformer(decoder) => decoder.run(features, conditional_embedding, expansion),
            Self::Conv(decoder) => decoder.run(features, conditional_embedding, expansion),
            Self::Deconv(decoder) => decoder.run(features, conditional_embedding, expansion),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ConvDecoderConfig, DeconvBaselineConfig, TransformerDecoderConfig};
    use burn::tensor::{Distribution, Tolerance};

    fn configs() -> Vec<DecoderConfig> {
        let transformer = |conditional_layer| TransformerDecoderConfig {
            reduce_dim: 8,
            decoder_intermediate_size: 16,
            conditional_layer,
            ..TransformerDecoderConfig::default()
        };
        vec![
            transformer(0).into(),
            transformer(1).into(),
            transformer(2).into(),
            ConvDecoderConfig {
                extract_layers: vec![3, 6],
                picture_branch: true,
                ..ConvDecoderConfig::tiny()
            }
            .into(),
            DeconvBaselineConfig::default().into(),
        ]
    }

    #[test]
    fn grouped_prompts_give_the_logits_of_single_prompts() {
        let device = Device::flex();
        device.seed(0);
        let mut clip = ClipConfig {
            projection_dim: 5,
            ..ClipConfig::default()
        };
        clip.vision_config.hidden_size = 20;
        clip.vision_config.patch_size = 4;
        for config in configs() {
            let decoder = Decoder::init(&config, &clip, &device);
            let hidden = || Tensor::<3>::random([2, 1 + 6, 20], Distribution::Default, &device);
            let features = ImageFeatures {
                hidden_states: config.extract_layers().iter().map(|_| hidden()).collect(),
                grid: [2, 3],
                pixel_values: config
                    .uses_pixels()
                    .then(|| Tensor::random([2, 3, 8, 12], Distribution::Default, &device)),
            };
            let prompts = Tensor::<2>::random([4, 5], Distribution::Default, &device);
            let picture_of = [1, 0, 0, 1];
            let grouped = decoder.forward_grouped(&features, prompts.clone(), &picture_of);
            assert_eq!(grouped.dims(), [4, 8, 12]);
            for (prompt, picture) in picture_of.into_iter().enumerate() {
                let row = s![picture..picture + 1];
                let states = features.hidden_states.iter();
                let pixels = features.pixel_values.clone();
                let one = ImageFeatures {
                    hidden_states: states.map(|state| state.clone().slice(row)).collect(),
                    grid: features.grid,
                    pixel_values: pixels.map(|pixels| pixels.slice(row)),
                };
                let row = s![prompt..prompt + 1];
                let alone = decoder.forward(&one, prompts.clone().slice(row));
                let together = grouped.clone().slice(row);
                alone
                    .into_data()
                    .assert_approx_eq::<f32>(&together.into_data(), Tolerance::rel_abs(1e-5, 1e-5));
            }
        }
    }
}
