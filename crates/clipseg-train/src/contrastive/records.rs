//! The records of a pre-training run in its metrics file.

use super::scores::ClipScores;
use crate::error::Result;
use crate::run::journal::read_records;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// A line of the metrics file of a pre-training run.
///
/// Values have single precision and there is no time, so that a resumed run has the same file as an
/// uninterrupted one.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum PretrainRecord {
    /// A step of the optimizer.
    Step {
        /// The number of the step, counted from 1.
        step: usize,
        /// The epoch, counted from 0; always 0 if the pictures are generated.
        epoch: u64,
        /// The loss before the step.
        loss: f32,
        /// The learning rate of the step.
        learning_rate: f32,
        /// The learned factor on cosine similarities, before the step.
        scale: f32,
        /// The gradient norm before clipping; `None` without gradient clipping.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        gradient_norm: Option<f32>,
    },
    /// A validation.
    Validation {
        /// The number of steps before the validation.
        step: usize,
        /// The scores on held-out pictures.
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
/// If it cannot be read or a line is not a valid record; the message names the line.
pub fn read_pretrain_metrics(path: &Path) -> Result<Vec<PretrainRecord>> {
    read_records(path)
}
