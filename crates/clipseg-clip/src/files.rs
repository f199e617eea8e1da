//! Reading text files of any origin, and writing files so that nobody ever finds half of one.

use crate::error::{ClipError, Result};
use serde_json::Value;
use std::path::Path;

/// Reads a text file in UTF-8; a byte order mark, which Windows programs put first, is passed over.
///
/// # Errors
///
/// If it cannot be read or is of another encoding; the message names the file, and UTF-16 as such.
pub(crate) fn read_text(path: &Path) -> Result<String> {
    let bytes = std::fs::read(path).map_err(ClipError::io("read", path))?;
    decode(bytes, path)
}

fn decode(mut bytes: Vec<u8>, path: &Path) -> Result<String> {
    // Without a mark, every second byte of plain letters in UTF-16 is 0, which no text file holds.
    let wide = bytes.starts_with(&[0xff, 0xfe])
        || bytes.starts_with(&[0xfe, 0xff])
        || bytes.iter().take(2).any(|&byte| byte == 0);
    if wide {
        return Err(ClipError::format(
            path,
            "the text is in UTF-16, expected UTF-8; save it again in that encoding",
        ));
    }
    if bytes.starts_with("\u{feff}".as_bytes()) {
        bytes.drain(..3);
    }
    String::from_utf8(bytes).map_err(|error| {
        let place = error.utf8_error().valid_up_to();
        ClipError::format(path, format!("byte {place} is not UTF-8"))
    })
}

/// Reads and parses a JSON file; a byte order mark is passed over.
///
/// # Errors
///
/// If it cannot be read or is not JSON; the message names the file, the line and the column.
pub fn read_json(path: &Path) -> Result<Value> {
    let text = read_text(path)?;
    serde_json::from_str(&text)
        .map_err(|error| ClipError::format(path, format!("not JSON: {error}")))
}

/// The field of a saved `config.json` that says which program wrote the folder.
const WRITTEN_BY: &str = "written_by";
const OWN: &str = "clipseg";

/// Marks a `config.json`, an object, as this program's, for [`refuse_foreign`]; transformers passes over the mark.
pub fn mark_as_own(config: &mut Value) {
    if let Some(fields) = config.as_object_mut() {
        fields.insert(WRITTEN_BY.into(), OWN.into());
    }
}

/// Makes sure that saving a model into a folder replaces no file of another program.
///
/// `files` are the names that are going to be written. They may be there already if the folder's
/// `config.json` is [marked](mark_as_own); write it before the others.
///
/// # Errors
///
/// [`ClipError::Foreign`] with the first file that is in the way.
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

/// Lets `write` fill a new file beside `path` and moves it there when that has succeeded.
///
/// # Errors
///
/// Those of `write`, or that the folder cannot be written; the old file is then untouched.
pub fn write_aside(path: &Path, write: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let aside = tempfile::Builder::new()
        .prefix(".writing-")
        .tempfile_in(folder.unwrap_or(Path::new(".")))
        .map_err(ClipError::io("write", path))?
        .into_temp_path();
    write(&aside)?;
    // The temporary file is readable by its owner only, unlike what a program normally writes.
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(&aside, std::fs::Permissions::from_mode(0o644))
            .map_err(ClipError::io("write", path))?;
    }
    aside
        .persist(path)
        .map_err(|error| ClipError::io("write", path)(error.error))
}

/// Writes a text file, whole or not at all.
///
/// # Errors
///
/// If the folder cannot be written.
pub fn write_text(path: &Path, text: &str) -> Result<()> {
    write_aside(path, |aside| {
        std::fs::write(aside, text).map_err(ClipError::io("write", path))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_order_mark_is_skipped_and_utf_16_is_named() {
        let read = |bytes: &[u8]| decode(bytes.to_vec(), Path::new("config.json"));
        assert_eq!(read(b"{}").unwrap(), "{}");
        assert_eq!(read(b"\xef\xbb\xbf{}").unwrap(), "{}");
        assert_eq!(read(b"").unwrap(), "");
        for wide in [
            b"\xff\xfe{\0}\0".as_slice(),
            b"\xfe\xff\0{\0}",
            b"{\0}\0",
            b"\0{\0}",
        ] {
            let message = read(wide).unwrap_err().to_string();
            assert!(message.starts_with("config.json: the text is in UTF-16"));
        }
        let message = read(b"{\"a\xe9\": 1}").unwrap_err().to_string();
        assert_eq!(message, "config.json: byte 3 is not UTF-8");
    }
}
