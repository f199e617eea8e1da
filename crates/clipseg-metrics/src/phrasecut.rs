//! The measures and subsets of PhraseCut's official evaluator.
//!
//! After ChenyunWu/PhraseCutDataset, commit 276470b: `utils/evaluator.py` and `utils/subset.py`.
//! Where it differs, by intent: a prediction of another size than its picture is an error here, while
//! there the truth is drawn at the prediction's size; and the subsets by lists of words (`t_stuff`,
//! `t_obj`, `a_color`, …) are left out.

mod evaluator;
mod subset;

pub use evaluator::{
    MaskRef, PRECISION_THRESHOLDS, PhraseCutEvaluator, PhraseCutTask, PictureFigure, SubsetScores,
    TaskScore,
};
pub use subset::{FrequencyRanks, PhraseType, Subset, is_coco_category};
