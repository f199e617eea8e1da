//! A cache of the embeddings of phrases, bounded in bytes.
//!
//! Nothing is evicted, as with pictures: an epoch visits every phrase once before any phrase comes again.

use burn::prelude::*;
use std::collections::HashMap;

/// The bytes of an entry beside its text and its values, rounded up: the map's entry, the tensor's handle,
/// shape and strides, and the allocator's headers.
const OVERHEAD: u64 = 512;

/// A cache of the embeddings of phrases, bounded in bytes.
#[derive(Debug)]
pub(crate) struct PhraseCache {
    known: HashMap<String, Tensor<1>>,
    used: u64,
    limit: u64,
}

impl PhraseCache {
    pub(crate) fn new(limit: u64) -> Self {
        Self {
            known: HashMap::new(),
            used: 0,
            limit,
        }
    }

    /// An empty cache with the same limit.
    pub(crate) fn emptied(&self) -> Self {
        Self::new(self.limit)
    }

    /// Bytes in memory.
    pub(crate) fn used(&self) -> u64 {
        self.used
    }

    pub(crate) fn get(&self, phrase: &str) -> Option<Tensor<1>> {
        self.known.get(phrase).cloned()
    }

    pub(crate) fn put(&mut self, phrase: &str, embedding: &Tensor<1>) {
        let [width] = embedding.dims();
        let bytes = phrase.len() as u64 + 4 * width as u64 + OVERHEAD;
        if self.used + bytes <= self.limit && !self.known.contains_key(phrase) {
            self.known.insert(phrase.to_owned(), embedding.clone());
            self.used += bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_bounded_and_nothing_is_evicted() {
        let embedding = Tensor::<1>::zeros([8], &Device::flex());
        let one = 1 + 4 * 8 + OVERHEAD;
        let mut memory = PhraseCache::new(3 * one + one / 2);
        for phrase in ["a", "b", "a", "c", "d", "e"] {
            memory.put(phrase, &embedding);
        }
        assert_eq!(memory.used(), 3 * one, "the same phrase is counted once");
        let known = ["a", "b", "c", "d", "e"].map(|phrase| memory.get(phrase).is_some());
        assert_eq!(known, [true, true, true, false, false]);
        let mut none = PhraseCache::new(0);
        none.put("a", &embedding);
        assert!(none.get("a").is_none() && none.used() == 0);
    }
}
