//! Drawing masks and legends on pictures.

use crate::letters::{draw_text, letter_width};
use crate::mask::Mask;
use image::{Rgb, RgbImage};

/// Colour (RGB) of the prompt with this index in an overlay.
pub fn prompt_colour(index: usize) -> [u8; 3] {
    let palette = colorous::TABLEAU10;
    let colour = palette[index % palette.len()];
    [colour.r, colour.g, colour.b]
}

/// Tints and outlines each mask on a photograph in the colour of its prompt. Later masks cover earlier ones.
///
/// # Panics
///
/// If a mask and the photograph differ in size.
pub fn overlay(photo: &RgbImage, masks: &[Mask]) -> RgbImage {
    let mut picture = photo.clone();
    for (index, mask) in masks.iter().enumerate() {
        tint(&mut picture, mask, index);
    }
    picture
}

/// Tints and outlines one mask on a picture, in the colour of prompt `index`. It draws an
/// [`overlay`] mask by mask.
///
/// # Panics
///
/// If the mask and the picture differ in size.
pub fn tint(picture: &mut RgbImage, mask: &Mask, index: usize) {
    let (width, height) = picture.dimensions();
    assert_eq!(
        (mask.width(), mask.height()),
        (width, height),
        "mask and picture must have the same size"
    );
    let tint = prompt_colour(index);
    for (x, y, pixel) in picture
        .enumerate_pixels_mut()
        .filter(|(x, y, _)| mask.contains(*x, *y))
    {
        let neighbours = [
            (x.wrapping_sub(1), y),
            (x + 1, y),
            (x, y.wrapping_sub(1)),
            (x, y + 1),
        ];
        let edge = neighbours
            .iter()
            .any(|&(x, y)| x < width && y < height && !mask.contains(x, y));
        let share = if edge { 1.0 } else { 0.45 };
        for (value, tint) in pixel.0.iter_mut().zip(tint) {
            *value = (f32::from(*value) * (1.0 - share) + f32::from(tint) * share).round() as u8;
        }
    }
}

/// Height of a line of the legend in pixels.
pub(crate) const LINE: u32 = 24;
/// Space around the swatches and the names in pixels.
pub(crate) const GAP: u32 = 4;

/// Adds a legend below a picture, with one line per prompt: its colour in [`overlay`] and its name.
///
/// Names that are too long for the width are cut off. Letters beyond Latin are drawn as `?`.
pub fn add_legend<S: AsRef<str>>(picture: &RgbImage, names: &[S]) -> RgbImage {
    let (width, height) = picture.dimensions();
    let mut page = RgbImage::from_pixel(width, height + LINE * names.len() as u32, PAPER);
    image::imageops::replace(&mut page, picture, 0, 0);
    for (index, name) in names.iter().enumerate() {
        let top = height + LINE * index as u32;
        let swatch = LINE - 2 * GAP;
        fill_square(&mut page, [GAP, top + GAP], swatch, prompt_colour(index));
        write_line(&mut page, name.as_ref(), swatch + 3 * GAP, top + GAP);
    }
    page
}

/// Fills a square with one colour, clipped to the page.
pub(crate) fn fill_square(page: &mut RgbImage, [left, top]: [u32; 2], side: u32, colour: [u8; 3]) {
    let (width, height) = page.dimensions();
    for y in top..(top + side).min(height) {
        for x in left..(left + side).min(width) {
            page.put_pixel(x, y, Rgb(colour));
        }
    }
}

pub(crate) const PAPER: Rgb<u8> = Rgb([255; 3]);

/// Draws a line of text and leaves out the letters that do not fit the width of the page.
pub(crate) fn write_line(page: &mut RgbImage, text: &str, left: u32, top: u32) {
    let room = page.width().saturating_sub(left) / letter_width().max(1);
    let shown: String = text.chars().take(room as usize).collect();
    draw_text(page, &shown, left, top);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_overlay_changes_only_pixels_of_the_mask() {
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
    fn a_legend_is_added_below_the_picture() {
        let photo = RgbImage::from_pixel(60, 10, Rgb([9; 3]));
        let page = add_legend(&photo, &["a cat", "语"]);
        assert_eq!(page.dimensions(), (60, 10 + 2 * LINE));
        assert_eq!(page.get_pixel(59, 9).0, [9; 3]);
        assert_eq!(page.get_pixel(GAP, 10 + GAP).0, prompt_colour(0));
        assert_eq!(page.get_pixel(GAP, 10 + LINE + GAP).0, prompt_colour(1));
        let written = |line: u32| {
            let rows = (0..LINE).flat_map(|y| (30..60).map(move |x| (x, 10 + line * LINE + y)));
            rows.filter(|&(x, y)| page.get_pixel(x, y).0 != [255; 3])
                .count()
        };
        assert!(written(0) > 20 && written(1) > 5);
        // Too narrow for any letter.
        assert_eq!(add_legend(&RgbImage::new(1, 1), &["long name"]).width(), 1);
    }

    #[test]
    fn a_square_is_clipped_to_the_page() {
        let red = [200, 0, 0];
        for ([left, top], rows, columns) in [
            ([2, 3], 3..7, 2..6),
            ([0, 0], 0..4, 0..4),
            ([7, 10], 10..12, 7..9),
            ([9, 0], 0..0, 0..0),
        ] {
            let mut page = RgbImage::from_pixel(9, 12, PAPER);
            fill_square(&mut page, [left, top], 4, red);
            for (x, y, pixel) in page.enumerate_pixels() {
                let inside = columns.contains(&x) && rows.contains(&y);
                assert_eq!(pixel.0 == red, inside, "{left} {top}: {x} {y}");
            }
        }
    }
}
