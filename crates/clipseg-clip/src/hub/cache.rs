//! One repository's place in the cache that the Hugging Face tools share.
//!
//! `refs/BRANCH` holds a commit, `snapshots/COMMIT` links to `blobs/ETAG`, which hold the content.
//! A download grows as `blobs/ETAG.part`, beside the lock `blobs/ETAG.lock`, as with `hf-hub`.

use super::fault::{Cause, Fault};
use crate::error::Result;
use crate::files::write_text;
use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Tries to get a lock, a second apart.
const LOCK_TRIES: usize = 5;

pub(super) struct Cache {
    folder: PathBuf,
}

impl Cache {
    pub(super) fn new(root: &Path, repository: &str) -> Self {
        let folder = root.join(format!("models--{}", repository.replace('/', "--")));
        Self { folder }
    }

    /// The folder of a commit's files.
    pub(super) fn snapshot(&self, commit: &str) -> PathBuf {
        self.folder.join("snapshots").join(commit)
    }

    /// The commit that a branch or tag was last seen at.
    pub(super) fn commit(&self, revision: &str) -> Option<String> {
        let text = std::fs::read_to_string(self.folder.join("refs").join(revision)).ok()?;
        let commit = text.trim();
        is_plain(commit).then(|| commit.to_owned())
    }

    pub(super) fn set_commit(&self, revision: &str, commit: &str) -> Result<()> {
        let path = self.folder.join("refs").join(revision);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(crate::ClipError::io("make", folder))?;
        }
        write_text(&path, commit)
    }

    /// Where the content of that etag is kept. The etag must be [plain](is_plain).
    pub(super) fn blob(&self, etag: &str) -> PathBuf {
        self.folder.join("blobs").join(etag)
    }
}

/// Whether a name from a server can be that of a file: nothing that leads elsewhere.
pub(super) fn is_plain(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with('.')
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
}

/// Holds a lock until it is dropped.
pub(super) fn lock(path: &Path, what: &str) -> Result<File, Fault> {
    let disk = |error| Fault::new(what, "", Cause::Disk(path.to_owned(), error));
    let file = File::create(path).map_err(disk)?;
    for tried in 0.. {
        match file.try_lock() {
            Ok(()) => break,
            Err(TryLockError::WouldBlock) if tried < LOCK_TRIES => {
                std::thread::sleep(Duration::from_secs(1));
            }
            Err(TryLockError::WouldBlock) => {
                return Err(Fault::new(what, "", Cause::Locked(path.to_owned())));
            }
            Err(TryLockError::Error(error)) => return Err(disk(error)),
        }
    }
    Ok(file)
}

/// Makes `place` lead to `blob`, or be it where there are no links.
pub(super) fn link(blob: &Path, place: &Path) -> io::Result<()> {
    // What leads nowhere is a link whose content was deleted.
    if place.is_symlink() && !place.exists() {
        std::fs::remove_file(place)?;
    }
    if place.exists() {
        return Ok(());
    }
    let Some(name) = blob.file_name() else {
        return Err(io::ErrorKind::InvalidFilename.into());
    };
    let target = Path::new("../../blobs").join(name);
    #[cfg(unix)]
    let linked = std::os::unix::fs::symlink(target, place);
    #[cfg(windows)]
    let linked = std::os::windows::fs::symlink_file(target, place);
    #[cfg(not(any(unix, windows)))]
    let linked: io::Result<()> = Err(io::Error::other(target.display().to_string()));
    linked.or_else(|_| std::fs::rename(blob, place))
}
