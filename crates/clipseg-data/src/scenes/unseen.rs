//! Combinations of attribute and object that are held out from training.

use super::looks::{COLOURS, Colour, Texture};
use super::shapes::Shape;
use crate::error::Result;
use crate::json_list::read_json;
use crate::records::PhraseStructure;
use serde::{Deserialize, Serialize};
use std::path::Path;

const FILE: &str = "unseen.json";

/// Pairs of an attribute and an object name that occur in no picture of the split `train`, so that phrases
/// that combine them can be scored separately.
///
/// They are stored in `unseen.json` beside the files of PhraseCut's layout: `{"pairs": [["purple",
/// "star"], …]}`. Generated scenes hold out one colour for each name and one texture for every third name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnseenPairs {
    /// Attribute and object name of each pair.
    pub pairs: Vec<(String, String)>,
}

impl UnseenPairs {
    /// Reads the pairs of a data set; `None` if it has no such file.
    ///
    /// # Errors
    ///
    /// If the file cannot be read or has another structure.
    pub fn open(root: &Path) -> Result<Option<Self>> {
        let path = root.join(FILE);
        if !path.exists() {
            return Ok(None);
        }
        read_json(&path).map(Some)
    }

    /// Whether a phrase contains an unseen pair, such as `purple star` or `small purple star on table`.
    /// `small star` does not, even if its object is purple.
    pub fn is_unseen(&self, phrase: &PhraseStructure) -> bool {
        self.pairs.iter().any(|(attribute, name)| {
            *name == phrase.name && phrase.attributes.iter().any(|own| own == attribute)
        })
    }

    /// All pairs held out in generated scenes.
    pub(crate) fn of_scenes() -> Self {
        let names = Shape::ALL.into_iter().flat_map(|shape| {
            let colour = Some(unseen_colour(shape).name);
            let texture = unseen_texture(shape).map(Texture::name);
            let attributes = [colour, texture].into_iter().flatten();
            attributes.map(move |attribute| (attribute.to_owned(), shape.name().to_owned()))
        });
        Self {
            pairs: names.collect(),
        }
    }

    pub(crate) const fn file() -> &'static str {
        FILE
    }
}

/// The colour that a shape never has in training. Steps of three pass through all ten colours, so each
/// colour is held out for two or three shapes.
pub(crate) fn unseen_colour(shape: Shape) -> &'static Colour {
    &COLOURS[(3 * shape as usize + 6) % COLOURS.len()]
}

/// The texture that a shape never has in training, for every third shape. `plain` is never held out.
pub(crate) fn unseen_texture(shape: Shape) -> Option<Texture> {
    match shape as usize % 6 {
        1 => Some(Texture::Striped),
        4 => Some(Texture::Dotted),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn phrase(name: &str, attributes: &[&str]) -> PhraseStructure {
        PhraseStructure {
            name: name.to_owned(),
            attributes: attributes.iter().map(|&word| word.to_owned()).collect(),
            ..PhraseStructure::default()
        }
    }

    #[test]
    fn a_phrase_with_a_held_out_pair_is_unseen() {
        let unseen = UnseenPairs::of_scenes();
        assert!(unseen.is_unseen(&phrase("star", &["small", "purple"])));
        assert!(!unseen.is_unseen(&phrase("star", &["small"])));
        assert!(!unseen.is_unseen(&phrase("circle", &["purple"])));
        assert!(!UnseenPairs::default().is_unseen(&phrase("star", &["purple"])));
    }

    #[test]
    fn every_name_and_colour_occurs_in_training_and_in_a_held_out_pair() {
        let pairs = UnseenPairs::of_scenes().pairs;
        for shape in Shape::ALL {
            let of = pairs.iter().filter(|(_, name)| name == shape.name());
            assert!((1..=2).contains(&of.count()), "{shape:?}");
        }
        for colour in &COLOURS {
            let of = pairs.iter().filter(|(word, _)| word == colour.name);
            assert!((2..=3).contains(&of.count()), "{colour:?}");
        }
    }

    #[test]
    fn a_missing_file_has_no_pairs_and_a_broken_file_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(UnseenPairs::open(folder.path()).unwrap(), None);
        std::fs::write(folder.path().join(FILE), "{\"pairs\": [[\"red\"]]}").unwrap();
        let error = UnseenPairs::open(folder.path()).unwrap_err().to_string();
        let wrong = "field `pairs[0]`: invalid length 1, expected a tuple of size 2";
        assert!(
            error.contains("unseen.json") && error.contains(wrong),
            "{error}"
        );
    }
}
