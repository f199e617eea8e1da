//! Batches of captioned pictures.

use super::sample::Captioned;
use super::things::may_hold;
use crate::planes::write_planes;
use rayon::prelude::*;

/// A batch of captioned pictures, all with the same size.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct CaptionBatch {
    /// The samples.
    pub samples: Vec<Captioned>,
}

impl CaptionBatch {
    /// For each picture (row) and text (column), whether the pair must not be used as a negative although it
    /// comes from two samples: if both samples have the same text, or everything that the text describes is
    /// known to be in the picture. Row by row.
    pub fn not_negatives(&self) -> Vec<bool> {
        let samples = &self.samples;
        let rows = samples
            .par_iter()
            .enumerate()
            .flat_map_iter(|(row, picture)| {
                samples.iter().enumerate().map(move |(column, other)| {
                    row != column
                        && (picture.text == other.text || may_hold(&other.said, &picture.shown))
                })
            });
        rows.collect()
    }

    /// Pixels of all pictures, `[pictures, channels, height, width]`.
    pub fn pixels(&self) -> Vec<u8> {
        let size = self
            .samples
            .first()
            .map_or(0, |sample| sample.picture.len());
        let mut pixels = vec![0; self.samples.len() * size];
        pixels
            .par_chunks_exact_mut(size.max(1))
            .zip(&self.samples)
            .for_each(|(planes, sample)| {
                write_planes(sample.picture.as_raw(), planes, |_, level| level);
            });
        pixels
    }
}

#[cfg(test)]
mod tests {
    use super::super::things::Thing;
    use super::*;
    use image::{Rgb, RgbImage};

    fn sample(text: &str, said: &[&str], shown: &[&str]) -> Captioned {
        let things = |words: &[&str]| words.iter().map(|words| Thing::new([*words])).collect();
        Captioned {
            said: things(said),
            shown: things(shown),
            ..crate::captions::sample::tests_sample(RgbImage::new(2, 1), text)
        }
    }

    #[test]
    fn texts_that_may_be_true_are_not_negatives() {
        let samples = vec![
            sample("star", &["star"], &["red star"]),
            sample("red star", &["red star"], &["large red star", "tree"]),
            sample("a dog", &[], &[]),
            sample("a dog", &[], &[]),
        ];
        let found = CaptionBatch { samples }.not_negatives();
        let expected = [
            [false, true, false, false],
            [true, false, false, false],
            [false, false, false, true],
            [false, false, true, false],
        ];
        assert_eq!(found, expected.concat());
    }

    #[test]
    fn channels_are_stored_as_planes() {
        let mut picture = RgbImage::new(2, 1);
        picture.put_pixel(0, 0, Rgb([1, 2, 3]));
        picture.put_pixel(1, 0, Rgb([4, 5, 6]));
        let samples = vec![
            crate::captions::sample::tests_sample(picture, "x"),
            sample("y", &[], &[]),
        ];
        let pixels = CaptionBatch { samples }.pixels();
        assert_eq!(pixels, [1, 4, 2, 5, 3, 6, 0, 0, 0, 0, 0, 0]);
    }
}
