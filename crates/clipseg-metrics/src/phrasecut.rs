//! The metrics and subsets of PhraseCut's official evaluator.
//!
//! They follow `utils/evaluator.py` and `utils/subset.py` of ChenyunWu/PhraseCutDataset, commit 276470b.
//! The subsets by kinds of attributes (`a_color`, `a_shape`, …) are not implemented.

mod common_tasks;
mod evaluator;
mod subset;
mod subset_names;
mod task;
mod task_score;
mod words;

pub use common_tasks::CommonTasks;
pub use evaluator::{PRECISION_THRESHOLDS, PhraseCutEvaluator, PictureMetric, SubsetScores};
pub use subset::Subset;
pub use task::{FrequencyRanks, PhraseCutTask, PhraseType};
pub use task_score::{MaskRef, TaskScore};
pub use words::{is_coco_category, is_stuff};
