//! One argument for both a folder and a checkpoint on the hub.
//!
//! Programs take one string. A folder on disk always wins, so that a machine without a network,
//! and a build without the feature `hub`, behave the same for everyone who has the files.

use crate::error::{ClipError, Result};
use std::path::{Path, PathBuf};

/// The folder of a checkpoint, given as a folder or as an id on the Hugging Face hub.
///
/// An existing folder is taken as it is. Anything else of the form `owner/name`, or
/// `owner/name@revision` for a branch, a tag or a commit, is downloaded as `Hub::from_env` says,
/// if this crate was built with the feature `hub`.
///
/// # Errors
///
/// [`ClipError::Hub`] if there is neither such a folder nor such a checkpoint, or if it cannot be
/// downloaded; the message says what to pass instead.
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
    if split_id(folder_or_id).is_none() {
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
                message: format!("there is no such folder here, and {message}"),
            },
            other => other,
        })
}

#[cfg(not(feature = "hub"))]
fn download(id: &str) -> Result<PathBuf> {
    Err(ClipError::hub(
        id,
        "there is no such folder here, and this build does not download; pass the folder of a \
         checkpoint, or build with `--features hub`",
    ))
}

/// The repository and the revision that an id names, `main` if it names none.
///
/// Both become parts of paths in the cache, so nothing passes that could lead out of it.
pub(crate) fn split_id(id: &str) -> Option<(&str, &str)> {
    let (repository, revision) = id.split_once('@').unwrap_or((id, "main"));
    let (owner, name) = repository.split_once('/')?;
    let plain = |part: &str| {
        !part.starts_with('.')
            && !part.is_empty()
            && part
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'))
    };
    (plain(owner) && plain(name) && revision.split('/').all(plain))
        .then_some((repository, revision))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_told_from_paths() {
        assert_eq!(split_id("a/b"), Some(("a/b", "main")));
        assert_eq!(split_id("a-1/b_2.c@v1.0"), Some(("a-1/b_2.c", "v1.0")));
        assert_eq!(split_id("a/b@refs/pr/1"), Some(("a/b", "refs/pr/1")));
        for path in [
            "", "b", "a/", "/b", "a/b/c", "../b", "./b", "a/..", "a/b@", "a/b@../c", "a/b@/c",
            "a b/c", "C:\\a", "a/b@c@d", "~/b",
        ] {
            assert_eq!(split_id(path), None, "{path}");
        }
    }

    #[test]
    fn a_folder_wins() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_str().unwrap();
        assert_eq!(resolve(path).unwrap(), folder.path());
    }

    #[test]
    fn what_is_neither_is_explained() {
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
