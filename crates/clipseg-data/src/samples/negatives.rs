//! Phrases that are put in place of others.

use super::options::{NegativeRule, SampleOptions};
use super::words::share_a_word;
use crate::records::Phrase;
use rand::seq::IndexedRandom;
use rand::{Rng, RngExt};
use std::collections::{HashMap, HashSet};

/// How many phrases are looked at to find one that does not hold.
const TRIES: usize = 50;

/// What is known of a split to draw from it.
#[derive(Debug)]
pub(super) enum Negatives {
    /// None are drawn.
    None,
    /// The phrases of each picture.
    NotShown(HashMap<u64, Vec<u32>>),
    /// One phrase for each different text.
    Any(Vec<u32>),
}

impl Negatives {
    /// `phrases` are those of the split, of which those at `indices` may be drawn.
    pub(super) fn new(phrases: &[Phrase], indices: &[u32], options: &SampleOptions) -> Self {
        if options.negatives == 0.0 {
            return Self::None;
        }
        match options.negative_rule {
            NegativeRule::NotShown => {
                let mut of_picture = HashMap::<u64, Vec<u32>>::new();
                for (place, phrase) in phrases.iter().enumerate() {
                    let places = of_picture.entry(phrase.image_id).or_default();
                    places.push(place as u32);
                }
                Self::NotShown(of_picture)
            }
            NegativeRule::Any => {
                let mut texts = HashSet::new();
                let mut different = indices.to_vec();
                different.retain(|&place| texts.insert(&phrases[place as usize].phrase));
                Self::Any(different)
            }
        }
    }

    /// The place of a phrase to be put in place of the one at `place`, if there is one.
    pub(super) fn draw(
        &self,
        phrases: &[Phrase],
        indices: &[u32],
        place: u32,
        random: &mut impl Rng,
    ) -> Option<u32> {
        let at = |place: u32| &phrases[place as usize];
        match self {
            Self::None => None,
            Self::NotShown(of_picture) => {
                let picture = at(place).image_id;
                let here = of_picture.get(&picture)?;
                let fits = |other: u32| {
                    let other = at(other);
                    let name = match other.phrase_structure.name.as_str() {
                        "" => &other.phrase,
                        name => name,
                    };
                    let shown = |&phrase: &u32| share_a_word(name, &at(phrase).phrase);
                    other.image_id != picture && !here.iter().any(shown)
                };
                (0..TRIES)
                    .filter_map(|_| indices.choose(random).copied())
                    .find(|&other| fits(other))
            }
            Self::Any(different) => {
                let count = different.len();
                if count < 2 {
                    return None;
                }
                let first = random.random_range(0..count);
                if at(different[first]).phrase != at(place).phrase {
                    return Some(different[first]);
                }
                // It drew itself: any of the others.
                let step = random.random_range(1..count);
                Some(different[(first + step) % count])
            }
        }
    }
}
