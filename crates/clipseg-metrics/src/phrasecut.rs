//! The measures and subsets of PhraseCut's official evaluator.
//!
//! After ChenyunWu/PhraseCutDataset, commit 276470b: `utils/evaluator.py` and `utils/subset.py`. The
//! subsets by kinds of attributes (`a_color`, `a_shape`, …) are left out.

mod common;
mod evaluator;
mod subset;
mod words;

pub use common::CommonTasks;
pub use evaluator::{
    MaskRef, PRECISION_THRESHOLDS, PhraseCutEvaluator, PhraseCutTask, PictureFigure, SubsetScores,
    TaskScore,
};
pub use subset::{FrequencyRanks, PhraseType, Subset};
pub use words::{is_coco_category, is_stuff};
