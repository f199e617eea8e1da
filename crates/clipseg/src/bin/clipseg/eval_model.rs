//! The part of `clipseg eval` that makes the predictions itself.

use crate::eval::split;
use crate::output::{LONGEST_NAME, Output};
use clipseg::clip::resolve;
use clipseg::data::{Phrase, PhraseCut, Split};
use clipseg::metrics::{
    Grouped, PhraseCutEvaluator, SweepDefinition, SweepScores, ThresholdSweep, sweep_thresholds,
};
use clipseg::model::Segmenter;
use clipseg::train::{WordRanks, score_model, sweep_model};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use std::error::Error;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// Phrases that a threshold is chosen on.
const CHOOSING_PHRASES: usize = 1_000;

#[derive(clap::Args)]
pub(crate) struct ModelArguments {
    /// Folder of a CLIPSeg checkpoint or of a run's `model`, or an id on the hub, instead of predictions.
    #[arg(long, value_name = "FOLDER-OR-ID", conflicts_with = "predictions")]
    model: Option<String>,
    /// cpu, ndarray, wgpu, vulkan or cuda; cuda:1 for the second card.
    #[arg(long, default_value = "cpu", requires = "model")]
    device: String,
    /// Probability above which a pixel is inside. Without it the best on the validation split is taken.
    #[arg(long, requires = "model")]
    threshold: Option<f32>,
    /// The split that the threshold is chosen on.
    #[arg(long, value_name = "NAME", value_parser = split, default_value = "val", requires = "model")]
    choose_on: Split,
    /// Write each mask as `<task_id>.png`, for this program's --predictions and the official evaluator.
    #[arg(long, value_name = "DIR", requires = "model")]
    pub(crate) save_masks: Option<PathBuf>,
}

/// What is known of a model beyond its masks.
pub(crate) struct ModelFigures {
    model: String,
    threshold: f32,
    chosen_on: Option<Split>,
    /// CLIPSeg's definition, then the plain one.
    scores: [SweepScores; 2],
}

impl ModelArguments {
    /// Runs the model over a split.
    pub(crate) fn score(
        &self,
        data: &PhraseCut,
        wanted: Split,
        ranks: Option<&WordRanks>,
        output: Output,
    ) -> Result<(PhraseCutEvaluator, ModelFigures), Box<dyn Error>> {
        let model = self.model.as_deref().unwrap_or_default();
        if let Some(threshold) = self.threshold
            && !(0.0..1.0).contains(&threshold)
        {
            return Err(format!("--threshold {threshold}: expected 0 to less than 1").into());
        }
        let phrases: Vec<&Phrase> = data.phrases(wanted).iter().collect();
        if let Some(folder) = &self.save_masks {
            for phrase in &phrases {
                if let Some(name) = mask_name(&phrase.task_id) {
                    output.check(&folder.join(name))?;
                }
            }
            std::fs::create_dir_all(folder)
                .map_err(|error| format!("cannot make {}: {error}", folder.display()))?;
        }
        let device = clipseg::device(&self.device)?;
        let segmenter = Segmenter::from_pretrained(&resolve(model)?, &device)?;
        let (threshold, chosen_on) = match self.threshold {
            Some(threshold) => (threshold, None),
            None => (self.choose(&segmenter, data)?, Some(self.choose_on)),
        };

        let bar = bar(phrases.len(), "scoring");
        let mut unwritten = 0;
        let scores = score_model(
            &segmenter,
            data,
            &phrases,
            ranks,
            threshold,
            |phrase, mask| {
                bar.inc(1);
                if let (Some(folder), Some(mask)) = (&self.save_masks, mask) {
                    match mask_name(&phrase.task_id) {
                        Some(name) => {
                            output.png(&folder.join(name), &mask.to_gray_image().into())?;
                        }
                        None => unwritten += 1,
                    }
                }
                Ok(())
            },
        );
        bar.finish_and_clear();
        if unwritten > 0 {
            eprintln!(
                "clipseg: {unwritten} masks were not written: their task ids cannot be names of files"
            );
        }
        let scores = scores?;
        let figures = ModelFigures {
            model: model.to_owned(),
            threshold,
            chosen_on,
            scores: [SweepDefinition::ClipSeg, SweepDefinition::Plain]
                .map(|definition| scores.sweeps.scores(definition)),
        };
        Ok((scores.evaluator, figures))
    }

    /// The threshold with the highest mean IoU on some phrases of another split.
    fn choose(&self, segmenter: &Segmenter, data: &PhraseCut) -> Result<f32, Box<dyn Error>> {
        let all = data.phrases(self.choose_on);
        if all.is_empty() {
            let split = self.choose_on;
            return Err(
                format!("no {split} phrases to choose a threshold on: give --threshold").into(),
            );
        }
        let count = all.len().min(CHOOSING_PHRASES);
        let spread = (0..count).map(|index| &all[index * all.len() / count]);
        let phrases: Vec<&Phrase> = spread.collect();
        let bar = bar(count, "choosing a threshold");
        let sweeps: Grouped<String, ThresholdSweep> =
            sweep_model(segmenter, data, &phrases, || bar.inc(1))?;
        bar.finish_and_clear();
        let best = sweeps.scores(SweepDefinition::Plain).best_mean_iou();
        Ok(best.threshold as f32)
    }
}

impl ModelFigures {
    pub(crate) fn to_json(&self) -> Value {
        json!({
            "model": self.model,
            "threshold": self.threshold,
            "chosen_on": self.chosen_on.map(Split::name),
            "at_model_resolution": self.scores,
        })
    }

    /// What stands under the table.
    pub(crate) fn lines(&self) -> Vec<String> {
        let mut lines = vec![match self.chosen_on {
            Some(split) => format!("threshold {:.2}, chosen on {split}", self.threshold),
            None => format!("threshold {:.2}, as given", self.threshold),
        }];
        let thresholds = sweep_thresholds();
        let nearest = (0..thresholds.len())
            .min_by(|&a, &b| {
                let distance = |i: usize| (thresholds[i] - f64::from(self.threshold)).abs();
                distance(a).total_cmp(&distance(b))
            })
            .unwrap_or_default();
        for scores in &self.scores {
            let name = match scores.definition {
                SweepDefinition::ClipSeg => "CLIPSeg's definition",
                SweepDefinition::Plain => "plain definition",
            };
            lines.push(format!(
                "at the model's resolution, {name}, threshold {:.2}: mIoU {:.4}, IoU_FG {:.4}, \
                 IoU_BIN {:.4}, AP {:.4}",
                thresholds[nearest],
                scores.mean_iou[nearest],
                scores.iou_fg[nearest],
                scores.iou_bin[nearest],
                scores.average_precision
            ));
        }
        lines
    }
}

/// What the mask of a task is called; a name that is too long, or that lies elsewhere, is none.
fn mask_name(task_id: &str) -> Option<String> {
    let name = format!("{task_id}.png");
    let is_plain = Path::new(&name).file_name() == Some(OsStr::new(&name));
    (is_plain && name.len() <= LONGEST_NAME).then_some(name)
}

/// Progress over phrases.
pub(crate) fn bar(length: usize, what: &'static str) -> ProgressBar {
    let bar = ProgressBar::new(length as u64);
    if let Ok(style) =
        ProgressStyle::with_template("{msg} {bar:30} {pos}/{len} phrases, {eta} left")
    {
        bar.set_style(style);
    }
    bar.set_message(what);
    bar
}
