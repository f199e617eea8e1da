//! A choice of phrases to score a decoder on.

use crate::error::Result;
use clipseg_data::{Phrase, PhraseCutDataset, SampleBatch};
use std::sync::Arc;

/// A choice of the phrases of a data set, to score a decoder on. The data set should have no random
/// augmentation.
#[derive(Debug, Clone)]
pub struct Phrases {
    dataset: Arc<PhraseCutDataset>,
    chosen: Vec<usize>,
}

impl Phrases {
    /// All phrases of a data set.
    pub fn new(dataset: Arc<PhraseCutDataset>) -> Self {
        let chosen = (0..dataset.phrases()).collect();
        Self { dataset, chosen }
    }

    /// No phrase.
    pub(crate) fn none(dataset: Arc<PhraseCutDataset>) -> Self {
        Self {
            dataset,
            chosen: Vec::new(),
        }
    }

    /// Keeps the phrases for which `keep` returns true.
    #[must_use]
    pub fn retain(mut self, keep: impl Fn(&Phrase) -> bool) -> Self {
        self.chosen
            .retain(|&index| keep(self.dataset.record(index)));
        self
    }

    /// Keeps at most `count` phrases, evenly spread and always the same.
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

    /// Whether there is no phrase.
    pub fn is_empty(&self) -> bool {
        self.chosen.is_empty()
    }

    /// The data set of the phrases.
    pub fn dataset(&self) -> &Arc<PhraseCutDataset> {
        &self.dataset
    }

    /// The phrases with their indices in the data set, which [`Evaluation`](crate::Evaluation) uses.
    pub fn iter(&self) -> impl Iterator<Item = (usize, &Phrase)> {
        let chosen = self.chosen.iter();
        chosen.map(|&index| (index, self.dataset.record(index)))
    }

    pub(crate) fn load(&self, indices: &[usize]) -> Result<SampleBatch> {
        Ok(self.dataset.load(indices, 0)?)
    }
}
