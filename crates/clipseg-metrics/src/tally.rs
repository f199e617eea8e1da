//! Counts of many masks: figures of each and of all together, also by groups.

use crate::bootstrap::Share;
use crate::confusion::Confusion;
use std::collections::BTreeMap;
use std::collections::btree_map;
use std::ops::AddAssign;

/// The counts of many masks, kept apart, so that a figure can be had of each and averaged, or of all
/// their pixels together.
///
/// Tallies made on several threads or devices are merged by `+=`. All figures are the same to the
/// last bit, whatever the order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    masks: Vec<Confusion>,
}

impl Tally {
    /// A tally of no mask.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a mask.
    pub fn push(&mut self, counts: Confusion) {
        self.masks.push(counts);
    }

    /// The counts of each mask, in the order in which they came.
    pub fn masks(&self) -> &[Confusion] {
        &self.masks
    }

    /// Number of masks.
    pub fn len(&self) -> usize {
        self.masks.len()
    }

    /// Whether there is no mask.
    pub fn is_empty(&self) -> bool {
        self.masks.is_empty()
    }

    /// The counts of all pixels together: `tally.pooled().iou()`.
    pub fn pooled(&self) -> Confusion {
        self.masks.iter().copied().sum()
    }

    /// The mean over masks of a figure of each, 0 if there is none: `tally.mean(Confusion::iou)`.
    pub fn mean(&self, figure: impl Fn(&Confusion) -> f64) -> f64 {
        self.mean_share(figure).value()
    }

    /// [`mean`](Self::mean) as a sum and a number of masks, for [`Bootstrap`](crate::Bootstrap).
    pub fn mean_share(&self, figure: impl Fn(&Confusion) -> f64) -> Share {
        Share {
            part: ordered_sum(self.masks.iter().map(figure)),
            whole: self.masks.len() as f64,
        }
    }

    /// The pooled IoU as intersection and union, for [`Bootstrap`](crate::Bootstrap).
    pub fn iou_share(&self) -> Share {
        let pooled = self.pooled();
        Share {
            part: pooled.true_positive as f64,
            whole: pooled.union() as f64,
        }
    }
}

/// A sum that does not depend on the order of its terms.
pub(crate) fn ordered_sum(terms: impl Iterator<Item = f64>) -> f64 {
    let mut terms: Vec<f64> = terms.collect();
    terms.sort_unstable_by(f64::total_cmp);
    // `sum` of no terms is -0.
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

/// What is accumulated for each of several groups: classes, subsets, seen and unseen words,
/// pictures. A mask may go into several.
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
    /// No group.
    pub fn new() -> Self {
        Self::default()
    }

    /// The accumulator of a group, a new one if there was none.
    pub fn entry(&mut self, key: K) -> &mut A {
        self.groups.entry(key).or_default()
    }

    /// The accumulator of a group, if it has come up.
    pub fn get(&self, key: &K) -> Option<&A> {
        self.groups.get(key)
    }

    /// Number of groups.
    pub fn len(&self) -> usize {
        self.groups.len()
    }

    /// Whether there is no group.
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// The groups in the order of their keys.
    pub fn iter(&self) -> btree_map::Iter<'_, K, A> {
        self.groups.iter()
    }

    /// The mean over groups of a figure of each, 0 if there is none.
    pub fn mean(&self, figure: impl Fn(&A) -> f64) -> f64 {
        ordered_sum(self.groups.values().map(figure)) / (self.groups.len().max(1) as f64)
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
    fn a_sum_of_nothing_has_no_sign() {
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
    fn means_and_pools_differ() {
        // IoU 1/1 and 1/4: the mean is 0.625, all pixels together 2/5.
        let tally: Tally = [counts(1, 0, 0), counts(1, 2, 1)].into_iter().collect();
        assert_eq!(tally.mean(Confusion::iou), 0.625);
        assert_eq!(tally.pooled().iou(), 0.4);
        assert_eq!(tally.iou_share().value(), 0.4);
        assert_eq!(Tally::new().mean(Confusion::iou), 0.0);
    }

    #[test]
    fn sums_do_not_depend_on_the_order_of_their_terms() {
        let terms = [0.1, 0.2, 0.3, 1e16, -1e16];
        let plain = |order: [usize; 5]| order.map(|place| terms[place]).iter().sum::<f64>();
        let ordered = |order: [usize; 5]| ordered_sum(order.map(|place| terms[place]).into_iter());
        let orders = [[0, 1, 2, 3, 4], [3, 4, 2, 1, 0], [3, 0, 4, 1, 2]];
        assert_ne!(
            plain(orders[0]),
            plain(orders[1]),
            "or this would show nothing"
        );
        for order in orders {
            assert_eq!(ordered(order), ordered(orders[0]));
        }
    }

    proptest! {
        #[test]
        fn the_order_of_merging_does_not_matter(
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
