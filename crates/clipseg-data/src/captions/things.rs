//! The things that a text describes and a picture shows, so that a true text is not used as a negative.

use std::hash::{DefaultHasher, Hash, Hasher};

/// A thing, as the sorted hashes of the words that describe it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Thing(Vec<u64>);

impl Thing {
    pub(crate) fn new<'a>(words: impl IntoIterator<Item = &'a str>) -> Self {
        let words = words.into_iter().flat_map(|words| {
            let single = words.split(|letter: char| !letter.is_alphanumeric());
            single.filter(|word| !word.is_empty()).map(hash)
        });
        let mut words: Vec<u64> = words.collect();
        words.sort_unstable();
        words.dedup();
        Self(words)
    }

    /// Whether all words of this thing are among those of the other.
    fn fits(&self, other: &Self) -> bool {
        let mut rest = other.0.iter();
        self.0.iter().all(|word| rest.any(|other| other == word))
    }
}

/// Hash of a word in lower case, the same in every process.
fn hash(word: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    word.to_lowercase().hash(&mut hasher);
    hasher.finish()
}

/// Whether a text that describes the things `said` may be true of a picture that shows `shown`.
///
/// Relations between things are ignored: the result is also `true` if only a relation is wrong. For a text
/// without things the result is `false`.
pub(crate) fn may_hold(said: &[Thing], shown: &[Thing]) -> bool {
    !said.is_empty()
        && said
            .iter()
            .all(|thing| shown.iter().any(|other| thing.fits(other)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_may_be_true_if_all_its_things_are_shown() {
        let shown = [
            Thing::new(["small", "Red", "star"]),
            Thing::new(["blue", "tree"]),
        ];
        let holds = |said: &[&str]| {
            let said: Vec<Thing> = said.iter().map(|words| Thing::new([*words])).collect();
            may_hold(&said, &shown)
        };
        assert!(holds(&["star"]) && holds(&["red star", "tree"]) && holds(&["star, small"]));
        assert!(!holds(&["blue star"]) && !holds(&["star", "car"]) && !holds(&[]));
    }
}
