//! Which phrases come together in a batch.

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeMap;

/// The batches of every epoch, a pure function of the seed and the epoch.
///
/// Nothing is drawn from a generator that goes on from epoch to epoch, so a run can be taken up at
/// any batch without anything remembered. Each epoch has every phrase once, in another order; the
/// last batch may be smaller.
#[derive(Debug, Clone)]
pub(crate) struct BatchOrder {
    /// Phrases that stay together: those of a picture, or each alone.
    groups: Vec<Vec<usize>>,
    phrases: usize,
    batch_size: usize,
    seed: u64,
}

impl BatchOrder {
    /// `phrases` are the numbers and pictures of the phrases to order.
    pub(crate) fn new(
        phrases: impl IntoIterator<Item = (usize, u64)>,
        group_by_picture: bool,
        batch_size: usize,
        seed: u64,
    ) -> Self {
        let mut of_picture: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
        let mut groups = Vec::new();
        let mut count = 0;
        for (phrase, picture) in phrases {
            count += 1;
            if group_by_picture {
                of_picture.entry(picture).or_default().push(phrase);
            } else {
                groups.push(vec![phrase]);
            }
        }
        groups.extend(of_picture.into_values());
        Self {
            groups,
            phrases: count,
            batch_size: batch_size.max(1),
            seed,
        }
    }

    /// Batches of an epoch.
    pub(crate) fn batches(&self) -> usize {
        self.phrases.div_ceil(self.batch_size)
    }

    /// The phrases of each batch of an epoch, those of a picture next to each other.
    pub(crate) fn epoch(&self, epoch: usize) -> Vec<Vec<usize>> {
        let mut random = ChaCha8Rng::seed_from_u64(self.seed);
        random.set_stream(epoch as u64);
        let mut groups = self.groups.clone();
        groups.shuffle(&mut random);
        for group in &mut groups {
            group.shuffle(&mut random);
        }
        let phrases: Vec<usize> = groups.into_iter().flatten().collect();
        phrases
            .chunks(self.batch_size)
            .map(<[usize]>::to_vec)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PICTURES: [u64; 8] = [7, 7, 9, 9, 9, 4, 7, 4];

    fn order(group: bool, batch_size: usize, seed: u64) -> BatchOrder {
        BatchOrder::new(PICTURES.into_iter().enumerate(), group, batch_size, seed)
    }

    #[test]
    fn every_phrase_comes_once_in_an_epoch_and_pictures_stay_together() {
        let order = order(true, 3, 1);
        assert_eq!(order.batches(), 3);
        for epoch in 0..5 {
            let batches = order.epoch(epoch);
            assert_eq!(
                batches.iter().map(Vec::len).collect::<Vec<_>>(),
                [3, 3, 2],
                "epoch {epoch}"
            );
            let pass = batches.concat();
            let mut sorted = pass.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, (0..8).collect::<Vec<_>>());
            let mut pictures: Vec<u64> = pass.iter().map(|&phrase| PICTURES[phrase]).collect();
            pictures.dedup();
            assert_eq!(pictures.len(), 3, "{pass:?}");
        }
    }

    #[test]
    fn seed_and_epoch_decide() {
        assert_eq!(order(false, 4, 3).epoch(2), order(false, 4, 3).epoch(2));
        assert_ne!(order(false, 4, 3).epoch(2), order(false, 4, 4).epoch(2));
        assert_ne!(order(false, 4, 3).epoch(2), order(false, 4, 3).epoch(1));
    }
}
