//! An endless stream of batches of captioned pictures.

use super::batch::CaptionBatch;
use super::held_out::{self, HeldOut, LabelledPictures};
use super::options::CaptionOptions;
use super::sample::{Captioned, join, joined};
use super::source::{Known, Source};
use crate::error::{DataError, Result};
use crate::samples::TEMPLATES;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// Separates these random numbers from others with the same seed.
const SAMPLES: u64 = 0x6361_7074_696f_6e73;
const ORDER: u64 = 0x6f_7264_6572;

/// An endless stream of captioned pictures, in an order that depends on the seed.
///
/// Every batch depends only on the options and its position, so that training can be resumed anywhere.
///
/// ```
/// use clipseg_data::{CaptionOptions, Captions};
///
/// let captions = Captions::scenes(CaptionOptions::new(64))?;
/// let batch = captions.batch(0, 8)?;
/// for sample in &batch.samples {
///     println!("{}: {} pixels", sample.text, sample.picture.len() / 3);
/// }
/// // Pairs of a picture and a text of another sample that may also describe it.
/// assert_eq!(batch.not_negatives().len(), 64);
/// # Ok::<(), clipseg_data::DataError>(())
/// ```
#[derive(Debug)]
pub struct Captions {
    options: CaptionOptions,
    sources: Vec<Source>,
    /// The order of the last requested epoch.
    order: Mutex<Option<(u64, Arc<Vec<u32>>)>>,
}

impl Captions {
    /// Generates new scenes for every batch. They contain no [unseen pairs](crate::UnseenPairs).
    ///
    /// # Errors
    ///
    /// If an option is invalid.
    pub fn scenes(options: CaptionOptions) -> Result<Self> {
        Self::new(vec![Source::Scenes], options)
    }

    /// Opens folders with captioned pictures: the list [`CAPTION_LIST`](crate::CAPTION_LIST) of a folder if
    /// it exists, else a data set in PhraseCut's layout. Of a data set, the split `train` is used for
    /// training and `val` is held out. Of a list, the first picture and every twentieth after it are held
    /// out.
    ///
    /// # Errors
    ///
    /// If no folder is given, a folder cannot be read or has no training picture, an option is invalid, or
    /// [`CaptionOptions::regions`] are wanted and all folders have caption lists.
    pub fn open<P: AsRef<Path>>(folders: &[P], options: CaptionOptions) -> Result<Self> {
        if folders.is_empty() {
            return Err(DataError::Input("no folder of captions was given".into()));
        }
        let sources = folders.iter().map(|folder| Source::open(folder.as_ref()));
        Self::new(sources.collect::<Result<_>>()?, options)
    }

    fn new(sources: Vec<Source>, options: CaptionOptions) -> Result<Self> {
        options.validate()?;
        if options.regions > 0 && !sources.iter().any(Source::has_objects) {
            return Err(DataError::Input(format!(
                "field `regions`: {}, expected 0: caption lists have no annotated objects",
                options.regions
            )));
        }
        Ok(Self {
            options,
            sources,
            order: Mutex::new(None),
        })
    }

    /// Number of training pictures that come from caption lists, so that they have no annotated objects:
    /// neither crops nor regions are made of them.
    pub fn without_objects(&self) -> usize {
        let lists = self.sources.iter().filter(|source| !source.has_objects());
        lists.filter_map(Source::pictures).sum()
    }

    /// The options of the samples.
    pub fn options(&self) -> &CaptionOptions {
        &self.options
    }

    /// Number of pictures in an epoch; `None` for generated scenes, which are endless.
    pub fn pictures(&self) -> Option<usize> {
        self.sources.iter().map(Source::pictures).sum()
    }

    /// Loads the batch at a position, with the given number of samples, in parallel. Regions are parts of
    /// their sample.
    ///
    /// # Errors
    ///
    /// If a picture cannot be read, or the number of samples is not a multiple of
    /// [`CaptionOptions::per_picture`].
    pub fn batch(&self, position: u64, samples: usize) -> Result<CaptionBatch> {
        let per_picture = self.options.per_picture;
        if samples == 0 || !samples.is_multiple_of(per_picture) {
            return Err(DataError::Input(format!(
                "a batch of {samples} samples, expected a multiple of {per_picture}, the number of \
                 samples per picture"
            )));
        }
        let groups = (samples / per_picture) as u64;
        let first = position * groups;
        let drawn: Vec<Vec<Captioned>> = (first..first + groups)
            .into_par_iter()
            .map(|number| self.group(number))
            .collect::<Result<_>>()?;
        Ok(CaptionBatch {
            samples: drawn.into_iter().flatten().collect(),
        })
    }

    /// The epoch in which a batch of this size begins, counted from 0.
    pub fn epoch(&self, position: u64, samples: usize) -> u64 {
        let groups = (samples / self.options.per_picture.max(1)) as u64;
        self.pictures()
            .map_or(0, |pictures| position * groups / pictures.max(1) as u64)
    }

    /// The samples of one picture. Pictures are numbered through all epochs.
    fn group(&self, number: u64) -> Result<Vec<Captioned>> {
        let mut random = ChaCha8Rng::seed_from_u64(self.options.seed ^ SAMPLES);
        random.set_stream(number);
        let mut place = match self.pictures() {
            None => number,
            Some(pictures) => {
                let pictures = pictures as u64;
                let order = self.order(number / pictures);
                u64::from(order[(number % pictures) as usize])
            }
        };
        for source in &self.sources {
            match source.pictures().map(|pictures| pictures as u64) {
                Some(pictures) if place >= pictures => place -= pictures,
                _ => return source.draw(place, &self.options, &mut random),
            }
        }
        unreachable!("the order of an epoch contains only pictures of the sources")
    }

    fn order(&self, epoch: u64) -> Arc<Vec<u32>> {
        let mut known = self.order.lock().unwrap_or_else(PoisonError::into_inner);
        match &*known {
            Some((last, order)) if *last == epoch => order.clone(),
            _ => {
                let mut random = ChaCha8Rng::seed_from_u64(self.options.seed ^ ORDER);
                random.set_stream(epoch);
                let pictures = self.pictures().unwrap_or(0);
                let mut order: Vec<u32> = (0..pictures as u32).collect();
                order.shuffle(&mut random);
                let order = Arc::new(order);
                *known = Some((epoch, order.clone()));
                order
            }
        }
    }

    /// Texts for training a tokenizer: the texts of training pictures (of 1,000 generated scenes) and the
    /// prompt templates.
    pub fn texts(&self) -> Vec<String> {
        let phrases = self.sources.iter();
        let phrases = phrases.flat_map(|source| source.texts(self.options.seed));
        let sentences = TEMPLATES.iter().filter(|_| self.options.templates > 0.0);
        // Each twice, so that its words are not dropped as rare.
        let sentences = sentences.map(|sentence| sentence.replace("{}", " ").repeat(2));
        phrases.chain(sentences).collect()
    }

    /// At most `most` held-out captioned pictures, without augmentation.
    ///
    /// # Errors
    ///
    /// If a picture cannot be read.
    pub fn held_out(&self, most: usize) -> Result<HeldOut> {
        let found = self.held_out_pictures(most)?;
        let pairs = found.iter().filter_map(|known| match known {
            Known::Annotated(of) => {
                let phrases: Vec<_> = of.phrases.iter().collect();
                let chosen = joined(&phrases, self.options.phrases);
                (!chosen.is_empty()).then(|| (known, join(&chosen)))
            }
            Known::Listed(_, text) => Some((known, text.clone())),
        });
        Ok(HeldOut::new(pairs, self.options.side))
    }

    /// At most `most` objects of held-out pictures with their names and colours. Sources without annotated
    /// objects have none.
    ///
    /// # Errors
    ///
    /// If a picture cannot be read.
    pub fn labelled(&self, most: usize) -> Result<LabelledPictures> {
        let found = self.held_out_pictures(most)?;
        let known = found.iter().filter_map(|known| match known {
            Known::Annotated(known) => Some(known),
            Known::Listed(..) => None,
        });
        Ok(held_out::labelled(known, most, self.options.side))
    }

    fn held_out_pictures(&self, most: usize) -> Result<Vec<Known>> {
        let share = most.div_ceil(self.sources.len());
        let found: Vec<Vec<Known>> = self
            .sources
            .iter()
            .map(|source| source.held_out(share, &self.options))
            .collect::<Result<_>>()?;
        Ok(found.into_iter().flatten().take(most).collect())
    }
}
