//! The number of steps of a run and the learning rate of each.

use crate::config::train_config::ScheduleConfig;
use crate::config::values;
use crate::error::Result;

/// Steps where neither steps nor epochs are given.
const DEFAULT_STEPS: usize = 300;

impl ScheduleConfig {
    /// The number of steps of a run. `batches_of` returns the number of batches of so many epochs, which
    /// may differ from epoch to epoch.
    pub fn total_steps(&self, batches_of: impl FnOnce(usize) -> usize) -> usize {
        match (self.steps, self.epochs) {
            (Some(steps), _) => steps,
            (None, Some(epochs)) => batches_of(epochs).div_ceil(self.accumulation.max(1)),
            (None, None) => DEFAULT_STEPS,
        }
    }

    /// The steps of the warm-up, of a run of `steps` steps.
    pub fn warmup(&self, steps: usize) -> usize {
        self.warmup_ratio
            .map_or(self.warmup_steps, |ratio| (ratio * steps as f64) as usize)
    }

    /// Requires a warm-up that ends before the run does.
    pub(crate) fn check_warmup(&self, steps: usize) -> Result<()> {
        values::warmup(self.warmup(steps), steps)
    }

    /// The learning rate of a step, counted from 0, of a run of `steps` steps: it rises linearly over
    /// the warm-up, then follows a cosine from the first rate to the last (Loshchilov and Hutter 2017,
    /// arXiv:1608.03983, without restarts).
    pub fn learning_rate_at(&self, step: usize, steps: usize) -> f64 {
        let rates = [self.learning_rate, self.final_learning_rate];
        warm_cosine(step, Some(steps), self.warmup(steps), rates)
    }
}

/// The learning rate of a step, counted from 0: it rises linearly to the first rate over the warm-up,
/// then follows a cosine from the first rate to the last. While the number of steps is not known, the
/// rate stays at the first one after the warm-up.
pub(crate) fn warm_cosine(
    step: usize,
    steps: Option<usize>,
    warmup: usize,
    [first, last]: [f64; 2],
) -> f64 {
    if step < warmup {
        return first * (step + 1) as f64 / warmup as f64;
    }
    let Some(steps) = steps else {
        return first;
    };
    let length = steps.saturating_sub(1 + warmup).max(1) as f64;
    let progress = ((step - warmup) as f64 / length).min(1.0);
    let cosine = 0.5 * (1.0 + (std::f64::consts::PI * progress).cos());
    last + (first - last) * cosine
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_falls_from_the_first_to_the_last() {
        let schedule = ScheduleConfig::default();
        let rates: Vec<f64> = (0..11)
            .map(|step| schedule.learning_rate_at(step, 11))
            .collect();
        assert!(
            (rates[0] - 1e-3).abs() < 1e-12 && (rates[10] - 1e-4).abs() < 1e-12,
            "{rates:?}"
        );
        assert!((rates[5] - 5.5e-4).abs() < 1e-12, "{rates:?}");
        assert!(rates.windows(2).all(|pair| pair[1] < pair[0]), "{rates:?}");
    }

    #[test]
    fn a_warm_up_rises_first() {
        let schedule = ScheduleConfig {
            warmup_steps: 4,
            ..ScheduleConfig::default()
        };
        let rates: Vec<f64> = (0..6)
            .map(|step| schedule.learning_rate_at(step, 20))
            .collect();
        assert_eq!(rates[..5], [2.5e-4, 5e-4, 7.5e-4, 1e-3, 1e-3]);
        assert!(rates[5] < 1e-3 && (schedule.learning_rate_at(19, 20) - 1e-4).abs() < 1e-12);
    }

    #[test]
    fn a_warm_up_can_be_a_fraction_of_the_run() {
        let schedule = ScheduleConfig {
            warmup_ratio: Some(0.05),
            ..ScheduleConfig::default()
        };
        let warmups = [1_000, 99, 19].map(|steps| schedule.warmup(steps));
        assert_eq!(warmups, [50, 4, 0]);
        assert_eq!(schedule.learning_rate_at(49, 1_000), 1e-3);
        assert_eq!(schedule.learning_rate_at(0, 1_000), 1e-3 / 50.0);
        assert_eq!(schedule.learning_rate_at(0, 3), 1e-3);
    }

    #[test]
    fn epochs_are_rounded_up_to_whole_steps() {
        let schedule = ScheduleConfig {
            epochs: Some(3),
            accumulation: 4,
            ..ScheduleConfig::default()
        };
        let batches_of = |epochs| 5 * epochs;
        assert_eq!(schedule.total_steps(batches_of), 4);
        let default = ScheduleConfig::default();
        assert_eq!(default.total_steps(batches_of), DEFAULT_STEPS);
    }
}
