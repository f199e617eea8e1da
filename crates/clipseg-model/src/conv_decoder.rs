//! A convolutional decoder that CLIP feeds at rising resolutions.
//!
//! The shape is the U-Net's (Ronneberger et al. 2015, arXiv:1505.04597) with CLIP's vision tower in
//! the place of its left half. A transformer has one resolution, so the skip connections raise its
//! maps to that of the level they enter. At each level a prompt scales and shifts every channel
//! (FiLM, Perez et al. 2018, arXiv:1709.07871), and norms are over groups of channels of one sample
//! (Wu and He 2018, arXiv:1803.08494), so that a batch of one is like any other.
//!
//! Everything on the way from CLIP or from the picture to a level is computed once for each picture,
//! however many prompts there are.

use crate::conv_config::ConvDecoderConfig;
use crate::convolution::{AFTER_LINEAR, AFTER_RELU, Upsample, conv3x3, resize_bilinear};
use crate::features::ImageFeatures;
use crate::spread::Spread;
use burn::nn::conv::Conv2d;
use burn::nn::{
    GroupNorm, GroupNormConfig, Initializer, LayerNorm, LayerNormConfig, Linear, LinearConfig,
};
use burn::prelude::*;
use burn::tensor::activation::relu;
use clipseg_clip::{ClipConfig, initialise};

/// From a hidden state of the tower to a map at the resolution of a level.
#[derive(Module, Debug)]
struct Skip {
    /// CLIP's blocks are pre-norm: whatever reads what runs between them normalises it first.
    norm: LayerNorm,
    /// A convolution of 1×1, on tokens.
    projection: Linear,
    raise: Option<Upsample>,
}

/// From the picture to a map at half its resolution.
#[derive(Module, Debug)]
struct PictureBranch {
    conv1: Conv2d,
    norm: GroupNorm,
    conv2: Conv2d,
}

/// A convolution around which the map also passes unchanged.
#[derive(Module, Debug)]
struct Block {
    conv: Conv2d,
    norm: GroupNorm,
}

/// What happens at one resolution.
#[derive(Module, Debug)]
struct Level {
    skip: Option<Skip>,
    up: Option<Upsample>,
    norm: GroupNorm,
    film_mul: Linear,
    film_add: Linear,
    blocks: Vec<Block>,
}

/// Turns pictures' hidden states and prompts' embeddings into logits, by convolutions.
///
/// # Example
///
/// ```
/// use burn::module::Module;
/// use burn::tensor::{Device, Distribution, Tensor};
/// use clipseg_model::clip::ClipConfig;
/// use clipseg_model::{ConvDecoder, ConvDecoderConfig, ImageFeatures};
///
/// let device = Device::flex();
/// device.seed(0);
/// let decoder = ConvDecoder::init(&ConvDecoderConfig::tiny(), &ClipConfig::vit_b_16(), &device);
///
/// // What three blocks of ViT-B/16 make of a picture of 64×48: 4×3 patches and the class token.
/// let hidden = || Tensor::random([1, 1 + 12, 768], Distribution::Default, &device);
/// let features = ImageFeatures {
///     hidden_states: vec![hidden(), hidden(), hidden()],
///     grid: [3, 4],
///     pixel_values: None,
/// };
/// let prompts = Tensor::random([2, 512], Distribution::Default, &device);
/// assert_eq!(decoder.forward(&features, prompts).dims(), [2, 48, 64]);
/// ```
#[derive(Module, Debug)]
pub struct ConvDecoder {
    levels: Vec<Level>,
    picture: Option<PictureBranch>,
    head: Upsample,
    patch_size: usize,
}

/// Up to eight groups, of at least four channels: fewer would forget how they compare.
fn group_norm(channels: usize, device: &Device) -> GroupNorm {
    let fits = |groups: &usize| channels.is_multiple_of(*groups) && channels / groups >= 4;
    let groups = (1..=8).rev().find(fits).unwrap_or(1);
    GroupNormConfig::new(groups, channels).init(device)
}

impl Skip {
    fn init(
        config: &ConvDecoderConfig,
        hidden: usize,
        width: usize,
        level: u32,
        device: &Device,
    ) -> Self {
        let projection = LinearConfig::new(hidden, width)
            .with_bias(false)
            .with_initializer(Initializer::Normal {
                mean: 0.0,
                std: (hidden as f64).powf(-0.5),
            });
        let raise = |factor| {
            let channels = [width, width];
            Upsample::init(config.upsampling, channels, factor, AFTER_LINEAR, device)
        };
        Self {
            norm: LayerNormConfig::new(hidden).init(device),
            projection: projection.init(device),
            raise: (level > 0).then(|| raise(1 << level)),
        }
    }

    fn forward(&self, hidden: &Tensor<3>, [rows, columns]: [usize; 2]) -> Tensor<4> {
        let patches = hidden.clone().slice(s![.., 1.., ..]);
        let tokens = self.projection.forward(self.norm.forward(patches));
        let [pictures, _, width] = tokens.dims();
        let map = tokens
            .swap_dims(1, 2)
            .reshape([pictures, width, rows, columns]);
        match &self.raise {
            Some(raise) => raise.forward(map),
            None => map,
        }
    }
}

impl PictureBranch {
    fn init(colours: usize, width: usize, device: &Device) -> Self {
        Self {
            conv1: conv3x3([colours, width], 2, AFTER_LINEAR, device),
            norm: group_norm(width, device),
            conv2: conv3x3([width, width], 1, AFTER_RELU, device),
        }
    }

    /// A map of a given size; a picture of another than twice that is resized first.
    fn forward(&self, pixel_values: Tensor<4>, [height, width]: [usize; 2]) -> Tensor<4> {
        let x = resize_bilinear(pixel_values, [2 * height, 2 * width]);
        let x = relu(self.norm.forward(self.conv1.forward(x)));
        self.conv2.forward(x)
    }
}

impl Level {
    /// `entering` has one row for each picture, `below` and the output have one for each prompt.
    fn forward(
        &self,
        below: Option<Tensor<4>>,
        entering: Option<Tensor<4>>,
        conditional_embedding: &Tensor<2>,
        spread: &Spread,
    ) -> Tensor<4> {
        let x = match (&self.up, below, entering) {
            (Some(up), Some(below), None) => self.norm.forward(up.forward(below)),
            (Some(up), Some(below), Some(entering)) => self
                .norm
                .forward(up.forward(below) + spread.apply(entering)),
            (None, None, Some(entering)) => spread.apply(self.norm.forward(entering)),
            _ => unreachable!("the first level has a layer of CLIP, the others a level below"),
        };
        let film = |map: &Linear| -> Tensor<4> {
            let values = map.forward(conditional_embedding.clone());
            let [prompts, width] = values.dims();
            values.reshape([prompts, width, 1, 1])
        };
        let x = x * film(&self.film_mul).add_scalar(1.0) + film(&self.film_add);
        self.blocks.iter().fold(relu(x), |x, block| {
            let change = block.norm.forward(block.conv.forward(x.clone()));
            relu(x + change)
        })
    }
}

impl ConvDecoder {
    /// A decoder with random weights for the given encoders.
    ///
    /// Convolutions and projections are drawn so that values neither grow nor shrink on their way
    /// (normal, He et al. 2015), and the prompt's maps as PyTorch draws linear ones, around a scale
    /// of one. `device.seed` before it decides every weight.
    pub fn init(config: &ConvDecoderConfig, clip: &ClipConfig, device: &Device) -> Self {
        let vision = &clip.vision_config;
        let widths = config.widths(vision.patch_size);
        let level = |index: usize, width: usize| {
            let film = || LinearConfig::new(clip.projection_dim, width).init(device);
            let block = |_| Block {
                conv: conv3x3([width, width], 1, AFTER_RELU, device),
                norm: group_norm(width, device),
            };
            Level {
                skip: (index < config.extract_layers.len())
                    .then(|| Skip::init(config, vision.hidden_size, width, index as u32, device)),
                up: (index > 0).then(|| {
                    let channels = [widths[index - 1], width];
                    Upsample::init(config.upsampling, channels, 2, AFTER_RELU, device)
                }),
                norm: group_norm(width, device),
                film_mul: film(),
                film_add: film(),
                blocks: (0..config.blocks).map(block).collect(),
            }
        };
        let last = widths.last().copied().unwrap_or(config.width);
        let decoder = Self {
            levels: widths
                .iter()
                .enumerate()
                .map(|(index, &width)| level(index, width))
                .collect(),
            picture: config
                .picture_branch
                .then(|| PictureBranch::init(vision.num_channels, last, device)),
            head: Upsample::init(config.upsampling, [last, 1], 2, AFTER_LINEAR, device)
                .with_bias(1, device),
            patch_size: vision.patch_size,
        };
        initialise(&decoder);
        decoder
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
    /// If the shapes do not fit, or the pictures themselves are needed and missing.
    pub fn forward(&self, features: &ImageFeatures, conditional_embedding: Tensor<2>) -> Tensor<3> {
        let [prompts, _] = conditional_embedding.dims();
        let spread = Spread::evenly(features.pictures(), prompts);
        self.run(features, &conditional_embedding, &spread)
    }

    /// Decodes pictures with several prompts each; `picture_of[i]` is the picture of prompt `i`.
    ///
    /// # Shapes
    ///
    /// As [`forward`](Self::forward), with as many prompts as `picture_of` has entries.
    ///
    /// # Panics
    ///
    /// If the shapes do not fit, a picture does not exist, or the pictures themselves are needed and
    /// missing.
    pub fn forward_grouped(
        &self,
        features: &ImageFeatures,
        conditional_embedding: Tensor<2>,
        picture_of: &[usize],
    ) -> Tensor<3> {
        let device = conditional_embedding.device();
        let spread = Spread::grouped(features.pictures(), picture_of, &device);
        self.run(features, &conditional_embedding, &spread)
    }

    fn run(
        &self,
        features: &ImageFeatures,
        conditional_embedding: &Tensor<2>,
        spread: &Spread,
    ) -> Tensor<3> {
        let [rows, columns] = features.grid;
        let mut deepest_first = features.hidden_states.iter().rev();
        let mut x = None;
        for (index, level) in self.levels.iter().enumerate() {
            let mut entering = level.skip.as_ref().map(|skip| {
                let hidden = deepest_first
                    .next()
                    .expect("one hidden state for each layer");
                skip.forward(hidden, features.grid)
            });
            if let Some(picture) = &self.picture
                && index + 1 == self.levels.len()
            {
                let pixels = features.pixel_values.clone();
                let pixels = pixels.expect("the decoder looks at the pictures themselves");
                let map = picture.forward(pixels, [rows << index, columns << index]);
                entering = Some(match entering {
                    Some(skip) => skip + map,
                    None => map,
                });
            }
            x = Some(level.forward(x, entering, conditional_embedding, spread));
        }
        assert!(
            deepest_first.next().is_none(),
            "more hidden states than the decoder takes"
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
    use crate::conv_config::Upsampling;
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
        ConvDecoder::init(config, &clip, &Device::flex()).num_params()
    }

    #[test]
    fn sizes_have_the_documented_number_of_parameters() {
        let base = count(&ConvDecoderConfig::base());
        // The transformer decoder at D = 64, with the simple and with the refined head.
        for transformer in [1_073_153f64, 1_127_009.0] {
            let ratio = base as f64 / transformer;
            assert!((0.9..=1.1).contains(&ratio), "{base} of {transformer}");
        }
        assert_eq!(base, 1_068_481);
        assert_eq!(count(&ConvDecoderConfig::tiny()), 131_105);
        assert_eq!(count(&ConvDecoderConfig::large()), 3_498_305);
    }

    #[test]
    fn any_patch_and_any_grid_give_logits_for_every_pixel() {
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
                let decoder = ConvDecoder::init(&config, &clip(patch), &device);
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
                let logits = decoder.forward(&features, prompts);
                assert_eq!(logits.dims(), [2, 2 * patch, 3 * patch]);
                let largest = logits.abs().max().into_scalar::<f32>();
                assert!((0.01..100.0).contains(&largest), "{patch}: {largest}");
            }
        }
    }

    #[test]
    fn norms_have_up_to_eight_groups_of_four_channels_or_more() {
        let device = Device::flex();
        for (channels, groups) in [
            (144, 8),
            (72, 8),
            (36, 6),
            (18, 3),
            (9, 1),
            (8, 2),
            (7, 1),
            (4, 1),
        ] {
            assert_eq!(
                group_norm(channels, &device).num_groups,
                groups,
                "{channels}"
            );
        }
    }

    #[test]
    fn patches_double_as_often_as_they_can() {
        let config = ConvDecoderConfig::base();
        assert_eq!(config.widths(8), [144, 72, 36]);
        assert_eq!(config.widths(14), [144, 72, 36]);
        assert_eq!(config.widths(16), [144, 72, 36, 18]);
        assert_eq!(config.widths(32), [144, 72, 36, 18, 9]);
        assert_eq!(ConvDecoderConfig::tiny().widths(32), [32, 16, 8, 8, 8]);
    }
}
