//! The cache that all Hugging Face tools share, as folders and files on disk.
//!
//! In the folder of a repository, `refs/BRANCH` holds the commit of a branch, `blobs/ETAG` the content
//! of a file, and `snapshots/COMMIT` links to the contents. A download is written to
//! `blobs/ETAG.part` while `blobs/ETAG.lock` is locked, as by the crate `hf-hub`.

use super::fault::{Cause, Fault};
use crate::error::{ClipError, Result};
use crate::files::write_text;
use crate::repo_id::is_plain;
use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How many times a lock is tried again, one second apart.
const LOCK_TRIES: usize = 5;

/// The folder of one repository in the cache.
pub(super) struct Cache {
    folder: PathBuf,
}

impl Cache {
    pub(super) fn new(root: &Path, repository: &str) -> Self {
        let folder = root.join(format!("models--{}", repository.replace('/', "--")));
        Self { folder }
    }

    /// The folder with the files of a commit.
    pub(super) fn snapshot(&self, commit: &str) -> PathBuf {
        self.folder.join("snapshots").join(commit)
    }

    /// The commit that is recorded for a branch or tag.
    pub(super) fn commit(&self, revision: &str) -> Option<String> {
        let text = std::fs::read_to_string(self.folder.join("refs").join(revision)).ok()?;
        let commit = text.trim();
        is_plain(commit).then(|| commit.to_owned())
    }

    /// Records the commit of a branch or tag.
    pub(super) fn set_commit(&self, revision: &str, commit: &str) -> Result<()> {
        let path = self.folder.join("refs").join(revision);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(ClipError::io("make", folder))?;
        }
        write_text(&path, commit)
    }

    /// The file with the content of that etag, which must be [plain](is_plain).
    pub(super) fn blob(&self, etag: &str) -> PathBuf {
        self.folder.join("blobs").join(etag)
    }
}

/// Locks a file until the returned handle is dropped. Waits some seconds for another program.
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

/// Makes `path` a link to `blob`. Where links are not supported, `blob` is moved there.
pub(super) fn link(blob: &Path, path: &Path) -> io::Result<()> {
    // The content of a dangling link was deleted.
    if path.is_symlink() && !path.exists() {
        std::fs::remove_file(path)?;
    }
    if path.exists() {
        return Ok(());
    }
    let Some(name) = blob.file_name() else {
        return Err(io::ErrorKind::InvalidFilename.into());
    };
    let target = Path::new("../../blobs").join(name);
    #[cfg(unix)]
    let linked = std::os::unix::fs::symlink(target, path);
    #[cfg(windows)]
    let linked = std::os::windows::fs::symlink_file(target, path);
    #[cfg(not(any(unix, windows)))]
    let linked: io::Result<()> = Err(io::Error::other(target.display().to_string()));
    linked.or_else(|_| std::fs::rename(blob, path))
}
