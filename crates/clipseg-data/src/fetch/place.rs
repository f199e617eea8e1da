//! Where a picture goes, and what may lie there already.
//!
//! Pictures are written aside and renamed, so a broken file is never one of ours. Nothing that is there
//! is lost: a file is only replaced by a picture that begins with the same bytes, and so holds all of
//! it; any other is moved beside its place.

use crate::check::examine_picture;
use crate::error::{DataError, Result};
use crate::files::{self, StagedFile};
use crate::problems::{Problem, ProblemKind};
use crate::records::ImageRecord;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// What is in a picture's place.
pub(super) enum There {
    Nothing,
    /// A picture, and what may be noted all the same.
    Whole(Option<Problem>),
    /// A file that is none, or a part of one.
    Broken(Vec<u8>),
}

/// Looks what is in a picture's place.
pub(super) fn look(path: &Path, image: &ImageRecord) -> Result<There> {
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(There::Nothing),
        Err(error) => return Err(DataError::io("read", path)(error)),
        Ok(_) => {}
    }
    // A folder, or a link to nowhere, cannot be read and stays.
    let bytes = files::read(path).map_err(DataError::io("read", path))?;
    Ok(match judge(&bytes, path, image) {
        Ok(problem) => There::Whole(problem),
        Err(_) => There::Broken(bytes),
    })
}

/// Whether the bytes are the picture, and what may be noted all the same.
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

/// Writes a file beside its place and moves it there. `broken` is what was seen there. Gives the place
/// that it was moved to, unless all of it is in the new file.
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

/// `7.jpg.broken`, or a name with a number if that is taken.
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
