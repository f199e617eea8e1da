//! A cache of hidden states of the frozen vision tower, in memory and on disk.
//!
//! Nothing is evicted from memory. An epoch visits every picture once, so evicting the least recently used
//! picture would evict the one that is needed next. With room for half of the pictures and a new order in
//! each epoch, that would give 15 % cache hits, and keeping the first pictures gives 50 %.

use crate::frozen::cache_folder::CacheFolder;
use crate::frozen::hidden_states::HiddenStates;
use std::collections::HashMap;
use std::sync::Arc;

/// A cache in memory, bounded in bytes, in front of a cache on disk.
#[derive(Debug)]
pub(crate) struct HiddenCache {
    memory: HashMap<u128, Arc<HiddenStates>>,
    used: u64,
    limit: u64,
    folder: Option<CacheFolder>,
}

/// Where cached hidden states were found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    Memory,
    Folder,
}

impl HiddenCache {
    pub(crate) fn new(limit: u64, folder: Option<CacheFolder>) -> Self {
        Self {
            memory: HashMap::new(),
            used: 0,
            limit,
            folder,
        }
    }

    pub(crate) fn get(&mut self, key: u128) -> Option<(Arc<HiddenStates>, Found)> {
        if let Some(hidden) = self.memory.get(&key) {
            return Some((hidden.clone(), Found::Memory));
        }
        let hidden = Arc::new(self.folder.as_mut()?.get(key)?);
        self.keep(key, &hidden);
        Some((hidden, Found::Folder))
    }

    pub(crate) fn put(&mut self, key: u128, hidden: &Arc<HiddenStates>) {
        self.keep(key, hidden);
        if let Some(folder) = &mut self.folder {
            folder.put(key, hidden);
        }
    }

    /// Bytes in memory.
    pub(crate) fn used(&self) -> u64 {
        self.used
    }

    fn keep(&mut self, key: u128, hidden: &Arc<HiddenStates>) {
        let bytes = hidden.bytes();
        if self.used + bytes <= self.limit && self.memory.insert(key, hidden.clone()).is_none() {
            self.used += bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use half::f16;

    pub(crate) fn hidden(seed: usize) -> Arc<HiddenStates> {
        let values = (0..24).map(|i| f16::from_f32((seed * 31 + i) as f32 / 7.0));
        Arc::new(HiddenStates {
            shape: [2, 3, 4],
            values: values.collect(),
        })
    }

    #[test]
    fn memory_is_bounded_and_nothing_is_evicted() {
        let one = hidden(0).bytes();
        let mut cache = HiddenCache::new(3 * one + one / 2, None);
        for key in 0..10 {
            cache.put(key, &hidden(key as usize));
            assert!(cache.used() <= 3 * one + one / 2);
        }
        for key in 0..10 {
            let found = cache.get(key).map(|(hidden, _)| hidden);
            assert_eq!(found, (key < 3).then(|| hidden(key as usize)), "{key}");
        }
        cache.put(1, &hidden(1));
        assert_eq!(cache.used(), 3 * one, "the same picture is counted once");
    }

    #[test]
    fn states_that_do_not_fit_into_memory_are_read_from_the_folder() {
        let root = tempfile::tempdir().unwrap();
        let open = || CacheFolder::open(root.path(), &"a".repeat(32), 1 << 20).unwrap();
        let mut cache = HiddenCache::new(hidden(0).bytes(), Some(open()));
        cache.put(7, &hidden(7));
        cache.put(8, &hidden(8));
        assert_eq!(cache.get(7), Some((hidden(7), Found::Memory)));
        assert_eq!(cache.get(8), Some((hidden(8), Found::Folder)));
        let mut later = HiddenCache::new(0, Some(open()));
        assert_eq!(later.get(7), Some((hidden(7), Found::Folder)));
        assert_eq!(later.get(9), None);
    }
}
