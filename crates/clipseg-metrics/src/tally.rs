//! Confusion counts of many masks, averaged or pooled, also by group.

use crate::confusion::Confusion;
use crate::ratio::Ratio;
use std::collections::BTreeMap;
use std::collections::btree_map;
use std::ops::AddAssign;

/// The confusion counts of many masks. A metric can be averaged over the masks, or computed from all their
/// pixels pooled.
///
/// `+=` merges tallies, for example those of several threads or devices. All results are bitwise
/// independent of the order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    masks: Vec<Confusion>,
}

impl Tally {
    /// A tally without masks.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the counts of a mask.
    pub fn push(&mut self, counts: Confusion) {
        self.masks.push(counts);
    }

    /// The counts of each mask, in the order in which they were added.
    pub fn masks(&self) -> &[Confusion] {
        &self.masks
    }

    /// Number of masks.
    pub fn len(&self) -> usize {
        self.masks.len()
    }

    /// Whether there are no masks.
    pub fn is_empty(&self) -> bool {
        self.masks.is_empty()
    }

    /// The counts of all pixels pooled, as in `tally.pooled().iou()`.
    pub fn pooled(&self) -> Confusion {
        self.masks.iter().copied().sum()
    }

    /// The mean of a metric over the masks, as in `tally.mean(Confusion::iou)`; 0 without masks.
    pub fn mean(&self, metric: impl Fn(&Confusion) -> f64) -> f64 {
        self.mean_ratio(metric).value()
    }

    /// [`mean`](Self::mean) as the ratio of a sum and the number of masks, for
    /// [`Bootstrap`](crate::Bootstrap).
    pub fn mean_ratio(&self, metric: impl Fn(&Confusion) -> f64) -> Ratio {
        Ratio {
            numerator: ordered_sum(self.masks.iter().map(metric)),
            denominator: self.masks.len() as f64,
        }
    }

    /// The pooled IoU as the ratio of intersection and union, for [`Bootstrap`](crate::Bootstrap).
    pub fn iou_ratio(&self) -> Ratio {
        let pooled = self.pooled();
        Ratio {
            numerator: pooled.true_positive as f64,
            denominator: pooled.union() as f64,
        }
    }
}

/// A sum that does not depend on the order of its terms, because they are sorted first.
pub(crate) fn ordered_sum(terms: impl Iterator<Item = f64>) -> f64 {
    let mut terms: Vec<f64> = terms.collect();
    terms.sort_unstable_by(f64::total_cmp);
    // `Iterator::sum` of no terms is −0.
    terms.into_iter().fold(0.0, |sum, term| sum + term)
}

impl AddAssign for Tally {
    fn add_assign(&mut self, mut other: Self) {
        self.masks.append(&mut other.masks);
    }
}

impl Extend<Confusion> for Tally {
    fn extend<I: IntoIterator<Item = Confusion>>(&mut self, counts: I) {
        self.masks.extend(counts);
    }
}

impl FromIterator<Confusion> for Tally {
    fn from_iter<I: IntoIterator<Item = Confusion>>(counts: I) -> Self {
        Self {
            masks: counts.into_iter().collect(),
        }
    }
}

/// One accumulator, such as a [`Tally`], for each of several groups: classes, subsets, seen and unseen
/// words, or pictures. A mask may belong to several groups.
///
/// ```
/// use clipseg_metrics::{Confusion, Grouped, Tally};
///
/// let counts = Confusion::from_masks(&[1u8, 1], &[1u8, 0], "a mask")?;
/// let mut scores: Grouped<&str, Tally> = Grouped::new();
/// for group in ["seen", "cat"] {
///     scores.entry(group).push(counts);
/// }
/// assert_eq!(scores.get(&"seen").unwrap().mean(Confusion::iou), 0.5);
/// # Ok::<(), clipseg_metrics::MetricsError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grouped<K, A> {
    groups: BTreeMap<K, A>,
}

impl<K: Ord, A: Default> Grouped<K, A> {
    /// Without groups.
    pub fn new() -> Self {
        Self::default()
    }

    /// The accumulator of a group, which is created if it does not exist.
    pub fn entry(&mut self, key: K) -> &mut A {
        self.groups.entry(key).or_default()
    }

    /// The accumulator of a group, if it exists.
    pub fn get(&self, key: &K) -> Option<&A> {
        self.groups.get(key)
    }

    /// Number of groups.
    pub fn len(&self) -> usize {
        self.groups.len()
    }

    /// Whether there are no groups.
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// The groups in the order of their keys.
    pub fn iter(&self) -> btree_map::Iter<'_, K, A> {
        self.groups.iter()
    }

    /// The mean of a metric over the groups; 0 without groups.
    pub fn mean(&self, metric: impl Fn(&A) -> f64) -> f64 {
        ordered_sum(self.groups.values().map(metric)) / (self.groups.len().max(1) as f64)
    }
}

impl<K, A> Default for Grouped<K, A> {
    fn default() -> Self {
        Self {
            groups: BTreeMap::new(),
        }
    }
}

impl<K: Ord, A: Default + AddAssign> AddAssign for Grouped<K, A> {
    fn add_assign(&mut self, other: Self) {
        for (key, accumulated) in other.groups {
            *self.groups.entry(key).or_default() += accumulated;
        }
    }
}

impl<'a, K, A> IntoIterator for &'a Grouped<K, A> {
    type Item = (&'a K, &'a A);
    type IntoIter = btree_map::Iter<'a, K, A>;

    fn into_iter(self) -> Self::IntoIter {
        self.groups.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_empty_sum_is_positive_zero() {
        assert!(ordered_sum(std::iter::empty()).is_sign_positive());
        assert_eq!(ordered_sum([0.5, -2.0, 0.25].into_iter()), -1.25);
    }

    fn counts(true_positive: u64, false_positive: u64, false_negative: u64) -> Confusion {
        Confusion {
            true_positive,
            false_positive,
            false_negative,
            true_negative: 5,
        }
    }

    #[test]
    fn averaging_and_pooling_differ() {
        // The IoUs are 1/1 and 1/4, their mean is 0.625, and the pooled IoU is 2/5.
        let tally: Tally = [counts(1, 0, 0), counts(1, 2, 1)].into_iter().collect();
        assert_eq!(tally.mean(Confusion::iou), 0.625);
        assert_eq!(tally.pooled().iou(), 0.4);
        assert_eq!(tally.iou_ratio().value(), 0.4);
        assert_eq!(Tally::new().mean(Confusion::iou), 0.0);
    }

    #[test]
    fn sums_do_not_depend_on_the_order_of_their_terms() {
        let terms = [0.1, 0.2, 0.3, 1e16, -1e16];
        let plain = |order: [usize; 5]| order.map(|index| terms[index]).iter().sum::<f64>();
        let ordered = |order: [usize; 5]| ordered_sum(order.map(|index| terms[index]).into_iter());
        let orders = [[0, 1, 2, 3, 4], [3, 4, 2, 1, 0], [3, 0, 4, 1, 2]];
        assert_ne!(
            plain(orders[0]),
            plain(orders[1]),
            "the terms must be sensitive to the order"
        );
        for order in orders {
            assert_eq!(ordered(order), ordered(orders[0]));
        }
    }

    proptest! {
        #[test]
        fn results_do_not_depend_on_the_order_of_merging(
            masks in prop::collection::vec((0u8..3, 0u64..500, 0u64..500, 0u64..500), 1..30),
            cut in 0usize..30,
        ) {
            let gather = |masks: &[(u8, u64, u64, u64)]| {
                let mut groups: Grouped<u8, Tally> = Grouped::new();
                for &(group, a, b, c) in masks {
                    groups.entry(group).push(counts(a, b, c));
                }
                groups
            };
            let (left, right) = masks.split_at(cut.min(masks.len()));
            let whole = gather(&masks);
            let mut merged = gather(right);
            merged += gather(left);
            prop_assert_eq!(whole.len(), merged.len());
            for group in 0..3u8 {
                let own: Vec<Confusion> = masks
                    .iter()
                    .filter(|mask| mask.0 == group)
                    .map(|&(_, a, b, c)| counts(a, b, c))
                    .collect();
                let Some(tally) = merged.get(&group) else {
                    prop_assert!(own.is_empty());
                    continue;
                };
                let mean = own.iter().map(Confusion::dice).sum::<f64>() / own.len() as f64;
                prop_assert!((tally.mean(Confusion::dice) - mean).abs() < 1e-12);
                prop_assert_eq!(tally.len(), own.len());
            }
            for (group, tally) in &whole {
                let other = merged.get(group).unwrap();
                prop_assert_eq!(tally.pooled(), other.pooled());
                prop_assert_eq!(tally.mean(Confusion::dice), other.mean(Confusion::dice));
            }
            let mean = |groups: &Grouped<u8, Tally>| groups.mean(|tally| tally.pooled().iou());
            prop_assert_eq!(mean(&whole), mean(&merged));
        }
    }
}
