//! What follows from the counts at all thresholds, in two definitions.

use crate::average_precision::{simpson, step_integral};
use crate::confusion::{Confusion, ratio};
use crate::sweep::{SWEEP_THRESHOLDS, ThresholdSweep, sweep_thresholds};
use crate::tally::{Grouped, ordered_sum};
use serde::{Deserialize, Serialize};

/// How figures are computed from counts. Published ones can be compared within one definition only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SweepDefinition {
    /// As the CLIPSeg paper's code computes them (timojl/clipseg, `metrics.py`).
    ///
    /// Every denominator is one larger: IoU is `TP / (1 + TP + FP + FN)`. Average precision is
    /// Simpson's integral of precision over recall, with thresholds that predict nothing dropped and
    /// equal pairs merged. The rule is that of SciPy up to 1.10, which the code was written for: with
    /// an even number of points, the mean of leaving the first and the last interval to a trapezoid.
    /// Points of equal recall go from the lower precision to the higher; there, their order
    /// is by chance.
    ClipSeg,
    /// As usual: no ones added, a figure without a denominator is 0, and average precision is
    /// `Σ (R_i − R_{i−1}) P_i` from the highest threshold to the lowest and on to a threshold below
    /// all probabilities.
    ///
    /// That is [`average_precision`](crate::average_precision) of probabilities rounded up to the
    /// next multiple of 0.02. The order of pixels between two thresholds is lost, so it differs from
    /// the exact figure, by some percent where many probabilities are next to 0 or 1.
    Plain,
}

impl SweepDefinition {
    fn iou(self, counts: &Confusion) -> f64 {
        match self {
            Self::ClipSeg => ratio(counts.true_positive, 1 + counts.union()),
            Self::Plain => counts.iou(),
        }
    }

    fn average_precision(self, sweep: &ThresholdSweep) -> f64 {
        match self {
            Self::ClipSeg => {
                let predicting = sweep.counts().into_iter().filter_map(|counts| {
                    let found = counts.true_positive + counts.false_positive;
                    let inside = counts.true_positive + counts.false_negative;
                    (found > 0).then(|| {
                        let recall = ratio(counts.true_positive, 1 + inside);
                        (recall, ratio(counts.true_positive, 1 + found))
                    })
                });
                let mut points: Vec<(f64, f64)> = predicting.collect();
                points.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
                points.dedup();
                simpson(&points)
            }
            Self::Plain => {
                let rising = sweep.counts().into_iter().rev();
                let rising = rising.chain(std::iter::once(sweep.everything()));
                step_integral(rising.map(|counts| (counts.recall(), counts.precision())))
            }
        }
    }
}

/// A figure at the threshold where it is highest; at the lowest of them, if there are several.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct BestThreshold {
    /// The threshold.
    pub threshold: f64,
    /// The figure there.
    pub value: f64,
}

/// Figures at each of the [`sweep_thresholds`], with the paper's names.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct SweepScores {
    /// How they were computed.
    pub definition: SweepDefinition,
    /// `IoU_FG`: the IoU of all pixels together, for each threshold.
    pub iou_fg: Vec<f64>,
    /// `IoU_BIN`: the mean of that and the IoU of the background, for each threshold.
    pub iou_bin: Vec<f64>,
    /// mIoU: the mean over groups of the IoU of each, for each threshold.
    pub mean_iou: Vec<f64>,
    /// Area under precision over recall of all pixels together.
    pub average_precision: f64,
}

impl SweepScores {
    /// The highest `IoU_FG`.
    pub fn best_iou_fg(&self) -> BestThreshold {
        best(&self.iou_fg)
    }

    /// The highest `IoU_BIN`.
    pub fn best_iou_bin(&self) -> BestThreshold {
        best(&self.iou_bin)
    }

    /// The highest mIoU.
    pub fn best_mean_iou(&self) -> BestThreshold {
        best(&self.mean_iou)
    }
}

fn best(figures: &[f64]) -> BestThreshold {
    let mut best = BestThreshold {
        threshold: 0.0,
        value: f64::NEG_INFINITY,
    };
    for (&value, threshold) in figures.iter().zip(sweep_thresholds()) {
        if value > best.value {
            best = BestThreshold { threshold, value };
        }
    }
    best
}

impl<K: Ord> Grouped<K, ThresholdSweep> {
    /// The figures of all groups. For mIoU as on PhraseCut, each phrase is its own group.
    pub fn scores(&self, definition: SweepDefinition) -> SweepScores {
        let total: ThresholdSweep = self.iter().map(|(_, sweep)| sweep.clone()).sum();
        let counts = total.counts();
        let groups: Vec<[f64; SWEEP_THRESHOLDS]> = self
            .iter()
            .map(|(_, sweep)| sweep.counts().map(|counts| definition.iou(&counts)))
            .collect();
        let mean_at = |index: usize| {
            ordered_sum(groups.iter().map(|group| group[index])) / groups.len().max(1) as f64
        };
        let binary = |counts: &Confusion| {
            0.5 * (definition.iou(counts) + definition.iou(&counts.background()))
        };
        SweepScores {
            definition,
            iou_fg: counts.iter().map(|counts| definition.iou(counts)).collect(),
            iou_bin: counts.iter().map(binary).collect(),
            mean_iou: (0..SWEEP_THRESHOLDS).map(mean_at).collect(),
            average_precision: definition.average_precision(&total),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::average_precision;
    use proptest::prelude::*;

    fn one(probabilities: &[f32], truth: &[u8]) -> Grouped<u8, ThresholdSweep> {
        let mut groups = Grouped::new();
        let sweep: &mut ThresholdSweep = groups.entry(0);
        sweep.add_probabilities(probabilities, truth, "").unwrap();
        groups
    }

    #[test]
    fn the_two_definitions_differ_by_their_ones() {
        // Above 0.5: two inside, one outside; one inside is missed, one outside left alone.
        let groups = one(&[0.9, 0.8, 0.7, 0.2, 0.1], &[1, 1, 0, 1, 0]);
        let clipseg = groups.scores(SweepDefinition::ClipSeg);
        let plain = groups.scores(SweepDefinition::Plain);
        assert_eq!(
            (plain.iou_fg[24], clipseg.iou_fg[24]),
            (2.0 / 4.0, 2.0 / 5.0)
        );
        assert_eq!(plain.iou_bin[24], 0.5 * (2.0 / 4.0 + 1.0 / 3.0));
        assert_eq!(clipseg.iou_bin[24], 0.5 * (2.0 / 5.0 + 1.0 / 4.0));
        // Recall 1/3, 2/3, 2/3, 1, 1 with precision 1, 1, 2/3, 3/4, 3/5.
        assert!((plain.average_precision - (2.0 / 3.0 + 0.75 / 3.0)).abs() < 1e-12);
        // From 0.10 on, the false alarm and the last find are in: 3 / 4 of 4 pixels.
        let best = plain.best_iou_fg();
        assert_eq!((best.threshold, best.value), (0.1, 0.75));
    }

    #[test]
    fn nothing_predicted_and_nothing_to_find() {
        let empty = Grouped::<u8, ThresholdSweep>::new();
        let none = one(&[0.0; 4], &[1; 4]);
        let nothing = one(&[0.9; 4], &[0; 4]);
        for groups in [empty, none, nothing] {
            for definition in [SweepDefinition::ClipSeg, SweepDefinition::Plain] {
                let scores = groups.scores(definition);
                assert!(scores.average_precision.is_finite());
                assert_eq!(scores.best_iou_fg().value, 0.0);
                assert_eq!(scores.best_mean_iou().threshold, 0.02);
            }
        }
        let scores = one(&[0.0; 4], &[1; 4]).scores(SweepDefinition::ClipSeg);
        assert_eq!(scores.average_precision, 0.0);
    }

    proptest! {
        #[test]
        fn plain_average_precision_is_exact_for_rounded_probabilities(
            pixels in prop::collection::vec((0f32..=1.0, 0u8..2), 1..300),
        ) {
            let (probabilities, truth): (Vec<f32>, Vec<u8>) = pixels.into_iter().unzip();
            let rounded: Vec<f32> = probabilities.iter().map(|p| (p * 50.0).round() / 50.0).collect();
            let scores = one(&rounded, &truth).scores(SweepDefinition::Plain);
            // Strictly above a threshold: 0.02 falls in with 0, and nothing else does.
            let up: Vec<f32> = rounded.iter().map(|p| if *p < 0.03 { 0.0 } else { *p }).collect();
            let exact = average_precision(&up, &truth, "").unwrap();
            prop_assert!((scores.average_precision - exact).abs() < 1e-12);
        }

        #[test]
        fn figures_stay_between_none_and_all(
            pixels in prop::collection::vec((0f32..=1.0, 0u8..2, 0u8..4), 1..300),
        ) {
            let mut groups: Grouped<u8, ThresholdSweep> = Grouped::new();
            for &(p, t, group) in &pixels {
                groups.entry(group).add_probabilities(&[p], &[t], "").unwrap();
            }
            for definition in [SweepDefinition::ClipSeg, SweepDefinition::Plain] {
                let scores = groups.scores(definition);
                let all = [&scores.iou_fg, &scores.iou_bin, &scores.mean_iou];
                for value in all.into_iter().flatten() {
                    prop_assert!((0.0..=1.0).contains(value), "{value}");
                }
            }
        }
    }
}
