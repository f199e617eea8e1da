//! A convolutional decoder whose inputs are CLIP's hidden states, at increasing resolutions.
//!
//! The architecture is the U-Net's (Ronneberger et al. 2015, arXiv:1505.04597) with CLIP's vision
//! encoder as the contracting path. All layers of a vision transformer have the same resolution, so the
//! skip connections upsample their hidden states to the resolution of each level. At each level the
//! prompt scales and shifts every channel (FiLM, Perez et al. 2018, arXiv:1709.07871). The normalisation
//! is group normalisation (Wu and He 2018, arXiv:1803.08494), which does not depend on the batch size.
//!
//! Everything that does not depend on the prompt is computed once for each picture.

use super::conv_level::{Level, PictureBranch};
use super::convolution::{AFTER_LINEAR, Upsample, resize_bilinear};
use super::expansion::Expansion;
use crate::config::ConvDecoderConfig;
use crate::features::ImageFeatures;
use burn::prelude::*;
use clipseg_clip::ClipConfig;

/// A convolutional decoder, similar to a U-Net. [`Decoder`](crate::Decoder) creates and runs it.
#[derive(Module, Debug)]
pub struct ConvDecoder {
    levels: Vec<Level>,
    picture: Option<PictureBranch>,
    head: Upsample,
    patch_size: usize,
}

impl ConvDecoder {
    /// A decoder whose weights are drawn at their first use.
    ///
    /// Convolutions and projections start from normal distributions that preserve the variance of
    /// their inputs (He et al. 2015). The FiLM layers start from PyTorch's default for linear layers,
    /// with scales around one.
    pub(super) fn unfilled(config: &ConvDecoderConfig, clip: &ClipConfig, device: &Device) -> Self {
        let vision = &clip.vision_config;
        let widths = config.widths(vision.patch_size);
        let last = widths.last().copied().unwrap_or(config.width);
        Self {
            levels: (0..widths.len())
                .map(|index| Level::init(config, clip, &widths, index, device))
                .collect(),
            picture: config
                .picture_branch
                .then(|| PictureBranch::init(vision.num_channels, last, device)),
            head: Upsample::init(config.upsampling, [last, 1], 2, AFTER_LINEAR, device)
                .with_bias(1, device),
            patch_size: vision.patch_size,
        }
    }

    /// The logits, `[prompts, height, width]`.
    pub(super) fn run(
        &self,
        features: &ImageFeatures,
        conditional_embedding: &Tensor<2>,
        expansion: &Expansion,
    ) -> Tensor<3> {
        let [rows, columns] = features.grid;
        let mut deepest_first = features.hidden_states.iter().rev();
        let mut x = None;
        for (index, level) in self.levels.iter().enumerate() {
            let mut entering = level.skip.as_ref().map(|skip| {
                let hidden = deepest_first.next();
                let hidden = hidden.expect("the decoder needs one hidden state for each layer");
                skip.forward(hidden, features.grid)
            });
            if let Some(picture) = &self.picture
                && index + 1 == self.levels.len()
            {
                let pixels = features.pixel_values.clone();
                let pixels = pixels.expect("the decoder's picture branch needs the pixels");
                let map = picture.forward(pixels, [rows << index, columns << index]);
                entering = Some(match entering {
                    Some(skip) => skip + map,
                    None => map,
                });
            }
            x = Some(level.forward(x, entering, conditional_embedding, expansion));
        }
        assert!(
            deepest_first.next().is_none(),
            "there are more hidden states than the decoder uses"
        );
        let Some(x) = x else {
            unreachable!("a decoder has at least one level")
        };
        let size = [rows * self.patch_size, columns * self.patch_size];
        resize_bilinear(self.head.forward(x), size).squeeze_dim(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Upsampling;
    use burn::tensor::Distribution;

    fn clip(patch_size: usize) -> ClipConfig {
        let mut clip = ClipConfig {
            projection_dim: 6,
            ..ClipConfig::default()
        };
        clip.vision_config.hidden_size = 20;
        clip.vision_config.patch_size = patch_size;
        clip
    }

    fn count(config: &ConvDecoderConfig) -> usize {
        let clip = ClipConfig::vit_b_16();
        ConvDecoder::unfilled(config, &clip, &Device::flex()).num_params()
    }

    #[test]
    fn presets_have_the_documented_number_of_parameters() {
        let base = count(&ConvDecoderConfig::base());
        // The transformer decoder with D = 64, with the simple and with the refined head.
        for transformer in [1_073_153f64, 1_127_009.0] {
            let ratio = base as f64 / transformer;
            assert!((0.9..=1.1).contains(&ratio), "{base} of {transformer}");
        }
        assert_eq!(base, 1_068_481);
        assert_eq!(count(&ConvDecoderConfig::tiny()), 131_105);
        assert_eq!(count(&ConvDecoderConfig::large()), 3_498_305);
    }

    #[test]
    fn any_patch_size_gives_one_logit_for_each_pixel() {
        let device = Device::flex();
        for patch in [2, 4, 8, 14, 16, 32] {
            for upsampling in [Upsampling::Transposed, Upsampling::Bilinear] {
                let mut config = ConvDecoderConfig {
                    upsampling,
                    picture_branch: true,
                    ..ConvDecoderConfig::tiny()
                };
                let levels = config.widths(patch).len();
                config.extract_layers.truncate(levels);
                let decoder = ConvDecoder::unfilled(&config, &clip(patch), &device);
                assert_eq!(decoder.levels.len(), levels);
                let normal = Distribution::Normal(0.0, 1.0);
                let features = ImageFeatures {
                    hidden_states: (0..config.extract_layers.len())
                        .map(|_| Tensor::random([1, 1 + 6, 20], normal, &device))
                        .collect(),
                    grid: [2, 3],
                    pixel_values: Some(Tensor::random(
                        [1, 3, 2 * patch, 3 * patch],
                        normal,
                        &device,
                    )),
                };
                let prompts = Tensor::random([2, 6], normal, &device);
                let logits = decoder.run(&features, &prompts, &Expansion::Broadcast(2));
                assert_eq!(logits.dims(), [2, 2 * patch, 3 * patch]);
                let largest = logits.abs().max().into_scalar::<f32>();
                assert!((0.01..100.0).contains(&largest), "{patch}: {largest}");
            }
        }
    }

    #[test]
    fn there_is_one_level_for_each_doubling_within_a_patch() {
        let config = ConvDecoderConfig::base();
        assert_eq!(config.widths(8), [144, 72, 36]);
        assert_eq!(config.widths(14), [144, 72, 36]);
        assert_eq!(config.widths(16), [144, 72, 36, 18]);
        assert_eq!(config.widths(32), [144, 72, 36, 18, 9]);
        assert_eq!(ConvDecoderConfig::tiny().widths(32), [32, 16, 8, 8, 8]);
    }
}
