//! Pictures that people look at: heat maps and overlays.

use crate::soft_mask::SoftMask;
use clipseg_data::Mask;
use image::{Rgb, RgbImage};

/// A soft mask in colours from black over red and yellow to white.
pub fn heat_map(mask: &SoftMask) -> RgbImage {
    let probabilities = mask.probabilities();
    RgbImage::from_fn(mask.width(), mask.height(), |x, y| {
        let p = probabilities[(y * mask.width() + x) as usize];
        let colour = colorous::INFERNO.eval_continuous(f64::from(p.clamp(0.0, 1.0)));
        Rgb([colour.r, colour.g, colour.b])
    })
}

/// The colour of the `index`th prompt of an overlay.
pub fn prompt_colour(index: usize) -> [u8; 3] {
    let palette = colorous::TABLEAU10;
    let colour = palette[index % palette.len()];
    [colour.r, colour.g, colour.b]
}

/// A photograph with each mask tinted in its prompt's colour and outlined; later masks lie above
/// earlier ones.
///
/// # Panics
///
/// If a mask has another size than the photograph.
pub fn overlay(photo: &RgbImage, masks: &[Mask]) -> RgbImage {
    let (width, height) = photo.dimensions();
    let mut picture = photo.clone();
    for (index, mask) in masks.iter().enumerate() {
        assert_eq!(
            (mask.width(), mask.height()),
            (width, height),
            "one size for all"
        );
        let inside = mask.as_slice();
        let at = |x: u32, y: u32| inside[(y * width + x) as usize] != 0;
        let tint = prompt_colour(index);
        for (x, y, pixel) in picture
            .enumerate_pixels_mut()
            .filter(|(x, y, _)| at(*x, *y))
        {
            let neighbours = [
                (x.wrapping_sub(1), y),
                (x + 1, y),
                (x, y.wrapping_sub(1)),
                (x, y + 1),
            ];
            let edge = neighbours
                .iter()
                .any(|&(x, y)| x < width && y < height && !at(x, y));
            let share = if edge { 1.0 } else { 0.45 };
            for (value, tint) in pixel.0.iter_mut().zip(tint) {
                *value =
                    (f32::from(*value) * (1.0 - share) + f32::from(tint) * share).round() as u8;
            }
        }
    }
    picture
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_overlay_changes_the_mask_only() {
        let photo = RgbImage::from_pixel(4, 3, Rgb([100, 100, 100]));
        let mut inside = vec![0u8; 12];
        inside[5] = 1;
        let picture = overlay(&photo, &[Mask::from_vec(4, 3, inside)]);
        for (index, pixel) in picture.pixels().enumerate() {
            if index == 5 {
                assert_eq!(pixel.0, prompt_colour(0));
            } else {
                assert_eq!(pixel.0, [100; 3]);
            }
        }
    }

    #[test]
    fn a_heat_map_runs_from_dark_to_bright() {
        let mask = SoftMask::from_logits(&[-20.0, 0.0, 20.0], [3, 1], [3, 1]).unwrap();
        let brightness: Vec<u32> = heat_map(&mask)
            .pixels()
            .map(|p| p.0.iter().map(|&v| u32::from(v)).sum())
            .collect();
        assert!(brightness[0] < brightness[1] && brightness[1] < brightness[2]);
    }
}
