//! Scores of tasks and of the subsets that they belong to.

use super::subset::{FrequencyRanks, PhraseType, Subset};
use crate::bootstrap::Share;
use crate::confusion::ratio;
use crate::error::{MetricsError, Result};
use crate::mask_value::check_binary;
use crate::tally::ordered_sum;
use serde::Serialize;
use std::collections::BTreeMap;
use std::ops::AddAssign;

/// The IoUs of Pr@0.5 to Pr@0.9; a task counts if its IoU is larger.
pub const PRECISION_THRESHOLDS: [f64; 5] = [0.5, 0.6, 0.7, 0.8, 0.9];

/// What the evaluator knows about a phrase in a picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PhraseCutTask {
    /// Picture and annotations, `<image_id>__<ann_id>_<ann_id>…`.
    pub task_id: String,
    /// The picture.
    pub image_id: u64,
    /// Recorded width of the picture in pixels.
    pub width: u32,
    /// Recorded height of the picture in pixels.
    pub height: u32,
    /// Number of instances that the phrase names.
    pub instances: usize,
    /// Number of attributes in the phrase.
    pub attributes: usize,
    /// Number of relations in the phrase.
    pub relations: usize,
    /// What tells the object from others, if the data say so.
    pub phrase_type: Option<PhraseType>,
    /// How frequent its words are; without it, the subsets by frequency stay empty.
    pub ranks: Option<FrequencyRanks>,
    /// Whether the category is one of COCO's, see [`is_coco_category`](crate::is_coco_category).
    pub coco_category: bool,
    /// Whether the category is stuff and not an object, see [`is_stuff`](crate::is_stuff).
    pub stuff: bool,
    /// Whether the picture is in COCO.
    pub coco_picture: bool,
}

/// A mask of its picture's size in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaskRef<'a> {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// One value for each pixel, row by row.
    pub values: &'a [u8],
}

/// The pixels that a prediction and a truth have in common, and the figures that follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskScore {
    /// The task.
    pub task: PhraseCutTask,
    /// Whether there was a prediction. If there was none, it counts as an empty one.
    pub predicted: bool,
    /// Pixels inside the truth at the picture's recorded size.
    pub area: u64,
    /// Pixels that are inside both.
    pub intersection: u64,
    /// Pixels that are inside either.
    pub union: u64,
    /// The subsets of the task.
    pub subsets: Vec<Subset>,
}

impl TaskScore {
    /// Scores a prediction, in which any pixel but 0 is inside; `None` if there is none.
    ///
    /// # Errors
    ///
    /// If a mask is not of the task's size, or the truth is neither 0 nor 1 somewhere.
    pub fn new(
        task: PhraseCutTask,
        truth: MaskRef<'_>,
        prediction: Option<MaskRef<'_>>,
    ) -> Result<Self> {
        check_size(&task, "truth", truth, [task.width, task.height])?;
        let area = inside(&task, truth)?;
        Self::count(task, area, area, truth, prediction)
    }

    /// Scores a prediction against another truth than the one that decides on the task's subsets, as the
    /// official evaluator does: where a prediction has another size than the picture's recorded one, the
    /// truth is drawn at the prediction's size. `area` is the number of pixels inside the truth at the
    /// recorded size.
    ///
    /// # Errors
    ///
    /// If the masks differ in size, or the truth is neither 0 nor 1 somewhere.
    pub fn against(
        task: PhraseCutTask,
        area: u64,
        truth: MaskRef<'_>,
        prediction: MaskRef<'_>,
    ) -> Result<Self> {
        check_size(&task, "truth", truth, [truth.width, truth.height])?;
        let inside = inside(&task, truth)?;
        Self::count(task, area, inside, truth, Some(prediction))
    }

    fn count(
        task: PhraseCutTask,
        area: u64,
        inside: u64,
        truth: MaskRef<'_>,
        prediction: Option<MaskRef<'_>>,
    ) -> Result<Self> {
        let (mut found, mut both) = (0, 0);
        if let Some(prediction) = prediction {
            let size = [truth.width, truth.height];
            if [prediction.width, prediction.height] != size {
                return Err(MetricsError::Shape {
                    item: task.task_id,
                    found: vec![prediction.height as usize, prediction.width as usize],
                    expected: vec![truth.height as usize, truth.width as usize],
                });
            }
            check_size(&task, "prediction", prediction, size)?;
            for (&p, &t) in prediction.values.iter().zip(truth.values) {
                let p = u8::from(p != 0);
                found += u64::from(p);
                both += u64::from(p & t);
            }
        }
        Ok(Self {
            subsets: Subset::of(&task, area),
            task,
            predicted: prediction.is_some(),
            area,
            intersection: both,
            union: inside + found - both,
        })
    }

    /// Intersection over union, 0 if there is no intersection, also if both masks are empty.
    pub fn iou(&self) -> f64 {
        ratio(self.intersection, self.union)
    }
}

/// Pixels inside a truth.
fn inside(task: &PhraseCutTask, truth: MaskRef<'_>) -> Result<u64> {
    check_binary(truth.values, "truth", &task.task_id)?;
    Ok(truth.values.iter().map(|&t| u64::from(t)).sum())
}

fn check_size(
    task: &PhraseCutTask,
    what: &'static str,
    mask: MaskRef<'_>,
    [width, height]: [u32; 2],
) -> Result<()> {
    let pixels = width as usize * height as usize;
    if [mask.width, mask.height] == [width, height] && mask.values.len() == pixels {
        return Ok(());
    }
    Err(MetricsError::Pixels {
        item: task.task_id.clone(),
        what,
        found: mask.values.len(),
        width,
        height,
    })
}

/// The figures of a subset.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct SubsetScores {
    /// The subset.
    pub subset: Subset,
    /// Tasks with a prediction.
    pub count: usize,
    /// Tasks without one.
    pub missing: usize,
    /// Mean IoU of the tasks with a prediction.
    pub mean_iou: f64,
    /// Sum of their intersections over sum of their unions.
    pub cumulative_iou: f64,
    /// Pr@0.5 to Pr@0.9: the share of them whose IoU is larger than each of the
    /// [`PRECISION_THRESHOLDS`].
    pub precision_at: [f64; 5],
    /// Mean IoU of all tasks, 0 for those without a prediction.
    pub mean_iou_of_all: f64,
}

/// A figure of which each picture has its part, for [`Bootstrap`](crate::Bootstrap).
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum PictureFigure {
    /// Mean IoU over tasks.
    MeanIou,
    /// Sum of intersections over sum of unions.
    CumulativeIou,
    /// Share of tasks with an IoU larger than this.
    PrecisionAt(f64),
}

/// Collects scores of tasks. Evaluators are merged by `+=`, in any order with the same figures.
///
/// ```
/// use clipseg_metrics::{MaskRef, PhraseCutEvaluator, PhraseCutTask, Subset, TaskScore};
///
/// let task = PhraseCutTask {
///     task_id: "2300042__7".into(), image_id: 2300042, width: 3, height: 1,
///     instances: 1, attributes: 0, relations: 0, phrase_type: None, ranks: None,
///     coco_category: false, stuff: false, coco_picture: true,
/// };
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
    /// Without any task yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a task.
    pub fn push(&mut self, score: TaskScore) {
        self.tasks.push(score);
    }

    /// The tasks in the order in which they came.
    pub fn tasks(&self) -> &[TaskScore] {
        &self.tasks
    }

    /// The figures of a subset; all are 0 if no task with a prediction is in it.
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

    /// The figures of every subset, in the official order.
    pub fn all_scores(&self) -> Vec<SubsetScores> {
        Subset::ALL.map(|subset| self.scores(subset)).into()
    }

    /// Each picture's part in a figure of the tasks of a subset that have a prediction, by `image_id`.
    pub fn by_picture(&self, subset: Subset, figure: PictureFigure) -> BTreeMap<u64, Share> {
        let mut tasks: Vec<&TaskScore> = self
            .tasks
            .iter()
            .filter(|task| task.predicted && task.subsets.contains(&subset))
            .collect();
        // Sums must not depend on the order in which tasks came.
        tasks.sort_by(|a, b| a.task.task_id.cmp(&b.task.task_id));
        let mut pictures = BTreeMap::new();
        for task in tasks {
            let share: &mut Share = pictures.entry(task.task.image_id).or_default();
            *share += match figure {
                PictureFigure::MeanIou => Share {
                    part: task.iou(),
                    whole: 1.0,
                },
                PictureFigure::CumulativeIou => Share {
                    part: task.intersection as f64,
                    whole: task.union as f64,
                },
                PictureFigure::PrecisionAt(iou) => Share {
                    part: f64::from(u8::from(task.iou() > iou)),
                    whole: 1.0,
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
    use proptest::prelude::*;

    fn task(image_id: u64, width: u32) -> PhraseCutTask {
        PhraseCutTask {
            task_id: format!("{image_id}__{width}"),
            image_id,
            width,
            height: 1,
            instances: 1,
            attributes: 0,
            relations: 0,
            phrase_type: None,
            ranks: None,
            coco_category: false,
            stuff: false,
            coco_picture: false,
        }
    }

    fn row(values: &[u8]) -> MaskRef<'_> {
        MaskRef {
            width: values.len() as u32,
            height: 1,
            values,
        }
    }

    fn score(image_id: u64, truth: &[u8], prediction: Option<&[u8]>) -> TaskScore {
        let task = task(image_id, truth.len() as u32);
        TaskScore::new(task, row(truth), prediction.map(row)).unwrap()
    }

    #[test]
    fn missing_predictions_are_told_both_ways() {
        let evaluator: PhraseCutEvaluator = [
            score(1, &[1, 1, 0, 0], Some(&[9, 0, 0, 0])),
            score(1, &[1, 1, 1, 0], Some(&[1, 1, 1, 0])),
            score(2, &[0, 0, 0, 0], Some(&[0, 0, 0, 0])),
            score(3, &[1, 0, 0, 0], None),
        ]
        .into_iter()
        .collect();
        let all = evaluator.scores(Subset::All);
        assert_eq!((all.count, all.missing), (3, 1));
        assert_eq!((all.mean_iou, all.mean_iou_of_all), (1.5 / 3.0, 1.5 / 4.0));
        assert_eq!(all.cumulative_iou, 4.0 / 5.0);
        // An IoU of exactly one half is not above one half.
        assert_eq!(all.precision_at, [1.0 / 3.0; 5]);
        let many = evaluator.scores(Subset::ManyInstances);
        assert_eq!(
            (many.count, many.mean_iou, many.cumulative_iou),
            (0, 0.0, 0.0)
        );

        let pictures = evaluator.by_picture(Subset::All, PictureFigure::MeanIou);
        assert_eq!(pictures.keys().copied().collect::<Vec<_>>(), [1, 2]);
        assert_eq!(
            pictures[&1],
            Share {
                part: 1.5,
                whole: 2.0
            }
        );
        let pooled = evaluator.by_picture(Subset::All, PictureFigure::CumulativeIou);
        assert_eq!(pooled.values().copied().sum::<Share>().value(), 0.8);
        let above = evaluator.by_picture(Subset::All, PictureFigure::PrecisionAt(0.5));
        assert_eq!(
            above[&1],
            Share {
                part: 1.0,
                whole: 2.0
            }
        );
    }

    #[test]
    fn bad_masks_are_named() {
        let message = |truth: MaskRef<'_>, prediction: Option<MaskRef<'_>>| {
            let error = TaskScore::new(task(7, 3), truth, prediction).unwrap_err();
            error.to_string()
        };
        assert_eq!(
            message(row(&[1, 0, 0]), Some(row(&[1, 0]))),
            "7__3: the prediction is [1, 2], the truth is [1, 3]"
        );
        assert_eq!(
            message(row(&[1, 0, 2]), None),
            "7__3: the truth holds 2 at pixel 2, expected 0 or 1"
        );
        assert_eq!(
            message(row(&[1, 0]), None),
            "7__3: the truth has 2 values, expected 3x1"
        );
        let short = MaskRef {
            width: 3,
            height: 1,
            values: &[1],
        };
        assert_eq!(
            message(row(&[1, 0, 0]), Some(short)),
            "7__3: the prediction has 1 values, expected 3x1"
        );
    }

    #[test]
    fn a_prediction_of_another_size_is_scored_at_its_size() {
        // Three of ten pixels at the recorded size are inside, two of four at the prediction's.
        let recorded = task(7, 10);
        let (truth, found) = ([0u8, 1, 1, 0], [0u8, 0, 9, 9]);
        let score = TaskScore::against(recorded.clone(), 3, row(&truth), row(&found)).unwrap();
        assert_eq!((score.intersection, score.union, score.area), (1, 3, 3));
        assert!(score.subsets.contains(&Subset::Large) && score.predicted);
        let error = TaskScore::against(recorded, 3, row(&truth), row(&[1])).unwrap_err();
        assert_eq!(
            error.to_string(),
            "7__10: the prediction is [1, 1], the truth is [1, 4]"
        );
    }

    proptest! {
        #[test]
        fn figures_are_bounded_and_do_not_depend_on_the_order(
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
                    score(*image_id, &truth, predicted.then_some(&prediction))
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
                // Markov: a share t of a mean comes from what is above t.
                prop_assert!(found.mean_iou <= 0.5 + 0.5 * found.precision_at[0] + 1e-12);
                let part = whole.by_picture(subset, PictureFigure::MeanIou);
                let mean = part.values().copied().sum::<Share>().value();
                prop_assert!((mean - found.mean_iou).abs() < 1e-12);
            }
        }
    }
}
