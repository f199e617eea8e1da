//! Scoring by the protocol of the CLIPSeg paper.

use crate::error::{Result, TrainError};
use crate::readback::floats;
use crate::scoring::exceptions::{Exception, Exceptions};
use crate::scoring::model_scores::DECODED_PHRASES;
use crate::scoring::scored_records::{Record, by_picture};
use burn::prelude::*;
use clipseg_clip::{ImageProcessor, TargetSize};
use clipseg_data::{
    OTHER_SIZE_PICTURES, Phrase, PhraseCut, Preprocessing, RasterRule, Split, load_stored_rgb,
};
use clipseg_metrics::{Grouped, SweepDefinition, SweepScores, ThresholdSweep};
use clipseg_model::Segmenter;

/// The result of an evaluation by CLIPSeg's protocol.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ClipSegEvaluation {
    /// Width and height in pixels at which predictions and ground truth were compared.
    pub side: u32,
    /// The threshold sweep of each sample, keyed by its index among the records of the split: first the
    /// usable phrases ([`PhraseCut::phrases`]), then the others ([`PhraseCut::unusable`]).
    pub sweeps: Grouped<usize, ThresholdSweep>,
    /// The phrases that were not scored, by reason.
    pub exceptions: Vec<Exception>,
}

impl ClipSegEvaluation {
    /// Computes the scores. Those of the paper are [`SweepDefinition::ClipSeg`], in which each sample is a
    /// separate class.
    pub fn scores(&self, definition: SweepDefinition) -> SweepScores {
        self.sweeps.scores(definition)
    }
}

const WITHOUT: &str = "they are left out; CLIPSeg's own code stops with an error on them";
const AS_THERE: &str = "they are left out, as in CLIPSeg's own code";
const SKIPPED: [&str; 2] = [
    "one of the 17 pictures whose size is not the recorded one",
    AS_THERE,
];
const NO_AREA: [&str; 2] = ["instance boxes without an area", AS_THERE];
const NO_POLYGON: [&str; 2] = ["no polygon at all", WITHOUT];
const NO_PICTURE: [&str; 2] = [
    "a picture that is not listed, or with an impossible size",
    WITHOUT,
];
const UNREADABLE: [&str; 2] = ["a picture that cannot be read", WITHOUT];

/// Scores any model by the protocol of the CLIPSeg paper (Lüddecke and Ecker 2022, arXiv:2112.10003), as in
/// `datasets/phrasecut.py` and `metrics.py` of timojl/clipseg.
///
/// - The [17 pictures](OTHER_SIZE_PICTURES) are skipped, and so are samples whose instance boxes have no
///   area. Other phrases that are left out are listed in [`exceptions`](ClipSegEvaluation::exceptions).
/// - Pictures are resized to `side` × `side` pixels by [`Preprocessing::ClipSeg`], without applying their
///   EXIF orientation.
/// - The ground truth is the union of all polygons by [`RasterRule::PixelCentre`] at the recorded size of
///   the picture, resized by PyTorch's `nearest`
///   ([`Mask::resize_floor`](clipseg_data::Mask::resize_floor)). It may be empty.
/// - If several records have the same task id, each is a sample.
///
/// The protocol of PhraseCut ([`evaluate_phrasecut`](crate::evaluate_phrasecut)) differs in all of these:
/// it compares at the size of each picture, fills polygons by another rule, uses one threshold, and counts
/// every record.
///
/// `encode` is called with a picture as `[3, side, side]`, from 0 to 1 and not normalised. `decode` is
/// called with the result of `encode` and some phrases of the picture, and returns their logits,
/// `[phrases, side, side]`.
///
/// The memory holds one picture, the logits of 16 phrases, and 800 bytes for each sample.
///
/// # Errors
///
/// If the split has no polygons, no sample is left, `decode` does not return `side · side` logits for each
/// phrase, a logit is NaN or infinite, or `encode` or `decode` fails.
pub fn evaluate_clipseg<E>(
    data: &PhraseCut,
    split: Split,
    side: u32,
    mut encode: impl FnMut(&[f32]) -> Result<E>,
    mut decode: impl FnMut(&E, &[&Phrase]) -> Result<Vec<f32>>,
) -> Result<ClipSegEvaluation> {
    if side == 0 {
        return Err(TrainError::field("side", "0, expected at least 1"));
    }
    let records = Record::all(data, split)?;
    let (mut sweeps, mut exceptions) = (
        Grouped::<usize, ThresholdSweep>::new(),
        Exceptions::default(),
    );
    let pixels = side as usize * side as usize;
    for (image_id, places) in by_picture(&records) {
        let mut samples = Vec::new();
        for place in places {
            let record = &records[place];
            match obstacle(data, record) {
                Some(what) => exceptions.add(what, &record.phrase.task_id),
                None => samples.push(place),
            }
        }
        let (Some(image), false) = (data.image(image_id), samples.is_empty()) else {
            continue;
        };
        let picture = match load_stored_rgb(&data.image_path(image_id)) {
            Ok(picture) => picture,
            Err(error) => {
                for _ in samples {
                    exceptions.add(UNREADABLE, &error);
                }
                continue;
            }
        };
        let encoded = encode(&planes(
            &Preprocessing::ClipSeg.squash(&picture, side, side),
        ))?;
        for samples in samples.chunks(DECODED_PHRASES) {
            let phrases: Vec<&Phrase> =
                samples.iter().map(|&place| records[place].phrase).collect();
            let logits = decode(&encoded, &phrases)?;
            if logits.len() != phrases.len() * pixels {
                let (found, expected) = (logits.len(), phrases.len() * pixels);
                let message = format!("{found} values for picture {image_id}, expected {expected}");
                return Err(TrainError::field("logits", message));
            }
            for ((&place, phrase), logits) in
                samples.iter().zip(phrases).zip(logits.chunks_exact(pixels))
            {
                let polygons = phrase.polygons.iter();
                let truth = RasterRule::PixelCentre.mask(polygons, image.width, image.height);
                let truth = truth.resize_floor(side, side).to_vec();
                sweeps
                    .entry(place)
                    .add_logits(logits, &truth, &phrase.task_id)?;
            }
        }
    }
    let exceptions = exceptions.into_vec();
    if sweeps.is_empty() {
        let reasons: Vec<String> = exceptions.iter().map(ToString::to_string).collect();
        let message = format!("{split} has no sample: {}", reasons.join("; "));
        return Err(TrainError::run(data.root(), message));
    }
    Ok(ClipSegEvaluation {
        side,
        sweeps,
        exceptions,
    })
}

/// The reason and the effect for a record that is not a sample; `None` if it is one.
fn obstacle(data: &PhraseCut, record: &Record<'_>) -> Option<[&'static str; 2]> {
    let Some(image) = record.image(data) else {
        return Some(NO_PICTURE);
    };
    let phrase = record.phrase;
    let areas = phrase.instance_boxes.iter();
    let has_area = areas
        .map(|b| f64::from(b[2]) * f64::from(b[3]))
        .sum::<f64>()
        > 0.0;
    if OTHER_SIZE_PICTURES.contains(&image.image_id) {
        Some(SKIPPED)
    } else if !has_area {
        Some(NO_AREA)
    } else if phrase.polygons.iter().next().is_none() {
        Some(NO_POLYGON)
    } else {
        None
    }
}

/// Converts interleaved channels from 0 to 255 to one plane for each channel from 0 to 1.
fn planes(levels: &[f32]) -> Vec<f32> {
    (0..3)
        .flat_map(|channel| levels.iter().skip(channel).step_by(3))
        .map(|level| level / 255.0)
        .collect()
}

/// Scores a model by CLIPSeg's protocol ([`evaluate_clipseg`]).
///
/// The size, the mean and the standard deviation are those of the checkpoint's preprocessing. Pictures are
/// resized as the protocol prescribes. `on_phrase` is called after each sample.
///
/// # Errors
///
/// As [`evaluate_clipseg`], and if the checkpoint's preprocessing does not resize to a square.
///
/// # Example
///
/// ```no_run
/// use clipseg_data::{PhraseCut, Split};
/// use clipseg_metrics::SweepDefinition;
/// use clipseg_model::Segmenter;
/// use clipseg_train::score_model_by_clipseg;
///
/// let device = burn::tensor::Device::flex();
/// let segmenter = Segmenter::from_pretrained("runs/paper/model", &device)?;
/// let data = PhraseCut::open_splits("VGPhraseCut_v0".as_ref(), &[Split::Test])?;
/// let scored = score_model_by_clipseg(&segmenter, &data, Split::Test, || {})?;
/// println!("AP {}", scored.scores(SweepDefinition::ClipSeg).average_precision);
/// # Ok::<(), clipseg_train::TrainError>(())
/// ```
pub fn score_model_by_clipseg(
    segmenter: &Segmenter,
    data: &PhraseCut,
    split: Split,
    mut on_phrase: impl FnMut(),
) -> Result<ClipSegEvaluation> {
    let (processor, model) = (segmenter.processor(), segmenter.model());
    let side = square(processor)?;
    let patch = model.clip().vision_model().patch_size();
    if side == 0 || !(side as usize).is_multiple_of(patch) {
        let message = format!("{side}, expected a multiple of the patch size, {patch} pixels");
        return Err(TrainError::field("size", message));
    }
    let device = model.clip().device();
    evaluate_clipseg(
        data,
        split,
        side,
        |picture| {
            let shape = [1, 3, side as usize, side as usize];
            let pixels = Tensor::from_data(TensorData::new(picture.to_vec(), shape), &device);
            Ok(model.encode_image(processor.normalise(pixels))?)
        },
        |features, phrases| {
            let texts: Vec<&str> = phrases
                .iter()
                .map(|phrase| phrase.phrase.as_str())
                .collect();
            let logits = floats(model.decode(features, segmenter.encode_text(&texts)?));
            phrases.iter().for_each(|_| on_phrase());
            logits
        },
    )
}

/// The side of the square that a checkpoint's preprocessing resizes pictures to.
fn square(processor: &ImageProcessor) -> Result<u32> {
    match (processor.size, processor.crop) {
        (Some(TargetSize::Exact { height, width }), None) if height == width => Ok(width),
        _ => Err(TrainError::field(
            "size",
            "the checkpoint's preprocessing does not resize pictures to a square, as CLIPSeg's \
             protocol does",
        )),
    }
}
