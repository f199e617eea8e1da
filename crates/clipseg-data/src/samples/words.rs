//! Matching words in phrases: plurals, held-out words, `left` and `right`.

use super::word_lists::{PREFIX, held_out_list, names};
use crate::error::{DataError, Result};
use std::borrow::Cow;
use std::collections::HashMap;

/// The words of a text in lower case.
fn words(text: &str) -> Vec<String> {
    text.split(|letter: char| !letter.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .collect()
}

/// Whether two words are equal or one is the regular plural of the other.
pub(super) fn same_word(a: &str, b: &str) -> bool {
    a == b || is_plural(a, b) || is_plural(b, a)
}

fn is_plural(many: &str, one: &str) -> bool {
    let Some(ending) = many.strip_prefix(one) else {
        return one.strip_suffix('y').is_some_and(|stem| {
            many.strip_suffix("ies") == Some(stem) && !stem.ends_with(['a', 'e', 'o', 'u'])
        });
    };
    match ending {
        "s" => true,
        "es" => ["s", "x", "z", "ch", "sh", "o"]
            .iter()
            .any(|end| one.ends_with(end)),
        _ => false,
    }
}

/// Whether a phrase contains a word or a sequence of words. The last word may be in the plural.
pub(crate) fn has_words(phrase: &str, wanted: &str) -> bool {
    let (phrase, wanted) = (words(phrase), words(wanted));
    let Some((last, first)) = wanted.split_last() else {
        return false;
    };
    phrase
        .windows(wanted.len())
        .any(|window| window[..first.len()] == *first && same_word(&window[first.len()], last))
}

/// A set of words and sequences of words to be matched with phrases.
#[derive(Debug, Default)]
pub(super) struct WordSet {
    /// Each sequence without its last word, with its index, by its last word.
    by_last: HashMap<String, Vec<(usize, Vec<String>)>>,
    /// For each sequence the index of the text that it is from.
    text_of: Vec<usize>,
}

impl WordSet {
    /// Creates the set from entries of one or several words, or of `list:` with the name of a word list.
    ///
    /// # Errors
    ///
    /// If a list does not exist or an entry contains no word.
    pub(super) fn new(texts: &[String]) -> Result<Self> {
        let mut set = Self::default();
        for (index, text) in texts.iter().enumerate() {
            match text.strip_prefix(PREFIX) {
                None => set.add(text, index)?,
                Some(name) => {
                    let list = held_out_list(name.trim()).ok_or_else(|| {
                        let known: Vec<&str> = names().collect();
                        let known = known.join(", ");
                        DataError::Input(format!("`{text}`: expected {PREFIX} and one of {known}"))
                    })?;
                    for word in list {
                        set.add(word, index)?;
                    }
                }
            }
        }
        Ok(set)
    }

    fn add(&mut self, text: &str, text_index: usize) -> Result<()> {
        let mut sequence = words(text);
        let last = sequence.pop();
        let last = last.ok_or_else(|| DataError::Input(format!("`{text}` contains no word")))?;
        let sequences = self.by_last.entry(last).or_default();
        sequences.push((self.text_of.len(), sequence));
        self.text_of.push(text_index);
        Ok(())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_last.is_empty()
    }

    /// Whether a phrase contains any of the words or sequences. The last word may differ by a regular
    /// plural.
    pub(super) fn is_in(&self, phrase: &str) -> bool {
        !self.found_in(phrase).is_empty()
    }

    /// The indices of the sequences that a phrase has, in the sense of [`is_in`](Self::is_in).
    pub(super) fn found_in(&self, phrase: &str) -> Vec<usize> {
        let phrase = words(phrase);
        let mut found = Vec::new();
        for (place, word) in phrase.iter().enumerate() {
            for last in same_words(word) {
                let sequences = self.by_last.get(&*last).into_iter().flatten();
                let sequences = sequences.filter(|_| same_word(word, &last));
                let here = sequences.filter(|(_, before)| phrase[..place].ends_with(before));
                found.extend(here.map(|(index, _)| *index));
            }
        }
        found
    }

    /// The index of the text that each sequence is from.
    pub(super) fn text_of(&self) -> &[usize] {
        &self.text_of
    }
}

/// A word and everything that could be its regular plural or its singular.
fn same_words(word: &str) -> Vec<Cow<'_, str>> {
    let mut all: Vec<Cow<'_, str>> = vec![word.into()];
    for ending in ["s", "es"] {
        all.extend(word.strip_suffix(ending).map(Cow::from));
        all.push(format!("{word}{ending}").into());
    }
    all.extend(
        word.strip_suffix("ies")
            .map(|stem| format!("{stem}y").into()),
    );
    all.extend(
        word.strip_suffix('y')
            .map(|stem| format!("{stem}ies").into()),
    );
    all
}

/// Whether two texts have a word in common.
pub(super) fn share_a_word(a: &str, b: &str) -> bool {
    let b = words(b);
    words(a)
        .iter()
        .any(|word| b.iter().any(|other| same_word(word, other)))
}

/// Swaps `left` and `right`, for a horizontally flipped picture.
pub(crate) fn swap_sides(phrase: &str) -> Cow<'_, str> {
    let swapped = |word: &str| -> Option<&'static str> {
        Some(match word.to_ascii_lowercase().as_str() {
            "left" => "right",
            "right" => "left",
            "leftmost" => "rightmost",
            "rightmost" => "leftmost",
            _ => return None,
        })
    };
    let mut result = String::new();
    let mut copied = 0;
    let starts = phrase
        .match_indices(char::is_alphanumeric)
        .map(|(start, _)| start)
        .filter(|&start| !phrase[..start].ends_with(char::is_alphanumeric));
    for start in starts {
        let rest = &phrase[start..];
        let word = &rest[..rest
            .find(|c: char| !c.is_alphanumeric())
            .unwrap_or(rest.len())];
        if let Some(other) = swapped(word) {
            result.push_str(&phrase[copied..start]);
            copied = start + word.len();
            if word.chars().all(char::is_uppercase) {
                result.push_str(&other.to_uppercase());
            } else if word.starts_with(char::is_uppercase) {
                result.push_str(&other[..1].to_uppercase());
                result.push_str(&other[1..]);
            } else {
                result.push_str(other);
            }
        }
    }
    if copied == 0 {
        return Cow::Borrowed(phrase);
    }
    result.push_str(&phrase[copied..]);
    Cow::Owned(result)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regular_plurals_match() {
        for (one, many) in [
            ("cat", "cats"),
            ("bus", "buses"),
            ("box", "boxes"),
            ("bench", "benches"),
            ("potato", "potatoes"),
            ("pony", "ponies"),
            ("house", "houses"),
            ("boy", "boys"),
        ] {
            assert!(same_word(one, many) && same_word(many, one), "{one} {many}");
        }
        for (a, b) in [
            ("cat", "catch"),
            ("car", "card"),
            ("bus", "bush"),
            ("cat", "cates"),
            ("boy", "boies"),
        ] {
            assert!(!same_word(a, b), "{a} {b}");
        }
    }

    #[test]
    fn only_complete_words_match() {
        let has = |phrase: &str, text: &str| {
            let set = WordSet::new(&[text.to_owned(), "zebra crossing".to_owned()]).unwrap();
            set.is_in(phrase)
        };
        assert!(has("two brown Dogs, sleeping", "dog"));
        assert!(has("a dog", "dogs"));
        assert!(has("red traffic lights", "traffic light"));
        assert!(!has("light traffic", "traffic light"));
        assert!(!has("lights", "traffic light"));
        assert!(!has("traffic on light road", "traffic light"));
        assert!(!has("hotdog", "dog"));
        assert!(has("kitty-cat", "kitty cat"));
        assert!(share_a_word("green plants", "small plant on table"));
        assert!(!share_a_word("green plants", "a cat"));
    }

    #[test]
    fn a_set_matches_like_its_single_words() {
        let texts = [
            "cat",
            "bus",
            "pony",
            "boy",
            "traffic light",
            "box",
            "cross",
            "es",
            "glass",
        ];
        let set = WordSet::new(&texts.map(str::to_owned)).unwrap();
        for word in [
            "cats",
            "buses",
            "busies",
            "ponies",
            "pony",
            "boys",
            "boies",
            "lights",
            "traffic lights",
            "boxes",
            "boxs",
            "crosses",
            "cros",
            "es",
            "s",
            "glasses",
            "glasss",
            "catch",
            "ies",
            "y",
        ] {
            let expected = texts.iter().any(|text| match text.split_once(' ') {
                None => same_word(word, text),
                Some((first, last)) => word
                    .split_once(' ')
                    .is_some_and(|(a, b)| a == first && same_word(b, last)),
            });
            assert_eq!(set.is_in(word), expected, "{word}");
        }
    }

    #[test]
    fn a_list_stands_for_its_words() {
        let set = WordSet::new(&["list:pascal-zero-shot-4".into(), "kite".into()]).unwrap();
        for phrase in [
            "two love seats",
            "black motorcycles",
            "kites",
            "oxen",
            "holstein cow",
        ] {
            assert!(set.is_in(phrase), "{phrase}");
        }
        for phrase in ["love", "black cat", "seats"] {
            assert!(!set.is_in(phrase), "{phrase}");
        }
        let message = |text: &str| WordSet::new(&[text.to_owned()]).unwrap_err().to_string();
        let unknown = message("list:pascal");
        assert!(
            unknown.starts_with("`list:pascal`: expected list: and one of pascal-5i-0, ")
                && unknown.ends_with("pascal-zero-shot-8"),
            "{unknown}"
        );
        assert_eq!(message(" ?"), "` ?` contains no word");
    }

    #[test]
    fn sides_are_swapped_as_words() {
        assert_eq!(
            swap_sides("Left hand of the man on the right"),
            "Right hand of the man on the left"
        );
        assert_eq!(
            swap_sides("left-most RIGHT, rightmost"),
            "right-most LEFT, leftmost"
        );
        assert!(matches!(
            swap_sides("bright cleft café"),
            Cow::Borrowed("bright cleft café")
        ));
        let text = "é left ü right";
        assert_eq!(swap_sides(&swap_sides(text)), text);
    }
}
