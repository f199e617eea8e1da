//! Files of sentences for prompts.

use crate::error::{ModelError, Result};
use clipseg_clip::ClipError;
use clipseg_data::files;
use std::collections::HashMap;
use std::path::Path;

/// Reads sentences with `{}` in place of a prompt from a text file in UTF-8, one per line, such as
/// `docs/sentences.txt` of this project. Empty lines and lines that start with `#` are skipped, and so is white space
/// around a sentence.
///
/// # Errors
///
/// If the file cannot be read, has no sentence, or a sentence has no `{}` or is repeated; the message names the file
/// and the line.
pub fn read_sentences(path: &Path) -> Result<Vec<String>> {
    let bytes = files::read(path).map_err(ClipError::io("read", path))?;
    let text = files::decode_text(bytes).map_err(|error| ClipError::format(path, error))?;
    let mut numbers = HashMap::new();
    let mut sentences = Vec::new();
    for (line, number) in text.lines().map(str::trim).zip(1..) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let fail = |message: String| {
            let message = format!("line {number}: {message}");
            Err(ModelError::from(ClipError::format(path, message)))
        };
        if !line.contains("{}") {
            return fail(format!("`{line}` has no `{{}}` for the prompt"));
        }
        if let Some(first) = numbers.insert(line.to_owned(), number) {
            return fail(format!("`{line}` is also line {first}"));
        }
        sentences.push(line.to_owned());
    }
    if sentences.is_empty() {
        return Err(ClipError::format(path, "it contains no sentence").into());
    }
    Ok(sentences)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_are_lines() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sentences.txt");
        std::fs::write(&path, "# source\n\n a {}. \r\nthe {} {}\n").unwrap();
        assert_eq!(read_sentences(&path).unwrap(), ["a {}.", "the {} {}"]);
        for (text, expected) in [
            (
                "a {}\nno place\n",
                "sentences.txt: line 2: `no place` has no `{}`",
            ),
            ("a {}\n\na {} \n", "line 3: `a {}` is also line 1"),
            ("# nothing\n", "it contains no sentence"),
        ] {
            std::fs::write(&path, text).unwrap();
            let message = read_sentences(&path).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        }
        std::fs::write(&path, b"a {} \xff").unwrap();
        assert!(read_sentences(&path).is_err());
        assert!(read_sentences(&folder.path().join("none")).is_err());
    }

    #[test]
    fn the_shipped_file_has_80_sentences() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/sentences.txt");
        assert_eq!(read_sentences(Path::new(path)).unwrap().len(), 80);
    }
}
