//! Ownership of folders and files in a cache of hidden states: the cache replaces and removes only files
//! that it can prove to have written itself.
//!
//! The cache uses a subfolder of the user's folder and marks it with a file. A file belongs to the cache if
//! it is in the folder of a key there, has the name of a picture's key, is not a symbolic link, and has a
//! safetensors header that matches its name. All other files belong to somebody else and are left alone.

use crate::error::{Result, TrainError};
use serde_json::Value;
use std::collections::HashMap;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

/// The name of the cache's subfolder in the user's folder.
pub(crate) const FOLDER: &str = "clipseg-hidden-states";
/// The name of the file that marks the subfolder.
const MARKER: &str = "ABOUT.txt";
const MARKER_TEXT: &str = "Hidden states that clipseg remembers between training runs (clipseg cache 1).\n\
     It removes the files that it has written here when room runs out. They can be removed at any time.\n";
/// The format in the header of each file.
const FORMAT: &str = "clipseg hidden states 1";
/// The largest number of bytes of a header.
const LONGEST_HEADER: u64 = 4_096;

/// Who owns what is at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner {
    /// There is nothing at the path.
    Nobody,
    /// A file of the cache, with its size in bytes.
    Cache(u64),
    /// Anything else.
    Other,
}

/// Creates the cache's subfolder in `root`, or accepts the one that a cache has created.
///
/// # Errors
///
/// If it cannot be created, is a symbolic link, or contains files but no marker.
pub(crate) fn claim(root: &Path) -> Result<PathBuf> {
    std::fs::create_dir_all(root).map_err(TrainError::io("make", root))?;
    let folder = root.join(FOLDER);
    make_folder(&folder)?;
    let marker = folder.join(MARKER);
    match std::fs::read(&marker) {
        Ok(text) if text == MARKER_TEXT.as_bytes() && !is_link(&marker) => return Ok(folder),
        Ok(_) => return Err(not_a_cache(&folder)),
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(TrainError::io("read", &marker)(error)),
    }
    let mut entries = std::fs::read_dir(&folder).map_err(TrainError::io("read", &folder))?;
    if entries.next().is_some() && !marker.is_file() {
        return Err(not_a_cache(&folder));
    }
    let fail = |error| TrainError::io("write", &marker)(error);
    // Written outside first, so that another process sees a complete marker or an empty folder.
    let mut aside = tempfile::NamedTempFile::new_in(root).map_err(fail)?;
    aside.write_all(MARKER_TEXT.as_bytes()).map_err(fail)?;
    match aside.persist_noclobber(&marker) {
        Ok(_) => Ok(folder),
        // Another process wrote the same marker first.
        Err(error) if error.error.kind() == ErrorKind::AlreadyExists => Ok(folder),
        Err(error) => Err(fail(error.error)),
    }
}

/// Creates a folder unless it exists; a symbolic link to a folder is refused.
pub(crate) fn make_folder(folder: &Path) -> Result<()> {
    match std::fs::create_dir(folder) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::AlreadyExists && is_folder(folder) => Ok(()),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(TrainError::run(
            folder,
            "has the name of the cache's folder; move it, or choose another `cache.folder`",
        )),
        Err(error) => Err(TrainError::io("make", folder)(error)),
    }
}

fn not_a_cache(folder: &Path) -> TrainError {
    let message = format!(
        "contains files but not the `{MARKER}` of a cache, so it is left alone; move it, or choose \
         another `cache.folder`"
    );
    TrainError::run(folder, message)
}

/// Whether a path is a folder and not a symbolic link to one.
pub(crate) fn is_folder(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|data| data.is_dir())
}

fn is_link(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|data| data.is_symlink())
}

/// Whether a name is a key: 32 hexadecimal digits.
pub(crate) fn is_key(name: &str) -> bool {
    name.len() == 32
        && name
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// The file name of a picture.
pub(crate) fn file_name(picture: u128) -> String {
    format!("{picture:032x}.safetensors")
}

/// The total size in bytes of the files in a folder that have names of the cache.
pub(crate) fn size_of(folder: &Path) -> Result<u64> {
    let mut size = 0;
    for entry in std::fs::read_dir(folder).map_err(TrainError::io("read", folder))? {
        let entry = entry.map_err(TrainError::io("read", folder))?;
        let name = entry.file_name();
        let picture = name
            .to_str()
            .and_then(|name| name.strip_suffix(".safetensors"));
        if picture.is_some_and(is_key) {
            // The size of the entry itself, not of the target of a link. A file that another process has
            // just removed counts as 0.
            size += entry
                .metadata()
                .map_or(0, |data| if data.is_file() { data.len() } else { 0 });
        }
    }
    Ok(size)
}

/// The metadata in the header of a picture's file.
pub(crate) fn metadata(path: &Path) -> HashMap<String, String> {
    let [key, picture] = names(path);
    [
        ("format", FORMAT.to_owned()),
        ("key", key),
        ("picture", picture),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

/// The names of the folder and of the file, without its extension.
fn names(path: &Path) -> [String; 2] {
    let text = |name: Option<&std::ffi::OsStr>| {
        name.map_or_else(String::new, |name| name.to_string_lossy().into_owned())
    };
    [
        text(path.parent().and_then(Path::file_name)),
        text(path.file_stem()),
    ]
}

/// Finds out who owns a file.
pub(crate) fn owner(path: &Path) -> Owner {
    let Ok(data) = std::fs::symlink_metadata(path) else {
        return Owner::Nobody;
    };
    let [key, picture] = names(path);
    let called = path
        .extension()
        .is_some_and(|ending| ending == "safetensors");
    if data.is_file() && called && is_key(&key) && is_key(&picture) && says_so(path) {
        Owner::Cache(data.len())
    } else {
        Owner::Other
    }
}

/// Whether the header of a file has the format, the key and the picture of its name.
fn says_so(path: &Path) -> bool {
    let header = || -> Option<Value> {
        let mut file = File::open(path).ok()?;
        let mut length = [0; 8];
        file.read_exact(&mut length).ok()?;
        let length = u64::from_le_bytes(length);
        if length > LONGEST_HEADER {
            return None;
        }
        let mut header = vec![0; length as usize];
        file.read_exact(&mut header).ok()?;
        serde_json::from_slice(&header).ok()
    };
    let expected = metadata(path);
    header().is_some_and(|header| {
        let found = &header["__metadata__"];
        expected
            .iter()
            .all(|(name, value)| found[name].as_str() == Some(value))
    })
}

/// Removes the cache's files from the folder of a key, and the folder if it is empty then.
pub(crate) fn remove(folder: &Path) -> Result<()> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        // Another process has removed it already.
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(TrainError::io("read", folder)(error)),
    };
    for entry in entries {
        let path = entry.map_err(TrainError::io("read", folder))?.path();
        if matches!(owner(&path), Owner::Cache(_)) {
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(TrainError::io("remove", &path)(error));
                }
                _ => {}
            }
        }
    }
    // Fails if files of somebody else are left in the folder, which are kept.
    let _ = std::fs::remove_dir(folder);
    Ok(())
}
