//! Random changes of brightness, contrast and saturation.

use image::{ImageBuffer, Pixel, Primitive, Rgb};

/// A level of one channel, from 0 to 255.
pub(crate) trait Level: Primitive + Into<f32> {
    /// Clamps a value to the range of levels.
    fn from_level(level: f32) -> Self;
    /// Grey value of a pixel.
    fn grey(channels: [Self; 3]) -> f32;
    /// Mean grey value of a picture.
    fn mean(sum: f64, pixels: f64) -> f32;
}

/// Arithmetic of Pillow's `ImageEnhance`, which torchvision uses for Pillow's pictures: each step truncates
/// to integer levels; grey values and their mean are rounded.
impl Level for u8 {
    fn from_level(level: f32) -> Self {
        level as Self
    }

    fn grey(channels: [Self; 3]) -> f32 {
        let [red, green, blue] = channels.map(u32::from);
        ((19_595 * red + 38_470 * green + 7_471 * blue + 0x8000) >> 16) as f32
    }

    fn mean(sum: f64, pixels: f64) -> f32 {
        (sum / pixels + 0.5).floor() as f32
    }
}

/// Arithmetic of torchvision for tensors of floats, without rounding.
impl Level for f32 {
    fn from_level(level: f32) -> Self {
        level.clamp(0.0, 255.0)
    }

    fn grey([red, green, blue]: [Self; 3]) -> f32 {
        0.2989 * red + 0.587 * green + 0.114 * blue
    }

    fn mean(sum: f64, pixels: f64) -> f32 {
        (sum / pixels) as Self
    }
}

/// Changes brightness, contrast and saturation, in this order, by torchvision's formula: a blend with
/// black, with the mean grey, and with the grey of the pixel. torchvision also draws a random order.
pub(crate) fn change_colours<L: Level>(
    picture: &mut ImageBuffer<Rgb<L>, Vec<L>>,
    [brightness, contrast, saturation]: [f32; 3],
) where
    Rgb<L>: Pixel<Subpixel = L>,
{
    let mix = |channels: [L; 3], with: f32, share: f32| {
        channels.map(|value| L::from_level(with + share * (value.into() - with)))
    };
    let pixels = f64::from(picture.width()) * f64::from(picture.height());
    let mut sum = 0.0;
    for pixel in picture.pixels_mut() {
        pixel.0 = mix(pixel.0, 0.0, brightness);
        sum += f64::from(L::grey(pixel.0));
    }
    let mean = L::mean(sum, pixels.max(1.0));
    for pixel in picture.pixels_mut() {
        let contrasted = mix(pixel.0, mean, contrast);
        pixel.0 = mix(contrasted, L::grey(contrasted), saturation);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{Rgb32FImage, RgbImage};

    #[test]
    fn neutral_factors_change_no_colour() {
        let before = RgbImage::from_fn(16, 9, |x, y| Rgb([x as u8 * 9, y as u8 * 20, 77]));
        let mut after = before.clone();
        change_colours(&mut after, [1.0; 3]);
        assert_eq!(after, before);

        let mut grey = before.clone();
        change_colours(&mut grey, [1.0, 1.0, 0.0]);
        assert!(
            grey.pixels()
                .all(|pixel| pixel.0[0] == pixel.0[1] && pixel.0[1] == pixel.0[2])
        );
        let mut dark = before;
        change_colours(&mut dark, [0.0, 1.0, 1.0]);
        assert!(dark.as_raw().iter().all(|&value| value == 0));
    }

    /// Values of Pillow 13's `ImageEnhance.Brightness`, `Contrast` and `Color`, applied in this order, as
    /// torchvision's `ColorJitter` uses them for Pillow's pictures.
    #[test]
    fn colours_change_as_in_torchvision_with_pillow() {
        let before = RgbImage::from_fn(4, 2, |x, y| {
            let levels = [77 * x + 13 * y, 19 * x * x + 71 * y, 506 - 70 * x - 35 * y];
            Rgb(levels.map(|level| (level % 256) as u8))
        });
        #[rustfmt::skip]
        let expected: [([f32; 3], [u8; 24]); 7] = [
            ([1.30, 1.00, 1.00], [0, 0, 255, 100, 24, 233, 200, 98, 143, 255, 222, 52, 16, 92, 255, 116, 116, 188, 217, 191, 97, 255, 255, 6]),
            ([1.00, 1.40, 1.00], [0, 0, 255, 63, 0, 207, 171, 62, 109, 255, 195, 11, 0, 55, 255, 81, 81, 158, 189, 161, 60, 255, 255, 0]),
            ([1.00, 0.60, 1.00], [44, 44, 194, 90, 55, 152, 136, 90, 110, 183, 147, 68, 52, 87, 173, 98, 98, 131, 144, 132, 89, 190, 189, 47]),
            ([1.00, 1.00, 1.50], [0, 0, 255, 88, 1, 242, 179, 62, 113, 255, 169, 0, 0, 71, 255, 87, 87, 169, 178, 148, 40, 255, 255, 0]),
            ([1.00, 1.00, 0.50], [14, 14, 139, 66, 37, 117, 128, 89, 106, 202, 172, 107, 41, 70, 142, 93, 93, 120, 156, 146, 110, 230, 229, 110]),
            ([1.20, 0.70, 1.40], [30, 30, 255, 109, 41, 231, 182, 91, 132, 230, 181, 27, 28, 97, 255, 111, 111, 175, 185, 161, 77, 224, 224, 0]),
            ([0.80, 1.35, 0.55], [12, 12, 143, 43, 15, 104, 110, 63, 84, 189, 153, 76, 22, 46, 132, 69, 69, 101, 137, 126, 83, 219, 217, 91]),
        ];
        for (factors, expected) in expected {
            let mut after = before.clone();
            change_colours(&mut after, factors);
            assert_eq!(after.as_raw(), &expected, "{factors:?}");
        }
    }

    /// torchvision's formula for tensors of floats (`_blend` and `rgb_to_grayscale`), written out.
    #[test]
    fn colours_of_exact_pictures_are_not_rounded() {
        let pixels = [[10.25f32, 200.5, 30.0], [250.0, 0.75, 90.5]];
        let mut picture = Rgb32FImage::from_fn(2, 1, |x, _| Rgb(pixels[x as usize]));
        change_colours(&mut picture, [1.2, 0.7, 1.4]);
        let grey = |[r, g, b]: [f32; 3]| 0.2989 * r + 0.587 * g + 0.114 * b;
        let bright = pixels.map(|pixel| pixel.map(|level| (level * 1.2).clamp(0.0, 255.0)));
        let mean = bright.map(grey).iter().sum::<f32>() / 2.0;
        for (pixel, bright) in picture.pixels().zip(bright) {
            let contrasted = bright.map(|level| 0.7 * level + 0.3 * mean);
            let own = grey(contrasted);
            for (level, value) in pixel.0.into_iter().zip(contrasted) {
                let expected = (1.4 * value - 0.4 * own).clamp(0.0, 255.0);
                assert!(
                    (level - expected).abs() < 1e-3,
                    "{level}, expected {expected}"
                );
            }
        }
    }
}
