//! How well a CLIP tells held-out pictures apart.

use super::feed::{FixedTokenizer, PackedPictures};
use crate::error::Result;
use crate::readback::floats;
use burn::prelude::*;
use clipseg_clip::{Clip, ImageProcessor, normalise};
use clipseg_data::{Captions, HeldOut, LabelledPictures};
use image::RgbImage;
use serde::{Deserialize, Serialize};

/// Scores on what was not learnt from, from 0 to 1.
///
/// A text is found among so many pictures if no other picture has a higher score, or at most four
/// have. Names and colours are told apart without training (zero-shot): a name's class is the text of
/// the name alone, a colour's the mean over all names of "colour name".
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ClipScores {
    /// Pictures among which texts were looked for, and texts among which pictures' were.
    pub pictures: usize,
    /// Share of the pictures whose own text comes first.
    pub text_at_1: f32,
    /// Share of the pictures whose own text is among the first five.
    pub text_at_5: f32,
    /// Share of the texts whose own picture comes first.
    pub picture_at_1: f32,
    /// Share of the texts whose own picture is among the first five.
    pub picture_at_5: f32,
    /// Objects whose names were told apart.
    pub objects: usize,
    /// Share of the objects whose name was found, if there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub names: Option<f32>,
    /// Share of the objects of known colour whose colour was found, if there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub colours: Option<f32>,
}

/// What a CLIP is scored on, in memory.
#[derive(Debug)]
pub(crate) struct ScoreSet {
    held_out: HeldOut,
    labelled: LabelledPictures,
    tokenizer: FixedTokenizer,
    processor: ImageProcessor,
    /// Pictures or texts that are embedded at a time, always as many: every size is tuned for anew on
    /// a GPU.
    batch: usize,
}

type Rows = Vec<Vec<f32>>;

impl ScoreSet {
    pub(crate) fn new(
        captions: &Captions,
        [pictures, objects]: [usize; 2],
        tokenizer: FixedTokenizer,
        processor: ImageProcessor,
        batch: usize,
    ) -> Result<Self> {
        Ok(Self {
            held_out: captions.held_out(pictures)?,
            labelled: captions.labelled(objects)?,
            tokenizer,
            processor,
            batch: batch.max(1),
        })
    }

    pub(crate) fn pictures(&self) -> usize {
        self.held_out.pictures.len()
    }

    pub(crate) fn score(&self, clip: &Clip) -> Result<ClipScores> {
        let mut scores = ClipScores {
            pictures: self.pictures(),
            objects: self.labelled.pictures.len(),
            ..ClipScores::default()
        };
        if scores.pictures > 0 {
            let images = self.images(clip, &self.held_out.pictures)?;
            let texts = self.texts(clip, &self.held_out.texts)?;
            [scores.text_at_1, scores.text_at_5] = found(&images, &texts);
            [scores.picture_at_1, scores.picture_at_5] = found(&texts, &images);
        }
        let LabelledPictures {
            pictures,
            names,
            name_classes,
            colours,
            colour_classes,
            ..
        } = &self.labelled;
        if !pictures.is_empty() && !name_classes.is_empty() {
            let objects = self.images(clip, pictures)?;
            let classes = self.texts(clip, name_classes)?;
            let own = names.iter().copied().map(Some);
            scores.names = accuracy(&objects, &classes, own);
            if !colour_classes.is_empty() {
                let phrases: Vec<String> = colour_classes
                    .iter()
                    .flat_map(|colour| {
                        name_classes
                            .iter()
                            .map(move |name| format!("{colour} {name}"))
                    })
                    .collect();
                let of_names = self.texts(clip, &phrases)?;
                let classes: Rows = of_names.chunks(name_classes.len()).map(mean).collect();
                scores.colours = accuracy(&objects, &classes, colours.iter().copied());
            }
        }
        Ok(scores)
    }

    fn images(&self, clip: &Clip, pictures: &[RgbImage]) -> Result<Rows> {
        self.rows(pictures, |chunk| {
            let pixels = PackedPictures::of(chunk).into_pixels(&clip.device());
            Ok(clip.image_embedding(self.processor.normalise(pixels))?)
        })
    }

    fn texts(&self, clip: &Clip, texts: &[String]) -> Result<Rows> {
        self.rows(texts, |chunk| {
            let texts = self.tokenizer.encode(chunk)?.into_texts(&clip.device());
            Ok(clip.text_embedding_unchecked(&texts))
        })
    }

    /// Embeddings of length one.
    fn rows<T: Clone>(
        &self,
        items: &[T],
        embed: impl Fn(&[T]) -> Result<Tensor<2>>,
    ) -> Result<Rows> {
        let mut rows = Vec::with_capacity(items.len());
        for chunk in items.chunks(self.batch) {
            // Filled up with what is there already.
            let filled: Vec<T> = chunk.iter().cycle().take(self.batch).cloned().collect();
            let embedding = normalise(embed(&filled)?);
            let [_, width] = embedding.dims();
            let values = floats(embedding)?;
            rows.extend(values.chunks(width).take(chunk.len()).map(<[f32]>::to_vec));
        }
        Ok(rows)
    }
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn mean(rows: &[Vec<f32>]) -> Vec<f32> {
    let width = rows.first().map_or(0, Vec::len);
    let sum: Vec<f32> = (0..width)
        .map(|place| rows.iter().map(|row| row[place]).sum())
        .collect();
    let length = dot(&sum, &sum).sqrt().max(f32::MIN_POSITIVE);
    sum.into_iter().map(|value| value / length).collect()
}

/// Shares of the rows whose own column is the first, and among the first five.
fn found(rows: &Rows, columns: &Rows) -> [f32; 2] {
    let mut counts = [0usize; 2];
    for (own, row) in rows.iter().enumerate() {
        let score = dot(row, &columns[own]);
        let others = columns
            .iter()
            .enumerate()
            .filter(|(place, _)| *place != own);
        // As good as one's own is better: a model that gives all the same score finds nothing.
        let before = others
            .filter(|(_, column)| dot(row, column) >= score)
            .count();
        counts[0] += usize::from(before < 1);
        counts[1] += usize::from(before < 5);
    }
    counts.map(|count| count as f32 / rows.len().max(1) as f32)
}

/// Share of the objects of known class whose class has the highest score.
fn accuracy(
    objects: &Rows,
    classes: &Rows,
    own: impl Iterator<Item = Option<usize>>,
) -> Option<f32> {
    let (mut right, mut all) = (0usize, 0usize);
    for (object, own) in objects.iter().zip(own) {
        let Some(own) = own else { continue };
        let score = dot(object, &classes[own]);
        let others = classes
            .iter()
            .enumerate()
            .filter(|(place, _)| *place != own);
        let beaten = others
            .into_iter()
            .all(|(_, class)| dot(object, class) < score);
        right += usize::from(beaten);
        all += 1;
    }
    (all > 0).then(|| right as f32 / all as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_columns_are_counted_as_found() {
        let rows = vec![vec![1.0, 0.0], vec![0.0, 1.0], vec![0.6, 0.8]];
        let columns = vec![vec![1.0, 0.0], vec![0.6, 0.8], vec![0.0, 1.0]];
        // The second row likes the third column best, the third the second.
        let [first, five] = found(&rows, &columns);
        assert!((first - 1.0 / 3.0).abs() < 1e-6 && five == 1.0);
        let same = vec![vec![1.0, 0.0]; 8];
        assert_eq!(found(&same, &same), [0.0, 0.0], "ties are not found");
    }

    #[test]
    fn accuracy_passes_over_unknown_classes() {
        let objects = vec![vec![1.0, 0.1], vec![0.1, 1.0], vec![0.5, 0.4]];
        let classes = vec![vec![1.0, 0.0], vec![0.0, 1.0]];
        let own = [Some(0), None, Some(1)];
        assert_eq!(accuracy(&objects, &classes, own.into_iter()), Some(0.5));
        assert_eq!(accuracy(&objects, &classes, [None].into_iter()), None);
        assert_eq!(mean(&[vec![3.0, 0.0], vec![0.0, 4.0]]), [0.6, 0.8]);
    }
}
