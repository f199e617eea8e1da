//! The order of phrases and their division into batches.

use super::dataset::PhraseCutDataset;
use super::randomness::{Purpose, random};
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

/// How phrases are grouped into batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Grouping {
    /// Phrases are shuffled independently of their pictures.
    Phrase,
    /// All phrases of a picture are in the same batch, so that the picture is encoded once per epoch. A
    /// batch ends where the phrases of the next picture do not fit. A picture is divided only if it has
    /// more phrases than a batch.
    #[default]
    Picture,
}

/// A batch of an epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BatchPosition {
    /// The epoch, counted from 0.
    pub epoch: u64,
    /// The batch in the epoch, counted from 0.
    pub batch: usize,
}

/// The batches of every epoch.
///
/// The order depends only on the seed and the epoch, so that training can be resumed at any step without
/// stored state.
#[derive(Debug, Clone)]
pub struct BatchOrder {
    /// Groups of phrases that stay together.
    groups: Vec<Vec<usize>>,
    batch_size: usize,
    seed: u64,
}

impl BatchOrder {
    /// Creates batches of at most `batch_size` phrases; 0 is treated as 1.
    pub fn new(
        dataset: &PhraseCutDataset,
        batch_size: usize,
        grouping: Grouping,
        seed: u64,
    ) -> Self {
        Self::of_pictures(&dataset.image_ids(), batch_size, grouping, seed)
    }

    pub(super) fn of_pictures(
        picture_of: &[u64],
        batch_size: usize,
        grouping: Grouping,
        seed: u64,
    ) -> Self {
        let groups = match grouping {
            Grouping::Phrase => (0..picture_of.len()).map(|phrase| vec![phrase]).collect(),
            Grouping::Picture => {
                let mut groups = std::collections::BTreeMap::<u64, Vec<usize>>::new();
                for (phrase, &picture) in picture_of.iter().enumerate() {
                    groups.entry(picture).or_default().push(phrase);
                }
                groups.into_values().collect()
            }
        };
        Self {
            groups,
            batch_size: batch_size.max(1),
            seed,
        }
    }

    /// The batches of an epoch, as indices into the data set. Every phrase is in exactly one batch.
    pub fn epoch(&self, epoch: u64) -> Vec<Vec<usize>> {
        let mut random = random(self.seed, epoch, Purpose::Order, 0);
        let mut groups = self.groups.clone();
        groups.shuffle(&mut random);
        let mut batches: Vec<Vec<usize>> = Vec::new();
        for mut group in groups {
            group.shuffle(&mut random);
            for part in group.chunks(self.batch_size) {
                match batches.last_mut() {
                    Some(batch) if batch.len() + part.len() <= self.batch_size => {
                        batch.extend_from_slice(part);
                    }
                    _ => batches.push(part.to_vec()),
                }
            }
        }
        batches
    }

    /// The position of a training step, counted from 0; `None` if there are no phrases.
    pub fn locate(&self, step: u64) -> Option<BatchPosition> {
        if self.groups.is_empty() {
            return None;
        }
        let (mut epoch, mut before) = (0, 0);
        loop {
            let batches = self.epoch(epoch).len() as u64;
            if step < before + batches {
                let batch = (step - before) as usize;
                return Some(BatchPosition { epoch, batch });
            }
            before += batches;
            epoch += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    const PICTURE_OF: [u64; 12] = [7, 7, 9, 9, 9, 4, 7, 4, 3, 3, 3, 5];

    #[test]
    fn every_phrase_occurs_once_per_epoch() {
        for grouping in [Grouping::Phrase, Grouping::Picture] {
            for batch_size in 1..14 {
                let order = BatchOrder::of_pictures(&PICTURE_OF, batch_size, grouping, 1);
                let batches = order.epoch(3);
                assert!(
                    batches
                        .iter()
                        .all(|batch| (1..=batch_size).contains(&batch.len()))
                );
                let mut all: Vec<usize> = batches.concat();
                all.sort_unstable();
                assert_eq!(all, (0..12).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn a_picture_is_not_divided() {
        let order = BatchOrder::of_pictures(&PICTURE_OF, 4, Grouping::Picture, 1);
        for epoch in 0..20 {
            let batches = order.epoch(epoch);
            let pictures: Vec<BTreeSet<u64>> = batches
                .iter()
                .map(|batch| batch.iter().map(|&phrase| PICTURE_OF[phrase]).collect())
                .collect();
            assert_eq!(
                pictures.iter().map(BTreeSet::len).sum::<usize>(),
                5,
                "{batches:?}"
            );
        }
    }

    #[test]
    fn the_order_depends_on_seed_and_epoch() {
        let picture_of: Vec<u64> = (0..40).map(|phrase| phrase / 3).collect();
        let order = |seed, epoch| {
            BatchOrder::of_pictures(&picture_of, 6, Grouping::Picture, seed).epoch(epoch)
        };
        assert_eq!(order(3, 1), order(3, 1));
        assert_ne!(order(3, 1), order(4, 1));
        assert_ne!(order(3, 1), order(3, 2));
    }

    #[test]
    fn steps_are_located_in_their_epochs() {
        let order = BatchOrder::of_pictures(&PICTURE_OF, 5, Grouping::Picture, 8);
        let mut step = 0;
        for epoch in 0..4 {
            for batch in 0..order.epoch(epoch).len() {
                assert_eq!(order.locate(step), Some(BatchPosition { epoch, batch }));
                step += 1;
            }
        }
        assert_eq!(
            BatchOrder::of_pictures(&[], 5, Grouping::Phrase, 8).locate(0),
            None
        );
    }
}
