//! Which photographs were asked for, what was passed over, and what their results are called.

use crate::output::{LONGEST_NAME, checksum, is_marked};
use clipseg::clip::ClipError;
use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, HashSet};
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};

/// A photograph and the start of the names of its results.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Photo {
    pub(crate) path: PathBuf,
    pub(crate) name: String,
    /// Whether `name` is only the beginning of the photograph's.
    pub(crate) is_shortened: bool,
}

/// Endings of files that are taken from a folder.
const ENDINGS: [&str; 5] = ["jpg", "jpeg", "png", "webp", "bmp"];

/// What of folders is not taken, counted: files by their endings.
#[derive(Debug, Default)]
pub(crate) struct PassedOver {
    by_ending: BTreeMap<String, usize>,
    /// Pictures that this program has written.
    results: usize,
    folders: usize,
}

impl PassedOver {
    fn add(&mut self, path: &Path) {
        if path.is_dir() {
            self.folders += 1;
            return;
        }
        if is_marked(path) {
            self.results += 1;
            return;
        }
        let ending = match path.extension() {
            Some(ending) => format!(".{}", ending.to_string_lossy().to_lowercase()),
            None => "without an ending".to_owned(),
        };
        *self.by_ending.entry(ending).or_default() += 1;
    }
}

impl std::fmt::Display for PassedOver {
    /// Nothing if nothing was passed over.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        /// Endings that are shown.
        const SHOWN: usize = 8;
        let plural = |count: usize| if count == 1 { "" } else { "s" };
        let mut lines = Vec::new();
        let files: usize = self.by_ending.values().sum();
        if files > 0 {
            let mut most_first: Vec<_> = self.by_ending.iter().collect();
            most_first.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
            let (shown, others) = most_first.split_at(SHOWN.min(most_first.len()));
            let mut parts: Vec<String> = shown
                .iter()
                .map(|(ending, count)| format!("{count} {ending}"))
                .collect();
            let others: usize = others.iter().map(|(_, count)| **count).sum();
            if others > 0 {
                parts.push(format!("{others} with other endings"));
            }
            let (plural, endings) = (plural(files), ENDINGS.map(|ending| format!(".{ending}")));
            lines.push(format!(
                "{files} file{plural} passed over: {}; taken from folders are {}",
                parts.join(", "),
                endings.join(", ")
            ));
        }
        if self.results > 0 {
            let (results, plural) = (self.results, plural(self.results));
            lines.push(format!(
                "{results} result{plural} of this program passed over"
            ));
        }
        if self.folders > 0 {
            let (folders, plural) = (self.folders, plural(self.folders));
            lines.push(format!(
                "{folders} folder{plural} inside passed over: name them to have their pictures"
            ));
        }
        f.write_str(&lines.join("; "))
    }
}

/// The photographs of a list of files and folders; of a folder, the pictures right in it, by name.
///
/// A file is taken whatever its ending is, so that one that is no picture gets reported later; so is
/// what has a picture's ending in a folder, if it is a link to nowhere or no file. Results of this program are
/// taken only if they are named. `results` gives the names of
/// the results of a photograph from the start of their names.
pub(crate) fn collect(
    given: &[PathBuf],
    results: impl Fn(&str) -> Vec<String>,
) -> Result<(Vec<Photo>, PassedOver), ClipError> {
    let mut paths = Vec::new();
    let mut passed_over = PassedOver::default();
    for path in given {
        if path.is_dir() {
            let read = |error| ClipError::io("read", path)(error);
            let mut inside = Vec::new();
            for entry in std::fs::read_dir(path).map_err(read)? {
                let file = entry.map_err(read)?.path();
                if is_picture(&file) {
                    inside.push(file);
                } else {
                    passed_over.add(&file);
                }
            }
            inside.sort();
            paths.append(&mut inside);
        } else {
            paths.push(path.clone());
        }
    }
    let longest_result = results("").iter().map(String::len).max().unwrap_or(0);
    let mut taken = HashSet::new();
    let photos = paths.into_iter().map(|path| {
        let stem = path
            .file_stem()
            .map_or_else(|| "photo".into(), |stem| stem.to_string_lossy());
        // Room for a number.
        let longest = LONGEST_NAME.saturating_sub(longest_result + 8);
        let (stem, is_shortened) = (shortened(&stem, longest), stem.len() > longest);
        let numbered = (2..).map(|number| format!("{stem}-{number}"));
        // No two photographs may have a result of the same name, nor of names that some systems take
        // for the same.
        let name = std::iter::once(stem.clone()).chain(numbered).find(|name| {
            let files: Vec<u64> = results(name).iter().map(|file| number_of(file)).collect();
            let free = files.iter().all(|file| !taken.contains(file));
            if free {
                taken.extend(files);
            }
            free
        });
        Photo {
            path,
            name: name.unwrap_or(stem),
            is_shortened,
        }
    });
    Ok((photos.collect(), passed_over))
}

/// A number in the place of a name, because a name takes more memory. Two names of the same number
/// only lead to a longer name.
fn number_of(name: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    name.to_lowercase().hash(&mut hasher);
    hasher.finish()
}

/// A name as it is, or its beginning and a checksum, by which names that begin alike stay apart.
fn shortened(name: &str, longest: usize) -> String {
    if name.len() <= longest {
        return name.to_owned();
    }
    let checksum = format!("-{:08x}", checksum([name.as_bytes(), &[]]));
    let end = name.floor_char_boundary(longest.saturating_sub(checksum.len()));
    format!("{}{checksum}", &name[..end])
}

fn is_picture(path: &Path) -> bool {
    let ending = path.extension().map(|ending| ending.to_ascii_lowercase());
    let known = ending.is_some_and(|ending| ENDINGS.iter().any(|&known| ending == known));
    // A link to nowhere, a named pipe, a socket and a device cannot be read, which reading reports.
    known && !path.is_dir() && !is_marked(path)
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

    fn overlay_only(name: &str) -> Vec<String> {
        vec![format!("{name}-overlay.png")]
    }

    fn names(photos: &[Photo]) -> Vec<&str> {
        photos.iter().map(|photo| photo.name.as_str()).collect()
    }

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
        std::fs::create_dir(second.join("more.jpg")).unwrap();
        let given = [first, second, "no/such.tif".into()];
        let (photos, passed_over) = collect(&given, overlay_only).unwrap();
        assert_eq!(names(&photos), ["1", "2", "1-2", "such"]);
        assert_eq!(
            passed_over.to_string(),
            "3 files passed over: 1 .gif, 1 .txt, 1 without an ending; taken from folders are .jpg, \
             .jpeg, .png, .webp, .bmp; 1 folder inside passed over: name them to have their pictures"
        );
        assert_eq!(PassedOver::default().to_string(), "");
    }

    #[test]
    fn endings_that_are_many_are_added_up() {
        let mut passed_over = PassedOver::default();
        for number in 0..11 {
            passed_over.add(Path::new(&format!("x.{number:02}")));
        }
        for name in ["a.HEIC", "b.heic"] {
            passed_over.add(Path::new(name));
        }
        let text = passed_over.to_string();
        assert!(
            text.starts_with("13 files passed over: 2 .heic, 1 .00, ")
                && text.contains(", 1 .06, 4 with other endings; "),
            "{text}"
        );
    }

    #[cfg(unix)]
    #[test]
    fn what_cannot_be_read_is_taken_and_reported_later() {
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("no/such/file", folder.path().join("gone.jpg")).unwrap();
        let _listening =
            std::os::unix::net::UnixListener::bind(folder.path().join("socket.png")).unwrap();
        let pipe = folder.path().join("pipe.jpg");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        assert!(made.unwrap().success());
        let (photos, passed_over) = collect(&[folder.path().into()], overlay_only).unwrap();
        assert_eq!(names(&photos), ["gone", "pipe", "socket"]);
        assert_eq!(passed_over.to_string(), "");
        let message = |photo: &Photo| {
            let loaded = clipseg::data::load_rgb(&photo.path);
            loaded.unwrap_err().to_string()
        };
        assert!(message(&photos[1]).ends_with("pipe.jpg: it is a named pipe, expected a file"));
        assert!(message(&photos[2]).ends_with("socket.png: it is a socket, expected a file"));
    }

    #[test]
    fn results_of_two_photographs_have_different_names() {
        // With the prompts "2 cat" and "cat", results of x-1 could be called as those of x.
        let results = |name: &str| {
            let prompts = ["1-2-cat", "2-cat"];
            prompts
                .map(|prompt| format!("{name}-{prompt}-heat.png"))
                .into()
        };
        let given = ["x.jpg", "x-1.jpg", "a.jpg", "A.jpg"].map(PathBuf::from);
        let (photos, _) = collect(&given, results).unwrap();
        assert_eq!(names(&photos), ["x", "x-1-2", "a", "A-2"]);
    }

    #[test]
    fn long_names_are_shortened_and_stay_apart() {
        let long = |last: char| PathBuf::from(format!("{}{last}.jpg", "ä".repeat(120)));
        let given = [long('x'), long('y'), long('x')];
        let (photos, _) = collect(&given, overlay_only).unwrap();
        assert_ne!(photos[0].name, photos[1].name);
        assert_eq!(photos[2].name, format!("{}-2", photos[0].name));
        for photo in &photos {
            assert!(photo.is_shortened);
            assert!(photo.name.starts_with("ääää"));
            let [result] = overlay_only(&photo.name).try_into().unwrap();
            assert!((230..=LONGEST_NAME).contains(&result.len()), "{result}");
        }
        assert_eq!(shortened("short", 5), "short");
    }

    #[test]
    fn prompts_become_file_names() {
        assert_eq!(slug("A cat's  ear!"), "a-cat-s-ear");
        assert_eq!(slug("../../etc"), "etc");
        assert_eq!(slug("?!"), "");
        assert!(slug(&"long ".repeat(2000)).len() <= 40);
    }
}
