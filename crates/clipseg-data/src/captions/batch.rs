//! Batches of captioned pictures.

use super::sample::Captioned;
use super::things::{Thing, may_hold};
use crate::planes::write_planes;
use rayon::prelude::*;

/// A batch of captioned pictures, all with the same size.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct CaptionBatch {
    /// The samples.
    pub samples: Vec<Captioned>,
}

/// A picture or a region with its text.
struct Pair<'a> {
    text: &'a str,
    said: &'a [Thing],
    shown: &'a [Thing],
}

impl CaptionBatch {
    /// All pairs: first the pictures, then their regions, picture by picture.
    fn pairs(&self) -> impl Iterator<Item = Pair<'_>> {
        let pictures = self.samples.iter().map(|sample| Pair {
            text: &sample.text,
            said: &sample.said,
            shown: &sample.shown,
        });
        let regions = self.samples.iter().flat_map(|sample| &sample.regions);
        pictures.chain(regions.map(|region| Pair {
            text: &region.text,
            said: &region.said,
            shown: &region.shown,
        }))
    }

    /// The texts: first those of the pictures, then those of their regions, picture by picture.
    pub fn texts(&self) -> Vec<&str> {
        self.pairs().map(|pair| pair.text).collect()
    }

    /// The boxes of the regions of each picture, as in [`CaptionedRegion::bounds`](super::CaptionedRegion).
    pub fn boxes(&self) -> Vec<Vec<[f32; 4]>> {
        let boxes = |sample: &Captioned| sample.regions.iter().map(|one| one.bounds).collect();
        self.samples.iter().map(boxes).collect()
    }

    /// For each picture or region (row) and text (column), both in the order of [`texts`](Self::texts),
    /// whether they must not be used as a negative although they do not belong together: if the row's own
    /// text is the same, or everything that the text describes is known to be in the picture or region. Row
    /// by row.
    pub fn not_negatives(&self) -> Vec<bool> {
        let pairs: Vec<Pair<'_>> = self.pairs().collect();
        let rows = pairs.par_iter().enumerate().flat_map_iter(|(row, one)| {
            pairs.iter().enumerate().map(move |(column, other)| {
                row != column && (one.text == other.text || may_hold(other.said, one.shown))
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
    use super::super::region::CaptionedRegion;
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
    fn other_objects_of_the_picture_are_negatives_of_a_region() {
        let region = |text: &str, object: &str| CaptionedRegion {
            bounds: [0.0, 0.0, 0.5, 1.0],
            text: text.to_owned(),
            said: vec![Thing::new([text])],
            shown: vec![Thing::new([object])],
        };
        let mut picture = sample(
            "star, tree",
            &["star", "tree"],
            &["small red star", "blue tree"],
        );
        picture.regions = vec![
            region("red star", "small red star"),
            region("tree", "blue tree"),
        ];
        let mut other = sample("red star", &["red star"], &["large red star"]);
        other.regions = vec![region("star", "large red star")];
        let batch = CaptionBatch {
            samples: vec![picture, other],
        };
        assert_eq!(
            batch.texts(),
            ["star, tree", "red star", "red star", "tree", "star"]
        );
        let boxes: Vec<usize> = batch.boxes().iter().map(Vec::len).collect();
        assert_eq!(boxes, [2, 1]);
        let expected = [
            // The picture shows everything.
            [false, true, true, true, true],
            [false, false, true, false, true],
            // The region of the star is contrasted with the tree and with the caption of its picture.
            [false, true, false, false, true],
            [false, false, false, false, false],
            [false, true, true, false, false],
        ];
        assert_eq!(batch.not_negatives(), expected.concat());
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
