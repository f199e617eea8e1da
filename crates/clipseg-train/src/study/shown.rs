//! The test phrases whose masks are kept as small pictures, for the contact sheets of the report.
//!
//! `shown.png` has a row for each of them, with the picture and the ground truth; the file of a run in `masks/` has a
//! column with its soft masks. So the sheets can be drawn without the data set and without a model.

use crate::error::{Result, TrainError};
use crate::scoring::phrases::Phrases;
use clipseg_data::{Filter, resize_plane, resize_rgb};
use image::{DynamicImage, GrayImage, ImageFormat, Luma, Rgb, RgbImage, imageops};
use std::io::Cursor;
use std::path::Path;

/// Side of a small picture in pixels.
pub(crate) const TILE: u32 = 96;

/// The shown phrases.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shown {
    /// Their positions among the test phrases, in ascending order.
    places: Vec<usize>,
}

impl Shown {
    /// At most `most` of `phrases` test phrases, evenly spread.
    pub(crate) fn spread(phrases: usize, most: usize) -> Self {
        let count = phrases.min(most);
        let places = (0..count).map(|index| index * phrases / count);
        Self {
            places: places.collect(),
        }
    }

    pub(crate) fn places(&self) -> &[usize] {
        &self.places
    }

    /// An empty column for the masks of a run. A picture has at least one pixel, so without a shown phrase it is a
    /// column of one row.
    pub(crate) fn column(&self) -> GrayImage {
        GrayImage::new(TILE, TILE * self.places.len().max(1) as u32)
    }

    /// Draws the probabilities of the test phrase with this position, if it is shown.
    pub(crate) fn draw(
        &self,
        column: &mut GrayImage,
        place: usize,
        probabilities: &[f32],
        size: [u32; 2],
    ) -> Result<()> {
        let Ok(row) = self.places.binary_search(&place) else {
            return Ok(());
        };
        let tile = resize_plane(probabilities, size, [TILE, TILE])?;
        for (index, probability) in tile.into_iter().enumerate() {
            let (x, y) = (index as u32 % TILE, index as u32 / TILE);
            let level = (255.0 * probability.clamp(0.0, 1.0)).round() as u8;
            column.put_pixel(x, row as u32 * TILE + y, Luma([level]));
        }
        Ok(())
    }

    /// The pictures with their ground truth, as a PNG file.
    pub(crate) fn pictures(&self, test: &Phrases, path: &Path) -> Result<Vec<u8>> {
        let rows = self.places.len().max(1) as u32;
        let mut sheet = RgbImage::from_pixel(2 * TILE, TILE * rows, Rgb([255; 3]));
        let indices: Vec<usize> = test.iter().map(|(index, _)| index).collect();
        for (row, &place) in self.places.iter().enumerate() {
            let sample = test.dataset().sample(indices[place], 0)?;
            let truth = DynamicImage::from(sample.mask.to_gray_image()).into_rgb8();
            for (column, picture) in [sample.image.to_rgb8(), truth].iter().enumerate() {
                let tile = resize_rgb(picture, TILE, TILE, Filter::Bilinear);
                let (left, top) = (
                    column as i64 * i64::from(TILE),
                    row as i64 * i64::from(TILE),
                );
                imageops::replace(&mut sheet, &tile, left, top);
            }
        }
        png(&DynamicImage::from(sheet), path)
    }
}

/// A picture as a PNG file; `path` is used in error messages.
pub(crate) fn png(picture: &DynamicImage, path: &Path) -> Result<Vec<u8>> {
    let mut bytes = Cursor::new(Vec::new());
    picture
        .write_to(&mut bytes, ImageFormat::Png)
        .map_err(|error| TrainError::run(path, error))?;
    Ok(bytes.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shown_phrases_are_spread_and_keep_their_row() {
        let shown = Shown::spread(10, 4);
        assert_eq!(shown.places(), [0, 2, 5, 7]);
        assert_eq!(Shown::spread(3, 100).places(), [0, 1, 2]);
        assert!(Shown::spread(3, 0).places().is_empty());

        let mut column = shown.column();
        assert_eq!(column.dimensions(), (TILE, 4 * TILE));
        shown.draw(&mut column, 5, &[1.0; 4], [2, 2]).unwrap();
        shown.draw(&mut column, 6, &[1.0; 4], [2, 2]).unwrap();
        let bright = |row: u32| column.get_pixel(TILE / 2, row * TILE + TILE / 2).0[0];
        assert_eq!([0, 1, 2, 3].map(bright), [0, 0, 255, 0]);
    }
}
