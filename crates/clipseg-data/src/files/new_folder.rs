//! A folder that appears under its name when it is complete.

use super::staging::{make_readable, parent};
use std::fs::File;
use std::io::{Result, Write};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// What the names of folders that are being filled begin with.
const PREFIX: &str = ".clipseg-new-";
/// A file in such a folder, which its process keeps locked.
const MARKER: &str = ".clipseg-writing";
const MARKER_TEXT: &str = "A clipseg process is filling this folder (clipseg folder 1). If none is running, the folder was left \
     behind by one that was killed. The next one that writes beside it removes it.\n";

/// A folder that is filled beside its target and then renamed. Dropping it removes it.
///
/// A process that is killed leaves the folder behind. The next process that creates a folder beside it
/// removes it: it has the marker, and no process holds the marker's lock.
#[derive(Debug)]
pub struct NewFolder {
    target: PathBuf,
    folder: TempDir,
    /// The locked marker, if the file system supports locks. Without it the folder is never treated as a
    /// leftover.
    marker: Option<File>,
}

impl NewFolder {
    /// Creates the folder beside `target`, after removing what killed processes have left there.
    ///
    /// # Errors
    ///
    /// If the folder of `target` cannot be written.
    pub fn create(target: &Path) -> Result<Self> {
        let beside = parent(target);
        remove_leftovers(beside);
        let folder = tempfile::Builder::new().prefix(PREFIX).tempdir_in(beside)?;
        Ok(Self {
            target: target.to_owned(),
            marker: mark(folder.path()),
            folder,
        })
    }

    /// The folder to be filled.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Renames the folder to its target.
    ///
    /// # Errors
    ///
    /// If it cannot be renamed; it is removed then.
    pub fn finish(self) -> Result<()> {
        let Self {
            target,
            folder,
            marker,
        } = self;
        make_readable(folder.path(), 0o755)?;
        if marker.is_some() {
            // Before the lock is released: without the marker no process treats the folder as a leftover.
            std::fs::remove_file(folder.path().join(MARKER))?;
        }
        drop(marker);
        let complete = folder.keep();
        std::fs::rename(&complete, &target).inspect_err(|_| {
            // The folder is temporary; a failure to remove it is less important than the error.
            let _ = std::fs::remove_dir_all(&complete);
        })
    }
}

/// Creates and locks the marker in a folder. It is renamed to its final name after it is locked, so that an
/// unlocked marker always belongs to a process that has ended.
fn mark(folder: &Path) -> Option<File> {
    let unnamed = folder.join(".clipseg-marker");
    let marked = File::create_new(&unnamed).and_then(|mut file| {
        file.write_all(MARKER_TEXT.as_bytes())?;
        file.try_lock()?;
        std::fs::rename(&unnamed, folder.join(MARKER))?;
        Ok(file)
    });
    if marked.is_err() {
        // It must not be left in the finished folder. It may not exist.
        let _ = std::fs::remove_file(&unnamed);
    }
    marked.ok()
}

/// Removes folders of killed processes. One that cannot be removed is ignored.
fn remove_leftovers(beside: &Path) {
    let Ok(entries) = std::fs::read_dir(beside) else {
        return;
    };
    for entry in entries.flatten() {
        let is_named = entry.file_name().to_string_lossy().starts_with(PREFIX);
        // The type of the entry itself: a link was not created by this program.
        if is_named && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            let folder = entry.path();
            if let Some(_locked) = lock_of_leftover(&folder) {
                let _ = std::fs::remove_dir_all(&folder);
            }
        }
    }
}

/// The lock of a folder's marker, if no process holds it.
fn lock_of_leftover(folder: &Path) -> Option<File> {
    let path = folder.join(MARKER);
    let is_file = || std::fs::symlink_metadata(&path).is_ok_and(|data| data.is_file());
    if !is_file() || std::fs::read(&path).ok()? != MARKER_TEXT.as_bytes() {
        return None;
    }
    let marker = File::open(&path).ok()?;
    marker.try_lock().ok()?;
    // Its process may have finished the folder since the marker was opened; then the marker is gone.
    is_file().then_some(marker)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Leaves a folder as a killed process does: there, and unlocked.
    fn killed(target: &Path) -> PathBuf {
        let NewFolder { folder, marker, .. } = NewFolder::create(target).unwrap();
        std::fs::write(folder.path().join("half"), "half").unwrap();
        drop(marker);
        folder.keep()
    }

    #[test]
    fn leftovers_of_killed_processes_are_removed_and_nothing_else() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        let running = NewFolder::create(&at("a")).unwrap();
        // Foreign ones: without a marker, with another text in it, a file, a link.
        std::fs::create_dir(at(".clipseg-new-mine")).unwrap();
        std::fs::create_dir(at(".clipseg-new-other")).unwrap();
        std::fs::write(at(".clipseg-new-other").join(MARKER), "other").unwrap();
        std::fs::write(at(".clipseg-new-file"), MARKER_TEXT).unwrap();
        std::fs::create_dir(at(".writing-abc")).unwrap();
        std::fs::write(at(".writing-abc").join(MARKER), MARKER_TEXT).unwrap();
        std::fs::create_dir(at("linked")).unwrap();
        std::fs::write(at("linked").join(MARKER), MARKER_TEXT).unwrap();
        #[cfg(unix)]
        std::os::unix::fs::symlink(at("linked"), at(".clipseg-new-link")).unwrap();
        let names = || {
            let entries = std::fs::read_dir(root.path()).unwrap();
            let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
            names.sort();
            names
        };
        let before = names();
        let left = killed(&at("a"));
        let next = NewFolder::create(&at("b")).unwrap();
        assert!(!left.exists());
        assert!(running.path().exists() && next.path().exists());
        std::fs::write(next.path().join("file"), "content").unwrap();
        next.finish().unwrap();
        let content = std::fs::read_dir(at("b")).unwrap();
        let content: Vec<_> = content.map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(content, ["file"], "the marker is gone");
        std::fs::remove_dir_all(at("b")).unwrap();
        assert_eq!(names(), before);
    }
}
