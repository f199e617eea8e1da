//! Text files of a checkpoint, and the mark in `config.json` that a folder was written by this program.

use crate::error::{ClipError, Result};
use clipseg_data::files;
use serde_json::Value;
use std::path::Path;

/// Reads a text file in UTF-8. A byte order mark, which Windows programs put first, is skipped.
///
/// # Errors
///
/// If it cannot be read or has another encoding; the message names the file and the encoding.
pub(crate) fn read_text(path: &Path) -> Result<String> {
    let bytes = files::read(path).map_err(ClipError::io("read", path))?;
    text_of(bytes, path)
}

/// The text of a file whose content is given.
pub(crate) fn text_of(bytes: Vec<u8>, path: &Path) -> Result<String> {
    files::decode_text(bytes).map_err(|error| ClipError::format(path, error))
}

/// Reads and parses a JSON file in UTF-8. A byte order mark is skipped.
///
/// # Errors
///
/// If it cannot be read or is not JSON; the message names the file, the line and the column.
pub fn read_json(path: &Path) -> Result<Value> {
    let text = read_text(path)?;
    serde_json::from_str(&text)
        .map_err(|error| ClipError::format(path, format!("not JSON: {error}")))
}

/// The field of a saved `config.json` that names the program that wrote the folder.
const WRITTEN_BY: &str = "written_by";
const OWN: &str = "clipseg";

/// Marks the JSON object of a `config.json` as written by this program, for [`refuse_foreign`].
/// Transformers ignores the mark.
pub fn mark_as_own(config: &mut Value) {
    if let Some(fields) = config.as_object_mut() {
        fields.insert(WRITTEN_BY.into(), OWN.into());
    }
}

/// Checks that saving a model into a folder overwrites no file that this program did not write.
///
/// `files` are the names of the files to write. They may exist if the folder's `config.json` is
/// [marked](mark_as_own), so write that file before the others.
///
/// # Errors
///
/// [`ClipError::Foreign`] with the first file that exists and is not this program's.
pub fn refuse_foreign(folder: &Path, files: &[&str]) -> Result<()> {
    let mut there = files.iter().map(|name| folder.join(name));
    let Some(path) = there.find(|path| path.symlink_metadata().is_ok()) else {
        return Ok(());
    };
    match read_json(&folder.join("config.json")) {
        Ok(config) if config.get(WRITTEN_BY).and_then(Value::as_str) == Some(OWN) => Ok(()),
        _ => Err(ClipError::Foreign { path }),
    }
}

/// Writes a text file atomically.
///
/// # Errors
///
/// If the folder cannot be written.
pub(crate) fn write_text(path: &Path, text: &str) -> Result<()> {
    files::write(path, text.as_bytes()).map_err(ClipError::io("write", path))
}
