//! Choosing at random.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

/// Any of several, each as likely.
pub(super) fn pick<'a, T>(random: &mut ChaCha8Rng, of: &'a [T]) -> &'a T {
    &of[random.random_range(0..of.len())]
}
