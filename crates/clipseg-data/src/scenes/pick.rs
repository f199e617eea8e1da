//! Random choice.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

/// Chooses one of several values with equal probability.
pub(super) fn pick<'a, T>(random: &mut ChaCha8Rng, of: &'a [T]) -> &'a T {
    &of[random.random_range(0..of.len())]
}
