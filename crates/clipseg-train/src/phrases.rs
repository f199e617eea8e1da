//! The phrases that a run learns from or is scored on.

use crate::error::Result;
use burn::prelude::*;
use clipseg_data::{Phrase, PhraseCut, PhraseCutDataset, SampleOptions, SegmentationBatch, Split};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Some phrases of a split with their pictures at one size.
#[derive(Debug, Clone)]
pub struct Phrases {
    data: Arc<PhraseCut>,
    dataset: PhraseCutDataset,
    split: Split,
    chosen: Vec<usize>,
}

/// A batch, and what the encoders should know about it.
#[derive(Debug, Clone)]
pub(crate) struct Fed {
    pub(crate) batch: SegmentationBatch,
    /// Whether a picture will come again as it is, so that it is worth remembering.
    pub(crate) repeats: Vec<bool>,
    /// A picture of the same thing for each phrase, `[phrases, 3, height, width]`.
    pub(crate) support: Option<Tensor<4>>,
}

impl Phrases {
    /// All phrases of a split.
    ///
    /// # Errors
    ///
    /// If the options ask for pictures without pixels.
    pub fn new(data: Arc<PhraseCut>, split: Split, options: SampleOptions) -> Result<Self> {
        let dataset = PhraseCutDataset::new(data.clone(), split, options)?;
        let chosen = (0..data.phrases(split).len()).collect();
        Ok(Self {
            data,
            dataset,
            split,
            chosen,
        })
    }

    /// Those for which `keep` is true.
    #[must_use]
    pub fn retain(mut self, keep: impl Fn(&Phrase) -> bool) -> Self {
        let all = self.data.phrases(self.split);
        self.chosen.retain(|&index| keep(&all[index]));
        self
    }

    /// The first ones, at most so many.
    #[must_use]
    pub fn first(mut self, count: usize) -> Self {
        self.chosen.truncate(count);
        self
    }

    /// At most so many, evenly spread, always the same ones.
    #[must_use]
    pub fn spread(mut self, count: usize) -> Self {
        let all = self.chosen.len();
        if count < all {
            self.chosen = (0..count)
                .map(|index| self.chosen[index * all / count])
                .collect();
        }
        self
    }

    /// Number of phrases.
    pub fn len(&self) -> usize {
        self.chosen.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.chosen.is_empty()
    }

    /// The phrases, with the numbers that [`evaluate`](crate::evaluate) and errors name them by.
    pub fn iter(&self) -> impl Iterator<Item = (usize, &Phrase)> {
        let all = self.data.phrases(self.split);
        self.chosen.iter().map(move |&index| (index, &all[index]))
    }

    /// The pairs of attribute and name in these phrases.
    pub(crate) fn pairs(&self) -> BTreeSet<(String, String)> {
        self.iter().flat_map(|(_, phrase)| pairs(phrase)).collect()
    }

    /// Reads phrases as a batch; what is changed at random about them depends on the epoch.
    ///
    /// The one place where samples are asked for.
    pub(crate) fn batch(&self, indices: &[usize], _epoch: usize, device: &Device) -> Result<Fed> {
        let batch = self.dataset.batch(indices, device)?;
        let [pictures, ..] = batch.pixels.dims();
        Ok(Fed {
            batch,
            repeats: vec![true; pictures],
            support: None,
        })
    }
}

/// The pairs of attribute and name in a phrase.
pub(crate) fn pairs(phrase: &Phrase) -> impl Iterator<Item = (String, String)> {
    let structure = &phrase.phrase_structure;
    structure
        .attributes
        .iter()
        .map(|attribute| (attribute.to_lowercase(), structure.name.to_lowercase()))
}

/// Whether a phrase has a word, or words in this order next to each other; case does not matter.
pub(crate) fn contains_words(phrase: &str, words: &str) -> bool {
    let split = |text: &str| -> Vec<String> {
        text.split(|c: char| !c.is_alphanumeric())
            .filter(|word| !word.is_empty())
            .map(str::to_lowercase)
            .collect()
    };
    let (phrase, words) = (split(phrase), split(words));
    !words.is_empty() && phrase.windows(words.len()).any(|window| window == words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_whole_and_in_order() {
        assert!(contains_words("a red  Star", "red star"));
        assert!(contains_words("cat's ear", "cat"));
        assert!(!contains_words("starred", "star"));
        assert!(!contains_words("star red", "red star"));
        assert!(!contains_words("anything", " "));
    }
}
