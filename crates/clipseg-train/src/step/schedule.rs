//! How many steps a run has and how fast it learns in each.

use crate::config::train_config::ScheduleConfig;

/// Steps where neither steps nor epochs are given.
const DEFAULT_STEPS: usize = 300;

impl ScheduleConfig {
    /// The steps of a run; `batches_of` counts the batches of so many passes, which need not all have
    /// as many.
    pub fn total_steps(&self, batches_of: impl FnOnce(usize) -> usize) -> usize {
        match (self.steps, self.epochs) {
            (Some(steps), _) => steps,
            (None, Some(epochs)) => batches_of(epochs).div_ceil(self.accumulation.max(1)),
            (None, None) => DEFAULT_STEPS,
        }
    }

    /// The learning rate of a step counted from 0, of so many in all: a straight rise over the
    /// warm-up, then a cosine from the first rate to the last (Loshchilov and Hutter 2017,
    /// arXiv:1608.03983, without restarts).
    pub fn learning_rate_at(&self, step: usize, steps: usize) -> f64 {
        let rates = [self.learning_rate, self.final_learning_rate];
        warm_cosine(step, steps, self.warmup_steps, rates)
    }
}

/// The learning rate of a step counted from 0: a straight rise to the first rate over the warm-up,
/// then a cosine from the first rate to the last.
pub(crate) fn warm_cosine(
    step: usize,
    steps: usize,
    warmup: usize,
    [first, last]: [f64; 2],
) -> f64 {
    if step < warmup {
        return first * (step + 1) as f64 / warmup as f64;
    }
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
