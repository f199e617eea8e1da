//! Samples: phrases, pictures and masks as a model is trained on them, and their batches.

mod batch;
mod cache;
pub(crate) mod colours;
mod dataset;
mod loader;
mod negatives;
mod options;
mod order;
mod picture;
mod randomness;
mod sample;
mod selection;
mod view;
mod word_lists;
pub(crate) mod words;

pub use batch::{SampleBatch, SampleBatcher, SegmentationBatch};
pub use dataset::PhraseCutDataset;
pub use loader::Loader;
pub use options::{MaskScaling, NegativeRule, SampleOptions, TEMPLATES};
pub use order::{BatchOrder, BatchPosition, Grouping};
pub use picture::{Preprocessing, SamplePicture};
pub use sample::{Sample, Support};
pub use selection::{Selection, WordMatches};
pub use view::View;
pub use word_lists::held_out_list;
