//! What a run of the training loop ends with.

use crate::run::journal::Record;
use clipseg_model::Decoder;

/// What a training run ends with.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct TrainOutcome {
    /// The decoder after the last step, on the plain device.
    pub decoder: Decoder,
    /// The decoder with the best validation; the last one if there was none.
    pub best: Decoder,
    /// Every step and validation, those before an interruption too.
    pub records: Vec<Record>,
    /// How it came to an end.
    pub end: End,
}

/// How a run came to an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// After all its steps.
    Finished,
    /// Because validations brought no improvement any more.
    NoImprovement,
    /// Because it was asked to.
    Stopped,
}

impl TrainOutcome {
    /// The loss of every step.
    pub fn losses(&self) -> Vec<f32> {
        let loss = |record: &Record| match record {
            Record::Step { loss, .. } => Some(*loss),
            Record::Validation { .. } => None,
        };
        self.records.iter().filter_map(loss).collect()
    }

    /// Mean loss of the first and of the last tenth of the steps.
    pub fn first_and_last_loss(&self) -> (f32, f32) {
        let losses = self.losses();
        let tenth = (losses.len() / 10).max(1).min(losses.len());
        let mean = |losses: &[f32]| losses.iter().sum::<f32>() / losses.len().max(1) as f32;
        (
            mean(&losses[..tenth]),
            mean(&losses[losses.len() - tenth..]),
        )
    }
}
