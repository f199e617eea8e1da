//! Scoring the decoder of a run on the validation and the test phrases.

use crate::error::Result;
use crate::frozen::encoding::FrozenClip;
use crate::readback::floats;
use crate::scoring::best_threshold::sweeps;
use crate::scoring::evaluate::{EvaluateOptions, for_each_batch, phrase_iou};
use crate::scoring::phrases::Phrases;
use crate::study::phrase_scores::{PhraseScore, TestPhrase};
use crate::study::result::{ReliabilityBin, Scores, SubsetScore};
use crate::study::shown::Shown;
use burn::prelude::*;
use clipseg_data::Preprocessing;
use clipseg_metrics::{BoundaryCounts, Grouped, SweepDefinition, ThresholdSweep, sweep_thresholds};
use clipseg_model::Decoder;
use image::GrayImage;
use std::collections::{BTreeMap, BTreeSet};

/// The threshold that needs no choice.
const FIXED: f64 = 0.5;
/// The tolerance of boundary F in pixels.
const TOLERANCE: f32 = 2.0;
/// Number of bins of the reliability diagram.
const BINS: usize = 10;

/// What scoring needs beside the decoder.
pub(crate) struct Scoring<'a> {
    pub(crate) validation: &'a Phrases,
    pub(crate) test: &'a Phrases,
    /// The test phrases in the same order.
    pub(crate) described: &'a [TestPhrase],
    pub(crate) shown: &'a Shown,
    pub(crate) batch_size: usize,
}

/// The scores of a decoder.
pub(crate) struct Scored {
    pub(crate) scores: Scores,
    /// The scores of each test phrase.
    pub(crate) phrases: Vec<PhraseScore>,
    /// The soft masks of the phrases for contact sheets, one below the other.
    pub(crate) masks: GrayImage,
}

impl Scoring<'_> {
    /// Scores a decoder. The threshold is chosen on the validation phrases only.
    ///
    /// # Errors
    ///
    /// If a sample cannot be read, or a logit is NaN or infinite.
    pub(crate) fn score(&self, clip: &mut FrozenClip, decoder: &Decoder) -> Result<Scored> {
        let preprocessing = self.test.dataset().options().preprocessing;
        let definition = match preprocessing {
            Preprocessing::ClipSeg => SweepDefinition::ClipSeg,
            _ => SweepDefinition::Plain,
        };
        let validated = sweeps(clip, decoder, self.validation, self.batch_size)?;
        let validated = validated.scores(definition);
        let threshold = validated.best_mean_iou().threshold;
        let iou = phrase_iou(preprocessing);
        let mut tested = Grouped::<usize, ThresholdSweep>::new();
        let mut reliability = Reliability::default();
        let mut phrases = Vec::with_capacity(self.test.len());
        let mut masks = self.shown.column();
        let options = EvaluateOptions::default().with_batch_size(self.batch_size);
        for_each_batch(clip, decoder, self.test, &options, |_, logits, truths| {
            for_each_mask(logits, truths, |logits, truth, [height, width]| {
                let place = phrases.len();
                let name = &self.described[place].task_id;
                let probabilities: Vec<f32> = logits.iter().map(|&x| sigmoid(x)).collect();
                let sweep = tested.entry(place);
                sweep.add_logits(logits, truth, name)?;
                let counts = sweep.counts();
                let at = |threshold: f64| -> Result<(f64, f64)> {
                    let predicted: Vec<bool> = probabilities
                        .iter()
                        .map(|&probability| probability > threshold as f32)
                        .collect();
                    let boundary =
                        BoundaryCounts::from_masks(&predicted, truth, width, TOLERANCE, name)?;
                    Ok((iou(&counts[index_of(threshold)]), boundary.f()))
                };
                let (fixed, chosen) = (at(FIXED)?, at(threshold)?);
                phrases.push(PhraseScore {
                    iou: fixed.0,
                    iou_chosen: chosen.0,
                    boundary_f: fixed.1,
                    boundary_f_chosen: chosen.1,
                });
                reliability.add(&probabilities, truth);
                let size = [width as u32, height as u32];
                self.shown.draw(&mut masks, place, &probabilities, size)
            })
        })?;
        let swept = tested.scores(definition);
        Ok(Scored {
            scores: Scores {
                threshold,
                subsets: subset_scores(self.described, &phrases),
                validation_sweep: validated.mean_iou,
                test_sweep: swept.mean_iou,
                average_precision: swept.average_precision,
                reliability: reliability.bins(),
            },
            phrases,
            masks,
        })
    }
}

/// Calls `score` with the logits and the ground truth of each mask of a batch, and with their height and width.
fn for_each_mask(
    logits: Tensor<3>,
    truths: Tensor<3>,
    mut score: impl FnMut(&[f32], &[f32], [usize; 2]) -> Result<()>,
) -> Result<()> {
    let [_, height, width] = logits.dims();
    let (logits, truths) = (floats(logits)?, floats(truths)?);
    let pixels = (height * width).max(1);
    let masks = logits.chunks_exact(pixels).zip(truths.chunks_exact(pixels));
    for (logits, truth) in masks {
        score(logits, truth, [height, width])?;
    }
    Ok(())
}

fn sigmoid(logit: f32) -> f32 {
    1.0 / (1.0 + (-logit).exp())
}

/// The index of a threshold of a sweep.
fn index_of(threshold: f64) -> usize {
    let all = sweep_thresholds();
    let found = all.iter().position(|&known| known >= threshold - 1e-9);
    found.unwrap_or(all.len() - 1)
}

/// The mean scores of every subset with a phrase.
pub(crate) fn subset_scores(
    described: &[TestPhrase],
    phrases: &[PhraseScore],
) -> BTreeMap<String, SubsetScore> {
    let names: BTreeSet<&String> = described
        .iter()
        .flat_map(|phrase| &phrase.subsets)
        .collect();
    names
        .into_iter()
        .map(|name| {
            let pairs = described.iter().zip(phrases);
            let own: Vec<&PhraseScore> = pairs
                .filter(|(phrase, _)| phrase.is_in(name))
                .map(|(_, score)| score)
                .collect();
            let mean = |value: fn(&PhraseScore) -> f64| {
                own.iter().map(|score| value(score)).sum::<f64>() / own.len() as f64
            };
            let score = SubsetScore {
                phrases: own.len(),
                iou: mean(|score| score.iou),
                iou_chosen: mean(|score| score.iou_chosen),
                boundary_f: mean(|score| score.boundary_f),
                boundary_f_chosen: mean(|score| score.boundary_f_chosen),
            };
            (name.clone(), score)
        })
        .collect()
}

/// Predicted probabilities and observed fractions of pixels, in bins of equal width (Guo et al. 2017, "On Calibration
/// of Modern Neural Networks", arXiv:1706.04599).
#[derive(Default)]
struct Reliability {
    /// For each bin: pixels, those inside the ground truth, and the sum of the probabilities.
    bins: [(u64, u64, f64); BINS],
}

impl Reliability {
    fn add(&mut self, probabilities: &[f32], truth: &[f32]) {
        for (&probability, &truth) in probabilities.iter().zip(truth) {
            let bin = ((probability * BINS as f32) as usize).min(BINS - 1);
            let (pixels, inside, sum) = &mut self.bins[bin];
            *pixels += 1;
            *inside += u64::from(truth == 1.0);
            *sum += f64::from(probability);
        }
    }

    fn bins(&self) -> Vec<ReliabilityBin> {
        let bins = self.bins.iter();
        bins.map(|&(pixels, inside, sum)| ReliabilityBin {
            pixels,
            predicted: sum / pixels.max(1) as f64,
            observed: inside as f64 / pixels.max(1) as f64,
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_have_their_index() {
        for (index, threshold) in sweep_thresholds().into_iter().enumerate() {
            assert_eq!(index_of(threshold), index);
        }
        assert_eq!(index_of(FIXED), 24);
    }

    #[test]
    fn bins_have_the_mean_probability_and_the_fraction_inside() {
        let mut reliability = Reliability::default();
        reliability.add(&[0.0, 0.05, 0.55, 1.0], &[0.0, 1.0, 1.0, 1.0]);
        let bins = reliability.bins();
        assert_eq!(bins.len(), BINS);
        assert_eq!((bins[0].pixels, bins[0].observed), (2, 0.5));
        assert!((bins[0].predicted - 0.025).abs() < 1e-6);
        assert_eq!((bins[5].pixels, bins[9].pixels), (1, 1));
        assert_eq!(bins[9].predicted, 1.0);
        assert_eq!(bins[3], ReliabilityBin::default());
    }

    #[test]
    fn subsets_have_the_means_of_their_phrases() {
        let phrase = |subsets: &[&str]| TestPhrase {
            task_id: String::new(),
            image_id: 1,
            phrase: String::new(),
            subsets: subsets.iter().map(|&name| name.to_owned()).collect(),
        };
        let described = [phrase(&["all", "seen"]), phrase(&["all", "unseen"])];
        let scores = [0.2, 0.6].map(|iou| PhraseScore {
            iou,
            boundary_f_chosen: iou / 2.0,
            ..PhraseScore::default()
        });
        let subsets = subset_scores(&described, &scores);
        let names: Vec<&str> = subsets.keys().map(String::as_str).collect();
        assert_eq!(names, ["all", "seen", "unseen"]);
        assert_eq!((subsets["all"].phrases, subsets["all"].iou), (2, 0.4));
        assert_eq!(subsets["unseen"].iou, 0.6);
        assert_eq!(subsets["unseen"].boundary_f_chosen, 0.3);
    }
}
