//! Scoring decoders, models and predictions.

pub(crate) mod best_threshold;
pub(crate) mod clipseg_protocol;
pub(crate) mod device_counts;
pub(crate) mod evaluate;
pub(crate) mod exceptions;
pub(crate) mod model_scores;
pub(crate) mod phrasecut_tasks;
pub(crate) mod phrases;
pub(crate) mod prediction_folder;
pub(crate) mod scored_records;
