//! A contact sheet of example masks, which shows how they change during a run.
//!
//! Each validation writes a column of soft masks into `examples/`. The sheet is composed of these files, so
//! a resumed run includes the columns from before the interruption.

use crate::error::Result;
use crate::frozen::encoding::FrozenClip;
use crate::readback::floats;
use crate::report::chart::write_png;
use crate::run::folder::RunFolder;
use crate::scoring::evaluate::{EvaluateOptions, for_each_batch};
use crate::scoring::phrases::Phrases;
use clipseg_data::{Filter, LETTER_HEIGHT, draw_text, load_rgb, resize_rgb, text_width};
use clipseg_model::{Decoder, SoftMask, heat_map};
use image::{DynamicImage, Rgb, RgbImage, imageops};
use std::path::{Path, PathBuf};

/// Side of a picture on the sheet.
const TILE: u32 = 128;
const GAP: u32 = 4;
/// Largest number of columns; of more validations, evenly spread ones are shown.
const MOST_COLUMNS: usize = 8;

/// Writes the column of the last validation and composes the sheet. `validated` contains the steps of all
/// validations.
pub(crate) fn write_examples(
    folder: &RunFolder,
    clip: &mut FrozenClip,
    decoder: &Decoder,
    phrases: &Phrases,
    validated: &[usize],
) -> Result<()> {
    let Some(step) = validated.last().filter(|_| !phrases.is_empty()) else {
        return Ok(());
    };
    let inputs = inputs(phrases)?;
    let mut column = blank(1, phrases.len());
    draw_text(&mut column, &format!("step {step}"), GAP, GAP / 2);
    for (row, mask) in soft_masks(clip, decoder, phrases)?.iter().enumerate() {
        paste(&mut column, &heat_map(mask), 0, row);
    }
    write_png(folder, &column_of(&folder.examples(), *step), &column)?;
    let columns = columns(&folder.examples(), validated);
    let names: Vec<&str> = phrases
        .iter()
        .map(|(_, phrase)| phrase.phrase.as_str())
        .collect();
    let sheet = sheet(&inputs, &columns, &names)?;
    write_png(folder, &folder.example_sheet(), &sheet)
}

/// The file with the column of a validation.
fn column_of(folder: &Path, step: usize) -> PathBuf {
    folder.join(format!("step-{step:08}.png"))
}

/// The picture and the ground truth of each phrase.
fn inputs(phrases: &Phrases) -> Result<Vec<[RgbImage; 2]>> {
    let samples = phrases.iter().map(|(index, _)| {
        let sample = phrases.dataset().sample(index, 0)?;
        let mask = DynamicImage::from(sample.mask.to_gray_image());
        Ok([sample.image.to_rgb8(), mask.into_rgb8()])
    });
    samples.collect()
}

fn soft_masks(
    clip: &mut FrozenClip,
    decoder: &Decoder,
    phrases: &Phrases,
) -> Result<Vec<SoftMask>> {
    let mut masks = Vec::with_capacity(phrases.len());
    let options = EvaluateOptions::default();
    for_each_batch(clip, decoder, phrases, &options, |_, logits, _| {
        let [_, height, width] = logits.dims();
        let size = [width as u32, height as u32];
        for logits in floats(logits)?.chunks_exact((height * width).max(1)) {
            masks.push(SoftMask::from_logits(logits, size, size)?);
        }
        Ok(())
    })?;
    Ok(masks)
}

/// The existing columns of these validations. Other files in the folder are from steps that are done again,
/// or are not of the run.
fn columns(folder: &Path, validated: &[usize]) -> Vec<PathBuf> {
    let all = validated.iter().map(|&step| column_of(folder, step));
    let found: Vec<PathBuf> = all.filter(|path| path.is_file()).collect();
    let count = found.len();
    if count <= MOST_COLUMNS {
        return found;
    }
    // The first and the last are always included.
    let spread = (0..MOST_COLUMNS).map(|index| index * (count - 1) / (MOST_COLUMNS - 1));
    spread.map(|index| found[index].clone()).collect()
}

/// A white picture for a number of columns and rows, with a line for titles.
fn blank(columns: usize, rows: usize) -> RgbImage {
    let width = columns as u32 * (TILE + GAP);
    let height = LETTER_HEIGHT + GAP + rows as u32 * (TILE + GAP);
    RgbImage::from_pixel(width, height, Rgb([255; 3]))
}

fn paste(page: &mut RgbImage, picture: &RgbImage, column: usize, row: usize) {
    let tile = resize_rgb(picture, TILE, TILE, Filter::Bilinear);
    let left = column as u32 * (TILE + GAP);
    let top = LETTER_HEIGHT + GAP + row as u32 * (TILE + GAP);
    imageops::replace(page, &tile, i64::from(left), i64::from(top));
}

fn sheet(inputs: &[[RgbImage; 2]], columns: &[PathBuf], names: &[&str]) -> Result<RgbImage> {
    let widest = names.iter().map(|name| text_width(name)).max().unwrap_or(0);
    let tiles = blank(2 + columns.len(), inputs.len());
    let mut page = RgbImage::from_pixel(
        tiles.width() + widest + 2 * GAP,
        tiles.height(),
        Rgb([255; 3]),
    );
    draw_text(&mut page, "picture", GAP, GAP / 2);
    draw_text(&mut page, "ground truth", TILE + 2 * GAP, GAP / 2);
    for (row, [picture, truth]) in inputs.iter().enumerate() {
        paste(&mut page, picture, 0, row);
        paste(&mut page, truth, 1, row);
    }
    for (index, path) in columns.iter().enumerate() {
        let left = (2 + index) as u32 * (TILE + GAP);
        imageops::replace(&mut page, &load_rgb(path)?, i64::from(left), 0);
    }
    for (row, name) in names.iter().enumerate() {
        let middle = row as u32 * (TILE + GAP) + (TILE + LETTER_HEIGHT) / 2;
        draw_text(&mut page, name, tiles.width() + GAP, middle);
    }
    Ok(page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_of_other_steps_are_neither_shown_nor_changed() {
        let folder = tempfile::tempdir().unwrap();
        for step in 1..=20 {
            std::fs::write(column_of(folder.path(), step), "").unwrap();
        }
        std::fs::write(folder.path().join("notes.txt"), "").unwrap();
        let validated: Vec<usize> = (1..=15).collect();
        let found = columns(folder.path(), &validated);
        assert_eq!(found.len(), MOST_COLUMNS);
        let ends = [1, 15].map(|step| column_of(folder.path(), step));
        assert_eq!((&found[0], &found[7]), (&ends[0], &ends[1]));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 21);
    }

    #[test]
    fn every_picture_and_name_is_in_its_row() {
        let folder = tempfile::tempdir().unwrap();
        let tones = [[200, 0, 0], [0, 200, 0], [0, 0, 200]];
        let mut columns = Vec::new();
        for (index, tone) in tones.into_iter().enumerate() {
            let path = column_of(folder.path(), index + 1);
            let (width, height) = blank(1, 2).dimensions();
            let column = RgbImage::from_pixel(width, height, Rgb(tone));
            column.save(&path).unwrap();
            columns.push(path);
        }
        let grey = |value: u8| RgbImage::from_pixel(4, 4, Rgb([value; 3]));
        let inputs = [[grey(10), grey(20)], [grey(30), grey(40)]];
        let page = sheet(&inputs, &columns, &["a cat", "dogs"]).unwrap();

        let middle = |row: u32| LETTER_HEIGHT + GAP + row * (TILE + GAP) + TILE / 2;
        let shown = |column: u32, row: u32| {
            let x = column * (TILE + GAP) + TILE / 2;
            page.get_pixel(x, middle(row)).0
        };
        for row in 0..2 {
            let [picture, truth] = [[10, 20], [30, 40]][row as usize];
            assert_eq!([shown(0, row), shown(1, row)], [[picture; 3], [truth; 3]]);
            for (index, tone) in tones.into_iter().enumerate() {
                assert_eq!(shown(2 + index as u32, row), tone, "{index} {row}");
            }
        }
        // Each name is beside its row, and there is no ink anywhere else.
        let names = 5 * (TILE + GAP);
        let inked = |y: &u32| (names..page.width()).any(|x| page.get_pixel(x, *y).0 != [255; 3]);
        let rows: Vec<u32> = (0..page.height()).filter(inked).collect();
        let beside = |row: u32, y: u32| y.abs_diff(middle(row)) <= LETTER_HEIGHT;
        assert!(
            rows.iter().all(|&y| beside(0, y) || beside(1, y)),
            "{rows:?}"
        );
        assert!(
            (0..2).all(|row| rows.iter().any(|&y| beside(row, y))),
            "{rows:?}"
        );
    }
}
