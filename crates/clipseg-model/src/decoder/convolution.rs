//! Convolutions and upsampling whose initial weights preserve the variance of their inputs.
//!
//! Weights are normal with a variance of gain² / fan-in (He et al. 2015, arXiv:1502.01852). The fan-in
//! is the number of inputs of one output value. For a transposed convolution whose kernel size equals
//! its stride, that is the number of input channels. The default of Burn and PyTorch also counts the
//! kernel, so the values would become smaller with each upsampling.

use crate::config::Upsampling;
use burn::nn::conv::{Conv2d, Conv2dConfig, ConvTranspose2d, ConvTranspose2dConfig};
use burn::nn::{Initializer, PaddingConfig2d};
use burn::prelude::*;

/// The gain of a layer after a ReLU, which halves the mean square.
pub(super) const AFTER_RELU: f64 = std::f64::consts::SQRT_2;
/// The gain of a layer after a linear layer or a normalisation.
pub(super) const AFTER_LINEAR: f64 = 1.0;

fn normal(gain: f64, fan_in: usize) -> Initializer {
    Initializer::Normal {
        mean: 0.0,
        std: gain / (fan_in as f64).sqrt(),
    }
}

/// A 3×3 convolution without a bias, to be followed by a normalisation. With stride 1 the output has the
/// size of the input.
pub(super) fn conv3x3(channels: [usize; 2], stride: usize, gain: f64, device: &Device) -> Conv2d {
    Conv2dConfig::new(channels, [3, 3])
        .with_stride([stride, stride])
        .with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1))
        .with_bias(false)
        .with_initializer(normal(gain, 9 * channels[0]))
        .init(device)
}

/// Upsampling by an integer factor.
#[derive(Module, Debug)]
pub(super) enum Upsample {
    /// A transposed convolution whose kernel size equals its stride.
    Transposed(ConvTranspose2d),
    /// Bilinear interpolation followed by a 3×3 convolution.
    Bilinear(BilinearUpsample),
}

/// The layers of [`Upsample::Bilinear`].
#[derive(Module, Debug)]
pub(super) struct BilinearUpsample {
    conv: Conv2d,
    factor: usize,
}

impl Upsample {
    /// Upsampling without a bias.
    pub(super) fn init(
        kind: Upsampling,
        channels: [usize; 2],
        factor: usize,
        gain: f64,
        device: &Device,
    ) -> Self {
        match kind {
            Upsampling::Transposed => Self::Transposed(
                ConvTranspose2dConfig::new(channels, [factor, factor])
                    .with_stride([factor, factor])
                    .with_bias(false)
                    .with_initializer(normal(gain, channels[0]))
                    .init(device),
            ),
            Upsampling::Bilinear => Self::Bilinear(BilinearUpsample {
                conv: conv3x3(channels, 1, gain, device),
                factor,
            }),
        }
    }

    /// Adds a bias that starts at zero, for an output without a normalisation.
    pub(super) fn with_bias(mut self, channels: usize, device: &Device) -> Self {
        let zeros = Some(Initializer::Zeros.init([channels], device));
        match &mut self {
            Self::Transposed(up) => up.bias = zeros,
            Self::Bilinear(up) => up.conv.bias = zeros,
        }
        self
    }

    /// # Shapes
    ///
    /// - x: `[batch, channels, height, width]`
    /// - output: `[batch, channels, factor · height, factor · width]`
    pub(super) fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        match self {
            Self::Transposed(up) => up.forward(x),
            Self::Bilinear(up) => {
                let [_, _, height, width] = x.dims();
                let size = [up.factor * height, up.factor * width];
                up.conv.forward(resize_bilinear(x, size))
            }
        }
    }
}

/// Bilinear interpolation as in PyTorch (`align_corners=False`, no antialiasing).
///
/// It is computed as two matrix products, because Burn's interpolation has no backward pass on some
/// devices.
///
/// # Shapes
///
/// - x: `[batch, channels, rows, columns]`
/// - output: `[batch, channels, height, width]`
pub(super) fn resize_bilinear(x: Tensor<4>, [height, width]: [usize; 2]) -> Tensor<4> {
    let [batch, channels, rows, columns] = x.dims();
    if [rows, columns] == [height, width] {
        return x;
    }
    let device = x.device();
    let matrix = |from: usize, to: usize| {
        Tensor::<2>::from_data(TensorData::new(bilinear(from, to), [to, from]), &device)
    };
    let wide = x
        .reshape([batch * channels * rows, columns])
        .matmul(matrix(columns, width).transpose())
        .reshape([batch * channels, rows, width]);
    let both = matrix(rows, height).unsqueeze::<3>().matmul(wide);
    both.reshape([batch, channels, height, width])
}

/// The interpolation weights of each input position for each output position, `[to, from]` in row-major
/// order.
fn bilinear(from: usize, to: usize) -> Vec<f32> {
    let mut weights = vec![0.0; to * from];
    for (target, row) in weights.chunks_exact_mut(from).enumerate() {
        let centre = (target as f64 + 0.5) * from as f64 / to as f64 - 0.5;
        let centre = centre.clamp(0.0, (from - 1) as f64);
        let (first, t) = (centre as usize, centre.fract() as f32);
        row[first] += 1.0 - t;
        row[(first + 1).min(from - 1)] += t;
    }
    weights
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::module::interpolate;
    use burn::tensor::ops::{InterpolateMode, InterpolateOptions};
    use burn::tensor::{Distribution, Tolerance};

    #[test]
    fn weights_of_upsampling_by_two_are_quarters() {
        let expected = [
            [1.0, 0.0, 0.0],
            [0.75, 0.25, 0.0],
            [0.25, 0.75, 0.0],
            [0.0, 0.75, 0.25],
            [0.0, 0.25, 0.75],
            [0.0, 0.0, 1.0],
        ];
        assert_eq!(bilinear(3, 6), expected.concat());
    }

    #[test]
    fn resizing_equals_burns_interpolation() {
        let device = Device::flex();
        device.seed(1);
        let x = Tensor::<4>::random([2, 3, 4, 7], Distribution::Default, &device);
        for size in [[8, 14], [7, 5], [3, 21], [4, 7]] {
            let options = InterpolateOptions::new(InterpolateMode::Bilinear)
                .with_align_corners(false)
                .with_output_size(size);
            let expected = interpolate(x.clone(), options).into_data();
            let found = resize_bilinear(x.clone(), size).into_data();
            found.assert_approx_eq::<f32>(&expected, Tolerance::absolute(1e-5));
        }
    }

    #[test]
    fn upsampling_multiplies_the_sides_and_preserves_the_variance() {
        let device = Device::flex();
        device.seed(2);
        let x = Tensor::<4>::random([1, 64, 6, 5], Distribution::Normal(0.0, 1.0), &device);
        for kind in [Upsampling::Transposed, Upsampling::Bilinear] {
            for factor in [2, 4] {
                let up = Upsample::init(kind, [64, 32], factor, AFTER_LINEAR, &device);
                let y = up.forward(x.clone());
                assert_eq!(y.dims(), [1, 32, 6 * factor, 5 * factor]);
                // Interpolation averages noise, which reduces its deviation by up to a factor of 3.
                let deviation = y.square().mean().sqrt().into_scalar::<f32>();
                let expected = match kind {
                    Upsampling::Transposed => 0.9..1.1,
                    Upsampling::Bilinear => 0.3..1.1,
                };
                assert!(expected.contains(&deviation), "{kind:?}: {deviation}");
            }
        }
    }
}
