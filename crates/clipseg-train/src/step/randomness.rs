//! Everything that Burn draws at random for a run.

use burn::prelude::*;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A device has one generator for the whole process, so runs in one process take turns.
static DRAWING: Mutex<()> = Mutex::new(());

/// Seeds the device's generator, and keeps other runs of this process from it while the guard lives.
pub(crate) fn drawing(device: &Device, seed: u64) -> MutexGuard<'static, ()> {
    let alone = DRAWING.lock().unwrap_or_else(PoisonError::into_inner);
    device.seed(seed);
    alone
}

/// What is drawn at random for a batch of a run, other than its samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Draw {
    /// How much of an example is mixed into each phrase.
    VisualShares,
    /// What the decoder drops.
    Dropout,
}

/// A generator that depends on the seed of a run, the place of a batch in it and the purpose, and on
/// nothing else, so that a run can go on anywhere.
pub(crate) fn of_batch(seed: u64, position: usize, purpose: Draw) -> ChaCha8Rng {
    let purpose = match purpose {
        Draw::VisualShares => 0x0000_7669_7375_616c,
        Draw::Dropout => 0x0064_726f_706f_7574,
    };
    let mut random = ChaCha8Rng::seed_from_u64(seed ^ purpose);
    random.set_stream(position as u64);
    random
}

/// The seed of what the decoder drops in a batch.
pub(crate) fn dropout_seed(seed: u64, position: usize) -> u64 {
    of_batch(seed, position, Draw::Dropout).next_u64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seed_place_and_purpose_decide() {
        let first = |seed, position, purpose| of_batch(seed, position, purpose).next_u64();
        let draws = [
            first(1, 0, Draw::Dropout),
            first(1, 1, Draw::Dropout),
            first(2, 0, Draw::Dropout),
            first(1, 0, Draw::VisualShares),
        ];
        for (index, draw) in draws.iter().enumerate() {
            assert!(!draws[..index].contains(draw), "{draws:?}");
        }
        assert_eq!(dropout_seed(1, 1), draws[1]);
    }
}
