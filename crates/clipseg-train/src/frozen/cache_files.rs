//! Which folders and files a cache of hidden states may write, replace and remove: those that show that
//! a cache has made them.
//!
//! The cache has a folder of its own inside the one that the user names, with a marker in it. A file is
//! its own if it lies in a folder of a key there, is called after a picture's key, is no link, and says
//! in its safetensors header that it is what its name says. Everything else belongs to somebody else.

use crate::error::{Result, TrainError};
use serde_json::Value;
use std::collections::HashMap;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

/// The cache's own folder inside the one that the user names.
pub(crate) const FOLDER: &str = "clipseg-hidden-states";
/// The file that marks it.
const MARKER: &str = "ABOUT.txt";
const MARKER_TEXT: &str = "Hidden states that clipseg remembers between training runs (clipseg cache 1).\n\
     It removes the files that it has written here when room runs out. They can be removed at any time.\n";
/// What a file says in its header that it is.
const FORMAT: &str = "clipseg hidden states 1";
/// The longest header that a file of the cache can have.
const LONGEST_HEADER: u64 = 4_096;

/// What lies under a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner {
    /// Nothing.
    Nobody,
    /// A file of the cache of so many bytes.
    Cache(u64),
    /// Anything else.
    Other,
}

/// Makes the cache's own folder inside `root`, or takes the one that a cache has made.
///
/// # Errors
///
/// If it cannot be made, is a link, or holds files but no marker: then it is somebody else's.
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
    // Written outside first, so that another process finds the marker whole or finds an empty folder.
    let mut aside = tempfile::NamedTempFile::new_in(root).map_err(fail)?;
    aside.write_all(MARKER_TEXT.as_bytes()).map_err(fail)?;
    match aside.persist_noclobber(&marker) {
        Ok(_) => Ok(folder),
        // Another process was faster, and what it writes is the same.
        Err(error) if error.error.kind() == ErrorKind::AlreadyExists => Ok(folder),
        Err(error) => Err(fail(error.error)),
    }
}

/// Makes a folder if there is none; a link is not taken for one.
pub(crate) fn make_folder(folder: &Path) -> Result<()> {
    match std::fs::create_dir(folder) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::AlreadyExists && is_folder(folder) => Ok(()),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(TrainError::run(
            folder,
            "is in the way of the cache's own folder; move it, or choose another `cache.folder`",
        )),
        Err(error) => Err(TrainError::io("make", folder)(error)),
    }
}

fn not_a_cache(folder: &Path) -> TrainError {
    let message = format!(
        "holds files but not the `{MARKER}` of a cache, so it is left alone; move it, or choose another \
         `cache.folder`"
    );
    TrainError::run(folder, message)
}

/// Whether this is a folder itself and not a link to one.
pub(crate) fn is_folder(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|data| data.is_dir())
}

fn is_link(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|data| data.is_symlink())
}

/// Whether a name is that of a key: 32 hexadecimal digits.
pub(crate) fn is_key(name: &str) -> bool {
    name.len() == 32
        && name
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// The name of a picture's file.
pub(crate) fn file_name(picture: u128) -> String {
    format!("{picture:032x}.safetensors")
}

/// Bytes of the files in a folder that are called like the cache's own.
pub(crate) fn size_of(folder: &Path) -> Result<u64> {
    let mut size = 0;
    for entry in std::fs::read_dir(folder).map_err(TrainError::io("read", folder))? {
        let entry = entry.map_err(TrainError::io("read", folder))?;
        let name = entry.file_name();
        let picture = name
            .to_str()
            .and_then(|name| name.strip_suffix(".safetensors"));
        if picture.is_some_and(is_key) {
            // Of the entry itself, not of what a link leads to. A file that another process has just
            // removed takes no room.
            size += entry
                .metadata()
                .map_or(0, |data| if data.is_file() { data.len() } else { 0 });
        }
    }
    Ok(size)
}

/// What a file of a picture says about itself, for its header.
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

/// The names of the folder and of the file, without its ending.
fn names(path: &Path) -> [String; 2] {
    let text = |name: Option<&std::ffi::OsStr>| {
        name.map_or_else(String::new, |name| name.to_string_lossy().into_owned())
    };
    [
        text(path.parent().and_then(Path::file_name)),
        text(path.file_stem()),
    ]
}

/// Whose a file is.
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

/// Whether the header of a file says that it is the cache's, and which.
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

/// Removes the cache's files from the folder of a key, and the folder if nothing else is in it.
pub(crate) fn remove(folder: &Path) -> Result<()> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        // Another process had the same thought.
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
    // It fails where something of somebody else is left, which is then kept.
    let _ = std::fs::remove_dir(folder);
    Ok(())
}
