//! Writing files that survive a power cut.

use crate::error::{Result, TrainError};
use std::fs::File;
use std::io::Write;
use std::path::Path;

/// Writes a file beside `path`, waits until it is on the disk, and moves it there.
///
/// Until the move the old file stays as it is, whatever happens; after it the new one is whole.
///
/// # Errors
///
/// If the folder cannot be written or the disk is full; nothing is left behind then.
pub(crate) fn write_durably(path: &Path, bytes: &[u8]) -> Result<()> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let fail = |error| TrainError::io("write", path)(error);
    let mut aside = tempfile::Builder::new()
        .prefix(".writing-")
        .tempfile_in(folder)
        .map_err(fail)?;
    aside.write_all(bytes).map_err(fail)?;
    // The temporary file is readable by its owner only, unlike what a program normally writes.
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let readable = std::fs::Permissions::from_mode(0o644);
        aside.as_file().set_permissions(readable).map_err(fail)?;
    }
    aside.as_file().sync_all().map_err(fail)?;
    aside.persist(path).map_err(|error| fail(error.error))?;
    sync_folder(folder)
}

/// Waits until a folder's list of names is on the disk.
#[cfg(unix)]
pub(crate) fn sync_folder(folder: &Path) -> Result<()> {
    let open = File::open(folder).and_then(|file| file.sync_all());
    open.map_err(TrainError::io("write", folder))
}

#[cfg(not(unix))]
pub(crate) fn sync_folder(_: &Path) -> Result<()> {
    Ok(())
}

/// Removes what a process that was killed while writing has left in a folder.
pub(crate) fn remove_leftovers(folder: &Path) -> Result<()> {
    let entries = std::fs::read_dir(folder).map_err(TrainError::io("read", folder))?;
    for entry in entries {
        let entry = entry.map_err(TrainError::io("read", folder))?;
        if entry.file_name().to_string_lossy().starts_with(".writing-") {
            let path = entry.path();
            let removed = if path.is_dir() {
                std::fs::remove_dir_all(&path)
            } else {
                std::fs::remove_file(&path)
            };
            removed.map_err(TrainError::io("remove", &path))?;
        }
    }
    Ok(())
}
