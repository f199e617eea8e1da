//! Random number generators of samples.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// The purpose of random numbers, so that different purposes use independent generators.
#[derive(Debug, Clone, Copy)]
pub(super) enum Purpose {
    Order,
    View,
    Phrase,
}

/// Returns a generator that depends only on the four arguments.
pub(super) fn random(seed: u64, epoch: u64, purpose: Purpose, item: u64) -> ChaCha8Rng {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    random.set_stream(epoch << 40 ^ item << 2 ^ purpose as u64);
    random
}
