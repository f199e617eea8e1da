//! Text in pictures, with letters from a built-in font.
//!
//! Fonts of the system and libraries to draw them may be missing on a training machine.

use image::{Rgb, RgbImage};
use noto_sans_mono_bitmap::{FontWeight, RasterHeight, get_raster, get_raster_width};

const WEIGHT: FontWeight = FontWeight::Regular;
const SIZE: RasterHeight = RasterHeight::Size16;

/// Height of every letter in pixels.
pub const LETTER_HEIGHT: u32 = 16;

/// Width of every letter in pixels.
pub(crate) fn letter_width() -> u32 {
    get_raster_width(WEIGHT, SIZE) as u32
}

/// Width of a text in pixels.
pub fn text_width(text: &str) -> u32 {
    text.chars().count() as u32 * letter_width()
}

/// Calls `ink` with the column, the row and the darkness (1 to 255) of each inked pixel of a text. The
/// text's upper left corner is at column 0 and row 0. Letters beyond Latin are drawn as `?`.
pub fn rasterize_text(text: &str, mut ink: impl FnMut(u32, u32, u8)) {
    let letters = text
        .chars()
        .map(|letter| get_raster(letter, WEIGHT, SIZE).or_else(|| get_raster('?', WEIGHT, SIZE)));
    for (index, letter) in letters.enumerate() {
        let Some(letter) = letter else { continue };
        let left = index as u32 * letter_width();
        for (y, row) in letter.rows().enumerate() {
            for (x, &darkness) in row.iter().enumerate() {
                if darkness > 0 {
                    ink(left + x as u32, y as u32, darkness);
                }
            }
        }
    }
}

/// Draws a text in black with its upper left corner at (`left`, `top`). What lies outside the picture is
/// cut off.
pub fn draw_text(picture: &mut RgbImage, text: &str, left: u32, top: u32) {
    rasterize_text(text, |x, y, darkness| {
        let (x, y) = (left.saturating_add(x), top.saturating_add(y));
        if x < picture.width() && y < picture.height() {
            let Rgb(below) = picture.get_pixel_mut(x, y);
            let share = 1.0 - f32::from(darkness) / 255.0;
            *below = below.map(|value| (f32::from(value) * share).round() as u8);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_drawn_within_its_width_and_cut_off_at_the_border() {
        let (width, height) = (text_width("ab"), LETTER_HEIGHT);
        let mut picture = RgbImage::from_pixel(width + 9, height + 8, Rgb([255, 200, 100]));
        let blank = picture.clone();
        draw_text(&mut picture, "ab", 5, 4);
        let mut darkest = 255;
        for (x, y, pixel) in picture.enumerate_pixels() {
            let within = (5..5 + width).contains(&x) && (4..4 + height).contains(&y);
            assert!(within || pixel == blank.get_pixel(x, y), "{x} {y}");
            darkest = darkest.min(pixel.0[0]);
        }
        assert!(darkest < 60, "{darkest}");
        let inked = |text: &str, left, top| {
            let mut page = RgbImage::from_pixel(width, height, Rgb([255; 3]));
            draw_text(&mut page, text, left, top);
            page.pixels().filter(|pixel| pixel.0 != [255; 3]).count()
        };
        assert!(inked("ab", width / 2, 0) < inked("ab", 0, 0));
        assert_eq!(inked("ab", width, 0), 0);
        assert_eq!(inked("ab", u32::MAX, u32::MAX), 0);
        assert_eq!(inked("语", 0, 0), inked("?", 0, 0));
    }
}
