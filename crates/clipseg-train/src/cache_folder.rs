//! Hidden states on disk: a safetensors file for each picture, in a folder for each checkpoint.

use crate::error::{Result, TrainError};
use crate::hidden_cache::Hidden;
use half::f16;
use half::slice::HalfFloatSliceExt;
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use std::cmp::Reverse;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// A folder of hidden states, bounded in bytes.
///
/// When there is no room, what belongs to other checkpoints goes first, the longest unused one at
/// once; after that nothing more is written.
#[derive(Debug)]
pub(crate) struct CacheFolder {
    own: PathBuf,
    used: u64,
    limit: u64,
    /// Folders of other checkpoints with their sizes, the one to go next at the end.
    others: Vec<(PathBuf, u64)>,
    writable: bool,
}

const TENSOR: &str = "hidden_states";

impl CacheFolder {
    /// Opens the part of a folder that belongs to a checkpoint, by its fingerprint.
    ///
    /// # Errors
    ///
    /// If it cannot be made or read.
    pub(crate) fn open(root: &Path, fingerprint: &str, limit: u64) -> Result<Self> {
        let own = root.join(fingerprint);
        std::fs::create_dir_all(&own).map_err(TrainError::io("make", &own))?;
        let mut others: Vec<(SystemTime, PathBuf, u64)> = Vec::new();
        let entries = std::fs::read_dir(root).map_err(TrainError::io("read", root))?;
        for entry in entries {
            let path = entry.map_err(TrainError::io("read", root))?.path();
            if path.is_dir() && path != own {
                let modified = std::fs::metadata(&path).and_then(|data| data.modified());
                let size = size_of(&path)?;
                others.push((modified.unwrap_or(SystemTime::UNIX_EPOCH), path, size));
            }
        }
        others.sort_by_key(|(modified, ..)| Reverse(*modified));
        let others: Vec<(PathBuf, u64)> = others
            .into_iter()
            .map(|(_, path, size)| (path, size))
            .collect();
        let used = size_of(&own)? + others.iter().map(|(_, size)| size).sum::<u64>();
        Ok(Self {
            own,
            used,
            limit,
            others,
            writable: true,
        })
    }

    fn path(&self, key: u128) -> PathBuf {
        self.own.join(format!("{key:032x}.safetensors"))
    }

    /// What was written for a key; a damaged file counts as none and is written again.
    pub(crate) fn get(&mut self, key: u128) -> Option<Hidden> {
        let bytes = std::fs::read(self.path(key)).ok()?;
        let read = || -> Option<Hidden> {
            let tensors = SafeTensors::deserialize(&bytes).ok()?;
            let tensor = tensors.tensor(TENSOR).ok()?;
            let shape = <[usize; 3]>::try_from(tensor.shape()).ok()?;
            if tensor.dtype() != Dtype::F16 {
                return None;
            }
            let (pairs, _) = tensor.data().as_chunks::<2>();
            let values = pairs.iter().map(|pair| f16::from_le_bytes(*pair));
            Some(Hidden {
                shape,
                values: values.collect(),
            })
        };
        let hidden = read();
        if hidden.is_none() {
            tracing::warn!(path = %self.path(key).display(), "a cached file is damaged");
            self.used = self.used.saturating_sub(bytes.len() as u64);
        }
        hidden
    }

    /// Writes what has room. A cache that cannot be written is worth a warning, not a run.
    pub(crate) fn put(&mut self, key: u128, hidden: &Hidden) {
        if !self.writable {
            return;
        }
        if let Err(error) = self.try_put(key, hidden) {
            tracing::warn!("{error}; the cache is read from now on, and not written");
            self.writable = false;
        }
    }

    fn try_put(&mut self, key: u128, hidden: &Hidden) -> Result<()> {
        let path = self.path(key);
        let mut values = vec![0u16; hidden.values.len()];
        values.copy_from_slice(hidden.values.reinterpret_cast());
        let data: Vec<u8> = values.into_iter().flat_map(u16::to_le_bytes).collect();
        let bytes = TensorView::new(Dtype::F16, hidden.shape.to_vec(), &data)
            .and_then(|view| safetensors::serialize([(TENSOR, view)], None))
            .map_err(|error| TrainError::run(&path, error))?;
        let size = bytes.len() as u64;
        while self.used + size > self.limit {
            let Some((other, freed)) = self.others.pop() else {
                return Ok(());
            };
            std::fs::remove_dir_all(&other).map_err(TrainError::io("remove", &other))?;
            self.used = self.used.saturating_sub(freed);
        }
        let fail = |error| TrainError::io("write", &path)(error);
        let mut aside = tempfile::Builder::new()
            .prefix(".writing-")
            .tempfile_in(&self.own)
            .map_err(fail)?;
        aside.write_all(&bytes).map_err(fail)?;
        aside.persist(&path).map_err(|error| fail(error.error))?;
        self.used += size;
        Ok(())
    }
}

/// Bytes of the files right in a folder.
fn size_of(folder: &Path) -> Result<u64> {
    let mut size = 0;
    for entry in std::fs::read_dir(folder).map_err(TrainError::io("read", folder))? {
        let entry = entry.map_err(TrainError::io("read", folder))?;
        // A file that another process has just removed takes no room.
        size += entry.metadata().map_or(0, |data| data.len());
    }
    Ok(size)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hidden(first: f32) -> Hidden {
        Hidden {
            shape: [1, 2, 3],
            values: (0..6).map(|i| f16::from_f32(first + i as f32)).collect(),
        }
    }

    fn files(folder: &Path) -> usize {
        std::fs::read_dir(folder).map_or(0, Iterator::count)
    }

    #[test]
    fn the_folder_is_bounded_and_other_checkpoints_go_first() {
        let root = tempfile::tempdir().unwrap();
        let mut old = CacheFolder::open(root.path(), "old", 1 << 20).unwrap();
        old.put(1, &hidden(0.0));
        let one = size_of(&root.path().join("old")).unwrap();
        for key in 2..4 {
            old.put(key, &hidden(0.0));
        }
        let mut new = CacheFolder::open(root.path(), "new", 4 * one).unwrap();
        new.put(1, &hidden(1.0));
        assert_eq!(files(&root.path().join("old")), 3, "there was room");
        for key in 2..9 {
            new.put(key, &hidden(key as f32));
        }
        assert_eq!(files(&root.path().join("old")), 0, "it had to go");
        assert_eq!(files(&root.path().join("new")), 4);
        assert_eq!(new.get(4), Some(hidden(4.0)));
        assert_eq!(new.get(5), None);
    }

    #[test]
    fn a_damaged_file_is_written_again() {
        let root = tempfile::tempdir().unwrap();
        let mut cache = CacheFolder::open(root.path(), "a", 1 << 20).unwrap();
        cache.put(3, &hidden(2.0));
        let path = cache.path(3);
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() - 1]).unwrap();
        assert_eq!(cache.get(3), None);
        cache.put(3, &hidden(2.0));
        assert_eq!(cache.get(3), Some(hidden(2.0)));
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("file");
        std::fs::write(&file, "in the way").unwrap();
        let error = CacheFolder::open(&file, "a", 1).unwrap_err().to_string();
        assert!(error.starts_with("cannot make "), "{error}");
    }
}
