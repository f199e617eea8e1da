//! Selecting phrases of a data set.

use super::options::SampleOptions;
use super::words::WordSet;
use crate::check::OTHER_SIZE_PICTURES;
use crate::error::{DataError, Result};
use crate::left_out::{LeftOut, Omission};
use crate::phrasecut::PhraseCut;
use crate::records::{Phrase, Split};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use std::collections::{BTreeMap, HashSet};
use std::ops::Range;

/// A part of the pictures in an order that depends on the seed. Disjoint parts share no picture.
#[derive(Debug, Clone, PartialEq, Default)]
enum Part {
    #[default]
    All,
    Share(Range<f64>),
    Phrases(Range<usize>),
}

/// Whether a phrase is selected.
enum Fate {
    Kept,
    Unwanted,
    LeftOut(Omission),
}

/// A selection of the phrases of a split.
///
/// ```
/// use clipseg_data::{Selection, Split};
///
/// // Three quarters of the training pictures, without phrases that contain "cat" or "dog".
/// let training = Selection::new(Split::Train).share(0.0..0.75).without_words(["cat", "dog"]);
/// // The other quarter, with all phrases.
/// let held_out = Selection::new(Split::Train).share(0.75..1.0);
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Selection {
    split: Split,
    part: Part,
    seed: u64,
    without: Vec<String>,
    only: Vec<String>,
    minimum_area: usize,
    skipped: Vec<u64>,
}

/// How many words of a text of [`Selection::only_words`] occur in the phrases of a split.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WordMatches {
    /// The number of words, or of sequences of words: 1, or those of a list.
    pub words: usize,
    /// The number of these that no phrase contains.
    pub unmatched: usize,
}

impl From<Split> for Selection {
    fn from(split: Split) -> Self {
        Self::new(split)
    }
}

impl Selection {
    /// Selects all phrases of a split except those of [`OTHER_SIZE_PICTURES`](crate::OTHER_SIZE_PICTURES).
    pub fn new(split: Split) -> Self {
        Self {
            split,
            part: Part::All,
            seed: 0,
            without: Vec::new(),
            only: Vec::new(),
            minimum_area: 0,
            skipped: OTHER_SIZE_PICTURES.to_vec(),
        }
    }

    /// The split.
    pub fn split(&self) -> Split {
        self.split
    }

    /// Selects a fraction of the pictures, such as `0.0..0.75`; `0.75..1.0` selects the others.
    #[must_use]
    pub fn share(mut self, share: Range<f64>) -> Self {
        self.part = Part::Share(share);
        self
    }

    /// Selects approximately a range of phrases, such as `0..30_000`: all phrases of each picture whose first
    /// phrase is in the range. `30_000..60_000` then has no picture in common with it.
    #[must_use]
    pub fn phrases(mut self, phrases: Range<usize>) -> Self {
        self.part = Part::Phrases(phrases);
        self
    }

    /// Sets the random seed for the order of the pictures in [`share`](Self::share) and
    /// [`phrases`](Self::phrases).
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Excludes phrases that contain one of these words or its regular plural. An entry can be a sequence
    /// of words, or `list:` with the name of a [list](crate::held_out_list).
    #[must_use]
    pub fn without_words<S: Into<String>>(mut self, words: impl IntoIterator<Item = S>) -> Self {
        self.without = words.into_iter().map(Into::into).collect();
        self
    }

    /// Selects only phrases that contain one of these words or its regular plural. Entries are as in
    /// [`without_words`](Self::without_words).
    #[must_use]
    pub fn only_words<S: Into<String>>(mut self, words: impl IntoIterator<Item = S>) -> Self {
        self.only = words.into_iter().map(Into::into).collect();
        self
    }

    /// For each text of [`only_words`](Self::only_words), how many of its words occur in the phrases of
    /// the entire split.
    ///
    /// # Errors
    ///
    /// If there is no such list, or a text has no word.
    pub fn word_matches(&self, data: &PhraseCut) -> Result<Vec<WordMatches>> {
        let set = WordSet::new(&self.only)?;
        let phrases = data.phrases(self.split).par_iter();
        let found: HashSet<usize> = phrases
            .flat_map_iter(|phrase| set.found_in(&phrase.phrase))
            .collect();
        let mut matches = vec![WordMatches::default(); self.only.len()];
        for (index, &text) in set.text_of().iter().enumerate() {
            matches[text].words += 1;
            matches[text].unmatched += usize::from(!found.contains(&index));
        }
        Ok(matches)
    }

    /// Selects only phrases whose mask has at least `pixels` pixels at the recorded size of the picture, by
    /// the samples' raster rule. This draws all masks once.
    #[must_use]
    pub fn minimum_area(mut self, pixels: usize) -> Self {
        self.minimum_area = pixels;
        self
    }

    /// Skips these pictures instead of the [`OTHER_SIZE_PICTURES`](crate::OTHER_SIZE_PICTURES).
    #[must_use]
    pub fn skipping(mut self, pictures: impl IntoIterator<Item = u64>) -> Self {
        self.skipped = pictures.into_iter().collect();
        self
    }

    /// Returns the indices of the selected phrases in the split, and the counts of phrases that had to be
    /// left out.
    pub(super) fn indices(
        &self,
        data: &PhraseCut,
        options: &SampleOptions,
    ) -> Result<(Vec<u32>, LeftOut)> {
        if let Part::Share(share) = &self.part
            && !(0.0 <= share.start && share.start <= share.end && share.end <= 1.0)
        {
            return Err(DataError::Input(format!(
                "a share of {share:?}, expected a range within 0.0..1.0"
            )));
        }
        let phrases = data.phrases(self.split);
        let skipped: HashSet<u64> = self.skipped.iter().copied().collect();
        let pictures = self.pictures(phrases);
        let (without, only) = (WordSet::new(&self.without)?, WordSet::new(&self.only)?);
        let wanted = |phrase: &Phrase| {
            pictures
                .as_ref()
                .is_none_or(|kept| kept.contains(&phrase.image_id))
                && !without.is_in(&phrase.phrase)
                && (only.is_empty() || only.is_in(&phrase.phrase))
        };
        let area = |phrase: &Phrase| {
            let image = data.image(phrase.image_id);
            image.map_or(0, |image| {
                let polygons = phrase.polygons.iter();
                options
                    .rule
                    .mask(polygons, image.width, image.height)
                    .area()
            })
        };
        let fate = |phrase: &Phrase| {
            if !wanted(phrase) {
                return Fate::Unwanted;
            }
            if skipped.contains(&phrase.image_id) {
                return Fate::LeftOut(Omission::SkippedPicture);
            }
            if self.minimum_area == 0 && !options.drop_empty {
                return Fate::Kept;
            }
            match area(phrase) {
                0 if options.drop_empty => Fate::LeftOut(Omission::EmptyMask),
                area if area < self.minimum_area => Fate::Unwanted,
                _ => Fate::Kept,
            }
        };
        let fates: Vec<Fate> = phrases.par_iter().map(fate).collect();
        let (mut kept, mut left_out) = (Vec::new(), data.left_out(self.split));
        for (index, fate) in fates.into_iter().enumerate() {
            match fate {
                Fate::Kept => kept.push(index as u32),
                Fate::LeftOut(why) => left_out.add(why, phrases[index].image_id),
                Fate::Unwanted => {}
            }
        }
        Ok((kept, left_out))
    }

    /// Pictures of the part; `None` for all pictures.
    fn pictures(&self, phrases: &[Phrase]) -> Option<HashSet<u64>> {
        match &self.part {
            Part::All => None,
            Part::Share(share) => {
                let order = self.shuffled(phrases);
                let place = |share: f64| (share * order.len() as f64).round() as usize;
                let kept = &order[place(share.start)..place(share.end)];
                Some(kept.iter().map(|&(picture, _)| picture).collect())
            }
            Part::Phrases(wanted) => {
                let mut before = 0;
                let order = self.shuffled(phrases).into_iter();
                let kept = order.filter(|(_, phrases)| {
                    let first = before;
                    before += phrases;
                    wanted.contains(&first)
                });
                Some(kept.map(|(picture, _)| picture).collect())
            }
        }
    }

    /// Pictures in the order of the seed, each with its number of phrases.
    fn shuffled(&self, phrases: &[Phrase]) -> Vec<(u64, usize)> {
        let mut counts = BTreeMap::<u64, usize>::new();
        for phrase in phrases {
            *counts.entry(phrase.image_id).or_default() += 1;
        }
        let mut order: Vec<(u64, usize)> = counts.into_iter().collect();
        order.shuffle(&mut ChaCha8Rng::seed_from_u64(self.seed));
        order
    }
}
