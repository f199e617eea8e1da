//! Batches of captioned pictures without end.

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

/// Apart from what other parts of the program draw from the same seed.
const SAMPLES: u64 = 0x6361_7074_696f_6e73;
const ORDER: u64 = 0x6f_7264_6572;

/// Captioned pictures without end, in an order that the seed decides.
///
/// Every batch is a function of the options and its position, so that training can go on anywhere.
///
/// ```
/// use clipseg_data::{CaptionOptions, Captions};
///
/// let captions = Captions::scenes(CaptionOptions::new(64))?;
/// let batch = captions.batch(0, 8)?;
/// for sample in &batch.samples {
///     println!("{}: {} pixels", sample.text, sample.picture.len() / 3);
/// }
/// // Texts that are true of another picture of the batch too.
/// assert_eq!(batch.not_negatives().len(), 64);
/// # Ok::<(), clipseg_data::DataError>(())
/// ```
#[derive(Debug)]
pub struct Captions {
    options: CaptionOptions,
    sources: Vec<Source>,
    /// The order of the last pass that was asked for.
    order: Mutex<Option<(u64, Arc<Vec<u32>>)>>,
}

impl Captions {
    /// Generated scenes, fresh ones in every batch. Looks that scenes hold back from training
    /// ([`UnseenPairs`](crate::UnseenPairs)) are in none of them.
    ///
    /// # Errors
    ///
    /// If a number of the options cannot be used.
    pub fn scenes(options: CaptionOptions) -> Result<Self> {
        Self::new(vec![Source::Scenes], options)
    }

    /// The pictures of folders: of each the list [`CAPTION_LIST`] if there is one, else the data set in
    /// PhraseCut's layout. What is learnt from is its split `train`, what is held out its split `val`;
    /// of a list every twentieth picture is held out, and the first if there are fewer.
    ///
    /// # Errors
    ///
    /// If there is no folder, one cannot be read or has no picture to learn from, or a number of the
    /// options cannot be used.
    pub fn open<P: AsRef<Path>>(folders: &[P], options: CaptionOptions) -> Result<Self> {
        if folders.is_empty() {
            return Err(DataError::Input("no folder of captions was given".into()));
        }
        let sources = folders.iter().map(|folder| Source::open(folder.as_ref()));
        Self::new(sources.collect::<Result<_>>()?, options)
    }

    fn new(sources: Vec<Source>, options: CaptionOptions) -> Result<Self> {
        options.validate()?;
        Ok(Self {
            options,
            sources,
            order: Mutex::new(None),
        })
    }

    /// How captioned pictures are made.
    pub fn options(&self) -> &CaptionOptions {
        &self.options
    }

    /// Number of pictures in a pass; `None` if they are generated without end.
    pub fn pictures(&self) -> Option<usize> {
        self.sources.iter().map(Source::pictures).sum()
    }

    /// The batch of a position, of so many samples, in parallel.
    ///
    /// # Errors
    ///
    /// If a picture cannot be read, or the batch is not made of whole pictures
    /// ([`CaptionOptions::per_picture`]).
    pub fn batch(&self, position: u64, samples: usize) -> Result<CaptionBatch> {
        let per_picture = self.options.per_picture;
        if samples == 0 || !samples.is_multiple_of(per_picture) {
            return Err(DataError::Input(format!(
                "a batch of {samples} samples, expected a multiple of {per_picture}, the samples of \
                 a picture"
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

    /// The pass that a batch of so many samples begins in, counted from 0.
    pub fn epoch(&self, position: u64, samples: usize) -> u64 {
        let groups = (samples / self.options.per_picture.max(1)) as u64;
        self.pictures()
            .map_or(0, |pictures| position * groups / pictures.max(1) as u64)
    }

    /// The samples of one picture; pictures are counted through all passes.
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
        unreachable!("the order of a pass holds the pictures of the sources only")
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

    /// Texts to learn a vocabulary from: the phrases of training pictures, of scenes those of a
    /// thousand, and the sentences that phrases are put into.
    pub fn texts(&self) -> Vec<String> {
        let phrases = self.sources.iter();
        let phrases = phrases.flat_map(|source| source.texts(self.options.seed));
        let sentences = TEMPLATES.iter().filter(|_| self.options.templates > 0.0);
        // Each twice, so that its words are not passed over as rare.
        let sentences = sentences.map(|sentence| sentence.replace("{}", " ").repeat(2));
        phrases.chain(sentences).collect()
    }

    /// Captioned pictures that are not learnt from, at most so many, as they are.
    ///
    /// # Errors
    ///
    /// If a picture cannot be read.
    pub fn held_out(&self, most: usize) -> Result<HeldOut> {
        let found = self.held_out_pictures(most)?;
        let pairs = found.iter().filter_map(|known| match known {
            Known::Annotated(known) => {
                let phrases: Vec<_> = known.phrases.iter().collect();
                let chosen = joined(&phrases, self.options.phrases);
                (!chosen.is_empty()).then(|| (&known.picture, join(&chosen)))
            }
            Known::Listed(picture, text) => Some((picture, text.clone())),
        });
        Ok(HeldOut::new(pairs, self.options.side))
    }

    /// Objects of pictures that are not learnt from, at most so many, with their names and colours.
    /// There are none where objects are not known.
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
