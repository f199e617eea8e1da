//! What is seen of a picture: a square of it, mirrored, in other light.

use super::options::SampleOptions;
use super::picture::{Preprocessing, SamplePicture};
use crate::mask::{BoundingBox, Mask};
use image::{ImageBuffer, Pixel, Primitive, Rgb, RgbImage, imageops};
use rand::{Rng, RngExt};

const CROP_TRIES: usize = 50;

/// What is seen of a picture. Two equal views show the same pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct View {
    /// The picture.
    pub image_id: u64,
    /// The part of it, in pixels of its recorded size.
    pub window: BoundingBox,
    /// Whether it is mirrored.
    pub flipped: bool,
    /// Factors of brightness, contrast and saturation, if they are changed.
    pub colours: Option<[f32; 3]>,
    /// Width of the result in pixels.
    pub width: u32,
    /// Height of the result in pixels.
    pub height: u32,
}

impl View {
    /// The whole picture as it is.
    pub(super) fn whole(image_id: u64, recorded: [u32; 2], options: &SampleOptions) -> Self {
        Self {
            image_id,
            window: BoundingBox {
                x: 0,
                y: 0,
                width: recorded[0],
                height: recorded[1],
            },
            flipped: false,
            colours: None,
            width: options.width,
            height: options.height,
        }
    }

    /// A view at random. `masks` are those of the phrases that share the picture, at its recorded size.
    pub(super) fn random(
        mut self,
        options: &SampleOptions,
        masks: &[&Mask],
        random: &mut impl Rng,
    ) -> Self {
        if let Some(share) = options.crop {
            self.window = crop(self.window, share, masks, random);
        }
        self.flipped = random.random_bool(f64::from(options.flip));
        if options.colour_jitter > 0.0 {
            let reach = options.colour_jitter;
            self.colours = Some(std::array::from_fn(|_| {
                random.random_range(1.0 - reach..=1.0 + reach)
            }));
        }
        self
    }

    /// The view's pixels. `recorded` is the size that windows refer to; the file's may differ.
    pub(super) fn picture(
        &self,
        picture: &RgbImage,
        recorded: [u32; 2],
        preprocessing: Preprocessing,
    ) -> SamplePicture {
        let scale = |value: u32, of: u32, to: u32| {
            (u64::from(value) * u64::from(to) / u64::from(of.max(1))) as u32
        };
        let (width, height) = picture.dimensions();
        let BoundingBox {
            x,
            y,
            width: columns,
            height: rows,
        } = self.window;
        let (left, right) = (
            scale(x, recorded[0], width),
            scale(x + columns, recorded[0], width),
        );
        let (top, bottom) = (
            scale(y, recorded[1], height),
            scale(y + rows, recorded[1], height),
        );
        let mut seen = if (left, top, right, bottom) == (0, 0, width, height) {
            preprocessing.apply(picture, self.width, self.height)
        } else {
            let part = imageops::crop_imm(
                picture,
                left,
                top,
                (right - left).max(1),
                (bottom - top).max(1),
            );
            preprocessing.apply(&part.to_image(), self.width, self.height)
        };
        self.finish(&mut seen);
        seen
    }

    /// What comes after resizing.
    pub(super) fn finish(&self, picture: &mut SamplePicture) {
        if self.flipped {
            picture.mirror();
        }
        match (self.colours, picture) {
            (None, _) => {}
            (Some(factors), SamplePicture::Rounded(picture)) => change_colours(picture, factors),
            (Some(factors), SamplePicture::Exact(picture)) => change_colours(picture, factors),
        }
    }
}

/// A square as large as it fits: the first that is good for all masks, else the one that is good for
/// most, and of those the one that holds most of them.
fn crop(whole: BoundingBox, share: f32, masks: &[&Mask], random: &mut impl Rng) -> BoundingBox {
    let side = whole.width.min(whole.height);
    let wanted = f64::from(share) * f64::from(whole.width) * f64::from(whole.height);
    let mut best: Option<((usize, usize), BoundingBox)> = None;
    for _ in 0..CROP_TRIES {
        let window = BoundingBox {
            x: random.random_range(0..=whole.width - side),
            y: random.random_range(0..=whole.height - side),
            width: side,
            height: side,
        };
        let areas = masks.iter().map(|mask| mask.area_in(window));
        let (good, area) = areas.fold((0, 0), |(good, sum), area| {
            (good + usize::from(area as f64 > wanted), sum + area)
        });
        if best.is_none_or(|(score, _)| (good, area) > score) {
            best = Some(((good, area), window));
        }
        if good == masks.len() {
            break;
        }
    }
    best.map_or(whole, |(_, window)| window)
}

/// A level from 0 to 255 of one channel.
trait Level: Primitive + Into<f32> {
    /// The level nearest to a number that may lie outside.
    fn from_level(level: f32) -> Self;
    /// The grey of a pixel.
    fn grey(channels: [Self; 3]) -> f32;
    /// The mean grey of a picture.
    fn mean(sum: f64, pixels: f64) -> f32;
}

/// As Pillow's `ImageEnhance`, which torchvision applies to Pillow's pictures: each step truncates to
/// whole levels, greys are rounded, and so is their mean.
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

/// As torchvision does with tensors of floats: nothing is rounded.
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

/// Brightness, then contrast, then saturation, each by torchvision's formula: a mixture with black,
/// with the mean grey, and with the pixel's own grey. torchvision draws the order, too.
fn change_colours<L: Level>(
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
    use crate::raster::RasterRule;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    const WHOLE: BoundingBox = BoundingBox {
        x: 0,
        y: 0,
        width: 300,
        height: 100,
    };

    fn block(x: f32, width: f32) -> Mask {
        let corners = [[x, 10.0], [x + width, 10.0], [x + width, 90.0], [x, 90.0]];
        RasterRule::Pillow.mask([&corners[..]], 300, 100)
    }

    #[test]
    fn the_square_keeps_the_mask_where_it_can() {
        let mut random = ChaCha8Rng::seed_from_u64(1);
        // 31 x 81 pixels, 8 % of the picture; one square in four is good.
        let mask = block(230.0, 30.0);
        for _ in 0..100 {
            let window = crop(WHOLE, 0.05, &[&mask], &mut random);
            assert_eq!((window.width, window.height, window.y), (100, 100, 0));
            assert!(mask.area_in(window) > 1_500, "{window:?}");
        }
        // Too small ever to be enough: the best of 50 tries has it whole, nearly always.
        let small = block(200.0, 5.0);
        let whole = (0..100)
            .filter(|_| small.area_in(crop(WHOLE, 0.05, &[&small], &mut random)) == small.area());
        assert!(whole.count() > 95);
    }

    #[test]
    fn a_shared_square_is_good_for_all_if_there_is_one() {
        let mut random = ChaCha8Rng::seed_from_u64(2);
        let (left, right) = (block(100.0, 25.0), block(150.0, 25.0));
        for _ in 0..50 {
            let window = crop(WHOLE, 0.05, &[&left, &right], &mut random);
            assert!(
                left.area_in(window) > 1_500 && right.area_in(window) > 1_500,
                "{window:?}"
            );
        }
    }

    #[test]
    fn colours_that_do_not_change_stay() {
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

    /// Values of Pillow 13's `ImageEnhance.Brightness`, `Contrast` and `Color`, one after the other, by
    /// which torchvision's `ColorJitter` changes Pillow's pictures.
    #[test]
    fn colours_change_as_torchvision_changes_pillows_pictures() {
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
        let mut picture = image::Rgb32FImage::from_fn(2, 1, |x, _| Rgb(pixels[x as usize]));
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

    /// A picture whose every pixel is another.
    fn numbered(width: u32, height: u32) -> RgbImage {
        RgbImage::from_fn(width, height, |x, y| Rgb([x as u8, y as u8, (x ^ y) as u8]))
    }

    fn seen(
        window: BoundingBox,
        size: [u32; 2],
        picture: &RgbImage,
        recorded: [u32; 2],
    ) -> RgbImage {
        let view = View {
            window,
            ..View::whole(1, recorded, &SampleOptions::new(size[0], size[1]))
        };
        view.picture(picture, recorded, Preprocessing::HuggingFace)
            .to_rgb8()
    }

    #[test]
    fn a_window_of_an_oblong_picture_shows_its_own_pixels() {
        for (width, height) in [(90, 40), (40, 90)] {
            let picture = numbered(width, height);
            let window = BoundingBox {
                x: width / 5,
                y: height / 8,
                width: 20,
                height: 10,
            };
            // At its own size nothing is interpolated.
            let part = seen(window, [20, 10], &picture, [width, height]);
            for (x, y, pixel) in part.enumerate_pixels() {
                assert_eq!(
                    pixel,
                    picture.get_pixel(window.x + x, window.y + y),
                    "{x} {y}"
                );
            }
            // The file has twice as many columns and three times as many rows as recorded.
            let large = numbered(2 * width, 3 * height);
            let part = seen(window, [40, 30], &large, [width, height]);
            for (x, y, pixel) in part.enumerate_pixels() {
                let (column, row) = (2 * window.x + x, 3 * window.y + y);
                assert_eq!(pixel, large.get_pixel(column, row), "{x} {y}");
            }
            let whole = seen(
                Mask::new(width, height).frame(),
                [width, height],
                &picture,
                [width, height],
            );
            assert_eq!(whole, picture);
        }
    }

    #[test]
    fn squares_of_oblong_pictures_reach_every_part() {
        for (width, height) in [(300, 100), (100, 300)] {
            let whole = Mask::new(width, height).frame();
            let mut random = ChaCha8Rng::seed_from_u64(3);
            let windows: Vec<BoundingBox> = (0..500)
                .map(|_| crop(whole, 0.0, &[], &mut random))
                .collect();
            for window in &windows {
                assert_eq!((window.width, window.height), (100, 100));
                assert!(
                    window.x + 100 <= width && window.y + 100 <= height,
                    "{window:?}"
                );
            }
            let along = windows.iter().map(|window| window.x.max(window.y));
            assert_eq!((along.clone().min(), along.max()), (Some(0), Some(200)));
        }
    }

    #[test]
    fn mask_and_picture_show_the_same_part() {
        // Where the picture is bright, the mask is inside.
        let mask = block(230.0, 30.0);
        let picture = RgbImage::from_fn(300, 100, |x, y| {
            Rgb([255 * u8::from(mask.contains(x, y)); 3])
        });
        let mut random = ChaCha8Rng::seed_from_u64(4);
        for _ in 0..20 {
            let window = crop(WHOLE, 0.01, &[&mask], &mut random);
            let part = seen(window, [100, 100], &picture, [300, 100]);
            let inside = mask.crop(window);
            for (x, y, pixel) in part.enumerate_pixels() {
                assert_eq!(
                    pixel.0[0] == 255,
                    inside.contains(x, y),
                    "{window:?}: {x} {y}"
                );
            }
        }
    }
}
