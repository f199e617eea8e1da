//! Confidence intervals by bootstrapping over pictures.
//!
//! Pictures are resampled, not phrases or pixels. The results of the phrases of one picture are
//! correlated, and treating them as independent would make the intervals too narrow.

use crate::error::{MetricsError, Result};
use crate::ratio::Ratio;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

/// A bootstrap over pictures. The same random seed gives the same results.
///
/// ```
/// use clipseg_metrics::{Bootstrap, Ratio};
///
/// let pictures: Vec<Ratio> = (0..200)
///     .map(|picture| Ratio { numerator: f64::from(picture % 10) / 10.0, denominator: 1.0 })
///     .collect();
/// let interval = Bootstrap::default().interval(&pictures)?;
/// assert!(interval.low < 0.45 && 0.45 < interval.high);
/// assert!(interval.high - interval.low < 0.1);
/// # Ok::<(), clipseg_metrics::MetricsError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bootstrap {
    /// Number of resamples. Default: 10,000.
    pub resamples: usize,
    /// Confidence level of the intervals. Default: 0.95.
    pub level: f64,
    /// Random seed. Default: 0.
    pub seed: u64,
}

impl Default for Bootstrap {
    fn default() -> Self {
        Self {
            resamples: 10_000,
            level: 0.95,
            seed: 0,
        }
    }
}

/// The value of a metric with its confidence interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Interval {
    /// The value on the given pictures.
    pub estimate: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end of the interval.
    pub high: f64,
    /// Confidence level.
    pub level: f64,
}

impl Bootstrap {
    /// The percentile confidence interval (Efron 1979, doi:10.1214/aos/1176344552) of a metric, given
    /// the ratio of each picture. Each resample draws as many pictures with replacement.
    ///
    /// # Errors
    ///
    /// If there is no picture, a ratio is NaN or infinite, or an option is out of range.
    pub fn interval(&self, pictures: &[Ratio]) -> Result<Interval> {
        self.check(pictures)?;
        let values = self.resample(pictures.len(), |drawn| {
            drawn.map(|index| pictures[index]).sum::<Ratio>().value()
        });
        let estimate = pictures.iter().copied().sum::<Ratio>().value();
        Ok(self.percentiles(estimate, values))
    }

    /// Checks the options and the ratios of the pictures.
    pub(crate) fn check<'a>(&self, pictures: impl IntoIterator<Item = &'a Ratio>) -> Result<()> {
        let fail = |field, message: String| Err(MetricsError::Option { field, message });
        let mut pictures = pictures.into_iter().peekable();
        if pictures.peek().is_none() {
            return fail("pictures", "none, expected at least one".into());
        }
        let is_finite =
            |ratio: &Ratio| ratio.numerator.is_finite() && ratio.denominator.is_finite();
        if let Some(ratio) = pictures.find(|ratio| !is_finite(ratio)) {
            let (numerator, denominator) = (ratio.numerator, ratio.denominator);
            return fail(
                "pictures",
                format!("the ratio {numerator} / {denominator}, expected finite numbers"),
            );
        }
        if self.resamples == 0 {
            return fail("resamples", "0, expected at least 1".into());
        }
        if !(self.level > 0.0 && self.level < 1.0) {
            return fail("level", format!("{}, expected between 0 and 1", self.level));
        }
        Ok(())
    }

    /// The values of all resamples, sorted. `value` receives the indices of the drawn pictures.
    pub(crate) fn resample(
        &self,
        pictures: usize,
        value: impl Fn(&mut dyn Iterator<Item = usize>) -> f64,
    ) -> Vec<f64> {
        let mut random = ChaCha8Rng::seed_from_u64(self.seed);
        let mut values: Vec<f64> = (0..self.resamples)
            .map(|_| value(&mut (0..pictures).map(|_| random.random_range(0..pictures))))
            .collect();
        values.sort_unstable_by(f64::total_cmp);
        values
    }

    /// The interval between the percentiles of sorted values.
    pub(crate) fn percentiles(&self, estimate: f64, sorted: Vec<f64>) -> Interval {
        // Linear interpolation between neighbouring values, the default of numpy's `quantile`.
        let quantile = |q: f64| {
            let position = q * (sorted.len() - 1) as f64;
            let below = sorted[position.floor() as usize];
            below + (sorted[position.ceil() as usize] - below) * position.fract()
        };
        let tail = 0.5 * (1.0 - self.level);
        Interval {
            estimate,
            low: quantile(tail),
            high: quantile(1.0 - tail),
            level: self.level,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The ratios of pictures with one phrase each.
    pub(crate) fn ratios(values: &[f64]) -> Vec<Ratio> {
        values
            .iter()
            .map(|&numerator| Ratio {
                numerator,
                denominator: 1.0,
            })
            .collect()
    }

    /// Random numbers with mean 0.5 and standard deviation 0.29.
    pub(crate) fn uniform(count: usize, seed: u64) -> Vec<f64> {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        (0..count).map(|_| random.random::<f64>()).collect()
    }

    #[test]
    fn the_interval_of_a_mean_is_that_of_the_normal_distribution() {
        let pictures = ratios(&uniform(400, 1));
        let mean = pictures.iter().map(|p| p.numerator).sum::<f64>() / 400.0;
        let variance = pictures
            .iter()
            .map(|p| (p.numerator - mean).powi(2))
            .sum::<f64>()
            / 400.0;
        let half = 1.96 * (variance / 400.0).sqrt();
        let interval = Bootstrap::default().interval(&pictures).unwrap();
        assert!((interval.estimate - mean).abs() < 1e-12);
        assert!(
            (interval.low - (mean - half)).abs() < 0.05 * half,
            "{interval:?}"
        );
        assert!(
            (interval.high - (mean + half)).abs() < 0.05 * half,
            "{interval:?}"
        );
    }

    #[test]
    fn the_coverage_is_the_confidence_level() {
        let bootstrap = Bootstrap {
            resamples: 400,
            level: 0.9,
            seed: 3,
        };
        let covering = (0..500u64)
            .filter(|&seed| {
                let interval = bootstrap
                    .interval(&ratios(&uniform(60, 1000 + seed)))
                    .unwrap();
                interval.low <= 0.5 && 0.5 <= interval.high
            })
            .count();
        // 450 expected, with a standard deviation of 7; percentile intervals are slightly too narrow.
        assert!((420..=475).contains(&covering), "{covering} of 500");
    }

    #[test]
    fn pictures_are_weighted_by_their_denominators() {
        // One large picture dominates a pooled ratio: 90 of 100 and 0 of 1.
        let pictures = [(90.0, 100.0), (0.0, 1.0)].map(|(numerator, denominator)| Ratio {
            numerator,
            denominator,
        });
        let interval = Bootstrap::default().interval(&pictures).unwrap();
        assert!((interval.estimate - 90.0 / 101.0).abs() < 1e-12);
        assert_eq!((interval.low, interval.high), (0.0, 0.9));
    }

    #[test]
    fn the_random_seed_determines_the_resamples() {
        let pictures = ratios(&uniform(30, 2));
        let interval = |seed| {
            let bootstrap = Bootstrap {
                seed,
                ..Bootstrap::default()
            };
            bootstrap.interval(&pictures).unwrap()
        };
        assert_eq!(interval(5), interval(5));
        assert_ne!(interval(5), interval(6));
    }

    #[test]
    fn invalid_input_is_an_error() {
        let one = ratios(&[1.0]);
        let message = |result: Result<Interval>| result.unwrap_err().to_string();
        let with = |resamples, level| Bootstrap {
            resamples,
            level,
            seed: 0,
        };
        assert_eq!(
            message(Bootstrap::default().interval(&[])),
            "pictures: none, expected at least one"
        );
        for [numerator, denominator] in [[f64::NAN, 1.0], [0.0, f64::INFINITY]] {
            assert_eq!(
                message(Bootstrap::default().interval(&[
                    one[0],
                    Ratio {
                        numerator,
                        denominator
                    }
                ])),
                format!("pictures: the ratio {numerator} / {denominator}, expected finite numbers")
            );
        }
        assert_eq!(
            message(with(0, 0.95).interval(&one)),
            "resamples: 0, expected at least 1"
        );
        assert_eq!(
            message(with(10, 95.0).interval(&one)),
            "level: 95, expected between 0 and 1"
        );
    }
}
