//! The words `left` and `right`, which exchange their meaning in a mirror image.

/// Whether a text contains the word `left` or `right`, also as the start of a compound such as `leftmost` or
/// `right-hand`.
pub fn names_a_side(text: &str) -> bool {
    swap_left_right(text) != text
}

/// The text with the words `left` and `right` exchanged. Only letters before and behind decide what a word is: the
/// parts of `left-hand` are words, and `leftmost` and `rightmost` are exchanged as well.
pub(crate) fn swap_left_right(text: &str) -> String {
    let mut swapped = String::with_capacity(text.len() + 8);
    let mut rest = text;
    while !rest.is_empty() {
        let is_letter = |c: char| c.is_alphabetic();
        let start = rest.find(is_letter).unwrap_or(rest.len());
        swapped.push_str(&rest[..start]);
        rest = &rest[start..];
        let end = rest.find(|c| !is_letter(c)).unwrap_or(rest.len());
        swapped.push_str(&other_side(&rest[..end]));
        rest = &rest[end..];
    }
    swapped
}

/// The opposite of a word that names a side; any other word unchanged.
fn other_side(word: &str) -> String {
    const SIDES: [(&str, &str); 6] = [
        ("left", "right"),
        ("right", "left"),
        ("leftmost", "rightmost"),
        ("rightmost", "leftmost"),
        ("leftward", "rightward"),
        ("rightward", "leftward"),
    ];
    let known = |(side, _): &&(&str, &str)| side.eq_ignore_ascii_case(word);
    match SIDES.iter().find(known) {
        None => word.to_owned(),
        // CLIP's tokenizer ignores case, so only a common spelling is kept.
        Some((_, other)) if word.starts_with(char::is_uppercase) => {
            let (first, rest) = other.split_at(1);
            first.to_uppercase() + rest
        }
        Some((_, other)) => (*other).to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sides_are_exchanged_as_words() {
        for (text, swapped) in [
            ("the man on the left", "the man on the right"),
            ("Right shoe, left-hand glove", "Left shoe, right-hand glove"),
            ("the leftmost cup", "the rightmost cup"),
            (
                "a bright lamp, upright, leftover",
                "a bright lamp, upright, leftover",
            ),
            ("linksäußen ☂ left", "linksäußen ☂ right"),
            ("", ""),
        ] {
            assert_eq!(swap_left_right(text), swapped);
            assert_eq!(swap_left_right(swapped), text);
            assert_eq!(names_a_side(text), text != swapped);
        }
    }
}
