//! Comparison of two runs on the same pictures.

use crate::bootstrap::{Bootstrap, Interval};
use crate::error::Result;
use crate::pairing::check_same_keys;
use crate::ratio::Ratio;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Display;

/// The difference of two runs on the same pictures.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Comparison {
    /// The metric of the second run minus that of the first, with its confidence interval.
    pub difference: Interval,
    /// Two-sided p-value of the hypothesis that the runs do not differ.
    pub p_value: f64,
}

impl Bootstrap {
    /// Compares two runs, given the ratio of each picture by the picture's id.
    ///
    /// The confidence interval is from a paired bootstrap, which draws the same pictures for both runs.
    /// The p-value is from a permutation test with random permutations, each of which swaps the two
    /// runs' results of every picture with probability ½. The smallest possible p-value is
    /// `1 / (resamples + 1)`.
    ///
    /// The caller must make sure that both runs scored the same phrases of each picture;
    /// [`CommonTasks`](crate::CommonTasks) does so.
    ///
    /// ```
    /// use clipseg_metrics::{Bootstrap, Ratio};
    /// use std::collections::BTreeMap;
    ///
    /// let run = |ious: [f64; 3]| -> BTreeMap<u64, Ratio> {
    ///     let ratios = ious.map(|numerator| Ratio { numerator, denominator: 1.0 });
    ///     [61512, 61513, 61514].into_iter().zip(ratios).collect()
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
    /// If a picture is in one run only, there is no picture, a ratio is NaN or infinite, or an option is
    /// out of range.
    pub fn compare<K: Ord + Display>(
        &self,
        first: &BTreeMap<K, Ratio>,
        second: &BTreeMap<K, Ratio>,
    ) -> Result<Comparison> {
        check_same_keys("pictures", first, second)?;
        for run in [first, second] {
            self.check(run.values())?;
        }
        let pairs: Vec<[Ratio; 2]> = first
            .values()
            .zip(second.values())
            .map(|(&a, &b)| [a, b])
            .collect();
        let difference = |pairs: &mut dyn Iterator<Item = [Ratio; 2]>| {
            let mut sums = [Ratio::default(); 2];
            for [a, b] in pairs {
                sums[0] += a;
                sums[1] += b;
            }
            sums[1].value() - sums[0].value()
        };
        let estimate = difference(&mut pairs.iter().copied());
        let values = self.resample(pairs.len(), |drawn| {
            difference(&mut drawn.map(|index| pairs[index]))
        });

        // The tolerance counts differences as equal that differ only by the order of summation.
        let at_least = estimate.abs() * (1.0 - 1e-12);
        let mut random = ChaCha8Rng::seed_from_u64(self.seed);
        let extreme = (0..self.resamples)
            .filter(|_| {
                let mut coins = Coins::new(&mut random);
                let mut permuted = pairs
                    .iter()
                    .map(|&[a, b]| if coins.toss() { [b, a] } else { [a, b] });
                difference(&mut permuted).abs() >= at_least
            })
            .count();
        Ok(Comparison {
            difference: self.percentiles(estimate, values),
            p_value: (extreme + 1) as f64 / (self.resamples + 1) as f64,
        })
    }
}

/// Random bits, 64 from each number of the generator.
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
    use crate::bootstrap::tests::{ratios, uniform};

    /// A run with one phrase for each picture. The ids do not start at 0.
    fn run(values: &[f64]) -> BTreeMap<u64, Ratio> {
        (61_512..).zip(ratios(values)).collect()
    }

    #[test]
    fn equal_runs_do_not_differ() {
        let run = run(&uniform(50, 4));
        let comparison = Bootstrap::default().compare(&run, &run).unwrap();
        let difference = comparison.difference;
        assert_eq!(
            [difference.estimate, difference.low, difference.high],
            [0.0; 3]
        );
        assert_eq!(comparison.p_value, 1.0);
    }

    #[test]
    fn the_p_value_is_the_fraction_of_extreme_permutations() {
        // Six pictures with the same improvement: 2 of the 64 permutations are as extreme.
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
    fn the_paired_test_is_more_sensitive_than_two_intervals() {
        let first = uniform(200, 7);
        let second: Vec<f64> = first
            .iter()
            .zip(uniform(200, 8))
            .map(|(a, b)| a + 0.04 * b)
            .collect();
        let bootstrap = Bootstrap::default();
        let separate = [&first, &second].map(|values| bootstrap.interval(&ratios(values)).unwrap());
        assert!(separate[0].high > separate[1].low, "the intervals overlap");
        let comparison = bootstrap.compare(&run(&first), &run(&second)).unwrap();
        assert!(comparison.difference.low > 0.015, "{comparison:?}");
        assert!(comparison.p_value < 0.001, "{comparison:?}");
    }

    #[test]
    fn equal_distributions_are_rarely_significant() {
        let bootstrap = Bootstrap {
            resamples: 300,
            ..Bootstrap::default()
        };
        let significant = (0..400u64)
            .filter(|&seed| {
                let (a, b) = (uniform(40, 2 * seed), uniform(40, 2 * seed + 1));
                let comparison = bootstrap.compare(&run(&a), &run(&b)).unwrap();
                comparison.p_value <= 0.05
            })
            .count();
        // 20 expected, with a standard deviation of 4.4.
        assert!((5..=35).contains(&significant), "{significant} of 400");
    }

    #[test]
    fn runs_without_pictures_are_an_error() {
        let none = BTreeMap::<u64, Ratio>::new();
        let error = Bootstrap::default().compare(&none, &none).unwrap_err();
        assert_eq!(error.to_string(), "pictures: none, expected at least one");
    }

    #[test]
    fn pictures_are_paired_by_their_ids() {
        let values = uniform(40, 9);
        let first = run(&values);
        // The same ratios in the same order, but with other ids.
        let shifted: BTreeMap<u64, Ratio> =
            first.iter().map(|(id, share)| (id + 1, *share)).collect();
        let error = Bootstrap::default().compare(&first, &shifted).unwrap_err();
        assert_eq!(
            error.to_string(),
            "1 pictures are only in the first run and 1 only in the second, such as 61512; expected \
             the same pictures in both"
        );
        let mut fewer = first.clone();
        fewer.remove(&61_530);
        let error = Bootstrap::default().compare(&fewer, &first).unwrap_err();
        assert_eq!(
            error.to_string(),
            "0 pictures are only in the first run and 1 only in the second, such as 61530; expected \
             the same pictures in both"
        );
    }
}
