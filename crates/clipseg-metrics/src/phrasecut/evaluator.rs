//! Scores of many tasks, by subset and by picture.

use super::subset::Subset;
use super::task_score::TaskScore;
use crate::ratio::{Ratio, ratio};
use crate::tally::ordered_sum;
use serde::Serialize;
use std::collections::BTreeMap;
use std::ops::AddAssign;

/// The IoU thresholds of Pr@0.5 to Pr@0.9.
pub const PRECISION_THRESHOLDS: [f64; 5] = [0.5, 0.6, 0.7, 0.8, 0.9];

/// The scores of a subset.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct SubsetScores {
    /// The subset.
    pub subset: Subset,
    /// Number of tasks with a prediction.
    pub count: usize,
    /// Number of tasks without a prediction.
    pub missing: usize,
    /// Mean IoU of the tasks with a prediction.
    pub mean_iou: f64,
    /// Sum of intersections over sum of unions of the tasks with a prediction.
    pub cumulative_iou: f64,
    /// Pr@0.5 to Pr@0.9: the fraction of the tasks with a prediction whose IoU is above each of the
    /// [`PRECISION_THRESHOLDS`].
    pub precision_at: [f64; 5],
    /// Mean IoU of all tasks; a task without a prediction has IoU 0.
    pub mean_iou_of_all: f64,
}

/// A metric that is a ratio of sums over pictures, for [`Bootstrap`](crate::Bootstrap).
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum PictureMetric {
    /// Mean IoU of the tasks.
    MeanIou,
    /// Sum of intersections over sum of unions.
    CumulativeIou,
    /// Fraction of tasks whose IoU is above this threshold.
    PrecisionAt(f64),
}

/// Collects the scores of tasks. `+=` merges evaluators; the order of the tasks does not change any
/// result.
///
/// ```
/// use clipseg_metrics::{MaskRef, PhraseCutEvaluator, PhraseCutTask, Subset, TaskScore};
///
/// let task = PhraseCutTask::new("2300042__7", 2300042, 3, 1);
/// let mask = |values| MaskRef { width: 3, height: 1, values };
/// let mut evaluator = PhraseCutEvaluator::new();
/// evaluator.push(TaskScore::new(task, mask(&[1, 1, 0]), Some(mask(&[0, 255, 0])))?);
/// assert_eq!(evaluator.scores(Subset::SingleInstance).mean_iou, 0.5);
/// # Ok::<(), clipseg_metrics::MetricsError>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PhraseCutEvaluator {
    tasks: Vec<TaskScore>,
}

impl PhraseCutEvaluator {
    /// An evaluator without tasks.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a task.
    pub fn push(&mut self, score: TaskScore) {
        self.tasks.push(score);
    }

    /// The tasks in the order in which they were added.
    pub fn tasks(&self) -> &[TaskScore] {
        &self.tasks
    }

    /// The scores of a subset. All are 0 if the subset has no task with a prediction.
    pub fn scores(&self, subset: Subset) -> SubsetScores {
        let tasks = self.tasks.iter();
        let all: Vec<&TaskScore> = tasks.filter(|t| t.subsets.contains(&subset)).collect();
        let predicted: Vec<&TaskScore> = all.iter().copied().filter(|t| t.predicted).collect();
        let count = predicted.len();
        let sum = ordered_sum(predicted.iter().map(|task| task.iou()));
        let above = |t: f64| predicted.iter().filter(|task| task.iou() > t).count() as u64;
        SubsetScores {
            subset,
            count,
            missing: all.len() - count,
            mean_iou: sum / count.max(1) as f64,
            cumulative_iou: ratio(
                predicted.iter().map(|task| task.intersection).sum(),
                predicted.iter().map(|task| task.union).sum(),
            ),
            precision_at: PRECISION_THRESHOLDS.map(|t| ratio(above(t), count as u64)),
            mean_iou_of_all: sum / all.len().max(1) as f64,
        }
    }

    /// The scores of all subsets, in the order of [`Subset::ALL`].
    pub fn all_scores(&self) -> Vec<SubsetScores> {
        Subset::ALL.map(|subset| self.scores(subset)).into()
    }

    /// The ratio of each picture for a metric, by `image_id`. Only tasks of the subset that have a
    /// prediction count.
    pub fn by_picture(&self, subset: Subset, metric: PictureMetric) -> BTreeMap<u64, Ratio> {
        let mut tasks: Vec<&TaskScore> = self
            .tasks
            .iter()
            .filter(|task| task.predicted && task.subsets.contains(&subset))
            .collect();
        // Sorted, so that rounding does not depend on the order in which tasks were added.
        tasks.sort_by(|a, b| a.task.task_id.cmp(&b.task.task_id));
        let mut pictures = BTreeMap::new();
        for task in tasks {
            let ratio: &mut Ratio = pictures.entry(task.task.image_id).or_default();
            *ratio += match metric {
                PictureMetric::MeanIou => Ratio {
                    numerator: task.iou(),
                    denominator: 1.0,
                },
                PictureMetric::CumulativeIou => Ratio {
                    numerator: task.intersection as f64,
                    denominator: task.union as f64,
                },
                PictureMetric::PrecisionAt(iou) => Ratio {
                    numerator: f64::from(u8::from(task.iou() > iou)),
                    denominator: 1.0,
                },
            };
        }
        pictures
    }
}

impl AddAssign for PhraseCutEvaluator {
    fn add_assign(&mut self, mut other: Self) {
        self.tasks.append(&mut other.tasks);
    }
}

impl FromIterator<TaskScore> for PhraseCutEvaluator {
    fn from_iter<I: IntoIterator<Item = TaskScore>>(scores: I) -> Self {
        Self {
            tasks: scores.into_iter().collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::phrasecut::task_score::tests::score;
    use proptest::prelude::*;

    #[test]
    fn missing_predictions_are_left_out_or_count_as_zero() {
        let evaluator: PhraseCutEvaluator = [
            score("1__1", 1, &[1, 1, 0, 0], Some(&[9, 0, 0, 0])),
            score("1__2", 1, &[1, 1, 1, 0], Some(&[1, 1, 1, 0])),
            score("2__1", 2, &[0, 0, 0, 0], Some(&[0, 0, 0, 0])),
            score("3__1", 3, &[1, 0, 0, 0], None),
        ]
        .into_iter()
        .collect();
        let all = evaluator.scores(Subset::All);
        assert_eq!((all.count, all.missing), (3, 1));
        assert_eq!((all.mean_iou, all.mean_iou_of_all), (1.5 / 3.0, 1.5 / 4.0));
        assert_eq!(all.cumulative_iou, 4.0 / 5.0);
        // An IoU of 0.5 is not above 0.5.
        assert_eq!(all.precision_at, [1.0 / 3.0; 5]);
        let many = evaluator.scores(Subset::ManyInstances);
        assert_eq!(
            (many.count, many.mean_iou, many.cumulative_iou),
            (0, 0.0, 0.0)
        );

        let pictures = evaluator.by_picture(Subset::All, PictureMetric::MeanIou);
        assert_eq!(pictures.keys().copied().collect::<Vec<_>>(), [1, 2]);
        assert_eq!(
            pictures[&1],
            Ratio {
                numerator: 1.5,
                denominator: 2.0
            }
        );
        let pooled = evaluator.by_picture(Subset::All, PictureMetric::CumulativeIou);
        assert_eq!(pooled.values().copied().sum::<Ratio>().value(), 0.8);
        let above = evaluator.by_picture(Subset::All, PictureMetric::PrecisionAt(0.5));
        assert_eq!(
            above[&1],
            Ratio {
                numerator: 1.0,
                denominator: 2.0
            }
        );
    }

    proptest! {
        #[test]
        fn scores_are_bounded_and_do_not_depend_on_the_order(
            tasks in prop::collection::vec(
                (0u64..5, prop::collection::vec((0u8..2, 0u8..2), 1..9), prop::bool::weighted(0.8)),
                1..20,
            ),
            cut in 0usize..20,
        ) {
            let scores: Vec<TaskScore> = tasks
                .iter()
                .map(|(image_id, pixels, predicted)| {
                    let (truth, prediction): (Vec<u8>, Vec<u8>) = pixels.iter().copied().unzip();
                    let task_id = format!("{image_id}__{}", truth.len());
                    score(&task_id, *image_id, &truth, predicted.then_some(&prediction))
                })
                .collect();
            let whole: PhraseCutEvaluator = scores.iter().cloned().collect();
            let all = whole.scores(Subset::All);
            let predicted = tasks.iter().filter(|(_, _, predicted)| *predicted);
            let ious = predicted.map(|(_, pixels, _)| {
                let both = pixels.iter().filter(|(t, p)| t & p == 1).count() as f64;
                let either = pixels.iter().filter(|(t, p)| t | p == 1).count() as f64;
                if both == 0.0 { 0.0 } else { both / either }
            });
            let sum: f64 = ious.sum();
            prop_assert!((all.mean_iou_of_all - sum / tasks.len() as f64).abs() < 1e-12);
            prop_assert!((all.mean_iou * all.count as f64 - sum).abs() < 1e-9);
            let cut = cut.min(scores.len());
            let mut merged: PhraseCutEvaluator = scores[cut..].iter().rev().cloned().collect();
            merged += scores[..cut].iter().cloned().collect();
            for subset in Subset::ALL {
                let found = whole.scores(subset);
                prop_assert_eq!(&found, &merged.scores(subset));
                prop_assert!(found.mean_iou_of_all <= found.mean_iou && found.mean_iou <= 1.0);
                prop_assert!((0.0..=1.0).contains(&found.cumulative_iou));
                prop_assert!(found.precision_at.is_sorted_by(|a, b| a >= b));
                prop_assert!(found.precision_at[0] <= 1.0);
                // Each IoU is at most 0.5, or counts for Pr@0.5 and is at most 1.
                prop_assert!(found.mean_iou <= 0.5 + 0.5 * found.precision_at[0] + 1e-12);
                let part = whole.by_picture(subset, PictureMetric::MeanIou);
                let mean = part.values().copied().sum::<Ratio>().value();
                prop_assert!((mean - found.mean_iou).abs() < 1e-12);
            }
        }
    }
}
