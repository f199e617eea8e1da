//! The head of the transformer decoder, which upsamples tokens to logits.

use crate::config::TransformerDecoderConfig;
use burn::nn::PaddingConfig2d;
use burn::nn::conv::{Conv2d, Conv2dConfig, ConvTranspose2d, ConvTranspose2dConfig};
use burn::prelude::*;
use burn::tensor::activation::relu;

/// Computes one logit for each pixel from the tokens on the patch grid.
#[derive(Module, Debug)]
#[expect(clippy::large_enum_variant, reason = "a decoder has one head")]
pub(super) enum Head {
    /// One transposed convolution whose kernel size and stride are the patch size.
    Simple(ConvTranspose2d),
    /// A 3×3 convolution over the tokens, then two transposed convolutions.
    Refined(RefinedHead),
}

/// The layers of the refined head.
#[derive(Module, Debug)]
pub(super) struct RefinedHead {
    conv: Conv2d,
    up1: ConvTranspose2d,
    up2: ConvTranspose2d,
}

impl Head {
    pub(super) fn init(config: &TransformerDecoderConfig, patch: usize, device: &Device) -> Self {
        let dim = config.reduce_dim;
        let up = |channels, kernel| {
            ConvTranspose2dConfig::new(channels, [kernel, kernel])
                .with_stride([kernel, kernel])
                .init(device)
        };
        if config.use_complex_transposed_convolution {
            Self::Refined(RefinedHead {
                conv: Conv2dConfig::new([dim, dim], [3, 3])
                    .with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1))
                    .init(device),
                up1: up([dim, dim / 2], patch / 4),
                up2: up([dim / 2, 1], patch / 4),
            })
        } else {
            Self::Simple(up([dim, 1], patch))
        }
    }

    /// # Shapes
    ///
    /// - x: `[prompts, reduce_dim, rows, columns]`
    /// - output: `[prompts, 1, height, width]`
    pub(super) fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        match self {
            Self::Simple(up) => up.forward(x),
            Self::Refined(head) => {
                let x = relu(head.conv.forward(x));
                head.up2.forward(relu(head.up1.forward(x)))
            }
        }
    }
}
