//! Colour words in texts.

use crate::samples::words::has_words;

/// English colour words. Colour changes would make captions with them wrong.
pub(crate) const COLOURS: [&str; 24] = [
    "red",
    "orange",
    "yellow",
    "green",
    "blue",
    "purple",
    "violet",
    "pink",
    "brown",
    "white",
    "black",
    "grey",
    "gray",
    "golden",
    "gold",
    "silver",
    "beige",
    "tan",
    "cyan",
    "turquoise",
    "magenta",
    "maroon",
    "navy",
    "teal",
];

/// Whether a text contains a colour word.
pub(crate) fn contains_colour(text: &str) -> bool {
    COLOURS.iter().any(|colour| has_words(text, colour))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_found_as_words() {
        assert!(contains_colour("a dark-Red star") && contains_colour("two greys"));
        assert!(!contains_colour("a bored star") && !contains_colour(""));
    }
}
