//! Writing files completely or not at all.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Result, Write};
use std::path::{Path, PathBuf};
use tempfile::{NamedTempFile, TempDir};

/// The mode of a new file or folder. Temporary ones are accessible to their owner only, unlike what a
/// program normally writes.
#[cfg(unix)]
pub(super) fn make_readable(path: &Path, mode: u32) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
}

#[cfg(not(unix))]
pub(super) fn make_readable(_: &Path, _: u32) -> Result<()> {
    Ok(())
}

/// The folder in which a file or folder lies.
pub(super) fn parent(path: &Path) -> &Path {
    path.parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

/// Writes a file atomically: `path` holds all of `bytes` afterwards, or what it held before.
///
/// # Errors
///
/// If the folder cannot be written or the disk is full; no temporary file is left behind.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut staged = StagedFile::new(path)?;
    staged.write_all(bytes)?;
    staged.persist()
}

/// A temporary file beside a target path, which it replaces when it is complete. Dropping it removes it.
#[derive(Debug)]
pub struct StagedFile {
    file: NamedTempFile,
    target: PathBuf,
    is_private: bool,
}

impl StagedFile {
    /// Creates an empty file in the folder of `target`. Its name begins with `.writing-`.
    ///
    /// # Errors
    ///
    /// If the folder does not exist or cannot be written.
    pub fn new(target: &Path) -> Result<Self> {
        Self::with_prefix(target, ".writing-")
    }

    fn with_prefix(target: &Path, prefix: &str) -> Result<Self> {
        let file = tempfile::Builder::new()
            .prefix(prefix)
            .tempfile_in(parent(target))?;
        Ok(Self {
            file,
            target: target.to_owned(),
            is_private: false,
        })
    }

    /// Keeps the mode of a temporary file, which only its owner can read. Otherwise everybody can.
    #[must_use]
    pub fn private(mut self) -> Self {
        self.is_private = true;
        self
    }

    /// The temporary file, for writers that need a path.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// Appends bytes.
    ///
    /// # Errors
    ///
    /// If the disk is full or fails.
    pub fn write_all(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes)
    }

    /// Replaces the target by this file.
    ///
    /// # Errors
    ///
    /// If the target cannot be replaced; it is unchanged then.
    pub fn persist(self) -> Result<()> {
        self.prepare()?;
        self.file.persist(&self.target)?;
        Ok(())
    }

    /// Like [`persist`](Self::persist), but the content is on the disk before the target is replaced, and
    /// the replacement before this returns. A power failure leaves either the old or the new file.
    ///
    /// # Errors
    ///
    /// Those of [`persist`](Self::persist).
    pub fn persist_durably(self) -> Result<()> {
        self.prepare()?;
        self.file.as_file().sync_all()?;
        self.file.persist(&self.target)?;
        sync_folder(parent(&self.target))
    }

    fn prepare(&self) -> Result<()> {
        if self.is_private {
            return Ok(());
        }
        make_readable(self.file.path(), 0o644)
    }
}

/// Names temporary files after their owner, so that the owner recognizes those that it left behind when
/// it was killed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Staging {
    prefix: String,
}

impl Staging {
    /// Staging for an owner, whose name no other owner in the same folders has. Names of temporary files
    /// begin with `.clipseg-<owner>-`.
    pub fn new(owner: &str) -> Self {
        Self {
            prefix: format!(".clipseg-{owner}-"),
        }
    }

    /// What the names of temporary files begin with.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Creates a temporary file beside `target`.
    ///
    /// # Errors
    ///
    /// If the folder does not exist or cannot be written.
    pub fn file(&self, target: &Path) -> Result<StagedFile> {
        StagedFile::with_prefix(target, &self.prefix)
    }

    /// Creates a temporary folder beside `target`.
    ///
    /// # Errors
    ///
    /// If the folder of `target` does not exist or cannot be written.
    pub fn folder(&self, target: &Path) -> Result<StagedFolder> {
        let folder = tempfile::Builder::new()
            .prefix(&self.prefix)
            .tempdir_in(parent(target))?;
        Ok(StagedFolder { folder })
    }

    /// Writes a file atomically and waits until it is on the disk; see
    /// [`persist_durably`](StagedFile::persist_durably).
    ///
    /// # Errors
    ///
    /// If the folder cannot be written or the disk is full; no temporary file is left behind.
    pub fn write_durably(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        let mut staged = self.file(path)?;
        staged.write_all(bytes)?;
        staged.persist_durably()
    }

    /// Removes the temporary files and folders of this owner from a folder. No other process of the same
    /// owner may be writing there.
    ///
    /// # Errors
    ///
    /// If the folder cannot be read or something in it cannot be removed.
    pub fn remove_leftovers(&self, folder: &Path) -> Result<()> {
        for path in entries(folder)? {
            let name = path.file_name().map(OsStr::to_string_lossy);
            if !name.is_some_and(|name| name.starts_with(&self.prefix)) {
                continue;
            }
            if std::fs::symlink_metadata(&path).is_ok_and(|data| data.is_dir()) {
                std::fs::remove_dir_all(&path)?;
            } else {
                std::fs::remove_file(&path)?;
            }
        }
        Ok(())
    }
}

/// A temporary folder. Dropping it removes it with its content.
#[derive(Debug)]
pub struct StagedFolder {
    folder: TempDir,
}

impl StagedFolder {
    /// The temporary folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Moves the files in this folder to `target` one after the other and waits until they are on the
    /// disk. Files of the same name are replaced, others in `target` stay.
    ///
    /// # Errors
    ///
    /// If a file cannot be moved; those before it are moved then.
    pub fn move_files_into(self, target: &Path) -> Result<()> {
        for path in entries(self.path())? {
            if let Some(name) = path.file_name() {
                std::fs::rename(&path, target.join(name))?;
            }
        }
        sync_folder(target)
    }
}

/// The paths in a folder.
fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    std::fs::read_dir(folder)?
        .map(|entry| Ok(entry?.path()))
        .collect()
}

/// Waits until the names in a folder are on the disk.
#[cfg(unix)]
fn sync_folder(folder: &Path) -> Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(not(unix))]
fn sync_folder(_: &Path) -> Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_when_the_new_one_is_complete() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        write(&path, b"old").unwrap();
        let mut staged = StagedFile::new(&path).unwrap();
        staged.write_all(b"new").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        drop(staged);
        assert_eq!(entries(folder.path()).unwrap(), [path.as_path()]);
        write(&path, b"new").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        Staging::new("me").write_durably(&path, b"newer").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"newer");
        assert!(write(&folder.path().join("no/file"), b"").is_err());
    }

    #[cfg(unix)]
    #[test]
    fn file_modes_depend_on_privacy() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let mode = |name: &str, staged: fn(StagedFile) -> StagedFile| {
            let path = folder.path().join(name);
            staged(StagedFile::new(&path).unwrap()).persist().unwrap();
            std::fs::metadata(path).unwrap().permissions().mode() & 0o777
        };
        assert_eq!(mode("public", |staged| staged), 0o644);
        assert_eq!(mode("private", StagedFile::private), 0o600);
    }

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
        Staging::new("me").remove_leftovers(folder.path()).unwrap();
        let mut left = entries(folder.path()).unwrap();
        left.sort();
        let mut expected: Vec<PathBuf> = foreign.iter().map(|name| of(name)).collect();
        expected.push(of(".writing-folder"));
        expected.sort();
        assert_eq!(left, expected);
    }

    #[test]
    fn a_folder_is_filled_and_keeps_its_other_files() {
        let folder = tempfile::tempdir().unwrap();
        let model = folder.path().join("model");
        std::fs::create_dir(&model).unwrap();
        std::fs::write(model.join("notes.txt"), "mine").unwrap();
        let staging = Staging::new("me");
        for text in ["1", "2"] {
            let staged = staging.folder(&model).unwrap();
            std::fs::write(staged.path().join("config.json"), text).unwrap();
            staged.move_files_into(&model).unwrap();
        }
        let read = |name: &str| std::fs::read_to_string(model.join(name)).unwrap();
        assert_eq!(
            (read("config.json"), read("notes.txt")),
            ("2".into(), "mine".into())
        );
        let unfinished = staging.folder(&model).unwrap();
        std::fs::write(unfinished.path().join("half"), "").unwrap();
        drop(unfinished);
        assert!(!model.join("half").exists());
        assert_eq!(
            entries(folder.path()).unwrap(),
            [model],
            "nothing is left beside it"
        );
    }
}
