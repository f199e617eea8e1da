//! Writing files so that nobody ever finds half of one.

use crate::error::{ClipError, Result};
use std::path::Path;

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
