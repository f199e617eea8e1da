//! Which phrases come together in a step.

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

/// Endless batches of phrase numbers, the same for the same seed.
///
/// Phrases of one picture stay together, so that the picture is encoded once for all of them.
/// Each pass over the data has another order of pictures and of the phrases in each.
#[derive(Debug, Clone)]
pub(crate) struct GroupedOrder {
    groups: Vec<Vec<usize>>,
    waiting: Vec<usize>,
    random: ChaCha8Rng,
    batch_size: usize,
}

impl GroupedOrder {
    /// `picture_of` holds the picture of each phrase, of which there must be at least one.
    pub(crate) fn new(picture_of: &[u64], batch_size: usize, seed: u64) -> Self {
        let mut groups: std::collections::BTreeMap<u64, Vec<usize>> = Default::default();
        for (phrase, &picture) in picture_of.iter().enumerate() {
            groups.entry(picture).or_default().push(phrase);
        }
        Self {
            groups: groups.into_values().collect(),
            waiting: Vec::new(),
            random: ChaCha8Rng::seed_from_u64(seed),
            batch_size,
        }
    }

    pub(crate) fn next_batch(&mut self) -> Vec<usize> {
        while self.waiting.len() < self.batch_size && !self.groups.is_empty() {
            self.groups.shuffle(&mut self.random);
            for group in &mut self.groups {
                group.shuffle(&mut self.random);
            }
            self.waiting.extend(self.groups.iter().flatten());
        }
        let count = self.batch_size.min(self.waiting.len());
        self.waiting.drain(..count).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_phrase_comes_once_in_a_pass_and_pictures_stay_together() {
        let picture_of = [7, 7, 9, 9, 9, 4, 7, 4];
        let mut order = GroupedOrder::new(&picture_of, 4, 1);
        for _ in 0..5 {
            let pass: Vec<usize> = (0..2).flat_map(|_| order.next_batch()).collect();
            let mut sorted = pass.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, (0..8).collect::<Vec<_>>());
            let mut pictures: Vec<u64> = pass.iter().map(|&phrase| picture_of[phrase]).collect();
            pictures.dedup();
            assert_eq!(pictures.len(), 3, "{pass:?}");
        }
    }

    #[test]
    fn the_seed_decides() {
        let picture_of: Vec<u64> = (0..40).map(|phrase| phrase / 3).collect();
        let first = |seed| GroupedOrder::new(&picture_of, 40, seed).next_batch();
        assert_eq!(first(3), first(3));
        assert_ne!(first(3), first(4));
    }
}
