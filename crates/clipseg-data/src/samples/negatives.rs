//! Drawing negative phrases.

use super::options::{NegativeRule, SampleOptions};
use super::words::share_a_word;
use crate::records::Phrase;
use rand::seq::IndexedRandom;
use rand::{Rng, RngExt};
use std::collections::{HashMap, HashSet};

/// Maximum number of phrases drawn to find one that does not describe the picture.
const TRIES: usize = 50;

/// The phrases of a split, prepared for drawing negatives.
#[derive(Debug)]
pub(super) enum Negatives {
    /// No negatives are drawn.
    None,
    /// Phrases of each picture.
    NotShown(HashMap<u64, Vec<u32>>),
    /// One phrase for each distinct text.
    Any(Vec<u32>),
}

impl Negatives {
    /// `phrases` are all phrases of the split; those at `indices` may be drawn.
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

    /// Draws the index of a phrase that replaces the one at `place`; `None` if none is found.
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
                // The phrase itself was drawn: take one of the others.
                let step = random.random_range(1..count);
                Some(different[(first + step) % count])
            }
        }
    }
}
