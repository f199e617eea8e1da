//! Scoring a complete model on a split by the protocol of PhraseCut.

use crate::error::{Result, TrainError};
use crate::scoring::exceptions::Exceptions;
use crate::scoring::phrasecut_tasks::{PhraseCutEvaluation, Scored, Tasks, WordRanks};
use crate::scoring::scored_records::{Record, by_picture};
use clipseg_data::{Mask, Phrase, PhraseCut, Split, load_stored_rgb};
use clipseg_metrics::{Grouped, ThresholdSweep};
use clipseg_model::{ModelError, PhraseLogits, PhraseModel, SoftMask};
use std::collections::HashMap;

/// The number of phrases that are decoded at a time.
pub(crate) const DECODED_PHRASES: usize = 16;

/// The reason and the effect for phrases whose picture cannot be read.
const UNREADABLE: [&str; 2] = [
    "a picture that cannot be read",
    "they have no prediction, so the mean leaves them out and the mean of all counts them as 0",
];

const LEFT_OUT: [&str; 2] = [UNREADABLE[0], "they are left out"];

/// Scores a model by the protocol of PhraseCut.
///
/// Each picture goes through the preprocessing of the model. Logits are interpolated to the recorded
/// size, and pixels whose probability is above the threshold count as inside. The rules are those of
/// [`evaluate_phrasecut`](crate::evaluate_phrasecut).
///
/// `on_mask` is called with the mask of each record, or with `None` if its picture cannot be read or is
/// not listed. Records with the same task id share one mask; `on_mask` is called with it only once.
///
/// `model` is a [`Segmenter`](clipseg_model::Segmenter), or another [`PhraseModel`]. The memory holds one
/// picture, its encoding, the logits of 16 phrases, and about 300 bytes for each task.
///
/// # Errors
///
/// If the split has no phrase or no polygons, the threshold is not between 0 and 1, a logit is NaN or
/// infinite, or `on_mask` fails.
///
/// # Example
///
/// ```no_run
/// use clipseg_data::{PhraseCut, Split};
/// use clipseg_metrics::Subset;
/// use clipseg_model::Segmenter;
/// use clipseg_train::score_model;
///
/// let device = burn::tensor::Device::flex();
/// let segmenter = Segmenter::from_pretrained("runs/train/model", &device)?;
/// let data = PhraseCut::open_splits("VGPhraseCut_v0".as_ref(), &[Split::Test])?;
/// let scored = score_model(&segmenter, &data, Split::Test, None, 0.3, |_, _| Ok(()))?;
/// println!("mean IoU {}", scored.evaluator.scores(Subset::All).mean_iou);
/// for exception in scored.exceptions {
///     println!("{exception}");
/// }
/// # Ok::<(), clipseg_train::TrainError>(())
/// ```
pub fn score_model<M: PhraseModel>(
    model: &M,
    data: &PhraseCut,
    split: Split,
    ranks: Option<&WordRanks>,
    threshold: f32,
    mut on_mask: impl FnMut(&Phrase, Option<&Mask>) -> Result<()>,
) -> Result<PhraseCutEvaluation> {
    if !(0.0..=1.0).contains(&threshold) {
        let message = format!("{threshold}, expected a probability from 0 to 1");
        return Err(TrainError::field("threshold", message));
    }
    let tasks = Tasks::new(data, split, ranks)?;
    let records = &tasks.records;
    let mut scores: Vec<Option<Scored>> = vec![None; records.len()];
    let mut exceptions = Exceptions::default();
    // Masks by which later records with the same task id are scored, too.
    let mut kept = HashMap::<usize, Mask>::new();
    let is_asked =
        |&place: &usize| records[place].image(data).is_some() && tasks.first(place) == place;
    let places: Vec<usize> = (0..records.len()).filter(is_asked).collect();
    let wanted: Vec<Record<'_>> = places.iter().map(|&place| records[place]).collect();
    for_each_phrase(model, data, &wanted, |index, found| {
        let place = places[index];
        let (phrase, task) = (records[place].phrase, tasks.task(place));
        let mask = match found {
            Ok(logits) => {
                let size = [task.width, task.height];
                let soft = SoftMask::from_logits(logits.values, logits.size, size);
                let soft = soft.map_err(|error| {
                    let message = format!("phrase `{}`: {error}", phrase.task_id);
                    TrainError::run(&data.image_path(phrase.image_id), message)
                })?;
                Some(soft.threshold(threshold))
            }
            Err(message) => {
                exceptions.add(UNREADABLE, message);
                None
            }
        };
        scores[place] = Some(tasks.score(place, task, mask.as_ref())?);
        on_mask(phrase, mask.as_ref())?;
        if let (true, Some(mask)) = (tasks.comes_again(place), mask) {
            kept.insert(place, mask);
        }
        Ok(())
    })?;
    let mut all = Vec::with_capacity(records.len());
    for (place, score) in scores.into_iter().enumerate() {
        all.push(match score {
            Some(score) => score,
            None => {
                let mask = kept.get(&tasks.first(place));
                if mask.is_none() {
                    on_mask(records[place].phrase, None)?;
                }
                tasks.score(place, tasks.task(place), mask)?
            }
        });
    }
    Ok(tasks.evaluation(all, exceptions))
}

/// Counts a model's pixels at all thresholds, to choose a threshold.
///
/// The counts are those of at most `at_most` phrases, evenly spread over the split, at the resolution of
/// the model's logits. The ground truth is drawn by the rule of PhraseCut's evaluator and resized by nearest
/// neighbour. Phrases whose pictures cannot be read are left out and counted in a warning. `on_phrase` is
/// called after each phrase.
///
/// The groups are keyed by the index of the phrase in the split and take 800 bytes each.
///
/// # Errors
///
/// If the split has no phrase or no polygons, no picture can be read, or a logit is NaN or infinite.
pub fn sweep_model<M: PhraseModel>(
    model: &M,
    data: &PhraseCut,
    split: Split,
    at_most: usize,
    mut on_phrase: impl FnMut(),
) -> Result<Grouped<usize, ThresholdSweep>> {
    data.require_truth(split)?;
    let phrases = data.phrases(split);
    let count = phrases.len().min(at_most);
    let places: Vec<usize> = (0..count)
        .map(|index| index * phrases.len() / count)
        .collect();
    let wanted: Vec<Record<'_>> = places
        .iter()
        .map(|&place| Record {
            phrase: &phrases[place],
            problem: None,
        })
        .collect();
    let mut sweeps = Grouped::<usize, ThresholdSweep>::new();
    let mut unreadable = Exceptions::default();
    for_each_phrase(model, data, &wanted, |index, found| {
        match found {
            Ok(Logits { values, size }) => {
                let phrase = wanted[index].phrase;
                let truth = data.mask(phrase)?.resize(size[0], size[1]).to_vec();
                let sweep = sweeps.entry(places[index]);
                sweep.add_logits(values, &truth, &phrase.task_id)?;
            }
            Err(message) => unreadable.add(LEFT_OUT, message),
        }
        on_phrase();
        Ok(())
    })?;
    let unreadable = unreadable.into_vec();
    if sweeps.is_empty() {
        return Err(match unreadable.first() {
            Some(exception) => TrainError::run(data.root(), format!("{split}: {exception}")),
            None => TrainError::Empty(split.name()),
        });
    }
    for exception in unreadable {
        tracing::warn!("choosing a threshold on {split}: {exception}");
    }
    Ok(sweeps)
}

/// The logits of a phrase, row by row.
#[derive(Clone, Copy)]
struct Logits<'a> {
    values: &'a [f32],
    /// Width and height.
    size: [u32; 2],
}

/// Calls `score` with the index and the logits of each phrase, picture by picture, or with the error
/// message if the picture cannot be read.
fn for_each_phrase<M: PhraseModel>(
    model: &M,
    data: &PhraseCut,
    wanted: &[Record<'_>],
    mut score: impl FnMut(usize, Result<Logits<'_>, &str>) -> Result<()>,
) -> Result<()> {
    for (image_id, places) in by_picture(wanted) {
        let path = data.image_path(image_id);
        let picture = match load_stored_rgb(&path) {
            Ok(picture) => picture,
            Err(error) => {
                let message = error.to_string();
                for place in places {
                    score(place, Err(&message))?;
                }
                continue;
            }
        };
        let of_picture = |error: ModelError| TrainError::run(&path, error);
        let encoded = model.encode(&picture).map_err(of_picture)?;
        for places in places.chunks(DECODED_PHRASES) {
            let texts: Vec<&str> = places
                .iter()
                .map(|&place| wanted[place].phrase.phrase.as_str())
                .collect();
            let found = model.phrase_logits(&encoded, &texts).map_err(of_picture)?;
            let PhraseLogits { values, size } = found;
            let pixels = size[0] as usize * size[1] as usize;
            for (&place, values) in places.iter().zip(values.chunks_exact(pixels)) {
                score(place, Ok(Logits { values, size }))?;
            }
        }
    }
    Ok(())
}
