//! Views of a picture: its crop, flip and colour changes.

use super::colours::change_colours;
use super::options::SampleOptions;
use super::picture::{Preprocessing, SamplePicture};
use crate::mask::{BoundingBox, Mask};
use image::{RgbImage, imageops};
use rand::{Rng, RngExt};

const CROP_TRIES: usize = 50;

/// A view of a picture: its crop, flip and colour changes. Equal views have equal pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct View {
    /// `image_id` of the picture.
    pub image_id: u64,
    /// The crop, in pixels of the recorded size.
    pub window: BoundingBox,
    /// Whether it is flipped horizontally.
    pub flipped: bool,
    /// Factors of brightness, contrast and saturation; `None` if they are not changed.
    pub colours: Option<[f32; 3]>,
    /// Width of the view in pixels.
    pub width: u32,
    /// Height of the view in pixels.
    pub height: u32,
}

impl View {
    /// The view of the entire, unchanged picture.
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

    /// Draws a random view. `masks` are those of the phrases that share the picture, at its recorded size.
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

    /// Computes the pixels of the view. `recorded` is the size that windows refer to; the size of the file
    /// may differ.
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

    /// Applies the changes that follow resizing: flip and colours.
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

/// Draws a square with the shorter side of the picture: the first that satisfies all masks, else the one
/// that satisfies most, and among those the one that contains the largest part of the masks.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raster::RasterRule;
    use image::Rgb;
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
    fn the_square_contains_enough_of_the_mask_if_possible() {
        let mut random = ChaCha8Rng::seed_from_u64(1);
        // 31 x 81 pixels, 8 % of the picture; one square in four is sufficient.
        let mask = block(230.0, 30.0);
        for _ in 0..100 {
            let window = crop(WHOLE, 0.05, &[&mask], &mut random);
            assert_eq!((window.width, window.height, window.y), (100, 100, 0));
            assert!(mask.area_in(window) > 1_500, "{window:?}");
        }
        // Too small to be sufficient: the best of 50 squares nearly always contains all of it.
        let small = block(200.0, 5.0);
        let whole = (0..100)
            .filter(|_| small.area_in(crop(WHOLE, 0.05, &[&small], &mut random)) == small.area());
        assert!(whole.count() > 95);
    }

    #[test]
    fn a_shared_square_satisfies_all_masks_if_possible() {
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

    /// A picture with distinct pixels.
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
    fn a_crop_of_an_oblong_picture_has_the_right_pixels() {
        for (width, height) in [(90, 40), (40, 90)] {
            let picture = numbered(width, height);
            let window = BoundingBox {
                x: width / 5,
                y: height / 8,
                width: 20,
                height: 10,
            };
            // At the original size nothing is interpolated.
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
    fn crops_of_oblong_pictures_cover_every_part() {
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
    fn mask_and_picture_have_the_same_crop() {
        // Bright pixels are inside the mask.
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

    #[test]
    fn colours_change_by_the_jitter_at_most_and_in_both_directions() {
        let options = SampleOptions {
            colour_jitter: 0.3,
            ..SampleOptions::new(8, 8)
        };
        let mut random = ChaCha8Rng::seed_from_u64(5);
        let mut factors = Vec::new();
        for _ in 0..200 {
            let view = View::whole(1, [8, 8], &options).random(&options, &[], &mut random);
            factors.extend(view.colours.unwrap());
        }
        let (least, most) = factors
            .iter()
            .fold((f32::MAX, f32::MIN), |(least, most), &factor| {
                (least.min(factor), most.max(factor))
            });
        assert!((0.7..0.75).contains(&least), "{least}");
        assert!((1.25..=1.3).contains(&most), "{most}");
        let mean = factors.iter().sum::<f32>() / factors.len() as f32;
        assert!((mean - 1.0).abs() < 0.03, "{mean}");
    }
}
