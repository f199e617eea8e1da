//! Sources of captioned pictures.

use super::annotated::Annotated;
use super::list::{Listed, read_list};
use super::options::CaptionOptions;
use super::sample::{Captioned, draw};
use crate::error::{DataError, Result};
use crate::files;
use crate::phrasecut::PhraseCut;
use crate::pictures::{load_rgb, load_stored_rgb};
use crate::records::{Phrase, Split};
use crate::scenes::fresh::{Looks, fresh_scene};
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// File name of a plain list of captions in a folder.
pub const CAPTION_LIST: &str = "captions.tsv";

/// Separates the seed of held-out scenes from that of training scenes.
const HELD_OUT: u64 = 0x6865_6c64;
/// One in this number of pictures of a plain list is held out.
const HELD_OUT_EVERY: usize = 20;
/// Number of scenes whose texts are used for training a tokenizer.
const VOCABULARY_PICTURES: u64 = 1_000;
/// Side of those scenes in pixels, which determines the time to draw them.
const VOCABULARY_SIDE: u32 = 48;

#[derive(Debug)]
pub(super) enum Source {
    /// Scenes generated on demand, without end.
    Scenes,
    Folder(Folder),
    List {
        training: Vec<Listed>,
        held_out: Vec<Listed>,
    },
}

/// A data set in PhraseCut's layout.
#[derive(Debug)]
pub(super) struct Folder {
    data: Arc<PhraseCut>,
    training: Pictures,
    held_out: Pictures,
}

/// The pictures of a split, each with the indices of its phrases.
#[derive(Debug)]
struct Pictures {
    split: Split,
    phrases: Vec<(u64, Vec<usize>)>,
}

/// A held-out picture.
pub(super) enum Known {
    Annotated(Annotated),
    Listed(image::RgbImage, String),
}

impl Source {
    pub(super) fn open(folder: &Path) -> Result<Self> {
        let list = folder.join(CAPTION_LIST);
        if files::is_there(&list) {
            let (mut training, mut held_out) = (Vec::new(), Vec::new());
            let listed = read_list(&list)?;
            if listed.len() < 2 {
                return Err(DataError::Input(format!(
                    "{}: one picture, expected at least two: one for training and one held out",
                    list.display()
                )));
            }
            for (index, one) in listed.into_iter().enumerate() {
                let kept = index.is_multiple_of(HELD_OUT_EVERY);
                if kept { &mut held_out } else { &mut training }.push(one);
            }
            return Ok(Self::List { training, held_out });
        }
        let data = Arc::new(PhraseCut::open_splits(folder, &[Split::Train, Split::Val])?);
        let training = Pictures::of(&data, Split::Train);
        if training.phrases.is_empty() {
            return Err(DataError::Input(format!(
                "{}: the split `train` has no phrase to train on",
                folder.display()
            )));
        }
        Ok(Self::Folder(Folder {
            held_out: Pictures::of(&data, Split::Val),
            training,
            data,
        }))
    }

    pub(super) fn pictures(&self) -> Option<usize> {
        match self {
            Self::Scenes => None,
            Self::Folder(folder) => Some(folder.training.phrases.len()),
            Self::List { training, .. } => Some(training.len()),
        }
    }

    /// Whether the pictures have annotated objects.
    pub(super) fn has_objects(&self) -> bool {
        !matches!(self, Self::List { .. })
    }

    pub(super) fn draw(
        &self,
        place: u64,
        options: &CaptionOptions,
        random: &mut ChaCha8Rng,
    ) -> Result<Vec<Captioned>> {
        match self {
            Self::Scenes => {
                let scene = fresh_scene(options.seed, place, options.side, Looks::Seen);
                Ok(draw(&Annotated::of_scene(scene), options, random))
            }
            Self::Folder(folder) => {
                let known = folder.read(&folder.training, place as usize)?;
                Ok(draw(&known, options, random))
            }
            Self::List { training, .. } => {
                let listed = &training[place as usize];
                let picture = load_rgb(&listed.path)?;
                let samples = (0..options.per_picture).map(|_| {
                    let text = listed.texts.choose(random).map_or("", String::as_str);
                    Captioned::listed(&picture, text, options, random)
                });
                Ok(samples.collect())
            }
        }
    }

    pub(super) fn texts(&self, seed: u64) -> Vec<String> {
        match self {
            Self::Scenes => (0..VOCABULARY_PICTURES)
                .into_par_iter()
                .flat_map_iter(|index| {
                    let scene = fresh_scene(seed, index, VOCABULARY_SIDE, Looks::Seen);
                    scene.phrases.into_iter().map(|phrase| phrase.phrase)
                })
                .collect(),
            Self::Folder(folder) => {
                let phrases = folder.data.phrases(Split::Train).iter();
                phrases.map(|phrase| phrase.phrase.clone()).collect()
            }
            Self::List { training, .. } => {
                let texts = training.iter().flat_map(|listed| &listed.texts);
                texts.cloned().collect()
            }
        }
    }

    pub(super) fn held_out(&self, most: usize, options: &CaptionOptions) -> Result<Vec<Known>> {
        match self {
            Self::Scenes => Ok((0..most as u64)
                .into_par_iter()
                .map(|index| fresh_scene(options.seed ^ HELD_OUT, index, options.side, Looks::Seen))
                .map(|scene| Known::Annotated(Annotated::of_scene(scene)))
                .collect()),
            Self::Folder(folder) => spread(folder.held_out.phrases.len(), most)
                .into_par_iter()
                .map(|place| Ok(Known::Annotated(folder.read(&folder.held_out, place)?)))
                .collect(),
            Self::List { held_out, .. } => spread(held_out.len(), most)
                .into_par_iter()
                .map(|place| {
                    let listed = &held_out[place];
                    let text = listed.texts.first().cloned().unwrap_or_default();
                    Ok(Known::Listed(load_rgb(&listed.path)?, text))
                })
                .collect(),
        }
    }
}

impl Folder {
    fn read(&self, pictures: &Pictures, place: usize) -> Result<Annotated> {
        let (image_id, places) = &pictures.phrases[place];
        let phrases = self.data.phrases(pictures.split);
        let phrases: Vec<&Phrase> = places.iter().map(|&place| &phrases[place]).collect();
        let picture = load_stored_rgb(&self.data.image_path(*image_id))?;
        let recorded = self.data.image(*image_id);
        let recorded =
            recorded.map_or(picture.dimensions(), |record| (record.width, record.height));
        Ok(Annotated::of_phrases(picture, &phrases, recorded))
    }
}

impl Pictures {
    fn of(data: &PhraseCut, split: Split) -> Self {
        let mut places = BTreeMap::<u64, Vec<usize>>::new();
        for (place, phrase) in data.phrases(split).iter().enumerate() {
            if !phrase.phrase.trim().is_empty() {
                places.entry(phrase.image_id).or_default().push(place);
            }
        }
        Self {
            split,
            phrases: places.into_iter().collect(),
        }
    }
}

/// At most `most` numbers below `count`, evenly spread.
fn spread(count: usize, most: usize) -> Vec<usize> {
    let wanted = count.min(most);
    (0..wanted).map(|index| index * count / wanted).collect()
}
