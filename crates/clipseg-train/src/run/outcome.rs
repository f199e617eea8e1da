//! The result of the training loop.

use crate::run::journal::Record;
use clipseg_clip::Clip;
use clipseg_model::Decoder;

/// The result of training a decoder.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct TrainOutcome {
    /// The decoder after the last step, on the plain device.
    pub decoder: Decoder,
    /// The decoder with the best validation; without validation the decoder after the last step.
    pub best: Decoder,
    /// The fine-tuned CLIP after the last step, on the plain device; `None` if CLIP is frozen.
    pub clip: Option<Clip>,
    /// The fine-tuned CLIP that belongs to `best`; `None` if CLIP is frozen.
    pub best_clip: Option<Clip>,
    /// All steps and validations, including those before an interruption.
    pub records: Vec<Record>,
    /// How the run ended.
    pub end: End,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// All steps are done.
    Finished,
    /// It ended early because validations brought no improvement.
    NoImprovement,
    /// It was stopped by a [`StopFlag`](crate::StopFlag).
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

    /// The mean losses at the start and at the end of the run.
    pub fn loss_range(&self) -> LossRange {
        LossRange::of(&self.losses())
    }
}

/// The mean losses at the start and at the end of a run.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct LossRange {
    /// The mean over the first tenth of the steps.
    pub first: f32,
    /// The mean over the last tenth of the steps.
    pub last: f32,
}

impl LossRange {
    pub(crate) fn of(losses: &[f32]) -> Self {
        let tenth = (losses.len() / 10).max(1).min(losses.len());
        let mean = |losses: &[f32]| losses.iter().sum::<f32>() / losses.len().max(1) as f32;
        Self {
            first: mean(&losses[..tenth]),
            last: mean(&losses[losses.len() - tenth..]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenth_of_the_steps_is_averaged() {
        let losses: Vec<f32> = (0..20).map(|step| step as f32).collect();
        let range = LossRange::of(&losses);
        assert_eq!((range.first, range.last), (0.5, 18.5));
        let range = LossRange::of(&[3.0, 5.0]);
        assert_eq!((range.first, range.last), (3.0, 5.0));
        let range = LossRange::of(&[]);
        assert_eq!((range.first, range.last), (0.0, 0.0));
    }
}
