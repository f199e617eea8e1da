//! From phrases and files to batches.

mod batch;
mod cache;
pub(crate) mod colours;
mod dataset;
mod loader;
mod negatives;
mod options;
mod order;
mod picture;
mod selection;
mod view;
mod word_lists;
pub(crate) mod words;

pub use batch::{SampleBatch, SampleBatcher, SegmentationBatch};
pub use dataset::{PhraseCutDataset, Sample, Support};
pub use loader::Loader;
pub use options::{MaskScaling, NegativeRule, SampleOptions, TEMPLATES};
pub use order::{BatchOrder, Grouping};
pub use picture::{Preprocessing, SamplePicture};
pub use selection::Selection;
pub use view::View;
pub use word_lists::held_out_list;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// What random numbers are for, so that none are used twice.
#[derive(Debug, Clone, Copy)]
enum Purpose {
    Order,
    View,
    Phrase,
}

/// Numbers that depend on nothing but these four.
fn random(seed: u64, epoch: u64, purpose: Purpose, item: u64) -> ChaCha8Rng {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    random.set_stream(epoch << 40 ^ item << 2 ^ purpose as u64);
    random
}
