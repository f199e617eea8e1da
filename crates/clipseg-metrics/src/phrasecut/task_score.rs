//! The score of one task.

use super::subset::Subset;
use super::task::PhraseCutTask;
use crate::error::{MetricsError, Result};
use crate::mask_value::check_binary;
use crate::ratio::ratio;

/// A borrowed mask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaskRef<'a> {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// One value for each pixel in row-major order.
    pub values: &'a [u8],
}

/// The overlap of a prediction with the ground truth of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskScore {
    /// The task.
    pub task: PhraseCutTask,
    /// Whether there is a prediction. A missing prediction counts as an empty mask.
    pub predicted: bool,
    /// Number of ground-truth pixels at the picture's recorded size.
    pub area: u64,
    /// Number of pixels in both masks.
    pub intersection: u64,
    /// Number of pixels in at least one of the masks.
    pub union: u64,
    /// The subsets that the task is in.
    pub subsets: Vec<Subset>,
}

impl TaskScore {
    /// Scores a prediction, or a missing one (`None`). All nonzero pixels of a prediction are inside.
    ///
    /// # Errors
    ///
    /// If a mask does not have the task's size, or a ground-truth value is neither 0 nor 1.
    pub fn new(
        task: PhraseCutTask,
        truth: MaskRef<'_>,
        prediction: Option<MaskRef<'_>>,
    ) -> Result<Self> {
        check_size(&task, "ground truth", truth, [task.width, task.height])?;
        let area = area_of(&task, truth)?;
        Self::count(task, area, area, truth, prediction)
    }

    /// Scores a prediction whose size differs from the picture's recorded size, as the official evaluator
    /// does. `truth` is the ground truth rasterized at the prediction's size. `area` is the number of
    /// ground-truth pixels at the recorded size, which determines the task's subsets.
    ///
    /// # Errors
    ///
    /// If the masks differ in size, or a ground-truth value is neither 0 nor 1.
    pub fn against(
        task: PhraseCutTask,
        area: u64,
        truth: MaskRef<'_>,
        prediction: MaskRef<'_>,
    ) -> Result<Self> {
        check_size(&task, "ground truth", truth, [truth.width, truth.height])?;
        let truth_area = area_of(&task, truth)?;
        Self::count(task, area, truth_area, truth, Some(prediction))
    }

    fn count(
        task: PhraseCutTask,
        area: u64,
        truth_area: u64,
        truth: MaskRef<'_>,
        prediction: Option<MaskRef<'_>>,
    ) -> Result<Self> {
        let (mut predicted_area, mut intersection) = (0, 0);
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
                predicted_area += u64::from(p);
                intersection += u64::from(p & t);
            }
        }
        Ok(Self {
            subsets: Subset::of(&task, area),
            task,
            predicted: prediction.is_some(),
            area,
            intersection,
            union: truth_area + predicted_area - intersection,
        })
    }

    /// Intersection over union; 0 if both masks are empty.
    pub fn iou(&self) -> f64 {
        ratio(self.intersection, self.union)
    }
}

/// Number of pixels in a ground-truth mask.
fn area_of(task: &PhraseCutTask, truth: MaskRef<'_>) -> Result<u64> {
    check_binary(truth.values, "ground truth", &task.task_id)?;
    Ok(truth.values.iter().map(|&t| u64::from(t)).sum())
}

/// Checks the size of a mask and its number of values.
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

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    fn task(image_id: u64, width: u32) -> PhraseCutTask {
        PhraseCutTask::new(format!("{image_id}__{width}"), image_id, width, 1)
    }

    /// A mask with one row.
    fn row(values: &[u8]) -> MaskRef<'_> {
        MaskRef {
            width: values.len() as u32,
            height: 1,
            values,
        }
    }

    /// The score of a task whose masks have one row.
    pub(in crate::phrasecut) fn score(
        task_id: &str,
        image_id: u64,
        truth: &[u8],
        prediction: Option<&[u8]>,
    ) -> TaskScore {
        let task = PhraseCutTask::new(task_id, image_id, truth.len() as u32, 1);
        TaskScore::new(task, row(truth), prediction.map(row)).unwrap()
    }

    #[test]
    fn invalid_masks_are_errors() {
        let message = |truth: MaskRef<'_>, prediction: Option<MaskRef<'_>>| {
            let error = TaskScore::new(task(7, 3), truth, prediction).unwrap_err();
            error.to_string()
        };
        assert_eq!(
            message(row(&[1, 0, 0]), Some(row(&[1, 0]))),
            "7__3: the prediction has shape [1, 2], the ground truth [1, 3]"
        );
        assert_eq!(
            message(row(&[1, 0, 2]), None),
            "7__3: the ground truth is 2 at pixel 2, expected 0 or 1"
        );
        assert_eq!(
            message(row(&[1, 0]), None),
            "7__3: the ground truth has 2 values, expected 3x1"
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
        // The ground truth has three of ten pixels at the recorded size, two of four at the prediction's.
        let recorded = task(7, 10);
        let (truth, found) = ([0u8, 1, 1, 0], [0u8, 0, 9, 9]);
        let score = TaskScore::against(recorded.clone(), 3, row(&truth), row(&found)).unwrap();
        assert_eq!((score.intersection, score.union, score.area), (1, 3, 3));
        assert!(score.subsets.contains(&Subset::Large) && score.predicted);
        let error = TaskScore::against(recorded, 3, row(&truth), row(&[1])).unwrap_err();
        assert_eq!(
            error.to_string(),
            "7__10: the prediction has shape [1, 1], the ground truth [1, 4]"
        );
    }
}
