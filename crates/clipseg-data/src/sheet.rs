//! Contact sheets: pictures with their phrases and the outlines of their masks.

use crate::error::{DataError, Result};
use crate::letters::letter_width;
use crate::mask::Mask;
use crate::phrasecut::PhraseCut;
use crate::pictures::load_stored_rgb;
use crate::records::{Phrase, Split};
use crate::render::{GAP, LINE, PAPER, fill_square, prompt_colour, write_line};
use crate::resize::{Filter, resize_rgb};
use image::{Rgb, RgbImage};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

/// Width of an outline in pixels.
const OUTLINE: u8 = 2;

/// Options of a contact sheet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SheetOptions {
    /// Maximum number of pictures. Default: 12.
    pub pictures: usize,
    /// Maximum number of phrases per picture. Default: 4.
    pub phrases: usize,
    /// Number of columns. Default: 4.
    pub columns: usize,
    /// Longer side of each picture on the sheet in pixels. Default: 256.
    pub side: u32,
    /// Random seed for choosing pictures and phrases if there are more. Default: 0.
    pub seed: u64,
}

impl Default for SheetOptions {
    fn default() -> Self {
        Self {
            pictures: 12,
            phrases: 4,
            columns: 4,
            side: 256,
            seed: 0,
        }
    }
}

/// Draws pictures of a split, each with its phrases below it and the outlines of their masks in the same
/// colours.
///
/// Outlines of later phrases are drawn inside those of earlier ones, so that equal masks stay visible.
///
/// # Errors
///
/// If a picture cannot be read, the split has no phrases or no polygons, or an option is 0 or the side is not
/// 32 to 4,096 pixels.
pub fn contact_sheet(data: &PhraseCut, split: Split, options: &SheetOptions) -> Result<RgbImage> {
    let counts = [options.pictures, options.phrases, options.columns];
    if counts.contains(&0) || !(32..=4_096).contains(&options.side) {
        return Err(DataError::Input(format!(
            "a sheet of {} pictures of {} pixels in {} columns with {} phrases each: expected at \
             least one of each, and 32 to 4096 pixels",
            options.pictures, options.side, options.columns, options.phrases
        )));
    }
    data.require_truth(split)?;
    let chosen = choose(data.phrases(split), options);
    if chosen.is_empty() {
        return Err(DataError::Input(format!(
            "there is nothing to show: the split `{split}` has no phrases"
        )));
    }
    let cells: Vec<RgbImage> = chosen
        .par_iter()
        .map(|phrases| cell(data, phrases, options.side))
        .collect::<Result<_>>()?;

    let columns = options.columns.min(cells.len()) as u32;
    let rows: Vec<&[RgbImage]> = cells.chunks(columns as usize).collect();
    let heights = rows
        .iter()
        .map(|row| row.iter().map(RgbImage::height).max().unwrap_or(0) + 2 * GAP);
    let width = columns * (options.side + 2 * GAP) + 2 * GAP;
    let mut sheet = RgbImage::from_pixel(width, heights.clone().sum::<u32>() + 2 * GAP, PAPER);
    let mut top = 2 * GAP;
    for (row, height) in rows.iter().zip(heights) {
        for (column, cell) in row.iter().enumerate() {
            let left = 2 * GAP + column as u32 * (options.side + 2 * GAP);
            image::imageops::replace(&mut sheet, cell, i64::from(left), i64::from(top));
        }
        top += height;
    }
    Ok(sheet)
}

/// Chooses pictures, and returns the phrases of each in the order of the file.
fn choose<'a>(phrases: &'a [Phrase], options: &SheetOptions) -> Vec<Vec<&'a Phrase>> {
    let mut order: Vec<usize> = (0..phrases.len()).collect();
    order.sort_by_key(|&index| phrases[index].image_id);
    let mut pictures: Vec<Vec<usize>> = order
        .chunk_by(|&a, &b| phrases[a].image_id == phrases[b].image_id)
        .map(<[usize]>::to_vec)
        .collect();
    let mut random = ChaCha8Rng::seed_from_u64(options.seed);
    if pictures.len() > options.pictures {
        pictures.shuffle(&mut random);
        pictures.truncate(options.pictures);
        pictures.sort();
    }
    for of_picture in &mut pictures {
        of_picture.shuffle(&mut random);
        of_picture.truncate(options.phrases);
        of_picture.sort_unstable();
    }
    let by_index = |of: Vec<usize>| of.into_iter().map(|index| &phrases[index]).collect();
    pictures.into_iter().map(by_index).collect()
}

fn cell(data: &PhraseCut, phrases: &[&Phrase], side: u32) -> Result<RgbImage> {
    let picture = load_stored_rgb(&data.image_path(phrases[0].image_id))?;
    let scale = f64::from(side) / f64::from(picture.width().max(picture.height()));
    let [width, height] = [picture.width(), picture.height()]
        .map(|length| ((f64::from(length) * scale).round() as u32).max(1));
    let picture = resize_rgb(&picture, width, height, Filter::Bilinear);

    let room = (side - LINE) / letter_width();
    let lines: Vec<Vec<String>> = phrases
        .iter()
        .map(|phrase| wrap(&phrase.phrase, room as usize))
        .collect();
    let count: usize = lines.iter().map(Vec::len).sum();
    let mut cell = RgbImage::from_pixel(side, height + GAP + LINE * count as u32, PAPER);
    image::imageops::replace(&mut cell, &picture, 0, 0);
    let mut top = height + GAP;
    for (index, (phrase, lines)) in phrases.iter().zip(lines).enumerate() {
        let mask = data.mask(phrase)?.resize(width, height);
        draw_outline(&mut cell, &mask, index);
        fill_square(
            &mut cell,
            [0, top + GAP],
            LINE - 2 * GAP,
            prompt_colour(index),
        );
        for line in lines {
            write_line(&mut cell, &line, LINE, top + GAP);
            top += LINE;
        }
    }
    Ok(cell)
}

/// The outline of the mask with this index, further inside than the previous ones if there is room.
fn draw_outline(picture: &mut RgbImage, mask: &Mask, index: usize) {
    let inset = OUTLINE.saturating_mul(u8::try_from(index).unwrap_or(u8::MAX));
    let within = Some(mask.erode(inset)).filter(|within| within.area() > 0);
    let outer = within.unwrap_or_else(|| mask.clone());
    let inner = outer.erode(OUTLINE);
    let rows = outer.pixels().zip(inner.pixels()).enumerate();
    for (pixel, _) in rows.filter(|(_, (outer, inner))| outer != inner) {
        let (x, y) = (pixel as u32 % mask.width(), pixel as u32 / mask.width());
        picture.put_pixel(x, y, Rgb(prompt_colour(index)));
    }
}

/// Breaks a text into lines of at most `room` letters, between words.
fn wrap(text: &str, room: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= room => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenes::{ScenesConfig, generate_scenes};

    #[test]
    fn lines_break_between_words() {
        assert_eq!(wrap("small red star", 9), ["small red", "star"]);
        assert_eq!(wrap("incomprehensible", 4), ["incomprehensible"]);
        assert!(wrap(" ", 4).is_empty());
    }

    #[test]
    fn an_outline_covers_only_the_border_of_its_mask() {
        let mut values = vec![0; 100];
        for y in 1..9 {
            values[10 * y + 1..10 * y + 9].fill(1);
        }
        let mask = Mask::from_vec(10, 10, values);
        let mut picture = RgbImage::new(10, 10);
        draw_outline(&mut picture, &mask, 0);
        draw_outline(&mut picture, &mask, 1);
        let at = |x, y| picture.get_pixel(x, y).0;
        assert_eq!(at(0, 0), [0; 3]);
        assert_eq!(at(2, 5), prompt_colour(0));
        assert_eq!(at(3, 5), prompt_colour(1));
    }

    #[test]
    fn a_sheet_has_a_cell_for_each_picture() {
        let folder = tempfile::tempdir().unwrap();
        let scenes = folder.path().join("scenes");
        let config = ScenesConfig {
            images: 20,
            size: 64,
            seed: 3,
        };
        generate_scenes(&scenes, &config).unwrap();
        let data = PhraseCut::open(&scenes).unwrap();
        let options = SheetOptions {
            pictures: 5,
            columns: 3,
            side: 96,
            ..SheetOptions::default()
        };
        let sheet = contact_sheet(&data, Split::Train, &options).unwrap();
        assert_eq!(sheet.width(), 3 * (96 + 2 * GAP) + 2 * GAP);
        assert!(sheet.height() > 2 * 96 + 2 * LINE);
        assert_eq!(sheet, contact_sheet(&data, Split::Train, &options).unwrap());
        let other = SheetOptions { seed: 1, ..options };
        assert_ne!(sheet, contact_sheet(&data, Split::Train, &other).unwrap());
    }

    #[test]
    fn invalid_sheets_are_errors() {
        let folder = tempfile::tempdir().unwrap();
        let scenes = folder.path().join("scenes");
        let config = ScenesConfig {
            images: 1,
            size: 32,
            seed: 0,
        };
        generate_scenes(&scenes, &config).unwrap();
        let data = PhraseCut::open(&scenes).unwrap();
        let message = |split, options: &SheetOptions| {
            let error = contact_sheet(&data, split, options).unwrap_err();
            error.to_string()
        };
        assert_eq!(
            message(Split::Val, &SheetOptions::default()),
            "there is nothing to show: the split `val` has no phrases"
        );
        let none = SheetOptions {
            pictures: 0,
            ..SheetOptions::default()
        };
        assert_eq!(
            message(Split::Train, &none),
            "a sheet of 0 pictures of 256 pixels in 4 columns with 4 phrases each: expected at \
             least one of each, and 32 to 4096 pixels"
        );
        std::fs::remove_file(scenes.join("images/1.jpg")).unwrap();
        let missing = message(Split::Train, &SheetOptions::default());
        assert!(missing.starts_with("cannot read "), "{missing}");
    }
}
