//! Confidence intervals over random seeds and pictures.
//!
//! Every run scores the same pictures, so seeds and pictures are two crossed sources of variation. Each resample draws
//! seeds with replacement and, independently, pictures with replacement, and the score is that of the drawn pictures
//! in the drawn runs (the pigeonhole bootstrap, Owen 2007, doi:10.1214/07-AOAS122). The interval is therefore wider
//! than one over pictures only, by the differences between the seeds. With few seeds it is still too narrow: the
//! variance between S seeds is underestimated by the factor (S − 1) / S.

use crate::bootstrap::{Bootstrap, Interval};
use crate::error::{MetricsError, Result};
use crate::ratio::Ratio;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

impl Bootstrap {
    /// The confidence interval of a metric over seeds and pictures.
    ///
    /// `runs` has the ratio of each picture for each seed, with the pictures in the same order.
    ///
    /// ```
    /// use clipseg_metrics::{Bootstrap, Ratio};
    ///
    /// let run = |ious: [f64; 3]| ious.map(|numerator| Ratio { numerator, denominator: 1.0 }).to_vec();
    /// let interval = Bootstrap::default().crossed_interval(&[run([0.1, 0.5, 0.9]), run([0.2, 0.4, 0.6])])?;
    /// assert!((interval.estimate - 0.45).abs() < 1e-12);
    /// assert!(interval.low < 0.3 && interval.high > 0.6);
    /// # Ok::<(), clipseg_metrics::MetricsError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// If there is no run or no picture, two runs have different numbers of pictures, a ratio is NaN or infinite, or
    /// an option is out of range.
    pub fn crossed_interval(&self, runs: &[Vec<Ratio>]) -> Result<Interval> {
        let pictures = self.check_runs(runs)?;
        let estimate = pooled(runs);
        let values = self.draw(pictures, |counts, random| drawn(runs, counts, random));
        Ok(self.percentiles(estimate, values))
    }

    /// The confidence interval of the metric of `second` minus that of `first`, over seeds and pictures.
    ///
    /// Each resample draws the same pictures for both. The seeds are drawn independently, because equal seeds do not
    /// make runs of different models alike.
    ///
    /// # Errors
    ///
    /// As [`crossed_interval`](Self::crossed_interval), or if the two have different numbers of pictures.
    pub fn crossed_difference(
        &self,
        first: &[Vec<Ratio>],
        second: &[Vec<Ratio>],
    ) -> Result<Interval> {
        let pictures = self.check_runs(first)?;
        let others = self.check_runs(second)?;
        if pictures != others {
            return Err(different(pictures, others));
        }
        let estimate = pooled(second) - pooled(first);
        let values = self.draw(pictures, |counts, random| {
            let before = drawn(first, counts, random);
            drawn(second, counts, random) - before
        });
        Ok(self.percentiles(estimate, values))
    }

    /// Checks the runs and returns their number of pictures.
    fn check_runs(&self, runs: &[Vec<Ratio>]) -> Result<usize> {
        let Some(first) = runs.first() else {
            return Err(MetricsError::Option {
                field: "runs",
                message: "none, expected at least one".into(),
            });
        };
        for run in runs {
            self.check(run)?;
            if run.len() != first.len() {
                return Err(different(first.len(), run.len()));
            }
        }
        Ok(first.len())
    }

    /// The values of all resamples, sorted. `value` gets how often each picture is drawn.
    fn draw(
        &self,
        pictures: usize,
        mut value: impl FnMut(&[u32], &mut ChaCha8Rng) -> f64,
    ) -> Vec<f64> {
        let mut random = ChaCha8Rng::seed_from_u64(self.seed);
        let mut counts = vec![0u32; pictures];
        let mut values: Vec<f64> = (0..self.resamples)
            .map(|_| {
                counts.fill(0);
                for _ in 0..pictures {
                    counts[random.random_range(0..pictures)] += 1;
                }
                value(&counts, &mut random)
            })
            .collect();
        values.sort_unstable_by(f64::total_cmp);
        values
    }
}

/// The metric of all pictures of all runs.
fn pooled(runs: &[Vec<Ratio>]) -> f64 {
    runs.iter().flatten().copied().sum::<Ratio>().value()
}

/// The metric of drawn pictures in as many drawn runs as there are.
fn drawn(runs: &[Vec<Ratio>], counts: &[u32], random: &mut ChaCha8Rng) -> f64 {
    let mut sum = Ratio::default();
    for _ in runs {
        let run = &runs[random.random_range(0..runs.len())];
        for (ratio, &count) in run.iter().zip(counts) {
            sum.numerator += f64::from(count) * ratio.numerator;
            sum.denominator += f64::from(count) * ratio.denominator;
        }
    }
    sum.value()
}

fn different(first: usize, other: usize) -> MetricsError {
    MetricsError::Option {
        field: "runs",
        message: format!(
            "one has {first} pictures and another {other}, expected the same pictures"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bootstrap::tests::{ratios, uniform};

    #[test]
    fn with_one_seed_it_is_the_interval_over_pictures() {
        let run = ratios(&uniform(300, 1));
        let bootstrap = Bootstrap::default();
        let pictures = bootstrap.interval(&run).unwrap();
        let crossed = bootstrap.crossed_interval(&[run]).unwrap();
        assert!((pictures.estimate - crossed.estimate).abs() < 1e-12);
        for (a, b) in [(pictures.low, crossed.low), (pictures.high, crossed.high)] {
            assert!((a - b).abs() < 0.003, "{pictures:?} {crossed:?}");
        }
    }

    #[test]
    fn the_interval_includes_the_variation_between_seeds() {
        // The seeds differ by 0.2, the pictures hardly.
        let runs = [0.3, 0.5].map(|mean| {
            let noise = uniform(200, 2);
            ratios(
                &noise
                    .iter()
                    .map(|value| mean + 0.01 * value)
                    .collect::<Vec<f64>>(),
            )
        });
        let interval = Bootstrap::default().crossed_interval(&runs).unwrap();
        assert!((interval.estimate - 0.405).abs() < 0.01, "{interval:?}");
        assert!(
            interval.low < 0.31 && interval.high > 0.5,
            "the range of the seeds: {interval:?}"
        );
        let one = Bootstrap::default().crossed_interval(&runs[..1]).unwrap();
        assert!(one.high - one.low < 0.01, "{one:?}");
    }

    #[test]
    fn the_interval_of_a_mean_is_that_of_the_two_variances() {
        // Independent effects of 8 seeds and of 200 pictures.
        let (seeds, pictures) = (uniform(8, 3), uniform(200, 4));
        let runs: Vec<Vec<Ratio>> = seeds
            .iter()
            .map(|seed| ratios(&pictures.iter().map(|p| p + seed).collect::<Vec<f64>>()))
            .collect();
        let variance = |values: &[f64]| {
            let mean = values.iter().sum::<f64>() / values.len() as f64;
            let squares = values.iter().map(|value| (value - mean).powi(2));
            squares.sum::<f64>() / (values.len() as f64).powi(2)
        };
        let half = 1.96 * (variance(&seeds) + variance(&pictures)).sqrt();
        let interval = Bootstrap::default().crossed_interval(&runs).unwrap();
        let width = interval.high - interval.low;
        assert!(
            (width / (2.0 * half) - 1.0).abs() < 0.05,
            "{interval:?} {half}"
        );
    }

    #[test]
    fn a_difference_is_paired_by_picture() {
        let base = uniform(200, 5);
        let first = vec![ratios(&base), ratios(&base)];
        let better: Vec<f64> = base.iter().map(|value| value + 0.05).collect();
        let second = vec![ratios(&better), ratios(&better)];
        let difference = Bootstrap::default()
            .crossed_difference(&first, &second)
            .unwrap();
        for value in [difference.estimate, difference.low, difference.high] {
            assert!((value - 0.05).abs() < 1e-9, "{difference:?}");
        }
    }

    #[test]
    fn runs_on_different_pictures_are_an_error() {
        let bootstrap = Bootstrap::default();
        let message =
            |runs: &[Vec<Ratio>]| bootstrap.crossed_interval(runs).unwrap_err().to_string();
        assert_eq!(message(&[]), "runs: none, expected at least one");
        assert_eq!(
            message(&[ratios(&[0.1, 0.2]), ratios(&[0.1])]),
            "runs: one has 2 pictures and another 1, expected the same pictures"
        );
        let error = bootstrap
            .crossed_difference(&[ratios(&[0.1])], &[ratios(&[0.1, 0.3])])
            .unwrap_err();
        assert!(error.to_string().starts_with("runs: one has 1 pictures"));
    }
}
