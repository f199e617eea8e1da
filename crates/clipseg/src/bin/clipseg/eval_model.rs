//! The part of `clipseg eval` that makes the predictions itself.

use crate::eval::{open, records};
use crate::output::{Output, tell};
use clipseg::clip::resolve;
use clipseg::data::{PhraseCut, Split};
use clipseg::metrics::SweepDefinition;
use clipseg::model::Segmenter;
use clipseg::train::{PhraseCutEvaluation, PredictionFolder, WordRanks, score_model, sweep_model};
use indicatif::{ProgressBar, ProgressStyle};
use std::error::Error;
use std::fmt::{self, Display, Formatter};
use std::path::PathBuf;

/// Phrases that a threshold is chosen on.
const CHOOSING_PHRASES: usize = 1_000;

#[derive(clap::Args)]
pub(crate) struct ModelArguments {
    /// Folder of a CLIPSeg checkpoint or of a run's `model`, or an id on the hub, instead of predictions.
    #[arg(long, value_name = "FOLDER-OR-ID", conflicts_with = "predictions")]
    pub(crate) model: Option<String>,
    /// cpu, ndarray, wgpu, vulkan or cuda; cuda:1 for the second card.
    #[arg(
        long,
        default_value = "cpu",
        requires = "model",
        conflicts_with = "predictions"
    )]
    device: String,
    /// Probability above which a pixel is inside. Without it the best on another split is taken.
    // clap does not ask for `model` beside what conflicts with it.
    #[arg(long, requires = "model", conflicts_with = "predictions")]
    pub(crate) threshold: Option<f32>,
    /// The split that the threshold is chosen on. Default: val.
    #[arg(
        long,
        value_name = "NAME",
        requires = "model",
        conflicts_with = "predictions"
    )]
    pub(crate) choose_on: Option<Split>,
    /// Write each mask as `<task_id>.png`, for this program's --predictions and the official evaluator.
    #[arg(
        long,
        value_name = "DIR",
        requires = "model",
        conflicts_with = "predictions"
    )]
    pub(crate) save_masks: Option<PathBuf>,
}

/// A threshold, and where it comes from.
pub(crate) struct ChosenThreshold {
    pub(crate) threshold: f32,
    /// The split that it was chosen on, if it was not given.
    pub(crate) on: Option<Split>,
    /// Whether that is what was scored, in part at least.
    on_what_was_scored: bool,
}

impl Display for ChosenThreshold {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "threshold {:.2}, ", self.threshold)?;
        match self.on {
            None => f.write_str("as given"),
            Some(split) if self.on_what_was_scored => {
                write!(
                    f,
                    "chosen on {split}, so the figures are better than on new phrases"
                )
            }
            Some(split) => write!(f, "chosen on {split}"),
        }
    }
}

impl ModelArguments {
    /// The model's name and the model.
    pub(crate) fn load(&self) -> Result<(&str, Segmenter), Box<dyn Error>> {
        let name = self.model.as_deref().unwrap_or_default();
        let device = clipseg::device(&self.device)?;
        Ok((name, Segmenter::from_pretrained(&resolve(name)?, &device)?))
    }

    /// Runs the model over a split.
    pub(crate) fn score(
        &self,
        data: &PhraseCut,
        split: Split,
        ranks: Option<&WordRanks>,
        output: Output,
    ) -> Result<(PhraseCutEvaluation, ChosenThreshold), Box<dyn Error>> {
        if let Some(threshold) = self.threshold
            && !(0.0..1.0).contains(&threshold)
        {
            return Err(format!("--threshold {threshold}: expected 0 to less than 1").into());
        }
        if let Some(folder) = &self.save_masks {
            for (phrase, _) in records(data, split) {
                if let Some(name) = PredictionFolder::file_name(&phrase.task_id) {
                    output.check(&folder.join(name))?;
                }
            }
            std::fs::create_dir_all(folder)
                .map_err(|error| format!("cannot make {}: {error}", folder.display()))?;
        }
        let choose_on = self.choose_on.unwrap_or(Split::Val);
        let choosing = match self.threshold {
            Some(_) => None,
            None => Some(open(data.root(), choose_on).map_err(|error| {
                format!(
                    "no {choose_on} phrases to choose a threshold on: {error}; give --threshold"
                )
            })?),
        };
        let (_, segmenter) = self.load()?;
        let threshold = match (self.threshold, choosing) {
            (Some(threshold), _) => ChosenThreshold {
                threshold,
                on: None,
                on_what_was_scored: false,
            },
            (None, choosing) => ChosenThreshold {
                threshold: choose(&segmenter, choosing.as_ref().unwrap_or(data), choose_on)?,
                on: Some(choose_on),
                on_what_was_scored: choose_on
                    .parts()
                    .iter()
                    .any(|part| split.parts().contains(part)),
            },
        };

        let bar = bar(records(data, split).count(), "scoring");
        let mut unwritten = 0;
        let evaluation = score_model(
            &segmenter,
            data,
            split,
            ranks,
            threshold.threshold,
            |phrase, mask| {
                bar.inc(1);
                if let (Some(folder), Some(mask)) = (&self.save_masks, mask) {
                    match PredictionFolder::file_name(&phrase.task_id) {
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
            tell(format_args!(
                "{unwritten} masks were not written: their task ids cannot be names of files"
            ));
        }
        Ok((evaluation?, threshold))
    }
}

/// The threshold with the highest mean IoU on some phrases of a split.
fn choose(segmenter: &Segmenter, data: &PhraseCut, split: Split) -> Result<f32, Box<dyn Error>> {
    let count = data.phrases(split).len().min(CHOOSING_PHRASES);
    let bar = bar(count, "choosing a threshold");
    let sweeps = sweep_model(segmenter, data, split, CHOOSING_PHRASES, || bar.inc(1));
    bar.finish_and_clear();
    let best = sweeps?.scores(SweepDefinition::Plain).best_mean_iou();
    Ok(best.threshold as f32)
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
