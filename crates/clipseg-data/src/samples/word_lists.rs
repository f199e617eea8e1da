//! Lists of words for zero-shot splits, taken from `WordNet`.
//!
//! CLIPSeg's zero-shot training leaves out each phrase that names a held-out class of PASCAL VOC or
//! any of its hyponyms (Lüddecke and Ecker 2022, arXiv:2112.10003, `datasets/phrasecut.py`).

use std::collections::BTreeMap;
use std::sync::LazyLock;

/// A line for each class: `cat: abyssinian, alley cat, …`. Made by the script beside it.
const CLASSES: &str = include_str!("../../words/pascal.txt");

/// The classes in the order in which they become unseen, two by two, by their names in PASCAL VOC.
const ZERO_SHOT: [&str; 10] = [
    "cow",
    "motorbike",
    "aeroplane",
    "sofa",
    "cat",
    "tvmonitor",
    "train",
    "bottle",
    "chair",
    "pottedplant",
];

/// What an entry of a list of words begins with if it names a list.
pub(super) const PREFIX: &str = "list:";

static LISTS: LazyLock<BTreeMap<String, Vec<&'static str>>> = LazyLock::new(lists);

fn lists() -> BTreeMap<String, Vec<&'static str>> {
    let classes: Vec<(&str, Vec<&str>)> = CLASSES
        .lines()
        .filter_map(|line| line.split_once(": "))
        .map(|(name, words)| (name, words.split(", ").collect()))
        .collect();
    let words_of = |wanted: &dyn Fn(usize, &str) -> bool| {
        let classes = classes.iter().enumerate();
        let wanted = classes.filter(|(index, (name, _))| wanted(*index, name));
        let mut words: Vec<&str> = wanted.flat_map(|(_, (_, words))| words).copied().collect();
        words.sort_unstable();
        words.dedup();
        words
    };
    let mut lists = BTreeMap::new();
    for unseen in [2, 4, 6, 8, 10] {
        let words = words_of(&|_, name| ZERO_SHOT[..unseen].contains(&name));
        lists.insert(format!("pascal-zero-shot-{unseen}"), words);
    }
    for fold in 0..4 {
        let words = words_of(&|index, _| index / 5 == fold);
        lists.insert(format!("pascal-5i-{fold}"), words);
    }
    lists
}

/// The words of a list, in lower case; several words of one entry follow each other. `None` if there is
/// no such list.
///
/// | Name | Classes |
/// |---|---|
/// | `pascal-zero-shot-2` … `pascal-zero-shot-10` | the first 2, 4, 6, 8 or 10 unseen classes of the usual zero-shot splits of PASCAL VOC: cow, motorbike; aeroplane, sofa; cat, tvmonitor; train, bottle; chair, pottedplant |
/// | `pascal-5i-0` … `pascal-5i-3` | the five classes of a fold of PASCAL-5i |
///
/// Each class is there with all its hyponyms in `WordNet` 3.0, as in CLIPSeg's own code, and so with words
/// that mean other things too: `queen` is a cat. CLIPSeg trained with 4 and with 10 unseen classes.
///
/// In [`without_words`](crate::Selection::without_words) and
/// [`only_words`](crate::Selection::only_words) the entry `list:pascal-zero-shot-10` stands for all
/// words of a list.
///
/// ```
/// let words = clipseg_data::held_out_list("pascal-zero-shot-10").expect("it is known");
/// assert!(words.contains(&"tabby") && words.contains(&"love seat"));
/// ```
pub fn held_out_list(name: &str) -> Option<&'static [&'static str]> {
    LISTS.get(name).map(Vec::as_slice)
}

/// The names of all lists, in alphabetical order.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    LISTS.keys().map(String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_hold_their_classes_and_no_other() {
        let list = |name: &str| held_out_list(name).unwrap();
        // Counted in WordNet 3.0's database by the script that makes the file.
        let pairs: [(&str, &[&str], &[&str]); 4] = [
            (
                "pascal-zero-shot-2",
                &["cow", "heifer", "oxen", "motorcycle"],
                &["cat", "sofa", "airplane"],
            ),
            (
                "pascal-zero-shot-4",
                &["cow", "motorbike", "jumbojet", "couch", "love seat"],
                &["cat", "television"],
            ),
            (
                "pascal-zero-shot-10",
                &[
                    "cow",
                    "couch",
                    "tabby",
                    "tv set",
                    "bullet train",
                    "rocking chair",
                    "pot plant",
                ],
                &["dog", "person", "table", "bus"],
            ),
            (
                "pascal-5i-2",
                &["coffee table", "poodle", "pony", "women", "man", "children"],
                &["cat", "sheep"],
            ),
        ];
        for (name, within, without) in pairs {
            let words = list(name);
            for word in within {
                assert!(words.contains(word), "`{word}` is not in {name}");
            }
            for word in without {
                assert!(!words.contains(word), "`{word}` is in {name}");
            }
            assert!(words.is_sorted());
        }
        assert_eq!(held_out_list("pascal"), None);
        assert_eq!(names().count(), 9);
        let folds: Vec<usize> = (0..4)
            .map(|fold| list(&format!("pascal-5i-{fold}")).len())
            .collect();
        assert!(folds.iter().all(|count| *count > 60), "{folds:?}");
    }

    #[test]
    fn every_class_has_words_and_each_word_can_be_found() {
        let classes: Vec<&str> = CLASSES.lines().collect();
        assert_eq!(classes.len(), 20);
        for line in classes {
            let (name, words) = line.split_once(": ").unwrap();
            for word in words.split(", ") {
                assert!(
                    word.chars().any(char::is_alphanumeric) && word == word.trim(),
                    "{name}: `{word}`"
                );
                assert_eq!(word, word.to_lowercase());
            }
        }
        for name in ZERO_SHOT {
            assert!(CLASSES.contains(&format!("{name}: ")), "{name}");
        }
    }
}
