//! Contact sheets of a study: successes, failures and the largest disagreements between the decoders.

use crate::error::{Result, TrainError};
use crate::study::folder::StudyFolder;
use crate::study::report::loaded::{Loaded, ScoredRun};
use crate::study::shown::{Shown, TILE, png};
use clipseg_data::{LETTER_HEIGHT, draw_text, load_rgb, text_width};
use image::{DynamicImage, Rgb, RgbImage, imageops};
use std::fmt::Write;

/// Largest number of phrases on a sheet.
const ROWS: usize = 8;
const GAP: u32 = 4;

/// Draws the sheets and returns the part of the report that shows them.
pub(crate) fn write_sheets(loaded: &Loaded, folder: &StudyFolder) -> Result<String> {
    let shown = Shown::spread(loaded.phrases.len(), loaded.study.sheet_phrases);
    let runs = compared(loaded);
    let mut text = String::from("## Examples\n\n");
    let Some(first) = runs.first().filter(|_| !shown.places().is_empty()) else {
        text += "No masks were kept for contact sheets.\n\n";
        return Ok(text);
    };
    let inputs = strip(folder, &folder.shown(), [2, shown.places().len()])?;
    let masks = runs
        .iter()
        .map(|run| {
            strip(
                folder,
                &folder.masks(&run.result.name),
                [1, shown.places().len()],
            )
        })
        .collect::<Result<Vec<_>>>()?;
    let _ = write!(
        text,
        "The sheets show phrases among {} test phrases, evenly spread over the split: each with its picture, its ground \
         truth, and the soft mask of every decoder with the loss {} and the seed {}. They are chosen by the IoU at 0.5.\n\n",
        shown.places().len(),
        first.result.loss,
        first.result.seed
    );
    let kinds: [(&str, &str, Order); 3] = [
        ("successes", "The highest mean IoU over the decoders", mean),
        (
            "failures",
            "The lowest mean IoU over the decoders",
            |ious| -mean(ious),
        ),
        (
            "disagreements",
            "The largest difference of IoU between two decoders",
            range,
        ),
    ];
    for (name, title, order) in kinds {
        let rows = chosen(&runs, &shown, order);
        let sheet = sheet(loaded, &runs, &shown, &rows, &inputs, &masks);
        let file = format!("{name}.png");
        let path = folder.figure(&file);
        folder.write(&path, &png(&DynamicImage::from(sheet), &path)?)?;
        let _ = write!(text, "{title}:\n\n![{name}](figures/{file})\n\n");
    }
    Ok(text)
}

/// By which phrases are chosen: the highest value of the IoUs of all decoders first.
type Order = fn(&[f64]) -> f64;

fn mean(ious: &[f64]) -> f64 {
    ious.iter().sum::<f64>() / ious.len().max(1) as f64
}

fn range(ious: &[f64]) -> f64 {
    let highest = ious.iter().copied().fold(f64::MIN, f64::max);
    highest - ious.iter().copied().fold(f64::MAX, f64::min)
}

/// The run of each decoder with the first loss and seed that have a run.
fn compared(loaded: &Loaded) -> Vec<&ScoredRun> {
    let plain = || {
        let runs = loaded.runs.iter();
        runs.filter(|run| run.result.alteration.is_none())
    };
    let Some(first) = plain().next().map(|run| &run.result) else {
        return Vec::new();
    };
    plain()
        .filter(|run| (&run.result.loss, run.result.seed) == (&first.loss, first.seed))
        .collect()
}

/// The rows of the phrases with the highest values; of equal ones the first.
fn chosen(runs: &[&ScoredRun], shown: &Shown, order: Order) -> Vec<usize> {
    let value = |row: usize| {
        let place = shown.places()[row];
        let ious: Vec<f64> = runs.iter().map(|run| run.phrases[place].iou).collect();
        order(&ious)
    };
    let mut rows: Vec<usize> = (0..shown.places().len()).collect();
    rows.sort_by(|&a, &b| value(b).total_cmp(&value(a)));
    rows.truncate(ROWS);
    rows
}

/// Reads a file of small pictures and checks its size.
fn strip(
    folder: &StudyFolder,
    path: &std::path::Path,
    [columns, rows]: [usize; 2],
) -> Result<RgbImage> {
    let strip = load_rgb(path)?;
    let expected = (columns as u32 * TILE, rows as u32 * TILE);
    if strip.dimensions() == expected {
        return Ok(strip);
    }
    let message = format!(
        "has {}x{} pixels, expected {}x{}, as for the phrases in {}",
        strip.width(),
        strip.height(),
        expected.0,
        expected.1,
        folder.phrases().display()
    );
    Err(TrainError::run(path, message))
}

fn sheet(
    loaded: &Loaded,
    runs: &[&ScoredRun],
    shown: &Shown,
    rows: &[usize],
    inputs: &RgbImage,
    masks: &[RgbImage],
) -> RgbImage {
    let titles: Vec<&str> = ["picture", "ground truth"]
        .into_iter()
        .chain(runs.iter().map(|run| run.result.decoder.as_str()))
        .collect();
    let widest = titles.iter().map(|title| text_width(title)).max();
    let column = TILE.max(widest.unwrap_or(0)) + 2 * GAP;
    let line = LETTER_HEIGHT + GAP;
    // Below the tiles of a phrase are the IoUs, and below them the phrase.
    let row_height = TILE + 2 * line + GAP;
    let phrases = rows.iter().map(|&row| &loaded.phrases[shown.places()[row]]);
    let longest = phrases.map(|phrase| text_width(&phrase.phrase)).max();
    let width = (column * titles.len() as u32).max(longest.unwrap_or(0) + 2 * GAP);
    let height = line + row_height * rows.len() as u32;
    let mut page = RgbImage::from_pixel(width, height, Rgb([255; 3]));
    for (index, title) in titles.iter().enumerate() {
        draw_text(&mut page, title, index as u32 * column + GAP, GAP / 2);
    }
    for (index, &row) in rows.iter().enumerate() {
        let top = line + index as u32 * row_height;
        let place = shown.places()[row];
        let tiles = [(inputs, 0), (inputs, 1)]
            .into_iter()
            .chain(masks.iter().map(|mask| (mask, 0)));
        for (at, (strip, from)) in tiles.enumerate() {
            let tile = imageops::crop_imm(strip, from * TILE, row as u32 * TILE, TILE, TILE);
            let left = at as u32 * column + GAP;
            imageops::replace(&mut page, &tile.to_image(), i64::from(left), i64::from(top));
        }
        for (at, run) in runs.iter().enumerate() {
            let iou = format!("{:.2}", run.phrases[place].iou);
            let left = (at as u32 + 2) * column + GAP;
            draw_text(&mut page, &iou, left, top + TILE + GAP / 2);
        }
        let phrase = &loaded.phrases[place].phrase;
        draw_text(&mut page, phrase, GAP, top + TILE + line);
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phrases_are_chosen_by_mean_and_range() {
        assert_eq!(mean(&[0.2, 0.6]), 0.4);
        assert_eq!(range(&[0.2, 0.6, 0.5]), 0.6 - 0.2);
    }
}
