//! The tasks for which two runs have predictions.

use super::evaluator::PhraseCutEvaluator;
use super::task_score::TaskScore;
use crate::error::{MetricsError, Result};
use crate::pairing::check_same_keys;
use std::collections::{BTreeMap, HashMap};
use std::fmt::{self, Display, Formatter};

/// The tasks for which both of two runs have a prediction, for a comparison of the runs. Tasks that only
/// one run has a prediction for are counted.
///
/// Tasks are paired by id, not by position. If an id occurs several times, as in damaged data sets, its
/// first task in one run is paired with its first task in the other run, and so on.
///
/// ```
/// use clipseg_metrics::{Bootstrap, CommonTasks, PictureMetric, Subset};
/// # use clipseg_metrics::{MaskRef, PhraseCutEvaluator, PhraseCutTask, TaskScore};
/// # let run = |prediction: &[u8]| -> PhraseCutEvaluator {
/// #     let task = PhraseCutTask::new("2300042__7", 2300042, 2, 1);
/// #     let mask = |values| MaskRef { width: 2, height: 1, values };
/// #     let score = TaskScore::new(task, mask(&[1, 1]), Some(mask(prediction)));
/// #     score.into_iter().collect()
/// # };
/// # let (first, second) = (run(&[0, 1]), run(&[1, 1]));
/// let common = CommonTasks::new(&first, &second)?;
/// let ratios = |run: &PhraseCutEvaluator| run.by_picture(Subset::All, PictureMetric::MeanIou);
/// let bootstrap = Bootstrap::default();
/// let comparison = bootstrap.compare(&ratios(&common.first), &ratios(&common.second))?;
/// assert_eq!(comparison.difference.estimate, 0.5);
/// # Ok::<(), clipseg_metrics::MetricsError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CommonTasks {
    /// The common tasks, scored with the predictions of the first run.
    pub first: PhraseCutEvaluator,
    /// The same tasks in the same order, scored with the predictions of the second run.
    pub second: PhraseCutEvaluator,
    /// Number of tasks that only the first run has a prediction for.
    pub only_first: usize,
    /// Number of tasks that only the second run has a prediction for.
    pub only_second: usize,
}

impl CommonTasks {
    /// Pairs the tasks of two runs.
    ///
    /// # Errors
    ///
    /// If a task is in one run only, or the picture or the ground truth of a task differs between the runs.
    pub fn new(first: &PhraseCutEvaluator, second: &PhraseCutEvaluator) -> Result<Self> {
        let (first, second) = (by_id(first), by_id(second));
        check_same_keys("tasks", &first, &second)?;
        let mut common = Self {
            first: PhraseCutEvaluator::new(),
            second: PhraseCutEvaluator::new(),
            only_first: 0,
            only_second: 0,
        };
        // Both maps have the same keys and so the same order.
        for (a, b) in first.values().zip(second.values()) {
            if (a.task.image_id, a.area) != (b.task.image_id, b.area) {
                let task_id = a.task.task_id.clone();
                return Err(MetricsError::DifferentTruth { task_id });
            }
            match (a.predicted, b.predicted) {
                (true, true) => {
                    common.first.push((*a).clone());
                    common.second.push((*b).clone());
                }
                (true, false) => common.only_first += 1,
                (false, true) => common.only_second += 1,
                (false, false) => {}
            }
        }
        Ok(common)
    }
}

/// A task's id and the number of earlier tasks with the same id.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Id<'a>(&'a str, usize);

impl Display for Id<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)?;
        match self.1 {
            0 => Ok(()),
            before => write!(f, " (occurrence {})", before + 1),
        }
    }
}

/// The tasks of a run by id and occurrence.
fn by_id(run: &PhraseCutEvaluator) -> BTreeMap<Id<'_>, &TaskScore> {
    let mut seen = HashMap::<&str, usize>::new();
    let numbered = run.tasks().iter().map(|score| {
        let task_id = score.task.task_id.as_str();
        let before = seen.entry(task_id).or_default();
        *before += 1;
        (Id(task_id, *before - 1), score)
    });
    numbered.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::phrasecut::task_score::tests::score;
    use crate::{Bootstrap, PictureMetric, Ratio, Subset};

    fn run(scores: impl IntoIterator<Item = TaskScore>) -> PhraseCutEvaluator {
        scores.into_iter().collect()
    }

    #[test]
    fn tasks_are_paired_by_id_in_any_order() {
        let truth: &[u8] = &[1, 1, 0, 0];
        let (none, half, all): (&[u8], &[u8], &[u8]) = (&[0; 4], &[1, 0, 0, 0], truth);
        let first = run([
            score("1__1", 1, truth, Some(none)),
            score("2__1", 2, truth, Some(half)),
            score("3__1", 3, truth, Some(all)),
            score("4__1", 4, truth, None),
            score("5__1", 5, truth, None),
        ]);
        let second = run([
            score("5__1", 5, truth, None),
            score("4__1", 4, truth, Some(all)),
            score("3__1", 3, truth, None),
            score("2__1", 2, truth, Some(all)),
            score("1__1", 1, truth, Some(half)),
        ]);
        let common = CommonTasks::new(&first, &second).unwrap();
        assert_eq!((common.only_first, common.only_second), (1, 1));
        let ious = |run: &PhraseCutEvaluator| -> Vec<(String, f64)> {
            let tasks = run.tasks().iter();
            tasks.map(|t| (t.task.task_id.clone(), t.iou())).collect()
        };
        assert_eq!(
            ious(&common.first),
            [("1__1".into(), 0.0), ("2__1".into(), 0.5)]
        );
        assert_eq!(
            ious(&common.second),
            [("1__1".into(), 0.5), ("2__1".into(), 1.0)]
        );
        let pictures =
            |run: &PhraseCutEvaluator| run.by_picture(Subset::All, PictureMetric::MeanIou);
        let comparison = Bootstrap::default()
            .compare(&pictures(&common.first), &pictures(&common.second))
            .unwrap();
        // Paired by position, the difference would be 0.25.
        assert_eq!(comparison.difference.estimate, 0.5);
    }

    #[test]
    fn tasks_with_equal_ids_are_paired_in_order() {
        let (a, b): (&[u8], &[u8]) = (&[1, 0], &[1, 1]);
        let first = run([score("1__1", 1, a, Some(a)), score("1__1", 1, b, Some(a))]);
        let second = run([score("1__1", 1, a, Some(b)), score("1__1", 1, b, Some(b))]);
        let common = CommonTasks::new(&first, &second).unwrap();
        let ratios = common
            .second
            .by_picture(Subset::All, PictureMetric::MeanIou);
        let expected = Ratio {
            numerator: 1.5,
            denominator: 2.0,
        };
        assert_eq!(ratios[&1], expected);
    }

    #[test]
    fn runs_with_different_tasks_are_an_error() {
        let truth: &[u8] = &[1, 0];
        let one = |task_id, image_id, truth| score(task_id, image_id, truth, Some(truth));
        let first = run([one("1__1", 1, truth), one("1__2", 1, truth)]);
        let message = |second: &PhraseCutEvaluator| {
            let error = CommonTasks::new(&first, second).unwrap_err();
            error.to_string()
        };
        assert_eq!(
            message(&run([one("1__1", 1, truth)])),
            "1 tasks are only in the first run and 0 only in the second, such as 1__2; expected the \
             same tasks in both"
        );
        let more = run([
            one("1__1", 1, truth),
            one("1__2", 1, truth),
            one("1__2", 1, truth),
        ]);
        assert_eq!(
            message(&more),
            "0 tasks are only in the first run and 1 only in the second, such as 1__2 (occurrence 2); \
             expected the same tasks in both"
        );
        let different = "task 1__2: the picture or the ground truth differs between the two runs";
        let larger = run([one("1__1", 1, truth), one("1__2", 1, &[1, 1])]);
        assert_eq!(message(&larger), different);
        let elsewhere = run([one("1__1", 1, truth), one("1__2", 2, truth)]);
        assert_eq!(message(&elsewhere), different);
    }
}
