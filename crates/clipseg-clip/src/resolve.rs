//! Turns what a user names as a checkpoint, a folder or an id on the Hugging Face hub, into a folder.
//!
//! A folder on disk always takes precedence, so that a machine without a network and a build without
//! the feature `hub` behave the same for everyone who has the files.

use crate::error::{ClipError, Result};
use crate::repo_id::RepoId;
use std::path::{Path, PathBuf};

/// Returns the folder of a checkpoint that is named by its folder or by its id on the Hugging Face hub.
///
/// An existing folder is returned as it is. Anything else of the form `owner/name`, or
/// `owner/name@revision` for a branch, a tag or a commit, is downloaded into the user's Hugging Face
/// cache, if this crate was built with the feature `hub`; see `Hub::from_env` for the settings.
///
/// # Errors
///
/// [`ClipError::Hub`] if neither such a folder nor such a checkpoint exists, or if the download
/// fails; the message says what to pass instead.
///
/// # Example
///
/// ```
/// let here = clipseg_clip::resolve(".")?;
/// assert!(here.is_dir());
/// assert!(clipseg_clip::resolve("no such folder").is_err());
/// # Ok::<(), clipseg_clip::ClipError>(())
/// ```
pub fn resolve(folder_or_id: &str) -> Result<PathBuf> {
    let folder = Path::new(folder_or_id);
    if folder.is_dir() {
        return Ok(folder.to_owned());
    }
    if RepoId::parse(folder_or_id).is_none() {
        return Err(ClipError::hub(
            folder_or_id,
            "neither a folder nor an id like `owner/name` or `owner/name@revision`; pass the \
             folder of a checkpoint, or such an id",
        ));
    }
    download(folder_or_id)
}

#[cfg(feature = "hub")]
fn download(id: &str) -> Result<PathBuf> {
    crate::hub::Hub::from_env()
        .and_then(|hub| hub.snapshot(id))
        .map_err(|error| match error {
            ClipError::Hub { id, message } => ClipError::Hub {
                id,
                message: format!("no such folder exists, and {message}"),
            },
            other => other,
        })
}

#[cfg(not(feature = "hub"))]
fn download(id: &str) -> Result<PathBuf> {
    Err(ClipError::hub(
        id,
        "no such folder exists, and this build cannot download; pass the folder of a checkpoint, or \
         build with `--features hub`",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_existing_folder_takes_precedence() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_str().unwrap();
        assert_eq!(resolve(path).unwrap(), folder.path());
    }

    #[test]
    fn a_name_that_is_neither_folder_nor_id_is_explained() {
        let message = resolve("weights/of/mine").unwrap_err().to_string();
        assert!(message.contains("`weights/of/mine`: neither a folder"));
        assert!(message.contains("`owner/name`"));
    }

    #[test]
    #[cfg(not(feature = "hub"))]
    fn a_missing_feature_is_named() {
        let message = resolve("owner/name").unwrap_err().to_string();
        assert!(message.contains("--features hub"));
    }
}
