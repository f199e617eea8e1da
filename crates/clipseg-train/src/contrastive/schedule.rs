//! Steps, batches and learning rates of pre-training.

use crate::step::schedule::warm_cosine;
use serde::{Deserialize, Serialize};

/// Steps where neither steps nor minutes are given.
const DEFAULT_STEPS: usize = 2_000;

/// Steps of the warm-up where none are given.
const DEFAULT_WARMUP: usize = 100;

/// Steps, batches and learning rates of pre-training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PretrainSchedule {
    /// Steps of the optimizer. Default: 2,000, unless `minutes` is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps: Option<usize>,
    /// The time of the run, instead of `steps`. The number of steps is decided once, from the time that
    /// steps 21 to 40 take. The report gives it; with that number as `steps`, and with `warmup_steps`
    /// set, the run can be repeated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minutes: Option<f64>,
    /// Pictures in a step, each with a text. The regions of `data.regions` are further pairs of the step.
    /// Default: 128.
    pub batch_size: usize,
    /// The number of pictures whose activations are held at a time, with their regions and as large a share
    /// of the texts. Fewer need less memory but a second forward pass. Default: the entire batch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub piece: Option<usize>,
    /// Learning rate of the first step after the warm-up. Default: 1e-3.
    pub learning_rate: f64,
    /// Learning rate of the last step, reached on a cosine. Default: 1e-5.
    pub final_learning_rate: f64,
    /// Steps over which the learning rate rises linearly before the cosine begins; fewer than the steps
    /// of the run. Default: 100, but at most a quarter of `steps`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warmup_steps: Option<usize>,
    /// Largest gradient norm, over all weights together; longer gradients are scaled down to it.
    /// Default: 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip_norm: Option<f64>,
    /// Steps after which losses are read back from the device, which waits for the device. Default: 10.
    pub read_every: usize,
}

impl Default for PretrainSchedule {
    fn default() -> Self {
        Self {
            steps: None,
            minutes: None,
            batch_size: 128,
            piece: None,
            learning_rate: 1e-3,
            final_learning_rate: 1e-5,
            warmup_steps: None,
            clip_norm: Some(1.0),
            read_every: 10,
        }
    }
}

impl PretrainSchedule {
    /// The number of steps of a run; `None` if `minutes` decides it.
    pub(crate) fn total_steps(&self) -> Option<usize> {
        match (self.steps, self.minutes) {
            (None, Some(_)) => None,
            (steps, _) => Some(steps.unwrap_or(DEFAULT_STEPS)),
        }
    }

    /// The steps of the warm-up, of a run whose number of steps may be unknown yet.
    pub(crate) fn warmup(&self, steps: Option<usize>) -> usize {
        let default = match steps {
            Some(steps) if self.minutes.is_none() => DEFAULT_WARMUP.min(steps / 4),
            // The same before and after the number of steps is decided.
            _ => DEFAULT_WARMUP,
        };
        self.warmup_steps.unwrap_or(default)
    }

    /// The learning rate of a step, counted from 0, of a run whose number of steps may be unknown yet.
    pub(crate) fn learning_rate_at(&self, step: usize, steps: Option<usize>) -> f64 {
        let rates = [self.learning_rate, self.final_learning_rate];
        warm_cosine(step, steps, self.warmup(steps), rates)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_warm_up_fits_into_short_runs() {
        let mut schedule = PretrainSchedule::default();
        let warmups = [2_000, 400, 40, 1].map(|steps| schedule.warmup(Some(steps)));
        assert_eq!(warmups, [100, 100, 10, 0]);
        assert_eq!(schedule.warmup(None), 100);
        schedule.minutes = Some(1.0);
        assert_eq!(schedule.warmup(Some(40)), 100);
        schedule.warmup_steps = Some(7);
        assert_eq!(schedule.warmup(Some(40)), 7);
    }

    #[test]
    fn the_rate_of_a_step_does_not_change_when_the_number_of_steps_is_decided() {
        let schedule = PretrainSchedule {
            minutes: Some(1.0),
            ..PretrainSchedule::default()
        };
        for step in [0, 39] {
            let decided = schedule.learning_rate_at(step, Some(300));
            assert_eq!(schedule.learning_rate_at(step, None), decided);
        }
        assert_eq!(schedule.learning_rate_at(150, None), 1e-3);
        assert!(schedule.learning_rate_at(150, Some(300)) < 1e-3);
    }
}
