//! `clipseg eval --model`: predictions by a model, and the choice of its threshold.

use super::split::{open, records};
use crate::loading::load;
use crate::look::{Look, Model};
use crate::output::{Output, tell};
use crate::progress::progress_bar;
use clipseg::clip::Precision;
use clipseg::data::{PhraseCut, Split};
use clipseg::metrics::SweepDefinition;
use clipseg::model::{DenseClipWithOptions, PhraseModel, Segmenter, SegmenterWithViews};
use clipseg::train::{PhraseCutEvaluation, PredictionFolder, WordRanks, score_model, sweep_model};
use std::error::Error;
use std::fmt::{self, Display, Formatter};
use std::path::PathBuf;

/// Number of phrases on which the threshold is chosen, at most.
const CHOOSING_PHRASES: usize = 1_000;

#[derive(clap::Args)]
pub(crate) struct ModelArguments {
    /// Model to score instead of predictions: a CLIPSeg checkpoint's folder or hub id, a run's `model`,
    /// or scenes for the small model in this program.
    #[arg(long, value_name = "FOLDER-OR-ID", conflicts_with = "predictions")]
    pub(crate) model: Option<String>,
    /// Device to compute on: cpu, ndarray, wgpu, vulkan or cuda; cuda:1 is the second GPU.
    #[arg(
        long,
        default_value = "cpu",
        requires = "model",
        conflicts_with = "predictions"
    )]
    device: String,
    /// Precision of the vision encoder's matrix products: f32, or bf16, which is faster but needs a CPU
    /// with AVX-512 and bfloat16.
    #[arg(
        long,
        value_name = "NAME",
        default_value_t = Precision::F32,
        requires = "model",
        conflicts_with = "predictions"
    )]
    precision: Precision,
    /// Probability above which a pixel belongs to the mask. Default: the best one on --choose-on.
    // `conflicts_with`, because clap does not require `model` where `predictions` conflicts with it.
    #[arg(long, requires = "model", conflicts_with = "predictions")]
    pub(crate) threshold: Option<f32>,
    /// Split on which the threshold is chosen. Default: val.
    #[arg(
        long,
        value_name = "NAME",
        requires = "model",
        conflicts_with = "predictions"
    )]
    pub(crate) choose_on: Option<Split>,
    /// Write each mask as `<task_id>.png`, as --predictions and the official evaluator read them.
    #[arg(
        long,
        value_name = "DIR",
        requires = "model",
        conflicts_with = "predictions"
    )]
    pub(crate) save_masks: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) look: Look,
}

/// A threshold and its origin.
pub(crate) struct ChosenThreshold {
    pub(crate) threshold: f32,
    /// The split on which it was chosen; `None` if the user gave it.
    pub(crate) on: Option<Split>,
    /// Whether that split overlaps the scored one.
    on_what_was_scored: bool,
}

impl Display for ChosenThreshold {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "threshold {:.2}, ", self.threshold)?;
        match self.on {
            None => f.write_str("given by --threshold"),
            Some(split) if self.on_what_was_scored => {
                write!(
                    f,
                    "chosen on {split}, which is scored too, so the figures are optimistic"
                )
            }
            Some(split) => write!(f, "chosen on {split}"),
        }
    }
}

impl ModelArguments {
    /// Refuses options without effect, before anything is read.
    pub(crate) fn check(&self) -> Result<(), Box<dyn Error>> {
        self.look.check()?;
        match self.look.given() {
            Some(flag) if self.model.is_none() => {
                Err(format!("{flag} has no effect without --model").into())
            }
            _ if self.look.has_template_file() && !self.look.is_dense() => {
                Err("--template-file has no effect: only --method dense uses it".into())
            }
            Some(_) if self.look.is_dense() && self.look.backgrounds().is_empty() => {
                let message =
                    "--method dense needs --background, because each phrase is scored by itself";
                Err(message.into())
            }
            _ => Ok(()),
        }
    }

    /// The model's name and the model.
    pub(crate) fn load(&self) -> Result<(&str, Segmenter), Box<dyn Error>> {
        let name = self.model.as_deref().unwrap_or_default();
        Ok((name, load(name, &self.device, self.precision)?))
    }

    /// Scores the model on a split.
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
                format!("cannot choose a threshold on {choose_on}: {error}; pass --threshold")
            })?),
        };
        let name = self.model.as_deref().unwrap_or_default();
        let templates = self.look.templates()?;
        let device = &self.device;
        match self.look.load(name, device, self.precision, &templates)? {
            Model::ClipSeg { segmenter, views } => {
                let segmenter = &*segmenter;
                let model = SegmenterWithViews { segmenter, views };
                self.score_with(&model, data, split, ranks, output, choosing)
            }
            Model::Dense { model, options } => {
                let (model, options) = (&*model, &options);
                let model = DenseClipWithOptions { model, options };
                self.score_with(&model, data, split, ranks, output, choosing)
            }
        }
    }

    /// Scores a loaded model. The threshold is chosen on `choosing` unless it was given.
    fn score_with<M: PhraseModel>(
        &self,
        model: &M,
        data: &PhraseCut,
        split: Split,
        ranks: Option<&WordRanks>,
        output: Output,
        choosing: Option<PhraseCut>,
    ) -> Result<(PhraseCutEvaluation, ChosenThreshold), Box<dyn Error>> {
        let choose_on = self.choose_on.unwrap_or(Split::Val);
        let threshold = match (self.threshold, choosing) {
            (Some(threshold), _) => ChosenThreshold {
                threshold,
                on: None,
                on_what_was_scored: false,
            },
            (None, choosing) => ChosenThreshold {
                threshold: choose(model, choosing.as_ref().unwrap_or(data), choose_on)?,
                on: Some(choose_on),
                on_what_was_scored: choose_on
                    .parts()
                    .iter()
                    .any(|part| split.parts().contains(part)),
            },
        };

        let phrases = records(data, split).count();
        let bar = progress_bar(phrases, "phrases").with_message("scoring");
        let mut unwritten = 0;
        let evaluation = score_model(
            model,
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
                "{unwritten} masks were not written, because their task ids are not valid file names"
            ));
        }
        Ok((evaluation?, threshold))
    }
}

/// The threshold with the highest mean IoU on some phrases of a split.
fn choose<M: PhraseModel>(
    model: &M,
    data: &PhraseCut,
    split: Split,
) -> Result<f32, Box<dyn Error>> {
    let count = data.phrases(split).len().min(CHOOSING_PHRASES);
    let bar = progress_bar(count, "phrases").with_message("choosing the threshold");
    let sweeps = sweep_model(model, data, split, CHOOSING_PHRASES, || bar.inc(1));
    bar.finish_and_clear();
    let best = sweeps?.scores(SweepDefinition::Plain).best_mean_iou();
    Ok(best.threshold as f32)
}
