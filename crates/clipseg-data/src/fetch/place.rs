//! Writing a downloaded picture without losing an existing file.
//!
//! Pictures are written to a temporary file and renamed, so no incomplete file is left by this program.
//! An existing file is replaced only if the picture begins with all of its bytes. Any other file is moved
//! aside.

use crate::check::examine_picture;
use crate::error::{DataError, Result};
use crate::files::{self, StagedFile};
use crate::problems::{Problem, ProblemKind};
use crate::records::ImageRecord;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// What exists at the path of a picture.
pub(super) enum There {
    Nothing,
    /// A complete picture, with a problem of the size if there is one.
    Complete(Option<Problem>),
    /// The content of a file that is not a picture, or only a part of one.
    Broken(Vec<u8>),
}

/// Finds out what exists at the path of a picture.
pub(super) fn look(path: &Path, image: &ImageRecord) -> Result<There> {
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(There::Nothing),
        Err(error) => return Err(DataError::io("read", path)(error)),
        Ok(_) => {}
    }
    // A folder or a dangling link cannot be read and is left alone.
    let bytes = files::read(path).map_err(DataError::io("read", path))?;
    Ok(match judge(&bytes, path, image) {
        Ok(problem) => There::Complete(problem),
        Err(_) => There::Broken(bytes),
    })
}

/// Checks that bytes are a complete picture, and returns a problem of its size if there is one.
pub(super) fn judge(
    bytes: &[u8],
    path: &Path,
    image: &ImageRecord,
) -> Result<Option<Problem>, String> {
    match examine_picture(bytes, path, image) {
        Some(problem) if problem.kind != ProblemKind::OtherSize => Err(problem.detail),
        problem => Ok(problem),
    }
}

/// Writes a picture atomically. `broken` is the content of the existing file. Returns the new path of that
/// file if it was moved aside.
pub(super) fn put(path: &Path, bytes: &[u8], broken: Option<&[u8]>) -> Result<Option<PathBuf>> {
    let failed = || DataError::io("write", path);
    let mut staged = StagedFile::new(path).map_err(failed())?;
    staged.write_all(bytes).map_err(failed())?;
    let moved = match broken {
        None if is_taken(path) => {
            return Err(failed()(ErrorKind::AlreadyExists.into()));
        }
        Some(broken) if !bytes.starts_with(broken) => {
            let place = free_place(path);
            std::fs::rename(path, &place).map_err(DataError::io("move", path))?;
            Some(place)
        }
        _ => None,
    };
    staged.persist().map_err(failed())?;
    Ok(moved)
}

fn is_taken(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok()
}

/// Returns an unused path such as `7.jpg.broken` or `7.jpg.broken-2`.
fn free_place(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".broken");
    let first = PathBuf::from(&name);
    let others = (2u64..).map(|number| {
        let mut name = name.clone();
        name.push(format!("-{number}"));
        PathBuf::from(name)
    });
    std::iter::once(first)
        .chain(others)
        .find(|place| !is_taken(place))
        .unwrap_or_else(|| PathBuf::from(&name))
}
