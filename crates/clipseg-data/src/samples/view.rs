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
    fn from_level(level: f32) -> Self;
}

impl Level for u8 {
    fn from_level(level: f32) -> Self {
        level as Self
    }
}

impl Level for f32 {
    fn from_level(level: f32) -> Self {
        level
    }
}

/// Brightness, then contrast, then saturation, each by torchvision's formula: a mixture with black,
/// with the mean grey, and with the pixel's own grey.
fn change_colours<L: Level>(
    picture: &mut ImageBuffer<Rgb<L>, Vec<L>>,
    [brightness, contrast, saturation]: [f32; 3],
) where
    Rgb<L>: Pixel<Subpixel = L>,
{
    // ITU-R 601-2, as Pillow converts to grey.
    let grey = |[r, g, b]: [f32; 3]| 0.299 * r + 0.587 * g + 0.114 * b;
    let bright = |value: L| (value.into() * brightness).clamp(0.0, 255.0);
    let sum: f64 = picture
        .pixels()
        .map(|pixel| f64::from(grey(pixel.0.map(bright))))
        .sum();
    let mean = (sum / f64::from((picture.width() * picture.height()).max(1))) as f32;
    for pixel in picture.pixels_mut() {
        let contrasted = pixel
            .0
            .map(|value| (mean + (bright(value) - mean) * contrast).clamp(0.0, 255.0));
        let own = grey(contrasted);
        pixel.0 = contrasted
            .map(|value| L::from_level((own + (value - own) * saturation).clamp(0.0, 255.0)));
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
        let worst = before
            .as_raw()
            .iter()
            .zip(after.as_raw())
            .map(|(a, b)| a.abs_diff(*b))
            .max();
        assert!(worst <= Some(1), "{worst:?}");

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
}
