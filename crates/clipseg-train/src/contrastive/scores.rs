//! The retrieval and zero-shot scores of a CLIP on held-out pictures.

use super::fixed_tokenizer::FixedTokenizer;
use crate::error::Result;
use crate::readback::floats;
use burn::prelude::*;
use clipseg_clip::{Clip, ImageProcessor, Regions, normalise};
use clipseg_data::{BoxedName, Captions, HeldOut, LabelledPictures, PackedPictures};
use image::RgbImage;
use serde::{Deserialize, Serialize};

/// The scores of a CLIP on held-out pictures, from 0 to 1.
///
/// Retrieval is counted as R@1 and R@5; a tie counts as a miss. Names and colours of objects are classified
/// zero-shot: the class embedding of a name is that of the name alone, the class embedding of a colour is
/// the mean over all names of "colour name".
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ClipScores {
    /// Number of held-out pictures, each with one text.
    pub pictures: usize,
    /// R@1 of texts: the fraction of the pictures whose own text ranks first.
    pub text_at_1: f32,
    /// R@5 of texts: the fraction of the pictures whose own text is among the first five.
    pub text_at_5: f32,
    /// R@1 of pictures: the fraction of the texts whose own picture ranks first.
    pub picture_at_1: f32,
    /// R@5 of pictures: the fraction of the texts whose own picture is among the first five.
    pub picture_at_5: f32,
    /// Number of held-out objects that were classified.
    pub objects: usize,
    /// Accuracy of names; `None` without objects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub names: Option<f32>,
    /// Accuracy of colours over the objects of known colour; `None` without such objects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub colours: Option<f32>,
    /// Number of objects of the held-out pictures whose bounding boxes were classified by name; 0 if the
    /// run trains without regions.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub regions: usize,
    /// Accuracy of the names of these boxes, each by the mean of its patches; `None` if there is no box.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region_names: Option<f32>,
}

fn is_zero(count: &usize) -> bool {
    *count == 0
}

/// The held-out pictures, texts and objects that a CLIP is scored on.
#[derive(Debug)]
pub(crate) struct ScoreSet {
    held_out: HeldOut,
    labelled: LabelledPictures,
    tokenizer: FixedTokenizer,
    processor: ImageProcessor,
    /// Pictures or texts that are embedded at a time. Every batch is filled up to this size, because a GPU
    /// tunes its kernels anew for every size.
    batch: usize,
    /// The grid of patches, if the regions of the held-out pictures are scored too.
    grid: Option<[usize; 2]>,
}

type Rows = Vec<Vec<f32>>;

impl ScoreSet {
    pub(crate) fn new(
        captions: &Captions,
        [pictures, objects]: [usize; 2],
        tokenizer: FixedTokenizer,
        processor: ImageProcessor,
        batch: usize,
        grid: Option<[usize; 2]>,
    ) -> Result<Self> {
        Ok(Self {
            held_out: captions.held_out(pictures)?,
            labelled: captions.labelled(objects)?,
            tokenizer,
            processor,
            batch: batch.max(1),
            grid,
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
        let mut regions = Rows::new();
        if scores.pictures > 0 {
            let images;
            (images, regions) = self.held_out_images(clip)?;
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
            if !regions.is_empty() {
                let own = self.held_out.objects.iter().flatten();
                let own =
                    own.map(|object| name_classes.iter().position(|name| *name == object.name));
                scores.regions = own.clone().flatten().count();
                scores.region_names = accuracy(&regions, &classes, own);
            }
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

    /// Embeds the held-out pictures, and the boxes of their objects if they are scored.
    fn held_out_images(&self, clip: &Clip) -> Result<(Rows, Rows)> {
        let HeldOut {
            pictures, objects, ..
        } = &self.held_out;
        let Some(grid) = self.grid else {
            return Ok((self.images(clip, pictures)?, Rows::new()));
        };
        let items: Vec<_> = pictures.iter().zip(objects).collect();
        let (mut images, mut boxed) = (Rows::new(), Rows::new());
        for chunk in items.chunks(self.batch) {
            let filled = self.filled(chunk);
            let boxes = |(_, objects): &(_, &Vec<BoxedName>)| -> Vec<[f32; 4]> {
                objects.iter().map(|object| object.bounds).collect()
            };
            let regions: Vec<_> = filled.iter().map(boxes).collect();
            let regions = Regions::new(&regions, grid)?;
            let pictures = PackedPictures::of(filled.iter().map(|(picture, _)| *picture));
            let pixels = pictures.into_pixels(&clip.device());
            let pixels = self.processor.normalise(pixels);
            if regions.is_empty() {
                images.extend(rows_of(clip.image_embedding(pixels)?, chunk.len())?);
                continue;
            }
            let count = chunk.iter().map(|(_, objects)| objects.len()).sum();
            let (whole, parts) = clip.region_embedding(pixels, &regions)?;
            images.extend(rows_of(whole, chunk.len())?);
            boxed.extend(rows_of(parts, count)?);
        }
        Ok((images, boxed))
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

    /// Computes the normalised embeddings of items.
    fn rows<T: Clone>(
        &self,
        items: &[T],
        embed: impl Fn(&[T]) -> Result<Tensor<2>>,
    ) -> Result<Rows> {
        let mut rows = Vec::with_capacity(items.len());
        for chunk in items.chunks(self.batch) {
            rows.extend(rows_of(embed(&self.filled(chunk))?, chunk.len())?);
        }
        Ok(rows)
    }

    /// The chunk, filled up with its own items if it is the last one.
    fn filled<T: Clone>(&self, chunk: &[T]) -> Vec<T> {
        chunk.iter().cycle().take(self.batch).cloned().collect()
    }
}

/// The first `count` rows of embeddings, normalised.
fn rows_of(embedding: Tensor<2>, count: usize) -> Result<Rows> {
    let [_, width] = embedding.dims();
    let values = floats(normalise(embedding))?;
    Ok(values
        .chunks(width)
        .take(count)
        .map(<[f32]>::to_vec)
        .collect())
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn mean(rows: &[Vec<f32>]) -> Vec<f32> {
    let width = rows.first().map_or(0, Vec::len);
    let sum: Vec<f32> = (0..width)
        .map(|index| rows.iter().map(|row| row[index]).sum())
        .collect();
    let length = dot(&sum, &sum).sqrt().max(f32::MIN_POSITIVE);
    sum.into_iter().map(|value| value / length).collect()
}

/// The fractions of the rows whose own column ranks first, and among the first five.
fn found(rows: &Rows, columns: &Rows) -> [f32; 2] {
    let mut counts = [0usize; 2];
    for (own, row) in rows.iter().enumerate() {
        let score = dot(row, &columns[own]);
        let others = columns
            .iter()
            .enumerate()
            .filter(|(index, _)| *index != own);
        // A tie counts as a miss, so that a model with constant scores gets 0.
        let before = others
            .filter(|(_, column)| dot(row, column) >= score)
            .count();
        counts[0] += usize::from(before < 1);
        counts[1] += usize::from(before < 5);
    }
    counts.map(|count| count as f32 / rows.len().max(1) as f32)
}

/// The fraction of the objects of known class whose class has the highest score.
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
            .filter(|(index, _)| *index != own);
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
    use super::super::shape::ClipShape;
    use super::*;
    use crate::step::randomness::drawing;
    use clipseg_clip::ClipTokenizer;
    use clipseg_data::CaptionOptions;

    #[test]
    fn rows_whose_own_column_ranks_first_are_counted() {
        let rows = vec![vec![1.0, 0.0], vec![0.0, 1.0], vec![0.6, 0.8]];
        let columns = vec![vec![1.0, 0.0], vec![0.6, 0.8], vec![0.0, 1.0]];
        // The second row has the highest score with the third column, the third with the second.
        let [first, five] = found(&rows, &columns);
        assert!((first - 1.0 / 3.0).abs() < 1e-6 && five == 1.0);
        let same = vec![vec![1.0, 0.0]; 8];
        assert_eq!(found(&same, &same), [0.0, 0.0], "ties are misses");
    }

    #[test]
    fn scores_do_not_depend_on_the_size_of_batches_or_on_boxes() {
        let device = Device::flex();
        let captions = Captions::scenes(CaptionOptions::new(32)).unwrap();
        let tokenizer = ClipTokenizer::train(&captions.texts(), 700, 32).unwrap();
        let shape = ClipShape {
            image_size: 32,
            ..ClipShape::default()
        };
        let shape = shape.to_config(tokenizer.vocab_size(), 0, 1);
        let clip = {
            let _alone = drawing(&device, 1);
            Clip::init(&shape, &device)
        };
        let score = |batch, grid| {
            let tokenizer = FixedTokenizer::new(&tokenizer, 32).unwrap();
            let processor = ImageProcessor::clipseg(32);
            let set = ScoreSet::new(&captions, [10, 40], tokenizer, processor, batch, grid);
            let set = set.unwrap();
            let boxes: usize = set.held_out.objects.iter().map(Vec::len).sum();
            (boxes, set.score(&clip).unwrap())
        };
        let (boxes, with) = score(3, Some([4, 4]));
        let (_, in_one) = score(64, Some([4, 4]));
        assert_eq!(with, in_one);
        // Only names of at least two held-out objects are classes.
        assert!(with.regions > boxes / 2 && with.regions <= boxes, "{boxes}");
        assert!(with.region_names.is_some());
        let (_, without) = score(3, None);
        let rest = ClipScores {
            regions: 0,
            region_names: None,
            ..with
        };
        assert_eq!(without, rest);
    }

    #[test]
    fn accuracy_ignores_unknown_classes() {
        let objects = vec![vec![1.0, 0.1], vec![0.1, 1.0], vec![0.5, 0.4]];
        let classes = vec![vec![1.0, 0.0], vec![0.0, 1.0]];
        let own = [Some(0), None, Some(1)];
        assert_eq!(accuracy(&objects, &classes, own.into_iter()), Some(0.5));
        assert_eq!(accuracy(&objects, &classes, [None].into_iter()), None);
        assert_eq!(mean(&[vec![3.0, 0.0], vec![0.0, 4.0]]), [0.6, 0.8]);
    }
}
