//! Words in phrases: plurals, held-out words, and which side is left.

use std::borrow::Cow;

/// The words of a text in lower case.
fn words(text: &str) -> Vec<String> {
    text.split(|letter: char| !letter.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .collect()
}

/// Whether both are the same word, or one is the other's simple plural.
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

/// Whether a phrase has this word, or these words one after another; the last one may be a plural.
pub(crate) fn has_words(phrase: &str, wanted: &str) -> bool {
    let (phrase, wanted) = (words(phrase), words(wanted));
    let Some((last, first)) = wanted.split_last() else {
        return false;
    };
    phrase
        .windows(wanted.len())
        .any(|window| window[..first.len()] == *first && same_word(&window[first.len()], last))
}

/// Whether any word of one text is a word of the other.
pub(super) fn share_a_word(a: &str, b: &str) -> bool {
    let b = words(b);
    words(a)
        .iter()
        .any(|word| b.iter().any(|other| same_word(word, other)))
}

/// The phrase for the mirrored picture.
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
    fn simple_plurals() {
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
    fn words_are_found_whole() {
        assert!(has_words("two brown Dogs, sleeping", "dog"));
        assert!(has_words("red traffic lights", "traffic light"));
        assert!(!has_words("traffic on light road", "traffic light"));
        assert!(!has_words("hotdog", "dog"));
        assert!(!has_words("dog", ""));
        assert!(share_a_word("green plants", "small plant on table"));
        assert!(!share_a_word("green plants", "a cat"));
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
