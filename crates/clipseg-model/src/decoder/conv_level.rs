//! One level of the convolutional decoder, with its inputs from CLIP and from the picture.

use super::convolution::{AFTER_LINEAR, AFTER_RELU, Upsample, conv3x3, resize_bilinear};
use super::expansion::Expansion;
use crate::config::ConvDecoderConfig;
use burn::nn::conv::Conv2d;
use burn::nn::{
    GroupNorm, GroupNormConfig, Initializer, LayerNorm, LayerNormConfig, Linear, LinearConfig,
};
use burn::prelude::*;
use burn::tensor::activation::relu;
use clipseg_clip::ClipConfig;

/// A skip connection: turns a hidden state of CLIP into a feature map at the resolution of a level.
#[derive(Module, Debug)]
pub(super) struct Skip {
    /// CLIP's layers are pre-norm, so the hidden states between them are not normalised.
    norm: LayerNorm,
    /// A 1×1 convolution, applied to tokens.
    projection: Linear,
    raise: Option<Upsample>,
}

/// Turns the picture into a feature map at half its resolution.
#[derive(Module, Debug)]
pub(super) struct PictureBranch {
    conv1: Conv2d,
    norm: GroupNorm,
    conv2: Conv2d,
}

/// A residual block with one convolution.
#[derive(Module, Debug)]
pub(super) struct Block {
    conv: Conv2d,
    norm: GroupNorm,
}

/// The layers at one resolution.
#[derive(Module, Debug)]
pub(super) struct Level {
    pub(super) skip: Option<Skip>,
    up: Option<Upsample>,
    norm: GroupNorm,
    film_mul: Linear,
    film_add: Linear,
    blocks: Vec<Block>,
}

/// Group normalisation with up to eight groups of at least four channels. Smaller groups would lose
/// the differences between their channels.
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

    /// # Shapes
    ///
    /// - hidden: `[pictures, 1 + rows · columns, hidden_size]`
    /// - output: `[pictures, channels, height, width]` at the level's resolution
    pub(super) fn forward(&self, hidden: &Tensor<3>, [rows, columns]: [usize; 2]) -> Tensor<4> {
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
    pub(super) fn init(colours: usize, width: usize, device: &Device) -> Self {
        Self {
            conv1: conv3x3([colours, width], 2, AFTER_LINEAR, device),
            norm: group_norm(width, device),
            conv2: conv3x3([width, width], 1, AFTER_RELU, device),
        }
    }

    /// A feature map of the given height and width. The picture is resized to twice that size first
    /// if it has another size.
    pub(super) fn forward(
        &self,
        pixel_values: Tensor<4>,
        [height, width]: [usize; 2],
    ) -> Tensor<4> {
        let x = resize_bilinear(pixel_values, [2 * height, 2 * width]);
        let x = relu(self.norm.forward(self.conv1.forward(x)));
        self.conv2.forward(x)
    }
}

impl Level {
    /// The level with this index, for the number of channels of each level.
    pub(super) fn init(
        config: &ConvDecoderConfig,
        clip: &ClipConfig,
        widths: &[usize],
        index: usize,
        device: &Device,
    ) -> Self {
        let (width, hidden) = (widths[index], clip.vision_config.hidden_size);
        let film = || LinearConfig::new(clip.projection_dim, width).init(device);
        let block = |_| Block {
            conv: conv3x3([width, width], 1, AFTER_RELU, device),
            norm: group_norm(width, device),
        };
        Self {
            skip: (index < config.extract_layers.len())
                .then(|| Skip::init(config, hidden, width, index as u32, device)),
            up: (index > 0).then(|| {
                let channels = [widths[index - 1], width];
                Upsample::init(config.upsampling, channels, 2, AFTER_RELU, device)
            }),
            norm: group_norm(width, device),
            film_mul: film(),
            film_add: film(),
            blocks: (0..config.blocks).map(block).collect(),
        }
    }

    /// `below` is the output of the previous level and `entering` the sum of the skip connection and the
    /// picture branch. `entering` has one row for each picture; `below` and the output have one row for
    /// each prompt.
    pub(super) fn forward(
        &self,
        below: Option<Tensor<4>>,
        entering: Option<Tensor<4>>,
        conditional_embedding: &Tensor<2>,
        expansion: &Expansion,
    ) -> Tensor<4> {
        let x = match (&self.up, below, entering) {
            (Some(up), Some(below), None) => self.norm.forward(up.forward(below)),
            (Some(up), Some(below), Some(entering)) => self
                .norm
                .forward(up.forward(below) + expansion.apply(entering)),
            (None, None, Some(entering)) => expansion.apply(self.norm.forward(entering)),
            _ => unreachable!("the first level has a skip connection, the others a previous level"),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn group_norms_have_up_to_eight_groups_of_at_least_four_channels() {
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
}
