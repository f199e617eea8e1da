//! Scoring a decoder on phrases, at the model's resolution.

use crate::encoding::FrozenClip;
use crate::error::{Result, TrainError};
use crate::phrases::Phrases;
use crate::trainer::{Decoder, logits};
use burn::prelude::*;
use clipseg_metrics::{Confusion, Loss};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use std::collections::HashMap;

/// How a decoder is scored.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct EvaluateOptions {
    /// Phrases at a time. Default: 16.
    pub batch_size: usize,
    /// Probability above which a pixel is inside. Default: 0.5.
    pub threshold: f32,
    /// What else is computed. Default: BCE.
    pub loss: Loss,
    /// Ask for each phrase's mask with a phrase of another picture, drawn by this seed: what is left
    /// of the scores is what a decoder gets without the text. Default: no.
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

/// The scores of a decoder on some phrases.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Evaluation {
    /// The phrases, by the numbers of [`Phrases::iter`].
    pub phrases: Vec<usize>,
    /// The counts of each phrase.
    pub counts: Vec<Confusion>,
    /// The loss, a mean over phrases.
    pub loss: f64,
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

    /// The scores of the phrases for which `keep` is true; the loss stays that of all.
    #[must_use]
    pub fn subset(&self, keep: impl Fn(usize) -> bool) -> Self {
        let kept = || {
            self.phrases
                .iter()
                .zip(&self.counts)
                .filter(|(p, _)| keep(**p))
        };
        Self {
            phrases: kept().map(|(phrase, _)| *phrase).collect(),
            counts: kept().map(|(_, counts)| *counts).collect(),
            loss: self.loss,
        }
    }

    /// The scores on the same phrases of the answer that everything is inside.
    #[must_use]
    pub fn of_everything(&self) -> Self {
        self.answered(|inside, outside| Confusion {
            true_positive: inside,
            false_positive: outside,
            ..Confusion::default()
        })
    }

    /// The scores on the same phrases of the answer that nothing is inside.
    #[must_use]
    pub fn of_nothing(&self) -> Self {
        self.answered(|inside, outside| Confusion {
            false_negative: inside,
            true_negative: outside,
            ..Confusion::default()
        })
    }

    fn answered(&self, answer: impl Fn(u64, u64) -> Confusion) -> Self {
        let counts = self.counts.iter().map(|counts| {
            answer(
                counts.true_positive + counts.false_negative,
                counts.false_positive + counts.true_negative,
            )
        });
        Self {
            phrases: self.phrases.clone(),
            counts: counts.collect(),
            loss: f64::NAN,
        }
    }
}

/// Scores a decoder.
///
/// # Errors
///
/// If there is no phrase, a sample cannot be read, or a prediction is not a number.
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
        let value = value.try_into_scalar::<f32>().map_err(TrainError::device)?;
        loss += f64::from(value) * indices.len() as f64;
        evaluation.phrases.extend_from_slice(indices);
        let counts = Confusion::from_logits(logits, masks, options.threshold)?;
        evaluation.counts.extend(counts);
        Ok(())
    })?;
    evaluation.loss = loss / evaluation.counts.len().max(1) as f64;
    Ok(evaluation)
}

/// Hands the logits and masks `[phrases, height, width]` of every batch, with the numbers of its
/// phrases, to `score`.
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
        let mut fed = phrases.batch(batch, 0, clip.device())?;
        if let Some(texts) = &texts {
            fed.batch.phrases = batch.iter().map(|index| texts[index].clone()).collect();
        }
        let input = clip.encode_fed(fed)?;
        let embedding = input.conditional_embedding;
        let found = logits(decoder, &input.features, embedding, &input.picture_of);
        score(batch, found, input.masks)?;
    }
    Ok(())
}

/// For each phrase the words of one of another picture; its own if there is only one picture.
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
    fn trivial_answers_follow_from_the_counts() {
        let counts = Confusion {
            true_positive: 3,
            false_positive: 5,
            false_negative: 1,
            true_negative: 11,
        };
        let evaluation = Evaluation {
            phrases: vec![4, 9],
            counts: vec![counts, counts],
            loss: 0.5,
        };
        let everything = evaluation.of_everything().pooled();
        assert_eq!((everything.iou(), everything.recall()), (4.0 / 20.0, 1.0));
        let nothing = evaluation.of_nothing().pooled();
        assert_eq!((nothing.iou(), nothing.accuracy()), (0.0, 16.0 / 20.0));
        let one = evaluation.subset(|phrase| phrase == 9);
        assert_eq!((one.phrases, one.counts), (vec![9], vec![counts]));
    }
}
