//! A contact sheet: how the masks of some phrases change over a run.
//!
//! Each validation leaves a column of soft masks in `examples/`; the sheet is put together from them,
//! so a run that goes on after an interruption has the columns from before.

use crate::canvas::{LETTER_HEIGHT, text_width, write_text};
use crate::curves::write_png;
use crate::encoding::FrozenClip;
use crate::error::{Result, TrainError};
use crate::evaluate::{EvaluateOptions, for_each_batch};
use crate::phrases::Phrases;
use crate::run_folder::RunFolder;
use crate::trainer::Decoder;
use burn::prelude::*;
use clipseg_data::{Filter, load_rgb, resize_rgb};
use clipseg_model::{SoftMask, heat_map};
use image::{Rgb, RgbImage, imageops};
use std::path::{Path, PathBuf};

/// Side of a picture on the sheet.
const TILE: u32 = 128;
const GAP: u32 = 4;
/// Columns of soft masks; with more validations than that, evenly spread ones are shown.
const MOST_COLUMNS: usize = 8;

/// Adds the column of a validation and puts the sheet together.
pub(crate) fn write_examples(
    folder: &RunFolder,
    clip: &mut FrozenClip,
    decoder: &Decoder,
    phrases: &Phrases,
    step: usize,
) -> Result<()> {
    if phrases.is_empty() {
        return Ok(());
    }
    let inputs = inputs(clip, phrases)?;
    let mut column = blank(1, phrases.len());
    write_text(&mut column, &format!("step {step}"), GAP, GAP / 2);
    for (row, mask) in soft_masks(clip, decoder, phrases)?.iter().enumerate() {
        paste(&mut column, &heat_map(mask), 0, row);
    }
    let path = folder.examples().join(format!("step-{step:08}.png"));
    write_png(&path, &column)?;
    let columns = columns(&folder.examples(), step)?;
    write_png(&folder.example_sheet(), &sheet(&inputs, &columns, phrases)?)
}

/// Picture and truth of each phrase.
fn inputs(clip: &FrozenClip, phrases: &Phrases) -> Result<Vec<[RgbImage; 2]>> {
    let indices: Vec<usize> = phrases.iter().map(|(index, _)| index).collect();
    let batch = phrases.batch(&indices, 0, clip.device())?.batch;
    let [_, _, height, width] = batch.pixels.dims();
    let (pixels, masks) = (read(batch.pixels)?, read(batch.masks)?);
    let plane = height * width;
    let grey = |value: f32| (255.0 * value).round().clamp(0.0, 255.0) as u8;
    let at = |x: u32, y: u32| y as usize * width + x as usize;
    let size = (width as u32, height as u32);
    let inputs = batch.picture_of.iter().enumerate().map(|(row, &picture)| {
        let pixels = &pixels[3 * plane * picture..][..3 * plane];
        let mask = &masks[plane * row..][..plane];
        [
            RgbImage::from_fn(size.0, size.1, |x, y| {
                Rgb(std::array::from_fn(|channel| {
                    grey(pixels[channel * plane + at(x, y)])
                }))
            }),
            RgbImage::from_fn(size.0, size.1, |x, y| Rgb([grey(mask[at(x, y)]); 3])),
        ]
    });
    Ok(inputs.collect())
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
        for logits in read(logits)?.chunks_exact((height * width).max(1)) {
            masks.push(SoftMask::from_logits(logits, size, size)?);
        }
        Ok(())
    })?;
    Ok(masks)
}

fn read<const D: usize>(tensor: Tensor<D>) -> Result<Vec<f32>> {
    let data = tensor.try_into_data().map_err(TrainError::device)?;
    data.convert::<f32>()
        .try_to_vec()
        .map_err(|error| TrainError::Device(format!("{error:?}")))
}

/// The columns of the validations up to a step; later ones are from steps that are done again.
fn columns(folder: &Path, step: usize) -> Result<Vec<PathBuf>> {
    let mut found: Vec<PathBuf> = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(TrainError::io("read", folder))? {
        let path = entry.map_err(TrainError::io("read", folder))?.path();
        let of_step: Option<usize> = path.file_name().and_then(|name| {
            name.to_str()?
                .strip_prefix("step-")?
                .strip_suffix(".png")?
                .parse()
                .ok()
        });
        match of_step {
            Some(of_step) if of_step > step => {
                std::fs::remove_file(&path).map_err(TrainError::io("remove", &path))?;
            }
            Some(_) => found.push(path),
            None => {}
        }
    }
    found.sort();
    let count = found.len();
    if count > MOST_COLUMNS {
        // The first and the last are always among them.
        let spread = (0..MOST_COLUMNS).map(|index| index * (count - 1) / (MOST_COLUMNS - 1));
        found = spread.map(|index| found[index].clone()).collect();
    }
    Ok(found)
}

/// White room for so many columns and rows, with a line for titles.
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

fn sheet(inputs: &[[RgbImage; 2]], columns: &[PathBuf], phrases: &Phrases) -> Result<RgbImage> {
    let names: Vec<&str> = phrases
        .iter()
        .map(|(_, phrase)| phrase.phrase.as_str())
        .collect();
    let widest = names.iter().map(|name| text_width(name)).max().unwrap_or(0);
    let tiles = blank(2 + columns.len(), inputs.len());
    let mut page = RgbImage::from_pixel(
        tiles.width() + widest + 2 * GAP,
        tiles.height(),
        Rgb([255; 3]),
    );
    write_text(&mut page, "picture", GAP, GAP / 2);
    write_text(&mut page, "truth", TILE + 2 * GAP, GAP / 2);
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
        write_text(&mut page, name, tiles.width() + GAP, middle);
    }
    Ok(page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_of_steps_to_come_are_thrown_away_and_few_are_shown() {
        let folder = tempfile::tempdir().unwrap();
        let path = |step: usize| folder.path().join(format!("step-{step:08}.png"));
        for step in 1..=20 {
            std::fs::write(path(step), "").unwrap();
        }
        std::fs::write(folder.path().join("notes.txt"), "").unwrap();
        let found = columns(folder.path(), 15).unwrap();
        assert!(!path(16).exists() && path(15).exists());
        assert_eq!(found.len(), MOST_COLUMNS);
        assert_eq!((&found[0], &found[7]), (&path(1), &path(15)));
    }
}
