//! Which phrases of a data set are used.

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

/// A part of the pictures, in an order that the seed decides; parts that do not overlap share no picture.
#[derive(Debug, Clone, PartialEq, Default)]
enum Part {
    #[default]
    All,
    Share(Range<f64>),
    Phrases(Range<usize>),
}

/// What becomes of a phrase.
enum Fate {
    Kept,
    Unwanted,
    LeftOut(Omission),
}

/// Which phrases of a data set are used.
///
/// ```
/// use clipseg_data::{Selection, Split};
///
/// // Three quarters of the training pictures, without a phrase that speaks of cats or dogs.
/// let training = Selection::new(Split::Train).share(0.0..0.75).without_words(["cat", "dog"]);
/// // The rest of them, whatever they show.
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

impl From<Split> for Selection {
    fn from(split: Split) -> Self {
        Self::new(split)
    }
}

impl Selection {
    /// All phrases of a split but those of the [`OTHER_SIZE_PICTURES`](crate::OTHER_SIZE_PICTURES).
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

    /// A share of the pictures, such as `0.0..0.75`; `0.75..1.0` is the rest.
    #[must_use]
    pub fn share(mut self, share: Range<f64>) -> Self {
        self.part = Part::Share(share);
        self
    }

    /// About so many phrases, such as `0..30_000`: the pictures in order, each with all its phrases, as
    /// long as its first phrase is one of these. `30_000..60_000` shares no picture with them.
    #[must_use]
    pub fn phrases(mut self, phrases: Range<usize>) -> Self {
        self.part = Part::Phrases(phrases);
        self
    }

    /// Decides the order of the pictures for [`share`](Self::share) and [`phrases`](Self::phrases).
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// No phrase that has one of these words, or its simple plural. Several words in one text must
    /// follow each other; `list:` and the name of a [list](crate::held_out_list) stand for its words.
    #[must_use]
    pub fn without_words<S: Into<String>>(mut self, words: impl IntoIterator<Item = S>) -> Self {
        self.without = words.into_iter().map(Into::into).collect();
        self
    }

    /// Only phrases that have one of these words, or its simple plural; lists as in
    /// [`without_words`](Self::without_words).
    #[must_use]
    pub fn only_words<S: Into<String>>(mut self, words: impl IntoIterator<Item = S>) -> Self {
        self.only = words.into_iter().map(Into::into).collect();
        self
    }

    /// Only phrases whose mask, by the samples' rule, has at least so many pixels at the picture's
    /// recorded size. All masks are drawn once to find out.
    #[must_use]
    pub fn minimum_area(mut self, pixels: usize) -> Self {
        self.minimum_area = pixels;
        self
    }

    /// Without these pictures, instead of without the [`OTHER_SIZE_PICTURES`](crate::OTHER_SIZE_PICTURES).
    #[must_use]
    pub fn skipping(mut self, pictures: impl IntoIterator<Item = u64>) -> Self {
        self.skipped = pictures.into_iter().collect();
        self
    }

    /// The places of the phrases in the split, in the data set's order, and what is left out of it
    /// without having been asked for.
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

    /// The pictures of the part; `None` if it is all of them.
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

    /// The pictures in the order that the seed decides, each with its number of phrases.
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
