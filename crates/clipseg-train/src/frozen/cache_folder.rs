//! The cache of hidden states on disk: a safetensors file for each picture, in a folder for each key.
//!
//! The module `cache_files` decides which files may be replaced and removed.

use crate::error::{Result, TrainError};
use crate::frozen::cache_files::{
    Owner, claim, file_name, is_folder, is_key, make_folder, metadata, owner, remove, size_of,
};
use crate::frozen::hidden_states::HiddenStates;
use clipseg_data::files::StagedFile;
use half::f16;
use half::slice::HalfFloatSliceExt;
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use std::cmp::Reverse;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// A folder of hidden states, bounded in bytes.
///
/// When the folder is full, the hidden states of other keys are evicted, starting with the key that was
/// not used for the longest time. When none is left, nothing more is written. The limit applies to one
/// process: two processes that write at the same time do not count each other's files.
#[derive(Debug)]
pub(crate) struct CacheFolder {
    own: PathBuf,
    used: u64,
    limit: u64,
    /// Folders of other keys with their sizes; the last is evicted next.
    others: Vec<(PathBuf, u64)>,
    writable: bool,
    /// Whether these warnings were logged already; each is logged once.
    full: bool,
    foreign: bool,
}

const TENSOR: &str = "hidden_states";

impl CacheFolder {
    /// Opens the part of the cache in `root` that belongs to a key of 32 hexadecimal digits.
    ///
    /// # Errors
    ///
    /// If its folder cannot be created or read, or something else has its name.
    pub(crate) fn open(root: &Path, key: &str, limit: u64) -> Result<Self> {
        let folder = claim(root)?;
        let own = folder.join(key);
        make_folder(&own)?;
        let mut others: Vec<(SystemTime, PathBuf, u64)> = Vec::new();
        let entries = std::fs::read_dir(&folder).map_err(TrainError::io("read", &folder))?;
        for entry in entries {
            let entry = entry.map_err(TrainError::io("read", &folder))?;
            let path = entry.path();
            if entry.file_name().to_str().is_some_and(is_key) && is_folder(&path) && path != own {
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
            full: false,
            foreign: false,
        })
    }

    fn path(&self, picture: u128) -> PathBuf {
        self.own.join(file_name(picture))
    }

    /// Reads the hidden states of a picture. A damaged file is a cache miss and is written again.
    pub(crate) fn get(&mut self, picture: u128) -> Option<HiddenStates> {
        let path = self.path(picture);
        if owner(&path) == Owner::Nobody {
            return None;
        }
        let hidden = read(&path);
        if hidden.is_none() {
            tracing::warn!(path = %path.display(), "a cached file is damaged");
        }
        hidden
    }

    /// Writes the hidden states of a picture if there is room. A cache that cannot be written causes a
    /// warning and does not stop the run.
    pub(crate) fn put(&mut self, picture: u128, hidden: &HiddenStates) {
        if !self.writable {
            return;
        }
        if let Err(error) = self.try_put(picture, hidden) {
            tracing::warn!("{error}; from now on the cache is only read, not written");
            self.writable = false;
        }
    }

    fn try_put(&mut self, picture: u128, hidden: &HiddenStates) -> Result<()> {
        let path = self.path(picture);
        let replaced = match owner(&path) {
            Owner::Nobody => 0,
            Owner::Cache(size) => size,
            Owner::Other => {
                if !std::mem::replace(&mut self.foreign, true) {
                    tracing::warn!(
                        "{} was not written by the cache and stays; its picture is not remembered",
                        path.display()
                    );
                }
                return Ok(());
            }
        };
        let bytes = to_bytes(&path, hidden)?;
        let size = bytes.len() as u64;
        while self.used.saturating_sub(replaced) + size > self.limit {
            let Some((other, freed)) = self.others.pop() else {
                if !std::mem::replace(&mut self.full, true) {
                    tracing::warn!(
                        "the cache in {} is full ({} bytes); what comes now is not written there",
                        self.own.display(),
                        self.limit
                    );
                }
                return Ok(());
            };
            remove(&other)?;
            self.used = self.used.saturating_sub(freed);
        }
        let fail = |error| TrainError::io("write", &path)(error);
        let mut staged = StagedFile::new(&path).map_err(fail)?.private();
        staged.write_all(&bytes).map_err(fail)?;
        staged.persist().map_err(fail)?;
        self.used = self.used.saturating_sub(replaced) + size;
        Ok(())
    }
}

/// Reads the hidden states in a file, if the file is complete and belongs to the cache.
fn read(path: &Path) -> Option<HiddenStates> {
    if !matches!(owner(path), Owner::Cache(_)) {
        return None;
    }
    let bytes = std::fs::read(path).ok()?;
    let tensors = SafeTensors::deserialize(&bytes).ok()?;
    let tensor = tensors.tensor(TENSOR).ok()?;
    let shape = <[usize; 3]>::try_from(tensor.shape()).ok()?;
    if tensor.dtype() != Dtype::F16 {
        return None;
    }
    let (pairs, _) = tensor.data().as_chunks::<2>();
    let values = pairs.iter().map(|pair| f16::from_le_bytes(*pair));
    Some(HiddenStates {
        shape,
        values: values.collect(),
    })
}

fn to_bytes(path: &Path, hidden: &HiddenStates) -> Result<Vec<u8>> {
    let mut values = vec![0u16; hidden.values.len()];
    values.copy_from_slice(hidden.values.reinterpret_cast());
    let data: Vec<u8> = values.into_iter().flat_map(u16::to_le_bytes).collect();
    TensorView::new(Dtype::F16, hidden.shape.to_vec(), &data)
        .and_then(|view| safetensors::serialize([(TENSOR, view)], Some(metadata(path))))
        .map_err(|error| TrainError::run(path, error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frozen::cache_files::FOLDER;

    const OLD: &str = "0123456789abcdef0123456789abcdef";
    const NEW: &str = "fedcba9876543210fedcba9876543210";

    fn hidden(first: f32) -> HiddenStates {
        HiddenStates {
            shape: [1, 2, 3],
            values: (0..6).map(|i| f16::from_f32(first + i as f32)).collect(),
        }
    }

    fn files(folder: &Path) -> usize {
        std::fs::read_dir(folder).map_or(0, Iterator::count)
    }

    /// Fills a cache, so that everything that it may evict is evicted.
    fn fill(root: &Path, key: &str, limit: u64) -> CacheFolder {
        let mut cache = CacheFolder::open(root, key, limit).unwrap();
        for picture in 0..20 {
            cache.put(picture, &hidden(picture as f32));
        }
        cache
    }

    /// Every file below a folder with its content; links are not followed.
    fn content(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if is_folder(&path) {
                found.extend(content(&path));
                found.push((path, Vec::new()));
            } else {
                let bytes = std::fs::read(&path).unwrap_or_default();
                found.push((path, bytes));
            }
        }
        found.sort();
        found
    }

    #[test]
    fn the_folder_is_bounded_and_other_checkpoints_are_evicted_first() {
        let root = tempfile::tempdir().unwrap();
        let mut old = CacheFolder::open(root.path(), OLD, 1 << 20).unwrap();
        old.put(1, &hidden(0.0));
        let one = size_of(&old.own).unwrap();
        for picture in 2..4 {
            old.put(picture, &hidden(0.0));
        }
        let mut new = CacheFolder::open(root.path(), NEW, 4 * one).unwrap();
        new.put(1, &hidden(1.0));
        assert_eq!(files(&old.own), 3, "there was room");
        for picture in 2..9 {
            new.put(picture, &hidden(picture as f32));
        }
        assert!(!old.own.exists(), "it had to go");
        assert_eq!(files(&new.own), 4);
        assert_eq!(new.get(4), Some(hidden(4.0)));
        assert_eq!(new.get(5), None);
        // Existing files count when the cache is opened again.
        let again = CacheFolder::open(root.path(), NEW, 4 * one).unwrap();
        assert_eq!(again.used, 4 * one);
    }

    #[test]
    fn a_damaged_file_is_written_again() {
        let root = tempfile::tempdir().unwrap();
        let mut cache = CacheFolder::open(root.path(), OLD, 1 << 20).unwrap();
        cache.put(3, &hidden(2.0));
        let (path, used) = (cache.path(3), cache.used);
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() - 1]).unwrap();
        assert_eq!(cache.get(3), None);
        cache.put(3, &hidden(2.0));
        assert_eq!(cache.get(3), Some(hidden(2.0)));
        assert!(cache.used.abs_diff(used) <= 1);
    }

    #[test]
    fn files_beside_the_cache_are_left_alone() {
        let root = tempfile::tempdir().unwrap();
        let of = |name: &str| root.path().join(name);
        for folder in ["thesis", OLD, ".writing-abc123", "clipseg"] {
            std::fs::create_dir(of(folder)).unwrap();
            std::fs::write(of(folder).join("chapter.txt"), vec![b'x'; 5_000]).unwrap();
            std::fs::write(of(folder).join(file_name(1)), vec![b'y'; 5_000]).unwrap();
        }
        let before = content(root.path());
        let cache = fill(root.path(), NEW, 600);
        assert!(
            files(&cache.own) >= 1,
            "foreign files take none of its room"
        );
        let mut after = content(root.path());
        after.retain(|(path, _)| !path.starts_with(of(FOLDER)));
        assert_eq!(after, before);
    }

    #[test]
    fn other_files_inside_the_cache_are_left_alone() {
        let root = tempfile::tempdir().unwrap();
        let mut old = CacheFolder::open(root.path(), OLD, 1 << 20).unwrap();
        old.put(1, &hidden(0.0));
        let own = std::fs::read(old.path(1)).unwrap();
        let inside = old.own.parent().unwrap().to_owned();
        let foreign = [
            inside.join("notes.txt"),
            inside.join("notes/deep.safetensors"),
            old.own.join("notes.txt"),
            // The name of a cached file, with other content.
            old.path(2),
            // A cached file under the name of another picture.
            old.path(3),
            // A cached file under a name that the cache does not use.
            old.own.join("copy.safetensors"),
            old.own.join(format!("{}.SAFETENSORS", &file_name(1)[..32])),
        ];
        std::fs::create_dir(inside.join("notes")).unwrap();
        for path in &foreign[..4] {
            std::fs::write(path, vec![b'x'; 300]).unwrap();
        }
        for path in &foreign[4..] {
            std::fs::write(path, &own).unwrap();
        }
        let before: Vec<Vec<u8>> = foreign.iter().map(|p| std::fs::read(p).unwrap()).collect();
        let cache = fill(root.path(), NEW, 3 * own.len() as u64);
        assert_eq!(files(&cache.own), 3);
        assert!(!old.path(1).exists(), "it had to go");
        let after: Vec<Vec<u8>> = foreign.iter().map(|p| std::fs::read(p).unwrap()).collect();
        assert_eq!(after, before);
        // A file that only has the right name is not replaced either.
        let mut again = CacheFolder::open(root.path(), OLD, 1 << 20).unwrap();
        for picture in [2, 3] {
            assert_eq!(again.get(picture), None);
            again.put(picture, &hidden(9.0));
        }
        let after: Vec<Vec<u8>> = foreign.iter().map(|p| std::fs::read(p).unwrap()).collect();
        assert_eq!(after, before);
    }

    #[test]
    #[cfg(unix)]
    fn links_are_not_followed() {
        use std::os::unix::fs::symlink;
        let root = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        // A complete cache elsewhere, to which links point.
        let mut other = CacheFolder::open(elsewhere.path(), OLD, 1 << 20).unwrap();
        other.put(1, &hidden(0.0));
        let before = content(elsewhere.path());
        let cache = CacheFolder::open(root.path(), NEW, 1 << 20).unwrap();
        symlink(&other.own, cache.own.parent().unwrap().join(OLD)).unwrap();
        symlink(other.path(1), cache.path(1)).unwrap();
        let mut cache = fill(root.path(), NEW, 600);
        assert_eq!(cache.get(1), None, "a link is not read");
        assert_eq!(content(elsewhere.path()), before);
        assert!(cache.path(1).is_symlink());

        let linked = tempfile::tempdir().unwrap();
        symlink(other.own.parent().unwrap(), linked.path().join(FOLDER)).unwrap();
        let error = CacheFolder::open(linked.path(), NEW, 1)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("has the name of the cache's folder"),
            "{error}"
        );
        assert_eq!(content(elsewhere.path()), before);
    }

    #[test]
    fn a_folder_that_is_not_a_cache_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join(FOLDER);
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("mine.txt"), "mine").unwrap();
        let message = || {
            CacheFolder::open(root.path(), OLD, 1)
                .unwrap_err()
                .to_string()
        };
        assert!(message().contains("is left alone"), "{}", message());
        std::fs::write(folder.join("ABOUT.txt"), "about me").unwrap();
        assert!(message().contains("is left alone"), "{}", message());
        assert_eq!(files(&folder), 2);
        std::fs::remove_file(folder.join("ABOUT.txt")).unwrap();
        std::fs::remove_file(folder.join("mine.txt")).unwrap();
        CacheFolder::open(root.path(), OLD, 1).unwrap();
    }

    #[test]
    fn a_folder_that_cannot_be_created_is_named() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("file");
        std::fs::write(&file, "in the way").unwrap();
        let error = CacheFolder::open(&file, OLD, 1).unwrap_err().to_string();
        assert!(error.starts_with("cannot make "), "{error}");
    }
}
