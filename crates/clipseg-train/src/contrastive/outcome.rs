//! The result of a pre-training run.

use super::records::PretrainRecord;
use super::scores::ClipScores;
use crate::run::outcome::End;
use clipseg_clip::Clip;

/// The result of a pre-training run.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PretrainOutcome {
    /// The CLIP after the last step, on the plain device.
    pub clip: Clip,
    /// All steps and validations, including those before an interruption.
    pub records: Vec<PretrainRecord>,
    /// How the run ended.
    pub end: End,
    /// The number of captions that were longer than the text tower's positions and were truncated, in
    /// this process.
    pub cut_captions: usize,
}

impl PretrainOutcome {
    /// The loss of every step.
    pub fn losses(&self) -> Vec<f32> {
        self.records
            .iter()
            .filter_map(PretrainRecord::loss)
            .collect()
    }

    /// The scores of the last validation.
    pub fn scores(&self) -> Option<ClipScores> {
        self.records.iter().rev().find_map(|record| match record {
            PretrainRecord::Validation { scores, .. } => Some(*scores),
            PretrainRecord::Step { .. } => None,
        })
    }
}
