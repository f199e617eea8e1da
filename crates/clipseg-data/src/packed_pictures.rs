//! Pictures packed for the transfer to a device.

use burn::prelude::*;
use image::RgbImage;

/// The bytes of pictures, four in an integer, because not every device has tensors of bytes. They take a quarter
/// of the transfer of single-precision pixels.
#[derive(Debug, Clone, PartialEq)]
pub struct PackedPictures {
    /// Four bytes each, little-endian.
    words: Vec<i32>,
    /// Pictures, channels, height, width.
    shape: [usize; 4],
}

impl PackedPictures {
    /// Packs the bytes of pictures in the layout of `shape`: pictures, channels, height, width.
    pub fn new(bytes: &[u8], shape: [usize; 4]) -> Self {
        let (whole, rest) = bytes.as_chunks::<4>();
        let mut words: Vec<i32> = whole.iter().map(|word| i32::from_le_bytes(*word)).collect();
        if !rest.is_empty() {
            let mut last = [0; 4];
            last[..rest.len()].copy_from_slice(rest);
            words.push(i32::from_le_bytes(last));
        }
        Self { words, shape }
    }

    /// Packs pictures of the same size.
    ///
    /// # Panics
    ///
    /// If the pictures differ in size.
    pub fn of<'a>(pictures: impl IntoIterator<Item = &'a RgbImage>) -> Self {
        let (mut bytes, mut count, mut size) = (Vec::new(), 0, None);
        for picture in pictures {
            assert_eq!(
                *size.get_or_insert(picture.dimensions()),
                picture.dimensions(),
                "pictures of one size"
            );
            for channel in 0..3 {
                bytes.extend(picture.as_raw().iter().skip(channel).step_by(3));
            }
            count += 1;
        }
        let (width, height) = size.unwrap_or_default();
        Self::new(&bytes, [count, 3, height as usize, width as usize])
    }

    /// Unpacks the pictures on the device: `[pictures, channels, height, width]`, from 0 to 1.
    pub fn into_pixels(self, device: &Device) -> Tensor<4> {
        let count = self.words.len();
        let values: usize = self.shape.iter().product();
        let words = TensorData::new(self.words, [count]);
        let words = Tensor::<1, Int>::from_data(words, device);
        let byte = |place: i64| {
            let moved = words.clone().bitwise_right_shift_scalar(8 * place);
            moved.bitwise_and_scalar(255i64)
        };
        let bytes: Tensor<2, Int> = Tensor::stack(vec![byte(0), byte(1), byte(2), byte(3)], 1);
        let bytes = bytes.reshape([4 * count]);
        let bytes = if values < 4 * count {
            bytes.slice(s![0..values])
        } else {
            bytes
        };
        bytes.float().div_scalar(255.0).reshape(self.shape)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unpacked_pixels_are_those_of_the_pictures() {
        for side in [3, 4] {
            let picture = |add: u8| {
                RgbImage::from_fn(side, side, |x, y| {
                    image::Rgb([(x * 80) as u8, (y * 60) as u8, 255 - add])
                })
            };
            let pictures = [picture(0), picture(200)];
            let pixels = PackedPictures::of(&pictures).into_pixels(&Device::flex());
            assert_eq!(pixels.dims(), [2, 3, side as usize, side as usize]);
            let values: Vec<f32> = pixels.into_data().try_to_vec().unwrap();
            let mut values = values.into_iter();
            for picture in &pictures {
                for channel in 0..3 {
                    for pixel in picture.pixels() {
                        let found = values.next().unwrap() * 255.0;
                        assert!((found - f32::from(pixel.0[channel])).abs() < 1e-4);
                    }
                }
            }
        }
    }
}
