//! Hidden states of the frozen vision tower, remembered in half precision.
//!
//! What is in stays in until the end: a pass over the data comes to every picture once before it
//! comes to any of them again, so throwing out what was not used for longest throws out what is
//! needed next. With room for half of the pictures and a new order in each pass, that would find
//! 15 % of them, and keeping the first ones finds 50 %.

use crate::frozen::cache_folder::CacheFolder;
use half::f16;
use std::collections::HashMap;
use std::sync::Arc;

/// The hidden states of one picture.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Hidden {
    /// Layers, tokens, width.
    pub(crate) shape: [usize; 3],
    /// Layer by layer.
    pub(crate) values: Vec<f16>,
}

impl Hidden {
    fn bytes(&self) -> u64 {
        // What a map's entry and a vector's header take is small against any picture's states.
        (2 * self.values.len() + 128) as u64
    }
}

/// A bounded memory in front of a bounded folder.
#[derive(Debug)]
pub(crate) struct HiddenCache {
    memory: HashMap<u128, Arc<Hidden>>,
    used: u64,
    limit: u64,
    folder: Option<CacheFolder>,
}

/// Where hidden states were found.
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

    pub(crate) fn get(&mut self, key: u128) -> Option<(Arc<Hidden>, Found)> {
        if let Some(hidden) = self.memory.get(&key) {
            return Some((hidden.clone(), Found::Memory));
        }
        let hidden = Arc::new(self.folder.as_mut()?.get(key)?);
        self.remember(key, &hidden);
        Some((hidden, Found::Folder))
    }

    pub(crate) fn put(&mut self, key: u128, hidden: &Arc<Hidden>) {
        self.remember(key, hidden);
        if let Some(folder) = &mut self.folder {
            folder.put(key, hidden);
        }
    }

    /// Bytes in memory.
    pub(crate) fn used(&self) -> u64 {
        self.used
    }

    fn remember(&mut self, key: u128, hidden: &Arc<Hidden>) {
        let bytes = hidden.bytes();
        if self.used + bytes <= self.limit && self.memory.insert(key, hidden.clone()).is_none() {
            self.used += bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn hidden(seed: usize) -> Arc<Hidden> {
        let values = (0..24).map(|i| f16::from_f32((seed * 31 + i) as f32 / 7.0));
        Arc::new(Hidden {
            shape: [2, 3, 4],
            values: values.collect(),
        })
    }

    #[test]
    fn memory_is_bounded_and_what_is_in_stays_in() {
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
        assert_eq!(cache.used(), 3 * one, "the same picture takes room once");
    }

    #[test]
    fn what_has_no_room_in_memory_is_found_in_the_folder() {
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
