//! The metrics of a threshold sweep, in two definitions.

use crate::average_precision::{simpson, step_integral};
use crate::confusion::Confusion;
use crate::ratio::ratio;
use crate::sweep::{SWEEP_THRESHOLDS, ThresholdSweep, sweep_thresholds};
use crate::tally::{Grouped, ordered_sum};
use serde::{Deserialize, Serialize};

/// How metrics are computed from counts. Only scores of the same definition are comparable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SweepDefinition {
    /// The definition of the CLIPSeg paper's code (timojl/clipseg, `metrics.py`).
    ///
    /// It adds 1 to every denominator: IoU is `TP / (1 + TP + FP + FN)`. Average precision is the integral
    /// of precision over recall by Simpson's rule. Thresholds without positive predictions are left out,
    /// and equal points are merged. The rule is that of SciPy up to 1.10, for which the code was written:
    /// for an even number of points, it is the mean of two results, which use a trapezoid for the first
    /// and for the last interval. Points with equal recall are sorted by precision here; in the original
    /// code their order is arbitrary.
    ClipSeg,
    /// The usual definition. Nothing is added to denominators, and a metric with denominator 0 is 0.
    /// Average precision is `Σ (R_i − R_{i−1}) P_i` over the thresholds in descending order, followed by a
    /// threshold below all probabilities.
    ///
    /// This equals [`average_precision`](crate::average_precision) of probabilities that are rounded up to
    /// the next multiple of 0.02. It differs from the exact average precision by a few percent if many
    /// probabilities are close to 0 or 1.
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
                let points = sweep.counts().into_iter().filter_map(|counts| {
                    let predicted = counts.true_positive + counts.false_positive;
                    let inside = counts.true_positive + counts.false_negative;
                    (predicted > 0).then(|| {
                        let recall = ratio(counts.true_positive, 1 + inside);
                        (recall, ratio(counts.true_positive, 1 + predicted))
                    })
                });
                let mut points: Vec<(f64, f64)> = points.collect();
                points.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
                points.dedup();
                simpson(&points)
            }
            Self::Plain => {
                let descending = sweep.counts().into_iter().rev();
                let descending = descending.chain(std::iter::once(sweep.all_positive()));
                step_integral(descending.map(|counts| (counts.recall(), counts.precision())))
            }
        }
    }
}

/// The highest value of a metric and its threshold; the lowest threshold if several have this value.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct BestThreshold {
    /// The threshold.
    pub threshold: f64,
    /// The value of the metric.
    pub value: f64,
}

/// The metrics at each of the [`sweep_thresholds`], with the names of the CLIPSeg paper.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct SweepScores {
    /// How the metrics were computed.
    pub definition: SweepDefinition,
    /// `IoU_FG` for each threshold: the IoU of all pixels pooled.
    pub iou_fg: Vec<f64>,
    /// `IoU_BIN` for each threshold: the mean of `IoU_FG` and the IoU of the background.
    pub iou_bin: Vec<f64>,
    /// mIoU for each threshold: the mean IoU over groups.
    pub mean_iou: Vec<f64>,
    /// Average precision of all pixels pooled.
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

fn best(values: &[f64]) -> BestThreshold {
    let mut best = BestThreshold {
        threshold: 0.0,
        value: f64::NEG_INFINITY,
    };
    for (&value, threshold) in values.iter().zip(sweep_thresholds()) {
        if value > best.value {
            best = BestThreshold { threshold, value };
        }
    }
    best
}

impl<K: Ord> Grouped<K, ThresholdSweep> {
    /// The metrics over all groups. For PhraseCut's mIoU, use one group for each phrase.
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
    fn the_definitions_differ_by_one_in_the_denominator() {
        // At 0.5 there are two true and one false positive, one false and one true negative.
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
        // At 0.10 there are three true and one false positive.
        let best = plain.best_iou_fg();
        assert_eq!((best.threshold, best.value), (0.1, 0.75));
    }

    #[test]
    fn empty_predictions_and_empty_ground_truth() {
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
            // Probabilities must exceed a threshold, so 0.02 is in the same bin as 0.
            let up: Vec<f32> = rounded.iter().map(|p| if *p < 0.03 { 0.0 } else { *p }).collect();
            let exact = average_precision(&up, &truth, "").unwrap();
            prop_assert!((scores.average_precision - exact).abs() < 1e-12);
        }

        #[test]
        fn metrics_are_bounded(
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
