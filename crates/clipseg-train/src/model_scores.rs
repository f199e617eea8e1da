//! Scoring a whole model on phrases, by CLIPSeg's protocol and by PhraseCut's.

use crate::error::{Result, TrainError};
use crate::phrasecut_tasks::{WordRanks, phrasecut_task, pixels, view};
use crate::readback::floats;
use clipseg_data::{Mask, Phrase, PhraseCut, load_stored_rgb};
use clipseg_metrics::{Grouped, PhraseCutEvaluator, TaskScore, ThresholdSweep};
use clipseg_model::{Segmenter, SoftMask};
use std::collections::BTreeMap;

/// How good a model is on some phrases.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ModelScores {
    /// CLIPSeg's protocol: the model's own resolution, to which the truth is resized (nearest pixel),
    /// at all thresholds; a sweep for each phrase, by its `task_id`.
    pub sweeps: Grouped<String, ThresholdSweep>,
    /// PhraseCut's protocol: the pictures' recorded sizes, to which logits are interpolated, at one
    /// threshold; the tasks in the order of the phrases.
    pub evaluator: PhraseCutEvaluator,
}

/// Scores a model on phrases by both protocols; each picture is encoded once.
///
/// `on_mask` is handed every mask at its picture's recorded size. A picture that cannot be read is
/// worth a warning, and its phrases have no prediction.
///
/// # Errors
///
/// If there is no phrase, a picture is not listed, a prediction is not a number, or `on_mask` fails.
///
/// # Example
///
/// ```no_run
/// use clipseg_data::{Phrase, PhraseCut, Split};
/// use clipseg_metrics::{Subset, SweepDefinition};
/// use clipseg_model::Segmenter;
/// use clipseg_train::score_model;
///
/// let device = clipseg_clip::device("cpu")?;
/// let segmenter = Segmenter::from_pretrained("runs/train/model".as_ref(), &device)?;
/// let data = PhraseCut::open("VGPhraseCut_v0".as_ref())?;
/// let phrases: Vec<&Phrase> = data.phrases(Split::Test).iter().collect();
/// let scores = score_model(&segmenter, &data, &phrases, None, 0.3, |_, _| Ok(()))?;
/// println!("mean IoU {}", scores.evaluator.scores(Subset::All).mean_iou);
/// println!("AP {}", scores.sweeps.scores(SweepDefinition::ClipSeg).average_precision);
/// # Ok::<(), clipseg_train::TrainError>(())
/// ```
pub fn score_model(
    segmenter: &Segmenter,
    data: &PhraseCut,
    phrases: &[&Phrase],
    ranks: Option<&WordRanks>,
    threshold: f32,
    mut on_mask: impl FnMut(&Phrase, Option<&Mask>) -> Result<()>,
) -> Result<ModelScores> {
    let mut sweeps = Grouped::new();
    let mut scores: Vec<Option<TaskScore>> = vec![None; phrases.len()];
    for_each_phrase(segmenter, data, phrases, |place, logits| {
        let phrase = phrases[place];
        let task = phrasecut_task(data, phrase, ranks)?;
        let truth = data.mask(phrase)?;
        let mask = match logits {
            None => None,
            Some(logits) => {
                add_to(&mut sweeps, phrase, &truth, logits)?;
                let size = [task.width, task.height];
                let soft = SoftMask::from_logits(logits.values, logits.size, size)?;
                Some(soft.threshold(threshold))
            }
        };
        let (truth, prediction) = (pixels(&truth), mask.as_ref().map(pixels));
        let score = TaskScore::new(task, view(&truth), prediction.as_ref().map(view))?;
        scores[place] = Some(score);
        on_mask(phrase, mask.as_ref())
    })?;
    Ok(ModelScores {
        sweeps,
        evaluator: scores.into_iter().flatten().collect(),
    })
}

/// The sweeps of [`score_model`] alone, to choose a threshold by; `on_phrase` is called after each.
///
/// # Errors
///
/// As [`score_model`].
pub fn sweep_model(
    segmenter: &Segmenter,
    data: &PhraseCut,
    phrases: &[&Phrase],
    mut on_phrase: impl FnMut(),
) -> Result<Grouped<String, ThresholdSweep>> {
    let mut sweeps = Grouped::new();
    for_each_phrase(segmenter, data, phrases, |place, logits| {
        let phrase = phrases[place];
        if let Some(logits) = logits {
            add_to(&mut sweeps, phrase, &data.mask(phrase)?, logits)?;
        }
        on_phrase();
        Ok(())
    })?;
    Ok(sweeps)
}

/// A phrase's logits, row by row.
#[derive(Clone, Copy)]
struct Logits<'a> {
    values: &'a [f32],
    /// Width and height.
    size: [u32; 2],
}

fn add_to(
    sweeps: &mut Grouped<String, ThresholdSweep>,
    phrase: &Phrase,
    truth: &Mask,
    logits: Logits<'_>,
) -> Result<()> {
    let [width, height] = logits.size;
    let truth = truth.resize(width, height).to_vec();
    let sweep = sweeps.entry(phrase.task_id.clone());
    Ok(sweep.add_logits(logits.values, &truth, &phrase.task_id)?)
}

/// Hands on the logits of each phrase, picture by picture; none where the picture cannot be read.
fn for_each_phrase(
    segmenter: &Segmenter,
    data: &PhraseCut,
    phrases: &[&Phrase],
    mut score: impl FnMut(usize, Option<Logits<'_>>) -> Result<()>,
) -> Result<()> {
    if phrases.is_empty() {
        return Err(TrainError::Empty("evaluated"));
    }
    let mut of_picture = BTreeMap::<u64, Vec<usize>>::new();
    for (place, phrase) in phrases.iter().enumerate() {
        of_picture.entry(phrase.image_id).or_default().push(place);
    }
    for (image_id, places) in of_picture {
        let picture = match load_stored_rgb(&data.image_path(image_id)) {
            Ok(picture) => picture,
            Err(error) => {
                tracing::warn!("{error}; its phrases have no prediction");
                for place in places {
                    score(place, None)?;
                }
                continue;
            }
        };
        let encoded = segmenter.encode_image(&picture)?;
        let texts: Vec<&str> = places
            .iter()
            .map(|&place| phrases[place].phrase.as_str())
            .collect();
        let logits = segmenter.logits(&encoded, segmenter.encode_text(&texts)?)?;
        let [_, height, width] = logits.dims();
        let values = floats(logits)?;
        let size = [width as u32, height as u32];
        for (&place, values) in places.iter().zip(values.chunks_exact(height * width)) {
            score(place, Some(Logits { values, size }))?;
        }
    }
    Ok(())
}
