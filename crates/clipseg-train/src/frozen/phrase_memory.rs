//! Embeddings of phrases, remembered as far as there is room.
//!
//! What is in stays in, as with pictures: a pass over the data comes to every phrase once before it
//! comes to any of them again.

use burn::prelude::*;
use std::collections::HashMap;

/// What an entry takes beside its text and its numbers, rounded up: the map's entry, the tensor's
/// handle, shape and strides, and the headers of what the allocator gives out.
const OVERHEAD: u64 = 512;

/// A bounded memory.
#[derive(Debug)]
pub(crate) struct PhraseMemory {
    known: HashMap<String, Tensor<1>>,
    used: u64,
    limit: u64,
}

impl PhraseMemory {
    pub(crate) fn new(limit: u64) -> Self {
        Self {
            known: HashMap::new(),
            used: 0,
            limit,
        }
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
    fn memory_is_bounded_and_what_is_in_stays_in() {
        let embedding = Tensor::<1>::zeros([8], &Device::flex());
        let one = 1 + 4 * 8 + OVERHEAD;
        let mut memory = PhraseMemory::new(3 * one + one / 2);
        for phrase in ["a", "b", "a", "c", "d", "e"] {
            memory.put(phrase, &embedding);
        }
        assert_eq!(memory.used(), 3 * one, "the same phrase takes room once");
        let known = ["a", "b", "c", "d", "e"].map(|phrase| memory.get(phrase).is_some());
        assert_eq!(known, [true, true, true, false, false]);
        let mut none = PhraseMemory::new(0);
        none.put("a", &embedding);
        assert!(none.get("a").is_none() && none.used() == 0);
    }
}
