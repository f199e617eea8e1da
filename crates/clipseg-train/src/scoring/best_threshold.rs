//! The choice of the threshold that is saved with a model.

use crate::error::Result;
use crate::frozen::encoding::FrozenClip;
use crate::scoring::evaluate::{EvaluateOptions, for_each_batch};
use crate::scoring::phrases::Phrases;
use clipseg_metrics::{BestThreshold, Grouped, SweepDefinition, ThresholdSweep};
use clipseg_model::Decoder;

/// The threshold with the highest mean IoU over phrases, of the 49 thresholds of a
/// [`ThresholdSweep`], at the resolution of the model.
///
/// # Errors
///
/// If there is no phrase, a sample cannot be read, or a logit is NaN or infinite.
pub(crate) fn best_threshold(
    clip: &mut FrozenClip,
    decoder: &Decoder,
    phrases: &Phrases,
    batch_size: usize,
) -> Result<BestThreshold> {
    let sweeps = sweeps(clip, decoder, phrases, batch_size)?;
    Ok(sweeps.scores(SweepDefinition::Plain).best_mean_iou())
}

/// The counts of each phrase at all thresholds, by its index in the data set.
///
/// # Errors
///
/// As [`best_threshold`].
pub(crate) fn sweeps(
    clip: &mut FrozenClip,
    decoder: &Decoder,
    phrases: &Phrases,
    batch_size: usize,
) -> Result<Grouped<usize, ThresholdSweep>> {
    let mut sweeps = Grouped::<usize, ThresholdSweep>::new();
    let options = EvaluateOptions::default().with_batch_size(batch_size);
    for_each_batch(
        clip,
        decoder,
        phrases,
        &options,
        |indices, logits, masks| {
            let found = ThresholdSweep::from_logits(logits, masks)?;
            for (&index, sweep) in indices.iter().zip(found) {
                *sweeps.entry(index) += sweep;
            }
            Ok(())
        },
    )?;
    Ok(sweeps)
}
