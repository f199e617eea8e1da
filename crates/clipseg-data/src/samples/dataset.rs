//! The data set of samples: phrases with pictures and masks at one size.

use super::batch::{SampleBatch, SegmentationBatch};
use super::cache::SampleCache;
use super::negatives::Negatives;
use super::options::{MaskScaling, SampleOptions};
use super::picture::SamplePicture;
use super::randomness::{Purpose, random};
use super::sample::{Sample, Support};
use super::selection::Selection;
use super::view::View;
use super::words::swap_sides;
use crate::error::{DataError, Result};
use crate::left_out::LeftOut;
use crate::mask::Mask;
use crate::phrasecut::PhraseCut;
use crate::pictures::load_stored_rgb;
use crate::records::Phrase;
use burn::data::dataset::{Dataset, DatasetError};
use burn::prelude::*;
use rand::seq::IndexedRandom;
use rand::{Rng, RngExt};
use rayon::prelude::*;
use std::collections::HashMap;
use std::sync::Arc;

/// Phrases of a split, whose pictures and masks are loaded on demand.
///
/// As a Burn [`Dataset`] it returns the samples of the first epoch.
#[derive(Debug)]
pub struct PhraseCutDataset {
    data: Arc<PhraseCut>,
    selection: Selection,
    /// Indices of the phrases in the split.
    indices: Vec<u32>,
    left_out: LeftOut,
    options: SampleOptions,
    cache: SampleCache,
    negatives: Negatives,
    /// Indices in the split of the phrases with each text, if support pictures are requested.
    of_text: HashMap<String, Vec<u32>>,
}

/// A picture after its crop, flip and colour changes, with the masks of its phrases.
struct Seen {
    picture: SamplePicture,
    view: View,
    masks: Vec<Mask>,
}

/// The random choices for a phrase in an epoch.
struct Drawn {
    text: String,
    negative: bool,
    support: Option<Support>,
}

impl PhraseCutDataset {
    /// Creates the data set from a split or from a [`Selection`] of it.
    ///
    /// # Errors
    ///
    /// If an option or the selection is invalid, the split was not read, or its phrases have no polygons
    /// ([`NoTruth`](DataError::NoTruth)).
    pub fn new(
        data: Arc<PhraseCut>,
        selection: impl Into<Selection>,
        options: SampleOptions,
    ) -> Result<Self> {
        options.validate()?;
        let selection = selection.into();
        data.require_truth(selection.split())?;
        let (indices, left_out) = selection.indices(&data, &options)?;
        let phrases = data.phrases(selection.split());
        let mut of_text = HashMap::new();
        if options.support {
            for &place in &indices {
                let text = phrases[place as usize].phrase.to_lowercase();
                let places: &mut Vec<u32> = of_text.entry(text).or_default();
                places.push(place);
            }
        }
        Ok(Self {
            cache: SampleCache::new(options.cache_bytes),
            negatives: Negatives::new(phrases, &indices, &options),
            data,
            selection,
            indices,
            left_out,
            options,
            of_text,
        })
    }

    /// Number of phrases that are missing although the selection includes them, by reason.
    pub fn left_out(&self) -> &LeftOut {
        &self.left_out
    }

    /// Number of phrases.
    pub fn phrases(&self) -> usize {
        self.indices.len()
    }

    /// The record of a phrase.
    ///
    /// # Panics
    ///
    /// If `index` is out of range.
    pub fn record(&self, index: usize) -> &Phrase {
        self.at(self.indices[index])
    }

    /// `image_id` of each phrase.
    pub fn image_ids(&self) -> Vec<u64> {
        (0..self.phrases())
            .map(|index| self.record(index).image_id)
            .collect()
    }

    /// The data set from which the phrases are selected.
    pub fn data(&self) -> &Arc<PhraseCut> {
        &self.data
    }

    /// The options of the samples.
    pub fn options(&self) -> &SampleOptions {
        &self.options
    }

    fn at(&self, place: u32) -> &Phrase {
        &self.data.phrases(self.selection.split())[place as usize]
    }

    /// Loads one sample of an epoch.
    ///
    /// # Errors
    ///
    /// If its picture cannot be read.
    ///
    /// # Panics
    ///
    /// If an index is out of range.
    pub fn sample(&self, index: usize, epoch: u64) -> Result<Sample> {
        let Seen {
            picture,
            view,
            mut masks,
        } = self.view(&[index], epoch)?;
        let phrase = self.record(index);
        let drawn = self.draw(index, epoch, view.flipped)?;
        let mask = masks.swap_remove(0);
        Ok(Sample {
            task_id: phrase.task_id.clone(),
            image_id: phrase.image_id,
            phrase: drawn.text,
            image: picture,
            view,
            mask: if drawn.negative {
                Mask::new(mask.width(), mask.height())
            } else {
                mask
            },
            negative: drawn.negative,
            support: drawn.support,
        })
    }

    /// Loads several samples of an epoch in parallel. Consecutive phrases with the same picture share its
    /// crop, flip and colour changes.
    ///
    /// The result depends only on the options (including the seed), `epoch` and `indices`.
    ///
    /// # Errors
    ///
    /// If a picture cannot be read.
    ///
    /// # Panics
    ///
    /// If an index is out of range.
    pub fn load(&self, indices: &[usize], epoch: u64) -> Result<SampleBatch> {
        let same_picture =
            |&a: &usize, &b: &usize| self.record(a).image_id == self.record(b).image_id;
        let groups: Vec<&[usize]> = indices.chunk_by(same_picture).collect();
        let loaded: Vec<(Seen, Vec<Drawn>)> = groups
            .par_iter()
            .map(|group| {
                let seen = self.view(group, epoch)?;
                let flipped = seen.view.flipped;
                let drawn = group.iter().map(|&index| self.draw(index, epoch, flipped));
                Ok((seen, drawn.collect::<Result<_>>()?))
            })
            .collect::<Result<_>>()?;

        let task_ids = indices
            .iter()
            .map(|&index| self.record(index).task_id.clone());
        let mut batch = SampleBatch {
            task_ids: task_ids.collect(),
            phrases: Vec::with_capacity(indices.len()),
            negative: Vec::with_capacity(indices.len()),
            pictures: Vec::with_capacity(groups.len()),
            views: Vec::with_capacity(groups.len()),
            picture_of: Vec::with_capacity(indices.len()),
            masks: Vec::with_capacity(indices.len()),
            supports: Vec::with_capacity(indices.len()),
        };
        for (seen, drawn) in loaded {
            for (mask, drawn) in seen.masks.into_iter().zip(drawn) {
                let empty = drawn
                    .negative
                    .then(|| Mask::new(mask.width(), mask.height()));
                batch.masks.push(empty.unwrap_or(mask));
                batch.phrases.push(drawn.text);
                batch.negative.push(drawn.negative);
                batch.supports.push(drawn.support);
                batch.picture_of.push(batch.pictures.len());
            }
            batch.pictures.push(seen.picture);
            batch.views.push(seen.view);
        }
        Ok(batch)
    }

    /// Like [`load`](Self::load), with tensors on `device`.
    ///
    /// # Errors
    ///
    /// If a picture cannot be read.
    ///
    /// # Panics
    ///
    /// If an index is out of range or `indices` is empty.
    pub fn batch(
        &self,
        indices: &[usize],
        epoch: u64,
        device: &Device,
    ) -> Result<SegmentationBatch> {
        Ok(self.load(indices, epoch)?.into_tensors(device))
    }

    /// Loads the picture that a group of phrases shares, and their masks.
    fn view(&self, group: &[usize], epoch: u64) -> Result<Seen> {
        let first = self.record(group[0]);
        let image = self
            .data
            .image(first.image_id)
            .ok_or_else(|| DataError::UnknownPicture {
                task_id: first.task_id.clone(),
                image_id: first.image_id,
            })?;
        let recorded = [image.width, image.height];
        let masks: Vec<Arc<Mask>> = group
            .iter()
            .map(|&index| self.mask(self.indices[index], recorded))
            .collect::<Result<_>>()?;

        let options = &self.options;
        let whole = View::whole(first.image_id, recorded, options);
        let mut random = random(options.seed, epoch, Purpose::View, first.image_id);
        let of_masks: Vec<&Mask> = masks.iter().map(Arc::as_ref).collect();
        let view = whole.random(options, &of_masks, &mut random);

        let path = self.data.image_path(first.image_id);
        let (width, height) = (options.width, options.height);
        let picture = if options.crop.is_some() {
            let load = || load_stored_rgb(&path).map(SamplePicture::Rounded);
            let full = self.cache.picture(first.image_id, load)?;
            let full = match &*full {
                SamplePicture::Rounded(full) => full,
                SamplePicture::Exact(_) => {
                    unreachable!("uncropped pictures are cached as they are read")
                }
            };
            view.picture(full, recorded, options.preprocessing)
        } else {
            let squashed = self.cache.picture(first.image_id, || {
                let full = load_stored_rgb(&path)?;
                Ok::<_, DataError>(options.preprocessing.apply(&full, width, height))
            })?;
            let mut picture = SamplePicture::clone(&squashed);
            view.finish(&mut picture);
            picture
        };
        let masks = group.iter().zip(masks).map(|(&index, mask)| {
            let mask = match (options.crop, options.mask_scaling) {
                (None, _) => Arc::unwrap_or_clone(mask),
                (Some(_), MaskScaling::Polygons) => options.rule.mask_scaled(
                    self.record(index).polygons.iter(),
                    view.window,
                    width,
                    height,
                ),
                (Some(_), scaling) => scaling.resize(&mask.crop(view.window), width, height),
            };
            if view.flipped {
                mask.flip_horizontal()
            } else {
                mask
            }
        });
        Ok(Seen {
            picture,
            masks: masks.collect(),
            view,
        })
    }

    /// The mask of a phrase: at the recorded size if samples are cropped, else at the size of samples.
    fn mask(&self, place: u32, recorded: [u32; 2]) -> Result<Arc<Mask>> {
        let options = &self.options;
        let [width, height] = recorded;
        self.cache.mask(place, || {
            let polygons = self.at(place).polygons.iter();
            Ok(match (options.crop, options.mask_scaling) {
                (Some(_), _) => options.rule.mask(polygons, width, height),
                (None, scaling @ (MaskScaling::Resize | MaskScaling::PyTorchNearest)) => {
                    let whole = options.rule.mask(polygons, width, height);
                    scaling.resize(&whole, options.width, options.height)
                }
                (None, MaskScaling::Polygons) => options.rule.mask_scaled(
                    polygons,
                    Mask::new(width, height).frame(),
                    options.width,
                    options.height,
                ),
            })
        })
    }

    /// Draws the text of a phrase in an epoch: negatives, templates and support pictures.
    fn draw(&self, index: usize, epoch: u64, flipped: bool) -> Result<Drawn> {
        let options = &self.options;
        let place = self.indices[index];
        let mut random = random(options.seed, epoch, Purpose::Phrase, u64::from(place));
        let replaced = random.random_bool(f64::from(options.negatives));
        let other = replaced
            .then(|| {
                let phrases = self.data.phrases(self.selection.split());
                self.negatives
                    .draw(phrases, &self.indices, place, &mut random)
            })
            .flatten();
        let shown = other.unwrap_or(place);
        let phrase = self.at(shown);
        let template = options.templates.choose(&mut random);
        let support = match options
            .support
            .then(|| self.support(place, shown, &mut random))
            .flatten()
        {
            Some(place) => Some(self.support_picture(place)?),
            None => None,
        };
        let text = if flipped {
            swap_sides(&phrase.phrase)
        } else {
            phrase.phrase.as_str().into()
        };
        Ok(Drawn {
            text: template.map_or_else(
                || text.to_string(),
                |template| template.replace("{}", &text),
            ),
            negative: other.is_some(),
            support,
        })
    }

    /// Draws a phrase with the same text as `shown` from another picture than that of `place`.
    fn support(&self, place: u32, shown: u32, random: &mut impl Rng) -> Option<u32> {
        let picture = self.at(place).image_id;
        let same = self.of_text.get(&self.at(shown).phrase.to_lowercase())?;
        let elsewhere: Vec<u32> = same
            .iter()
            .copied()
            .filter(|&other| self.at(other).image_id != picture)
            .collect();
        elsewhere.choose(random).copied()
    }

    fn support_picture(&self, place: u32) -> Result<Support> {
        let phrase = self.at(place);
        let image = load_stored_rgb(&self.data.image_path(phrase.image_id))?;
        let known = self.data.image(phrase.image_id);
        let recorded = known.ok_or_else(|| DataError::UnknownPicture {
            task_id: phrase.task_id.clone(),
            image_id: phrase.image_id,
        })?;
        let polygons = phrase.polygons.iter();
        let whole = self
            .options
            .rule
            .mask(polygons, recorded.width, recorded.height);
        let (width, height) = image.dimensions();
        let mask = self.options.mask_scaling.resize(&whole, width, height);
        Ok(Support {
            image_id: phrase.image_id,
            image,
            mask,
        })
    }
}

impl Dataset<Sample> for PhraseCutDataset {
    fn get(&self, index: usize) -> Result<Sample, DatasetError> {
        self.sample(index, 0).map_err(DatasetError::new)
    }

    fn len(&self) -> usize {
        self.phrases()
    }
}
