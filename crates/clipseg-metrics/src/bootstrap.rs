//! How sure a figure is, and whether two runs differ.
//!
//! Pictures are drawn, not phrases or pixels: phrases of one picture succeed and fail together, and
//! counting them as independent would make every interval too narrow.

use crate::error::{MetricsError, Result};
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Display;

/// One picture's part in a figure that is a sum over a sum: `Σ part / Σ whole`.
///
/// Mean IoU over phrases is the sum of the phrases' IoU over their number; cumulative IoU is the sum
/// of intersections over the sum of unions; Pr@0.5 is a number of phrases over a number of phrases.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Share {
    /// Term of the numerator.
    pub part: f64,
    /// Term of the denominator.
    pub whole: f64,
}

impl Share {
    /// `part / whole`, 0 if there is no whole.
    pub fn value(&self) -> f64 {
        if self.whole == 0.0 {
            0.0
        } else {
            self.part / self.whole
        }
    }
}

impl std::ops::AddAssign for Share {
    fn add_assign(&mut self, other: Self) {
        self.part += other.part;
        self.whole += other.whole;
    }
}

impl std::iter::Sum for Share {
    fn sum<I: Iterator<Item = Self>>(shares: I) -> Self {
        shares.fold(Self::default(), |mut sum, share| {
            sum += share;
            sum
        })
    }
}

/// Resampling over pictures; the same seed gives the same figures.
///
/// ```
/// use clipseg_metrics::{Bootstrap, Share};
///
/// let pictures: Vec<Share> = (0..200)
///     .map(|picture| Share { part: f64::from(picture % 10) / 10.0, whole: 1.0 })
///     .collect();
/// let interval = Bootstrap::default().interval(&pictures)?;
/// assert!(interval.low < 0.45 && 0.45 < interval.high);
/// assert!(interval.high - interval.low < 0.1);
/// # Ok::<(), clipseg_metrics::MetricsError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bootstrap {
    /// How often pictures are drawn. Default: 10,000.
    pub resamples: usize,
    /// Probability that an interval covers. Default: 0.95.
    pub level: f64,
    /// Decides what is drawn. Default: 0.
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

/// A figure, and between what it would have come out with other pictures.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Interval {
    /// The figure of the pictures themselves.
    pub estimate: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Probability that such an interval covers.
    pub level: f64,
}

/// Two runs on the same pictures.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Comparison {
    /// The figure of the second run less that of the first, with its interval.
    pub difference: Interval,
    /// Probability of a difference this large, either way, if the runs were exchangeable.
    pub p_value: f64,
}

impl Bootstrap {
    /// The percentile interval (Efron 1979, doi:10.1214/aos/1176344552): the figure of as many
    /// pictures, drawn with replacement, again and again.
    ///
    /// # Errors
    ///
    /// If there is no picture, a share is not finite, or an option is out of range.
    pub fn interval(&self, pictures: &[Share]) -> Result<Interval> {
        self.check(pictures)?;
        let draws = self.draws(pictures.len(), |drawn| {
            drawn.map(|index| pictures[index]).sum::<Share>().value()
        });
        let estimate = pictures.iter().copied().sum::<Share>().value();
        Ok(self.percentiles(estimate, draws))
    }

    /// Compares two runs picture by picture; the keys are the pictures' ids.
    ///
    /// The interval is a paired bootstrap: the same pictures are drawn for both. The probability is
    /// that of a permutation test (Fisher's, by drawing): each picture's results are given to one run
    /// or the other by the toss of a coin. The smallest one that can come out is
    /// `1 / (resamples + 1)`.
    ///
    /// That each picture is about the same phrases in both runs is up to the caller;
    /// [`CommonTasks`](crate::CommonTasks) sees to it.
    ///
    /// ```
    /// use clipseg_metrics::{Bootstrap, Share};
    /// use std::collections::BTreeMap;
    ///
    /// let run = |ious: [f64; 3]| -> BTreeMap<u64, Share> {
    ///     [61512, 61513, 61514].into_iter().zip(ious.map(|part| Share { part, whole: 1.0 })).collect()
    /// };
    /// let (first, second) = (run([0.1, 0.2, 0.3]), run([0.2, 0.3, 0.5]));
    /// let comparison = Bootstrap::default().compare(&first, &second)?;
    /// assert!((comparison.difference.estimate - 0.4 / 3.0).abs() < 1e-12);
    ///
    /// let mut fewer = second;
    /// fewer.remove(&61513);
    /// let error = Bootstrap::default().compare(&first, &fewer).unwrap_err().to_string();
    /// assert!(error.contains("such as 61513"));
    /// # Ok::<(), clipseg_metrics::MetricsError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// If a picture is in one run only, there is no picture, a share is not finite, or an option is out
    /// of range.
    pub fn compare<K: Ord + Display>(
        &self,
        first: &BTreeMap<K, Share>,
        second: &BTreeMap<K, Share>,
    ) -> Result<Comparison> {
        check_same_keys("pictures", first, second)?;
        for run in [first, second] {
            self.check(run.values())?;
        }
        let pairs: Vec<[Share; 2]> = first
            .values()
            .zip(second.values())
            .map(|(&a, &b)| [a, b])
            .collect();
        let difference = |pairs: &mut dyn Iterator<Item = [Share; 2]>| {
            let mut sums = [Share::default(); 2];
            for [a, b] in pairs {
                sums[0] += a;
                sums[1] += b;
            }
            sums[1].value() - sums[0].value()
        };
        let estimate = difference(&mut pairs.iter().copied());
        let draws = self.draws(pairs.len(), |drawn| {
            difference(&mut drawn.map(|index| pairs[index]))
        });

        // Equal differences must count as such, although their sums were added in another order.
        let as_large = estimate.abs() * (1.0 - 1e-12);
        let mut random = ChaCha8Rng::seed_from_u64(self.seed);
        let larger = (0..self.resamples)
            .filter(|_| {
                let mut coins = Coins::new(&mut random);
                let mut tossed = pairs
                    .iter()
                    .map(|&[a, b]| if coins.toss() { [b, a] } else { [a, b] });
                difference(&mut tossed).abs() >= as_large
            })
            .count();
        Ok(Comparison {
            difference: self.percentiles(estimate, draws),
            p_value: (larger + 1) as f64 / (self.resamples + 1) as f64,
        })
    }

    fn check<'a>(&self, pictures: impl IntoIterator<Item = &'a Share>) -> Result<()> {
        let fail = |field, message: String| Err(MetricsError::Option { field, message });
        let mut pictures = pictures.into_iter().peekable();
        if pictures.peek().is_none() {
            return fail("pictures", "none, expected at least one".into());
        }
        if let Some(Share { part, whole }) =
            pictures.find(|share| !(share.part.is_finite() && share.whole.is_finite()))
        {
            return fail(
                "pictures",
                format!("a share of {part} of {whole}, expected finite numbers"),
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

    /// The figure of each resample, sorted.
    fn draws(
        &self,
        pictures: usize,
        figure: impl Fn(&mut dyn Iterator<Item = usize>) -> f64,
    ) -> Vec<f64> {
        let mut random = ChaCha8Rng::seed_from_u64(self.seed);
        let mut figures: Vec<f64> = (0..self.resamples)
            .map(|_| figure(&mut (0..pictures).map(|_| random.random_range(0..pictures))))
            .collect();
        figures.sort_unstable_by(f64::total_cmp);
        figures
    }

    fn percentiles(&self, estimate: f64, sorted: Vec<f64>) -> Interval {
        // Between two neighbours, in proportion, as numpy does it.
        let at = |share: f64| {
            let place = share * (sorted.len() - 1) as f64;
            let below = sorted[place.floor() as usize];
            below + (sorted[place.ceil() as usize] - below) * place.fract()
        };
        let tail = 0.5 * (1.0 - self.level);
        Interval {
            estimate,
            low: at(tail),
            high: at(1.0 - tail),
            level: self.level,
        }
    }
}

/// Checks that two runs are about the same things.
pub(crate) fn check_same_keys<K: Ord + Display, A, B>(
    what: &'static str,
    first: &BTreeMap<K, A>,
    second: &BTreeMap<K, B>,
) -> Result<()> {
    let only_first: Vec<&K> = first
        .keys()
        .filter(|key| !second.contains_key(key))
        .collect();
    let only_second: Vec<&K> = second
        .keys()
        .filter(|key| !first.contains_key(key))
        .collect();
    match only_first.first().or(only_second.first()) {
        None => Ok(()),
        Some(example) => Err(MetricsError::Unpaired {
            what,
            only_first: only_first.len(),
            only_second: only_second.len(),
            example: example.to_string(),
        }),
    }
}

/// Coins from the bits of a generator's words.
struct Coins<'a, R> {
    random: &'a mut R,
    bits: u64,
    left: u32,
}

impl<'a, R: Rng> Coins<'a, R> {
    fn new(random: &'a mut R) -> Self {
        Self {
            random,
            bits: 0,
            left: 0,
        }
    }

    fn toss(&mut self) -> bool {
        if self.left == 0 {
            self.bits = self.random.next_u64();
            self.left = u64::BITS;
        }
        self.left -= 1;
        self.bits >> self.left & 1 == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A run in which each picture has one phrase; their ids do not begin at 0.
    fn run(values: &[f64]) -> BTreeMap<u64, Share> {
        (61_512..).zip(shares(values)).collect()
    }

    fn shares(values: &[f64]) -> Vec<Share> {
        values
            .iter()
            .map(|&part| Share { part, whole: 1.0 })
            .collect()
    }

    /// Numbers that look random, with mean 0.5 and standard deviation 0.29.
    fn spread(count: usize, seed: u64) -> Vec<f64> {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        (0..count).map(|_| random.random::<f64>()).collect()
    }

    #[test]
    fn the_interval_is_that_of_the_normal_distribution() {
        let pictures = shares(&spread(400, 1));
        let mean = pictures.iter().map(|p| p.part).sum::<f64>() / 400.0;
        let variance = pictures
            .iter()
            .map(|p| (p.part - mean).powi(2))
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
    fn an_interval_covers_as_often_as_it_says() {
        let bootstrap = Bootstrap {
            resamples: 400,
            level: 0.9,
            seed: 3,
        };
        let covering = (0..500u64)
            .filter(|&seed| {
                let interval = bootstrap
                    .interval(&shares(&spread(60, 1000 + seed)))
                    .unwrap();
                interval.low <= 0.5 && 0.5 <= interval.high
            })
            .count();
        // 450 expected, with a standard deviation of 7; the percentile method is a little narrow.
        assert!((420..=475).contains(&covering), "{covering} of 500");
    }

    #[test]
    fn weights_count() {
        // One large picture decides a pooled figure: 90 of 100 against 0 of 1.
        let pictures = [(90.0, 100.0), (0.0, 1.0)].map(|(part, whole)| Share { part, whole });
        let interval = Bootstrap::default().interval(&pictures).unwrap();
        assert!((interval.estimate - 90.0 / 101.0).abs() < 1e-12);
        assert_eq!((interval.low, interval.high), (0.0, 0.9));
    }

    #[test]
    fn the_seed_decides() {
        let pictures = shares(&spread(30, 2));
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
    fn equal_runs_do_not_differ() {
        let run = run(&spread(50, 4));
        let comparison = Bootstrap::default().compare(&run, &run).unwrap();
        let difference = comparison.difference;
        assert_eq!(
            [difference.estimate, difference.low, difference.high],
            [0.0; 3]
        );
        assert_eq!(comparison.p_value, 1.0);
    }

    #[test]
    fn the_permutation_test_is_exact_where_it_can_be_counted() {
        // Six pictures, all better by the same: of 64 ways to toss, 2 are as extreme.
        let first = run(&[0.1, 0.2, 0.3, 0.4, 0.5, 0.6]);
        let second = run(&[0.3, 0.4, 0.5, 0.6, 0.7, 0.8]);
        let comparison = Bootstrap::default().compare(&first, &second).unwrap();
        assert!((comparison.difference.estimate - 0.2).abs() < 1e-12);
        assert!(
            (comparison.p_value - 2.0 / 64.0).abs() < 0.006,
            "{comparison:?}"
        );
    }

    #[test]
    fn pairing_finds_what_two_intervals_cannot() {
        let first = spread(200, 7);
        let second: Vec<f64> = first
            .iter()
            .zip(spread(200, 8))
            .map(|(a, b)| a + 0.04 * b)
            .collect();
        let bootstrap = Bootstrap::default();
        let apart = [&first, &second].map(|values| bootstrap.interval(&shares(values)).unwrap());
        assert!(apart[0].high > apart[1].low, "they overlap");
        let comparison = bootstrap.compare(&run(&first), &run(&second)).unwrap();
        assert!(comparison.difference.low > 0.015, "{comparison:?}");
        assert!(comparison.p_value < 0.001, "{comparison:?}");
    }

    #[test]
    fn chance_alone_is_seldom_significant() {
        let bootstrap = Bootstrap {
            resamples: 300,
            ..Bootstrap::default()
        };
        let significant = (0..400u64)
            .filter(|&seed| {
                let (a, b) = (spread(40, 2 * seed), spread(40, 2 * seed + 1));
                let comparison = bootstrap.compare(&run(&a), &run(&b)).unwrap();
                comparison.p_value <= 0.05
            })
            .count();
        // 20 expected, with a standard deviation of 4.4.
        assert!((5..=35).contains(&significant), "{significant} of 400");
    }

    #[test]
    fn bad_input_is_named() {
        let one = shares(&[1.0]);
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
        for [part, whole] in [[f64::NAN, 1.0], [0.0, f64::INFINITY]] {
            assert_eq!(
                message(Bootstrap::default().interval(&[one[0], Share { part, whole }])),
                format!("pictures: a share of {part} of {whole}, expected finite numbers")
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
        let none = BTreeMap::<u64, Share>::new();
        let error = Bootstrap::default().compare(&none, &none).unwrap_err();
        assert_eq!(error.to_string(), "pictures: none, expected at least one");
    }

    #[test]
    fn pictures_are_paired_by_their_ids() {
        let values = spread(40, 9);
        let first = run(&values);
        // As many pictures, but not the same ones: by position they would be equal.
        let shifted: BTreeMap<u64, Share> =
            first.iter().map(|(id, share)| (id + 1, *share)).collect();
        let error = Bootstrap::default().compare(&first, &shifted).unwrap_err();
        assert_eq!(
            error.to_string(),
            "1 pictures are in the first run only and 1 in the second only, such as 61512; expected \
             the same pictures"
        );
        let mut fewer = first.clone();
        fewer.remove(&61_530);
        let error = Bootstrap::default().compare(&fewer, &first).unwrap_err();
        assert_eq!(
            error.to_string(),
            "0 pictures are in the first run only and 1 in the second only, such as 61530; expected \
             the same pictures"
        );
    }
}
