//! Scoring a decoder on a data set, at the model's resolution.

use crate::encoding::FrozenClip;
use crate::error::{Result, TrainError};
use clipseg_data::PhraseCutDataset;
use clipseg_metrics::Confusion;
use clipseg_model::Decoder;

/// The scores of a decoder on some phrases.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Evaluation {
    /// The counts of each phrase.
    pub counts: Vec<Confusion>,
}

impl Evaluation {
    /// The counts of all phrases together.
    pub fn pooled(&self) -> Confusion {
        self.counts.iter().copied().sum()
    }

    /// The mean over phrases of a figure of each.
    pub fn mean(&self, figure: impl Fn(&Confusion) -> f64) -> f64 {
        self.counts.iter().map(figure).sum::<f64>() / self.counts.len().max(1) as f64
    }
}

/// Scores the first phrases of a data set, at most `limit` of them, `batch_size` at a time.
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
) -> Result<Evaluation> {
    let indices: Vec<usize> = (0..data.phrases().min(limit)).collect();
    if indices.is_empty() {
        return Err(TrainError::Empty("evaluated"));
    }
    let mut counts = Vec::with_capacity(indices.len());
    for batch in indices.chunks(batch_size.max(1)) {
        let input = clip.encode(data.batch(batch, clip.device())?)?;
        let logits = decoder.forward_grouped(
            &input.features,
            input.conditional_embedding,
            &input.picture_of,
        );
        counts.extend(Confusion::from_logits(logits, input.masks, threshold)?);
    }
    Ok(Evaluation { counts })
}
