//! Random seeds of a run, by purpose and position.

use burn::prelude::*;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A device has one random generator for the entire process, so runs in one process take turns.
static DRAWING: Mutex<()> = Mutex::new(());

/// Seeds the device's random generator. Runs of this process cannot use it until the guard is dropped.
///
/// A device has one generator for the entire process. Hold this guard while you draw numbers beside a run, such as
/// initial weights, so that neither changes what the other draws. Do not hold it while you start a run, which
/// would wait for it forever.
pub fn drawing(device: &Device, seed: u64) -> MutexGuard<'static, ()> {
    let alone = DRAWING.lock().unwrap_or_else(PoisonError::into_inner);
    device.seed(seed);
    alone
}

/// The purpose of random numbers for a batch, except its samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Draw {
    /// The weights of visual prompts.
    VisualShares,
    /// Dropout in the decoder.
    Dropout,
}

/// A random generator that depends on the seed of a run, the position of a batch in the run and the
/// purpose only, so that a run can resume at any step.
pub(crate) fn of_batch(seed: u64, position: usize, purpose: Draw) -> ChaCha8Rng {
    let purpose = match purpose {
        Draw::VisualShares => 0x0000_7669_7375_616c,
        Draw::Dropout => 0x0064_726f_706f_7574,
    };
    let mut random = ChaCha8Rng::seed_from_u64(seed ^ purpose);
    random.set_stream(position as u64);
    random
}

/// The random seed of dropout in a batch.
pub(crate) fn dropout_seed(seed: u64, position: usize) -> u64 {
    of_batch(seed, position, Draw::Dropout).next_u64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generator_depends_on_seed_position_and_purpose() {
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
