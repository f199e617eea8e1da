//! Writing files that survive a power cut.

use crate::error::{Result, TrainError};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Writes files beside their places first, under names that only its owner gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Aside {
    prefix: String,
}

impl Aside {
    /// For an owner by a name that nobody else has.
    pub(crate) fn new(owner: &str) -> Self {
        Self {
            prefix: format!(".clipseg-{owner}-"),
        }
    }

    /// What the names of its files begin with until they are whole.
    #[cfg(test)]
    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Writes a file beside `path`, waits until it is on the disk, and moves it there.
    ///
    /// Until the move the old file stays as it is, whatever happens; after it the new one is whole.
    ///
    /// # Errors
    ///
    /// If the folder cannot be written or the disk is full; nothing is left behind then.
    pub(crate) fn write(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        let folder = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        let fail = |error| TrainError::io("write", path)(error);
        let mut aside = tempfile::Builder::new()
            .prefix(&self.prefix)
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

    /// Lets `write` fill a folder beside `folder`, and moves the files in it there; others in `folder`
    /// stay.
    ///
    /// # Errors
    ///
    /// Those of `write`, or if a folder cannot be made or written.
    pub(crate) fn write_folder(
        &self,
        folder: &Path,
        write: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<()> {
        std::fs::create_dir_all(folder).map_err(TrainError::io("make", folder))?;
        let parent = folder.parent().unwrap_or(Path::new("."));
        // Removed when it goes out of scope, whatever happens.
        let aside = tempfile::Builder::new()
            .prefix(&self.prefix)
            .tempdir_in(parent)
            .map_err(TrainError::io("write", folder))?;
        write(aside.path())?;
        for path in entries(aside.path())? {
            if let Some(name) = path.file_name() {
                let place = folder.join(name);
                std::fs::rename(&path, &place).map_err(TrainError::io("write", &place))?;
            }
        }
        sync_folder(folder)
    }

    /// Removes what a process of the same owner has left in a folder when it was killed while writing.
    pub(crate) fn remove_leftovers(&self, folder: &Path) -> Result<()> {
        for path in entries(folder)? {
            let name = path.file_name().map(std::ffi::OsStr::to_string_lossy);
            if !name.is_some_and(|name| name.starts_with(&self.prefix)) {
                continue;
            }
            let is_folder = std::fs::symlink_metadata(&path).is_ok_and(|data| data.is_dir());
            let removed = if is_folder {
                std::fs::remove_dir_all(&path)
            } else {
                std::fs::remove_file(&path)
            };
            removed.map_err(TrainError::io("remove", &path))?;
        }
        Ok(())
    }
}

/// The paths in a folder.
fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).map_err(TrainError::io("read", folder))?;
    entries
        .map(|entry| Ok(entry.map_err(TrainError::io("read", folder))?.path()))
        .collect()
}

/// Waits until a folder's list of names is on the disk.
#[cfg(unix)]
fn sync_folder(folder: &Path) -> Result<()> {
    let open = File::open(folder).and_then(|file| file.sync_all());
    open.map_err(TrainError::io("write", folder))
}

#[cfg(not(unix))]
fn sync_folder(_: &Path) -> Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_leftovers_of_the_owner_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        let of = |name: &str| folder.path().join(name);
        let foreign = [
            ".writing-abc123",
            ".clipseg-other-abc123",
            "clipseg-me-abc123",
            ".clipseg-me",
            "notes.txt",
        ];
        for name in foreign.iter().chain(&[".clipseg-me-abc123"]) {
            std::fs::write(of(name), "mine").unwrap();
        }
        std::fs::create_dir(of(".writing-folder")).unwrap();
        std::fs::create_dir(of(".clipseg-me-folder")).unwrap();
        std::fs::write(of(".clipseg-me-folder/half"), "ours").unwrap();
        Aside::new("me").remove_leftovers(folder.path()).unwrap();
        let mut left = entries(folder.path()).unwrap();
        left.sort();
        let mut expected: Vec<PathBuf> = foreign.iter().map(|name| of(name)).collect();
        expected.push(of(".writing-folder"));
        expected.sort();
        assert_eq!(left, expected);
    }

    #[test]
    fn a_folder_is_filled_and_keeps_what_is_in_it() {
        let folder = tempfile::tempdir().unwrap();
        let model = folder.path().join("model");
        std::fs::create_dir(&model).unwrap();
        std::fs::write(model.join("notes.txt"), "mine").unwrap();
        let aside = Aside::new("me");
        let write = |text: &'static str| {
            aside.write_folder(&model, |folder| {
                let path = folder.join("config.json");
                std::fs::write(&path, text).map_err(TrainError::io("write", &path))
            })
        };
        write("1").unwrap();
        write("2").unwrap();
        let read = |name: &str| std::fs::read_to_string(model.join(name)).unwrap();
        assert_eq!(
            (read("config.json"), read("notes.txt")),
            ("2".into(), "mine".into())
        );
        let failed = aside.write_folder(&model, |folder| {
            std::fs::write(folder.join("half"), "").unwrap();
            Err(TrainError::Empty("given"))
        });
        assert!(failed.is_err() && !model.join("half").exists());
        assert_eq!(
            entries(folder.path()).unwrap(),
            [model],
            "nothing is left beside it"
        );
    }
}
