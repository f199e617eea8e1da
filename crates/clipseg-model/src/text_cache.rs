//! A cache of text embeddings.

use crate::error::Result;
use burn::prelude::*;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// Largest number of cached embeddings.
const CAPACITY: usize = 4_096;
/// Number of texts that are encoded at a time. The texts of a batch are padded to its longest one, so in
/// small batches a single long text slows down few others.
const BATCH: usize = 16;

/// Embeddings of texts that were encoded before.
#[derive(Debug, Default)]
pub(crate) struct TextCache {
    embeddings: Mutex<HashMap<String, Tensor<1>>>,
}

impl TextCache {
    /// The embeddings of `texts`, `[texts, projection_dim]`. `encode` computes those that are not
    /// cached. If the cache would exceed its capacity, all cached embeddings are evicted first.
    pub(crate) fn get<S: AsRef<str>>(
        &self,
        texts: &[S],
        mut encode: impl FnMut(&[&str]) -> Result<Tensor<2>>,
    ) -> Result<Tensor<2>> {
        let mut cached = self
            .embeddings
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let mut missing = distinct(texts, |text| !cached.contains_key(text));
        if cached.len() + missing.len() > CAPACITY {
            cached.clear();
            missing = distinct(texts, |_| true);
        }
        for batch in missing.chunks(BATCH) {
            let embeddings = encode(batch)?;
            for (row, text) in batch.iter().enumerate() {
                let embedding = embeddings
                    .clone()
                    .slice(s![row..row + 1, ..])
                    .squeeze_dim(0);
                cached.insert((*text).to_owned(), embedding);
            }
        }
        let rows = texts
            .iter()
            .filter_map(|text| cached.get(text.as_ref()).cloned());
        Ok(Tensor::stack(rows.collect(), 0))
    }
}

/// The texts that `wanted` accepts, each once, sorted.
fn distinct<S: AsRef<str>>(texts: &[S], wanted: impl Fn(&str) -> bool) -> Vec<&str> {
    let texts = texts.iter().map(S::as_ref);
    let mut texts: Vec<&str> = texts.filter(|text| wanted(text)).collect();
    texts.sort_unstable();
    texts.dedup();
    texts
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks texts up and returns their embeddings, here their lengths, and the texts that were encoded.
    fn look_up(cache: &TextCache, texts: &[&str]) -> (Vec<f32>, Vec<String>) {
        let mut encoded = Vec::new();
        let embeddings = cache
            .get(texts, |batch| {
                encoded.extend(batch.iter().map(|text| (*text).to_owned()));
                let lengths = batch.iter().map(|text| text.len() as f32).collect();
                let data = TensorData::new::<f32, _>(lengths, [batch.len(), 1]);
                Ok(Tensor::from_data(data, &Device::flex()))
            })
            .unwrap();
        (embeddings.into_data().try_to_vec().unwrap(), encoded)
    }

    #[test]
    fn each_text_is_encoded_once() {
        let cache = TextCache::default();
        let (lengths, encoded) = look_up(&cache, &["sofa", "cat", "sofa"]);
        assert_eq!(lengths, [4.0, 3.0, 4.0]);
        assert_eq!(encoded, ["cat", "sofa"]);
        let (lengths, encoded) = look_up(&cache, &["cat", "horse"]);
        assert_eq!(lengths, [3.0, 5.0]);
        assert_eq!(encoded, ["horse"]);
    }

    #[test]
    fn a_full_cache_is_emptied() {
        let cache = TextCache::default();
        let texts: Vec<String> = (0..CAPACITY).map(|index| index.to_string()).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        look_up(&cache, &texts);
        assert_eq!(look_up(&cache, &["7", "12"]), (vec![1.0, 2.0], vec![]));
        // One more text evicts all, and cached texts of the same call are encoded again.
        let (lengths, encoded) = look_up(&cache, &["new", "12"]);
        assert_eq!(lengths, [3.0, 2.0]);
        assert_eq!(encoded, ["12", "new"]);
        assert_eq!(look_up(&cache, &["7"]).1, ["7"]);
    }

    #[test]
    fn an_error_of_the_encoder_is_returned() {
        let cache = TextCache::default();
        let fail = |_: &[&str]| Err(crate::ModelError::Input("too long".into()));
        let error = cache.get(&["cat"], fail).unwrap_err();
        assert_eq!(error.to_string(), "too long");
        assert_eq!(look_up(&cache, &["cat"]).1, ["cat"]);
    }
}
