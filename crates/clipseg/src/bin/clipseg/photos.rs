//! Which photographs were asked for, and what their results are called.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

/// A photograph and the start of the names of its results.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Photo {
    pub(crate) path: PathBuf,
    pub(crate) name: String,
}

const ENDINGS: [&str; 5] = ["jpg", "jpeg", "png", "webp", "bmp"];

/// The photographs of a list of files and folders; of a folder, the pictures right in it, by name.
///
/// A file is taken whatever its ending is, so that one that is no picture gets reported later.
pub(crate) fn collect(given: &[PathBuf]) -> std::io::Result<Vec<Photo>> {
    let mut paths = Vec::new();
    for path in given {
        if path.is_dir() {
            let mut inside = Vec::new();
            for entry in std::fs::read_dir(path)? {
                let file = entry?.path();
                if is_picture(&file) {
                    inside.push(file);
                }
            }
            inside.sort();
            paths.append(&mut inside);
        } else {
            paths.push(path.clone());
        }
    }
    let mut taken = HashSet::new();
    let photos = paths.into_iter().map(|path| {
        let stem = path
            .file_stem()
            .map_or_else(|| "photo".into(), |stem| stem.to_string_lossy());
        let numbered = (2..).map(|number| format!("{stem}-{number}"));
        // Photographs of the same name in two folders must not overwrite each other's results.
        let name = std::iter::once(stem.to_string())
            .chain(numbered)
            .find(|name| taken.insert(name.clone()))
            .unwrap_or_default();
        Photo { path, name }
    });
    Ok(photos.collect())
}

fn is_picture(path: &Path) -> bool {
    let ending = path.extension().map(|ending| ending.to_ascii_lowercase());
    path.is_file() && ending.is_some_and(|ending| ENDINGS.iter().any(|&known| ending == known))
}

/// What a file can be called after a prompt: its letters and digits, with dashes between words.
pub(crate) fn slug(prompt: &str) -> String {
    const LONGEST: usize = 40;
    let mut slug = String::new();
    for letter in prompt.chars() {
        if letter.is_alphanumeric() {
            slug.extend(letter.to_lowercase());
        } else if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
        if slug.len() >= LONGEST {
            break;
        }
    }
    slug.trim_end_matches('-').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_give_their_pictures_and_names_do_not_collide() {
        let root = tempfile::tempdir().unwrap();
        let [first, second] = ["a", "b"].map(|name| root.path().join(name));
        for (folder, names) in [
            (&first, ["2.JPG", "1.png", "notes.txt"]),
            (&second, ["1.jpg", "x.gif", "y"]),
        ] {
            std::fs::create_dir(folder).unwrap();
            for name in names {
                std::fs::write(folder.join(name), "").unwrap();
            }
        }
        let photos = collect(&[first, second, "no/such.tif".into()]).unwrap();
        let names: Vec<&str> = photos.iter().map(|photo| photo.name.as_str()).collect();
        assert_eq!(names, ["1", "2", "1-2", "such"]);
    }

    #[test]
    fn prompts_become_file_names() {
        assert_eq!(slug("A cat's  ear!"), "a-cat-s-ear");
        assert_eq!(slug("../../etc"), "etc");
        assert_eq!(slug("?!"), "");
        assert!(slug(&"long ".repeat(2000)).len() <= 40);
    }
}
