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
    /// - cells: `[prompts, rows, columns, reduce_dim]`
    /// - output: `[prompts, 1, height, width]`
    pub(super) fn forward(&self, cells: Tensor<4>) -> Tensor<4> {
        match self {
            Self::Simple(up) => enlarge(up, cells),
            Self::Refined(head) => {
                let x = relu(head.conv.forward(cells.permute([0, 3, 1, 2])));
                let x = relu(enlarge(&head.up1, x.permute(CHANNELS_LAST)));
                enlarge(&head.up2, x.permute(CHANNELS_LAST))
            }
        }
    }
}

/// The order of the dimensions that moves the channels of a picture to the end.
const CHANNELS_LAST: [isize; 4] = [0, 2, 3, 1];

/// A transposed convolution whose stride is its kernel size. Its outputs do not overlap, so it is one matrix
/// product, which is faster than Burn's convolution and its backward pass. Its input has the layout of tokens,
/// which therefore need not be copied.
///
/// # Shapes
///
/// - cells: `[batch, rows, columns, inputs]`
/// - output: `[batch, outputs, rows · kernel, columns · kernel]`
fn enlarge(up: &ConvTranspose2d, cells: Tensor<4>) -> Tensor<4> {
    let weight = up.weight.val();
    let [inputs, outputs, down, across] = weight.dims();
    let [batch, rows, columns, _] = cells.dims();
    let cells = cells.reshape([batch * rows * columns, inputs]);
    let pixels: Tensor<2> = cells.matmul(weight.reshape([inputs, outputs * down * across]));
    let y = pixels
        .reshape([batch, rows, columns, outputs, down, across])
        .permute([0, 3, 1, 4, 2, 5])
        .reshape([batch, outputs, rows * down, columns * across]);
    match &up.bias {
        Some(bias) => y + bias.val().reshape([1, outputs, 1, 1]),
        None => y,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Distribution, Tolerance};

    #[test]
    fn enlarging_equals_the_transposed_convolution() {
        let device = Device::flex();
        for kernel in [1, 2, 5] {
            let up = ConvTranspose2dConfig::new([3, 4], [kernel, kernel])
                .with_stride([kernel, kernel])
                .init(&device);
            let x = Tensor::<4>::random([2, 3, 4, 3], Distribution::Default, &device);
            let expected = up.forward(x.clone()).into_data();
            let found = enlarge(&up, x.permute(CHANNELS_LAST)).into_data();
            found.assert_approx_eq::<f32>(&expected, Tolerance::absolute(1e-6));
        }
    }
}
