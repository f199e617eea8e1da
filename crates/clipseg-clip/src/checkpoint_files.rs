//! The files of a checkpoint, in a folder or in memory.

use crate::error::{ClipError, Result};
use crate::files::{read_text, text_of};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// The files of a checkpoint: a folder, or files that are part of the program.
///
/// Every function that reads a checkpoint takes this type or a path.
///
/// # Example
///
/// ```
/// use clipseg_clip::{CheckpointFiles, ImageProcessor};
///
/// const FILES: &[(&str, &[u8])] = &[(
///     "preprocessor_config.json",
///     br#"{"image_processor_type": "ViTImageProcessor", "size": 64}"#,
/// )];
/// let files = CheckpointFiles::in_memory("tiny", FILES);
/// assert!(ImageProcessor::from_folder(&files)?.is_some());
/// assert!(clipseg_clip::Checkpoint::from_folder(&files).is_err(), "it has no weights");
/// # Ok::<(), clipseg_clip::ClipError>(())
/// ```
#[derive(Debug, Clone)]
pub struct CheckpointFiles(Place);

#[derive(Debug, Clone)]
enum Place {
    Folder(PathBuf),
    Memory {
        name: PathBuf,
        files: &'static [(&'static str, &'static [u8])],
    },
}

impl CheckpointFiles {
    /// Files in memory, each with its name and its content, such as those of `include_bytes!`. `name` is
    /// used in messages in place of a folder.
    ///
    /// The weights must be in one file `model.safetensors`.
    pub fn in_memory(name: &str, files: &'static [(&'static str, &'static [u8])]) -> Self {
        let name = name.into();
        Self(Place::Memory { name, files })
    }

    /// The folder; for files in memory their name, which is used in messages.
    pub fn path(&self) -> &Path {
        match &self.0 {
            Place::Folder(path) | Place::Memory { name: path, .. } => path,
        }
    }

    /// Reads and parses a JSON file in UTF-8. A byte order mark is skipped.
    ///
    /// # Errors
    ///
    /// If it is missing, cannot be read or is not JSON; the message names the file, the line and the column.
    pub fn read_json(&self, name: &str) -> Result<Value> {
        serde_json::from_str(&self.read_text(name)?)
            .map_err(|error| ClipError::format(&self.location(name), format!("not JSON: {error}")))
    }

    /// The path of a file, for messages.
    pub(crate) fn location(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// The folder on disk; `None` for files in memory.
    pub(crate) fn folder(&self) -> Option<&Path> {
        match &self.0 {
            Place::Folder(folder) => Some(folder),
            Place::Memory { .. } => None,
        }
    }

    /// The content of a file in memory; `None` if there is none of that name, or the files are in a folder.
    pub(crate) fn bytes(&self, name: &str) -> Option<&'static [u8]> {
        match &self.0 {
            Place::Folder(_) => None,
            Place::Memory { files, .. } => files
                .iter()
                .find(|(known, _)| *known == name)
                .map(|(_, bytes)| *bytes),
        }
    }

    /// Whether there is a file of this name.
    pub(crate) fn has(&self, name: &str) -> bool {
        match self.folder() {
            Some(folder) => folder.join(name).is_file(),
            None => self.bytes(name).is_some(),
        }
    }

    /// Reads a text file in UTF-8. A byte order mark is skipped.
    pub(crate) fn read_text(&self, name: &str) -> Result<String> {
        let path = self.location(name);
        match (self.folder(), self.bytes(name)) {
            (None, Some(bytes)) => text_of(bytes.to_vec(), &path),
            (None, None) => Err(ClipError::NoFile {
                folder: self.path().to_owned(),
                expected: vec![name.to_owned()],
            }),
            (Some(_), _) => read_text(&path),
        }
    }
}

impl<P: AsRef<Path> + ?Sized> From<&P> for CheckpointFiles {
    fn from(folder: &P) -> Self {
        Self(Place::Folder(folder.as_ref().to_owned()))
    }
}

impl From<&Self> for CheckpointFiles {
    fn from(files: &Self) -> Self {
        files.clone()
    }
}
