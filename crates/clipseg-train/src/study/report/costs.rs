//! The cost of the decoders, and their scores at equal steps and at equal time.

use crate::study::report::cells::Cell;
use crate::study::result::{CurvePoint, RunResult};

/// The cost and the validation scores of a cell.
pub(crate) struct CellCost {
    pub(crate) decoder: String,
    pub(crate) loss: String,
    pub(crate) parameters: usize,
    /// The mean over the seeds; `None` if it was not measured.
    pub(crate) seconds_per_step: Option<f64>,
    /// Seconds of the training without validations.
    pub(crate) seconds: Option<f64>,
    /// The largest of the seeds.
    pub(crate) peak_memory: Option<u64>,
    /// The mean IoU of the last validation at its best threshold.
    pub(crate) at_equal_steps: Option<f64>,
    /// The same, interpolated between the validations, at the time at which the fastest decoder with this loss ends.
    pub(crate) at_equal_time: Option<f64>,
}

/// The costs of the cells without an alteration.
pub(crate) fn costs(cells: &[Cell<'_>]) -> Vec<CellCost> {
    let plain: Vec<&Cell<'_>> = cells
        .iter()
        .filter(|cell| cell.alteration.is_none())
        .collect();
    plain
        .iter()
        .map(|cell| {
            let same_loss = plain.iter().filter(|other| other.loss == cell.loss);
            let fastest = same_loss.filter_map(|other| mean_of(other, RunResult::seconds));
            let fastest = fastest.min_by(f64::total_cmp);
            CellCost {
                decoder: cell.decoder.to_owned(),
                loss: cell.loss.to_string(),
                parameters: cell.runs.first().map_or(0, |run| run.result.parameters),
                seconds_per_step: mean_of(cell, |run| run.cost.seconds_per_step),
                seconds: mean_of(cell, RunResult::seconds),
                peak_memory: cell
                    .runs
                    .iter()
                    .filter_map(|run| run.result.cost.peak_memory)
                    .max(),
                at_equal_steps: mean_of(cell, |run| Some(run.curve.last()?.mean_iou_at_best)),
                at_equal_time: fastest.and_then(|seconds| {
                    mean_of(cell, |run| {
                        let steps = seconds / run.cost.seconds_per_step?;
                        score_at(&run.curve, steps)
                    })
                }),
            }
        })
        .collect()
}

/// The mean of a value over the runs of a cell that have it.
fn mean_of(cell: &Cell<'_>, value: impl Fn(&RunResult) -> Option<f64>) -> Option<f64> {
    let runs = cell.runs.iter();
    let values: Vec<f64> = runs.filter_map(|run| value(&run.result)).collect();
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// The mean IoU of the validations at their best thresholds after a number of steps, interpolated linearly between two validations; `None`
/// before the first one.
fn score_at(curve: &[CurvePoint], steps: f64) -> Option<f64> {
    let after = curve.iter().position(|point| point.step as f64 >= steps);
    let Some(after) = after else {
        return Some(curve.last()?.mean_iou_at_best);
    };
    let next = &curve[after];
    let Some(before) = after.checked_sub(1).map(|index| &curve[index]) else {
        return (next.step as f64 <= steps).then_some(next.mean_iou_at_best);
    };
    let share = (steps - before.step as f64) / (next.step - before.step) as f64;
    Some(before.mean_iou_at_best + share * (next.mean_iou_at_best - before.mean_iou_at_best))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_between_validations_are_interpolated() {
        let curve = [(100, 0.2), (200, 0.4)].map(|(step, mean_iou)| CurvePoint {
            step,
            training_loss: 0.0,
            validation_loss: 0.0,
            mean_iou: 0.0,
            mean_iou_at_best: mean_iou,
        });
        let at = |steps| score_at(&curve, steps);
        assert_eq!((at(99.0), at(100.0)), (None, Some(0.2)));
        assert!((at(150.0).unwrap() - 0.3).abs() < 1e-12);
        assert_eq!((at(200.0), at(1e9)), (Some(0.4), Some(0.4)));
        assert_eq!(score_at(&[], 10.0), None);
    }
}
