//! The result of one run: a line of `results.jsonl`.

use crate::error::{Result, TrainError};
use crate::study::alteration::Alteration;
use crate::study::planned_run::PlannedRun;
use clipseg_metrics::Loss;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// The result of one run of a study, without the scores of single phrases, which are in a file of their own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct RunResult {
    /// The name of the run.
    pub name: String,
    /// The name of the decoder in the configuration.
    pub decoder: String,
    /// The training loss.
    pub loss: Loss,
    /// The deliberate change, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alteration: Option<Alteration>,
    /// The random seed.
    pub seed: u64,
    /// The number of steps, or that before the training failed.
    pub steps: usize,
    /// The number of phrases in a step.
    pub batch_size: usize,
    /// The number of trained parameters.
    pub parameters: usize,
    /// Why the training failed: the loss, a gradient or a weight became NaN or infinite. `None` for a complete run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// The measured cost. This is the only part that differs when a run is repeated.
    pub cost: Cost,
    /// The scores; `None` if the training failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scores: Option<Scores>,
    /// The validations during the training.
    pub curve: Vec<CurvePoint>,
}

/// What a run cost on the machine that it ran on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Cost {
    /// The median time of a step in seconds; `None` if the process that finished the run did fewer than two steps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds_per_step: Option<f64>,
    /// The largest resident memory of the process during the run in bytes, including the cache of hidden states and
    /// other runs at the same time; `None` where the operating system does not report it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_memory: Option<u64>,
    /// The number of runs at the same time.
    pub jobs: usize,
}

/// The scores of the decoder after the last step on the test phrases, at the resolution of the model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Scores {
    /// The threshold with the highest mean IoU on the validation phrases.
    pub threshold: f64,
    /// The scores of each subset of the phrases by its name.
    pub subsets: BTreeMap<String, SubsetScore>,
    /// The mean IoU over the validation phrases at each of the 49 thresholds 0.02, 0.04, … 0.98.
    pub validation_sweep: Vec<f64>,
    /// The mean IoU over the test phrases at the same thresholds.
    pub test_sweep: Vec<f64>,
    /// Average precision of the test pixels.
    pub average_precision: f64,
    /// Ten bins of the predicted probabilities of the test pixels, from 0 to 1.
    pub reliability: Vec<ReliabilityBin>,
}

/// The mean scores of a subset of the phrases, at the threshold 0.5 and at that chosen on the validation phrases.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct SubsetScore {
    /// Number of phrases.
    pub phrases: usize,
    /// Mean IoU at 0.5.
    pub iou: f64,
    /// Mean IoU at the chosen threshold.
    pub iou_chosen: f64,
    /// Mean boundary F at 0.5, with a tolerance of 2 pixels.
    pub boundary_f: f64,
    /// Mean boundary F at the chosen threshold.
    pub boundary_f_chosen: f64,
}

/// The pixels whose predicted probability is in one interval.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ReliabilityBin {
    /// Number of pixels.
    pub pixels: u64,
    /// The mean of their predicted probabilities; 0 without pixels.
    pub predicted: f64,
    /// The fraction of them that is inside the ground truth; 0 without pixels.
    pub observed: f64,
}

/// A validation during the training.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct CurvePoint {
    /// The number of steps before the validation.
    pub step: usize,
    /// The mean training loss of the steps since the last validation.
    pub training_loss: f64,
    /// The mean loss over the validation phrases.
    pub validation_loss: f64,
    /// The mean IoU over the validation phrases at 0.5.
    pub mean_iou: f64,
    /// The same at the threshold that is best in this validation.
    pub mean_iou_at_best: f64,
}

impl RunResult {
    /// Whether this is the result of a planned run.
    pub(crate) fn is_of(&self, run: &PlannedRun) -> bool {
        let own = (&self.decoder, &self.loss, self.alteration, self.seed);
        self.name == run.name && own == (&run.decoder, &run.loss, run.alteration, run.seed)
    }

    /// The seconds of the training; `None` if the time of a step was not measured.
    pub(crate) fn seconds(&self) -> Option<f64> {
        Some(self.cost.seconds_per_step? * self.steps as f64)
    }
}

/// The lines of `results.jsonl`.
pub(crate) fn to_lines(results: &[RunResult], path: &Path) -> Result<String> {
    let mut text = String::new();
    for result in results {
        let line = serde_json::to_string(result).map_err(|error| TrainError::run(path, error))?;
        text += &line;
        text.push('\n');
    }
    Ok(text)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A result with the scores of all subsets set to `iou`.
    pub(crate) fn result(run: &PlannedRun, iou: f64) -> RunResult {
        let score = SubsetScore {
            phrases: 4,
            iou,
            iou_chosen: iou + 0.01,
            boundary_f: iou / 2.0,
            boundary_f_chosen: iou / 2.0 + 0.01,
        };
        let subsets = ["all", "seen", "unseen", "s_small"].map(|name| (name.to_owned(), score));
        RunResult {
            name: run.name.clone(),
            decoder: run.decoder.clone(),
            loss: run.loss.clone(),
            alteration: run.alteration,
            seed: run.seed,
            steps: 10,
            batch_size: 4,
            parameters: 1_234,
            failure: None,
            cost: Cost {
                seconds_per_step: Some(0.25),
                peak_memory: Some(300 << 20),
                jobs: 1,
            },
            scores: Some(Scores {
                threshold: 0.3,
                subsets: subsets.into_iter().collect(),
                validation_sweep: vec![iou; 49],
                test_sweep: vec![iou; 49],
                average_precision: 0.5,
                reliability: vec![
                    ReliabilityBin {
                        pixels: 10,
                        predicted: 0.1,
                        observed: 0.2,
                    };
                    10
                ],
            }),
            curve: [5, 10]
                .map(|step| CurvePoint {
                    step,
                    training_loss: 1.0 / step as f64,
                    validation_loss: 1.5 / step as f64,
                    mean_iou: iou * step as f64 / 10.0,
                    mean_iou_at_best: iou * step as f64 / 8.0,
                })
                .to_vec(),
        }
    }
}
