//! Ratios of sums: the form of every metric that can be bootstrapped.

use serde::Serialize;
use std::iter::Sum;
use std::ops::AddAssign;

/// A numerator and a denominator. Adding ratios adds both, so the value of a sum is
/// `Σ numerator / Σ denominator`.
///
/// Metrics over many pictures have this form. Mean IoU is the sum of the tasks' IoUs over the number of
/// tasks. Cumulative IoU is the sum of intersections over the sum of unions. Pr@0.5 is the number of tasks
/// with an IoU above 0.5 over the number of tasks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Ratio {
    /// Numerator.
    pub numerator: f64,
    /// Denominator.
    pub denominator: f64,
}

impl Ratio {
    /// `numerator / denominator`, or 0 if the denominator is 0.
    pub fn value(&self) -> f64 {
        if self.denominator == 0.0 {
            0.0
        } else {
            self.numerator / self.denominator
        }
    }
}

/// The quotient of two counts, or 0 if the second is 0.
pub(crate) fn ratio(numerator: u64, denominator: u64) -> f64 {
    let (numerator, denominator) = (numerator as f64, denominator as f64);
    Ratio {
        numerator,
        denominator,
    }
    .value()
}

impl AddAssign for Ratio {
    fn add_assign(&mut self, other: Self) {
        self.numerator += other.numerator;
        self.denominator += other.denominator;
    }
}

impl Sum for Ratio {
    fn sum<I: Iterator<Item = Self>>(ratios: I) -> Self {
        ratios.fold(Self::default(), |mut sum, ratio| {
            sum += ratio;
            sum
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_divides_sums() {
        let ratios = [(1.0, 2.0), (2.0, 2.0), (0.0, 0.0)];
        let ratios = ratios.map(|(numerator, denominator)| Ratio {
            numerator,
            denominator,
        });
        assert_eq!(ratios.into_iter().sum::<Ratio>().value(), 0.75);
        assert_eq!(ratios[2].value(), 0.0);
        assert_eq!((ratio(1, 4), ratio(3, 0)), (0.25, 0.0));
    }
}
