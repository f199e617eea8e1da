//! What happened in each step of a pre-training run.

use super::scores::ClipScores;
use crate::error::Result;
use crate::run::journal::read_records;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// A line of the metrics file of a pre-training run.
///
/// Single precision and no time of day, so that a run that was stopped and went on has the same file
/// as one that was not.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum PretrainRecord {
    /// A step of the optimizer.
    Step {
        /// Counted from 1.
        step: usize,
        /// Counted from 0; always 0 where pictures are generated without end.
        epoch: u64,
        /// Before the step.
        loss: f32,
        /// Of the step.
        learning_rate: f32,
        /// The learned factor on cosine similarities, before the step.
        scale: f32,
        /// Length of the gradient before it was shortened, if it may be.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        gradient_norm: Option<f32>,
    },
    /// A validation.
    Validation {
        /// Steps done.
        step: usize,
        /// On what was held out.
        scores: ClipScores,
    },
}

impl PretrainRecord {
    pub(crate) fn loss(&self) -> Option<f32> {
        match self {
            Self::Step { loss, .. } => Some(*loss),
            Self::Validation { .. } => None,
        }
    }
}

/// Reads the metrics file of a pre-training run.
///
/// # Errors
///
/// If it cannot be read or a line is none of its records; the message names the line.
pub fn read_pretrain_metrics(path: &Path) -> Result<Vec<PretrainRecord>> {
    read_records(path)
}
