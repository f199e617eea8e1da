//! The photographs to segment, the files that are skipped, and the names of the results.

use crate::output::{LONGEST_FILE_NAME, checksum, is_marked};
use clipseg::clip::ClipError;
use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, HashSet};
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};

/// A photograph and the prefix of its results' file names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Photo {
    pub(crate) path: PathBuf,
    pub(crate) name: String,
    /// Whether `name` is a shortened form of the photograph's name.
    pub(crate) is_shortened: bool,
}

/// File extensions of the pictures that are read from a folder.
const EXTENSIONS: [&str; 5] = ["jpg", "jpeg", "png", "webp", "bmp"];

/// Counts of the files in folders that are skipped, by extension.
#[derive(Debug, Default)]
pub(crate) struct Skipped {
    by_extension: BTreeMap<String, usize>,
    /// Results of this program.
    results: usize,
    folders: usize,
}

impl Skipped {
    fn add(&mut self, path: &Path) {
        if path.is_dir() {
            self.folders += 1;
            return;
        }
        if is_marked(path) {
            self.results += 1;
            return;
        }
        let extension = match path.extension() {
            Some(extension) => format!(".{}", extension.to_string_lossy().to_lowercase()),
            None => "without an extension".to_owned(),
        };
        *self.by_extension.entry(extension).or_default() += 1;
    }
}

impl std::fmt::Display for Skipped {
    /// Empty if nothing was skipped.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        /// Number of extensions that are listed.
        const SHOWN: usize = 8;
        let plural = |count: usize| if count == 1 { "" } else { "s" };
        let mut lines = Vec::new();
        let files: usize = self.by_extension.values().sum();
        if files > 0 {
            let mut most_first: Vec<_> = self.by_extension.iter().collect();
            most_first.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
            let (shown, others) = most_first.split_at(SHOWN.min(most_first.len()));
            let mut parts: Vec<String> = shown
                .iter()
                .map(|(extension, count)| format!("{count} {extension}"))
                .collect();
            let others: usize = others.iter().map(|(_, count)| **count).sum();
            if others > 0 {
                parts.push(format!("{others} with other extensions"));
            }
            let (plural, extensions) = (plural(files), EXTENSIONS.map(|name| format!(".{name}")));
            lines.push(format!(
                "skipped {files} file{plural}: {}; folders are searched for {}",
                parts.join(", "),
                extensions.join(", ")
            ));
        }
        if self.results > 0 {
            let (results, plural) = (self.results, plural(self.results));
            lines.push(format!("skipped {results} result{plural} of this program"));
        }
        if self.folders > 0 {
            let (folders, plural) = (self.folders, plural(self.folders));
            lines.push(format!(
                "skipped {folders} subfolder{plural}; pass them by name to include them"
            ));
        }
        f.write_str(&lines.join("; "))
    }
}

/// Collects the photographs from a list of files and folders. Folders are not searched recursively,
/// and their pictures are sorted by name.
///
/// A file that is given by name is always included, so that it is reported later if it is not a
/// picture. In a folder, everything with a picture's extension is included but subfolders and the results
/// of this program: broken links and named pipes are reported later too. `results` returns the file names
/// of a photograph's results for a prefix.
pub(crate) fn collect(
    given: &[PathBuf],
    results: impl Fn(&str) -> Vec<String>,
) -> Result<(Vec<Photo>, Skipped), ClipError> {
    let mut paths = Vec::new();
    let mut skipped = Skipped::default();
    for path in given {
        if path.is_dir() {
            let read = |error| ClipError::io("read", path)(error);
            let mut inside = Vec::new();
            for entry in std::fs::read_dir(path).map_err(read)? {
                let file = entry.map_err(read)?.path();
                if is_picture(&file) {
                    inside.push(file);
                } else {
                    skipped.add(&file);
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
        // Leaves room for a number.
        let longest = LONGEST_FILE_NAME.saturating_sub(longest_result + 8);
        let (stem, is_shortened) = (shortened(&stem, longest), stem.len() > longest);
        let numbered = (2..).map(|number| format!("{stem}-{number}"));
        // No two photographs may have results of the same name, or of names that differ in case only,
        // which some systems treat as the same.
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
    Ok((photos.collect(), skipped))
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
    let extension = path.extension().map(|name| name.to_ascii_lowercase());
    let known = extension.is_some_and(|name| EXTENSIONS.iter().any(|&known| name == known));
    // Loading reports broken links, named pipes, sockets and devices.
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
        let (photos, skipped) = collect(&given, overlay_only).unwrap();
        assert_eq!(names(&photos), ["1", "2", "1-2", "such"]);
        assert_eq!(
            skipped.to_string(),
            "skipped 3 files: 1 .gif, 1 .txt, 1 without an extension; folders are searched for .jpg, \
             .jpeg, .png, .webp, .bmp; skipped 1 subfolder; pass them by name to include them"
        );
        assert_eq!(Skipped::default().to_string(), "");
    }

    #[test]
    fn rare_extensions_are_summed_up() {
        let mut skipped = Skipped::default();
        for number in 0..11 {
            skipped.add(Path::new(&format!("x.{number:02}")));
        }
        for name in ["a.HEIC", "b.heic"] {
            skipped.add(Path::new(name));
        }
        let text = skipped.to_string();
        assert!(
            text.starts_with("skipped 13 files: 2 .heic, 1 .00, ")
                && text.contains(", 1 .06, 4 with other extensions; "),
            "{text}"
        );
    }

    #[cfg(unix)]
    #[test]
    fn broken_links_pipes_and_sockets_are_included_and_reported_later() {
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("no/such/file", folder.path().join("gone.jpg")).unwrap();
        let _listening =
            std::os::unix::net::UnixListener::bind(folder.path().join("socket.png")).unwrap();
        let pipe = folder.path().join("pipe.jpg");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        assert!(made.unwrap().success());
        let (photos, skipped) = collect(&[folder.path().into()], overlay_only).unwrap();
        assert_eq!(names(&photos), ["gone", "pipe", "socket"]);
        assert_eq!(skipped.to_string(), "");
        let message = |photo: &Photo| {
            let loaded = clipseg::data::load_rgb(&photo.path);
            loaded.unwrap_err().to_string()
        };
        assert!(message(&photos[1]).ends_with("pipe.jpg: it is a named pipe, expected a file"));
        assert!(message(&photos[2]).ends_with("socket.png: it is a socket, expected a file"));
    }

    #[test]
    fn no_two_photographs_share_a_result_name() {
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
    fn long_names_are_shortened_and_stay_distinct() {
        let long = |last: char| PathBuf::from(format!("{}{last}.jpg", "ä".repeat(120)));
        let given = [long('x'), long('y'), long('x')];
        let (photos, _) = collect(&given, overlay_only).unwrap();
        assert_ne!(photos[0].name, photos[1].name);
        assert_eq!(photos[2].name, format!("{}-2", photos[0].name));
        for photo in &photos {
            assert!(photo.is_shortened);
            assert!(photo.name.starts_with("ääää"));
            let [result] = overlay_only(&photo.name).try_into().unwrap();
            assert!(
                (230..=LONGEST_FILE_NAME).contains(&result.len()),
                "{result}"
            );
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
