//! Scoring a decoder on phrases, at the resolution of the model.

use crate::error::{Result, TrainError};
use crate::frozen::encoding::FrozenClip;
use crate::scoring::device_counts::loss_and_counts;
use crate::scoring::phrases::Phrases;
use burn::prelude::*;
use clipseg_data::{Preprocessing, is_cpu};
use clipseg_metrics::{Confusion, Loss, Tally};
use clipseg_model::Decoder;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use std::collections::HashMap;

/// How a decoder is scored.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct EvaluateOptions {
    /// Phrases that are decoded at a time. Default: 16.
    pub batch_size: usize,
    /// Probability above which a pixel counts as inside. Default: 0.5.
    pub threshold: f32,
    /// The loss that is computed beside the scores. Default: BCE.
    pub loss: Loss,
    /// The random seed of a control: each mask is predicted with a phrase of another picture as the
    /// prompt. The scores show what a decoder reaches without the right text. Default: none, each mask
    /// is predicted with its own phrase.
    pub shuffled_text: Option<u64>,
}

impl Default for EvaluateOptions {
    fn default() -> Self {
        Self {
            batch_size: 16,
            threshold: 0.5,
            loss: Loss::bce(),
            shuffled_text: None,
        }
    }
}

impl EvaluateOptions {
    /// Sets the number of phrases that are decoded at a time.
    #[must_use]
    pub fn with_batch_size(mut self, phrases: usize) -> Self {
        self.batch_size = phrases;
        self
    }

    /// Sets the probability above which a pixel counts as inside.
    #[must_use]
    pub fn with_threshold(mut self, threshold: f32) -> Self {
        self.threshold = threshold;
        self
    }

    /// Sets the loss that is computed beside the scores.
    #[must_use]
    pub fn with_loss(mut self, loss: Loss) -> Self {
        self.loss = loss;
        self
    }

    /// Prompts the decoder for each mask with a phrase of another picture, drawn with this random seed.
    #[must_use]
    pub fn with_shuffled_text(mut self, seed: u64) -> Self {
        self.shuffled_text = Some(seed);
        self
    }
}

/// The scores of a decoder on some phrases.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Evaluation {
    /// The indices of the phrases in the data set.
    pub phrases: Vec<usize>,
    /// The confusion counts of each phrase, in the same order.
    pub tally: Tally,
    /// The mean loss over the phrases.
    pub loss: f64,
}

impl Evaluation {
    /// The counts of the phrases for whose index `keep` returns true.
    pub fn subset(&self, keep: impl Fn(usize) -> bool) -> Tally {
        let pairs = self.phrases.iter().zip(self.tally.masks());
        pairs
            .filter(|(phrase, _)| keep(**phrase))
            .map(|(_, counts)| *counts)
            .collect()
    }
}

/// The intersection over union of one phrase, as the protocol of a preprocessing defines it: CLIPSeg's
/// evaluation adds one to the denominator.
pub(crate) fn phrase_iou(preprocessing: Preprocessing) -> fn(&Confusion) -> f64 {
    match preprocessing {
        Preprocessing::ClipSeg => |counts| {
            let union = counts.true_positive + counts.false_positive + counts.false_negative;
            counts.true_positive as f64 / (1 + union) as f64
        },
        _ => Confusion::iou,
    }
}

/// Scores a decoder on phrases, at the resolution of the model.
///
/// # Errors
///
/// If there is no phrase, a sample cannot be read, or a logit is NaN.
pub fn evaluate(
    clip: &mut FrozenClip,
    decoder: &Decoder,
    phrases: &Phrases,
    options: &EvaluateOptions,
) -> Result<Evaluation> {
    let mut evaluation = Evaluation::default();
    let mut loss = 0.0;
    for_each_batch(clip, decoder, phrases, options, |indices, logits, masks| {
        let value = options.loss.forward(logits.clone(), masks.clone());
        let (value, counts) = if is_cpu(&logits.device()) {
            let value = value.try_into_scalar::<f32>().map_err(TrainError::device)?;
            (
                value,
                Confusion::from_logits(logits, masks, options.threshold)?,
            )
        } else {
            loss_and_counts(value, logits, &masks, options.threshold)?
        };
        loss += f64::from(value) * indices.len() as f64;
        evaluation.phrases.extend_from_slice(indices);
        evaluation.tally.extend(counts);
        Ok(())
    })?;
    evaluation.loss = loss / evaluation.tally.len().max(1) as f64;
    Ok(evaluation)
}

/// Calls `score` with the phrase indices, the logits and the masks of every batch, both
/// `[phrases, height, width]`.
pub(crate) fn for_each_batch(
    clip: &mut FrozenClip,
    decoder: &Decoder,
    phrases: &Phrases,
    options: &EvaluateOptions,
    mut score: impl FnMut(&[usize], Tensor<3>, Tensor<3>) -> Result<()>,
) -> Result<()> {
    if phrases.is_empty() {
        return Err(TrainError::Empty("evaluated"));
    }
    let indices: Vec<usize> = phrases.iter().map(|(index, _)| index).collect();
    let texts = options
        .shuffled_text
        .map(|seed| texts_of_other_pictures(phrases, seed));
    for batch in indices.chunks(options.batch_size.max(1)) {
        let mut read = phrases.load(batch)?;
        if let Some(texts) = &texts {
            read.phrases = batch.iter().map(|index| texts[index].clone()).collect();
        }
        let input = clip.encode_loaded(read, true)?;
        let logits = decoder.forward_grouped(
            &input.features,
            input.conditional_embedding,
            &input.picture_of,
        );
        score(batch, logits, input.masks)?;
    }
    Ok(())
}

/// For each phrase, by index, the text of a phrase of another picture; its own text if there is only one
/// picture.
fn texts_of_other_pictures(phrases: &Phrases, seed: u64) -> HashMap<usize, String> {
    let mut order: Vec<_> = phrases.iter().collect();
    order.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
    let count = order.len();
    (0..count)
        .map(|place| {
            let (index, own) = order[place];
            let other = (1..count)
                .map(|step| order[(place + step) % count].1)
                .find(|other| other.image_id != own.image_id)
                .unwrap_or(own);
            (index, other.phrase.clone())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subset_is_chosen_by_index() {
        let counts = |true_positive| Confusion {
            true_positive,
            ..Confusion::default()
        };
        let evaluation = Evaluation {
            phrases: vec![4, 9, 7],
            tally: [1, 2, 3].map(counts).into_iter().collect(),
            loss: 0.5,
        };
        let one = Confusion {
            true_positive: 3,
            false_positive: 1,
            false_negative: 1,
            true_negative: 9,
        };
        assert_eq!(phrase_iou(Preprocessing::HuggingFace)(&one), 3.0 / 5.0);
        assert_eq!(phrase_iou(Preprocessing::ClipSeg)(&one), 3.0 / 6.0);
        let odd = evaluation.subset(|phrase| phrase % 2 == 1);
        assert_eq!(odd.masks(), [counts(2), counts(3)]);
    }
}
