//! Scoring a decoder on a data set, at the model's resolution.

use crate::encoding::FrozenClip;
use crate::error::{Result, TrainError};
use clipseg_data::PhraseCutDataset;
use clipseg_metrics::{Confusion, Tally};
use clipseg_model::Decoder;

/// Counts the pixels of the first phrases of a data set, at most `limit` of them, `batch_size` at a
/// time; the tally has a mask for each phrase, in their order.
///
/// # Errors
///
/// If the data set is empty, a sample cannot be read, or a prediction is not a number.
pub fn evaluate(
    clip: &mut FrozenClip,
    decoder: &Decoder,
    data: &PhraseCutDataset,
    limit: usize,
    batch_size: usize,
    threshold: f32,
) -> Result<Tally> {
    let indices: Vec<usize> = (0..data.phrases().min(limit)).collect();
    if indices.is_empty() {
        return Err(TrainError::Empty("evaluated"));
    }
    let mut tally = Tally::new();
    for batch in indices.chunks(batch_size.max(1)) {
        let input = clip.encode(data.batch(batch, 0, clip.device())?)?;
        let logits = decoder.forward_grouped(
            &input.features,
            input.conditional_embedding,
            &input.picture_of,
        );
        tally.extend(Confusion::from_logits(logits, input.masks, threshold)?);
    }
    Ok(tally)
}
