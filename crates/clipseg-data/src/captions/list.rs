//! Reading a plain list of captions, `captions.tsv`, with lines `picture<TAB>text`.

use crate::error::{DataError, Result};
use crate::files;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// A picture of the list with all its texts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) path: PathBuf,
    pub(crate) texts: Vec<String>,
}

/// Reads a list. Paths of pictures are relative to the folder of the list or absolute. The texts of all lines
/// with the same picture are combined, at the position of its first line.
pub(crate) fn read_list(path: &Path) -> Result<Vec<Listed>> {
    let bytes = files::read(path).map_err(DataError::io("read", path))?;
    let text = files::decode_text(bytes)
        .map_err(|error| DataError::Input(format!("{}: {error}", path.display())))?;
    let folder = path.parent().unwrap_or(Path::new("."));
    let fail = |line: usize, message: &str| {
        DataError::Input(format!("{}, line {line}: {message}", path.display()))
    };
    let mut listed: Vec<Listed> = Vec::new();
    let mut index_of: HashMap<PathBuf, usize> = HashMap::new();
    for (index, line) in text.lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        let Some((picture, caption)) = line.split_once('\t') else {
            return Err(fail(
                index + 1,
                "no tab, expected a picture's path, a tab and a text",
            ));
        };
        let (picture, caption) = (picture.trim(), caption.trim());
        if picture.is_empty() || caption.is_empty() {
            let what = if picture.is_empty() {
                "no picture before the tab"
            } else {
                "no text after the tab"
            };
            return Err(fail(index + 1, what));
        }
        let picture = folder.join(picture);
        if let Some(kind) = files::kind_of(&picture) {
            let message = format!("{} is {kind}, expected a picture", picture.display());
            return Err(fail(index + 1, &message));
        }
        if !picture.is_file() {
            let message = format!("the picture {} does not exist", picture.display());
            return Err(fail(index + 1, &message));
        }
        let index = *index_of.entry(picture.clone()).or_insert_with(|| {
            listed.push(Listed {
                path: picture,
                texts: Vec::new(),
            });
            listed.len() - 1
        });
        listed[index].texts.push(caption.to_owned());
    }
    if listed.is_empty() {
        return Err(DataError::Input(format!(
            "{}: the list is empty, expected lines with a picture's path, a tab and a text",
            path.display()
        )));
    }
    Ok(listed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<Listed>> {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a.png", "b c.png"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        let path = folder.path().join("captions.tsv");
        std::fs::write(&path, text).unwrap();
        read_list(&path)
    }

    #[test]
    fn lines_with_the_same_picture_are_combined() {
        let listed =
            read("\u{feff}a.png\ta cat\r\nb c.png\ttwo  dogs\n\na.png\tan animal\twith a tab\n");
        let listed = listed.unwrap();
        let texts: Vec<&[String]> = listed.iter().map(|one| one.texts.as_slice()).collect();
        let first = ["a cat".to_owned(), "an animal\twith a tab".to_owned()];
        assert_eq!(texts, [&first[..], &["two  dogs".to_owned()]]);
        assert!(listed[1].path.ends_with("b c.png"));
    }

    #[test]
    fn other_encodings_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("captions.tsv");
        for (bytes, expected) in [
            (
                &b"\xff\xfea\0\t\0b\0"[..],
                "the text is in UTF-16, expected UTF-8",
            ),
            (b"a\0\t\0b\0", "the text is in UTF-16, expected UTF-8"),
            (b"a\0\0\0\t\0\0\0", "the text is in UTF-32, expected UTF-8"),
            (b"caf\xe9\tb", "byte 3 is not UTF-8"),
            (b"\xef\xbb\xbfcaf\xe9\tb", "byte 6 is not UTF-8"),
        ] {
            std::fs::write(&path, bytes).unwrap();
            let error = read_list(&path).unwrap_err().to_string();
            assert!(
                error.contains("captions.tsv") && error.contains(expected),
                "{error}"
            );
        }
    }

    #[test]
    fn invalid_lines_are_reported() {
        let message = |text| read(text).unwrap_err().to_string();
        assert!(message("a.png\tx\na.png x\n").contains("captions.tsv, line 2: no tab"));
        assert!(message("\tx").contains("line 1: no picture before the tab"));
        assert!(message("a.png\t \n").contains("line 1: no text after the tab"));
        assert!(message("no.png\tx").contains("line 1: the picture"));
        assert!(message("\n \n").contains("captions.tsv: the list is empty"));
        let missing = read_list(Path::new("no/captions.tsv"))
            .unwrap_err()
            .to_string();
        assert!(
            missing.starts_with("cannot read no/captions.tsv"),
            "{missing}"
        );
    }
}
