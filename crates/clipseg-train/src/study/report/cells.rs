//! The cells of a study: the runs that differ in the random seed only, and their scores with intervals.

use crate::error::Result;
use crate::study::alteration::Alteration;
use crate::study::phrase_scores::PhraseScore;
use crate::study::report::loaded::{Loaded, ScoredRun};
use clipseg_metrics::{Bootstrap, Interval, Loss, Ratio};
use std::collections::BTreeMap;

/// The complete runs of one decoder, loss and alteration, one for each seed.
pub(crate) struct Cell<'a> {
    pub(crate) decoder: &'a str,
    pub(crate) loss: &'a Loss,
    pub(crate) alteration: Option<Alteration>,
    pub(crate) runs: Vec<&'a ScoredRun>,
}

/// A score of a phrase.
pub(crate) type Value = fn(&PhraseScore) -> f64;

/// IoU and boundary F at the threshold 0.5, and at the threshold that is best on the validation phrases.
pub(crate) const IOU: Value = |score| score.iou;
pub(crate) const IOU_CHOSEN: Value = |score| score.iou_chosen;
pub(crate) const BOUNDARY: Value = |score| score.boundary_f;
pub(crate) const BOUNDARY_CHOSEN: Value = |score| score.boundary_f_chosen;

impl Loaded {
    /// The cells with a complete run, in the order of the plan.
    pub(crate) fn cells(&self) -> Vec<Cell<'_>> {
        let mut cells: Vec<Cell<'_>> = Vec::new();
        for run in &self.runs {
            let result = &run.result;
            let same = |cell: &&mut Cell<'_>| {
                (cell.decoder, cell.loss, cell.alteration)
                    == (&result.decoder, &result.loss, result.alteration)
            };
            match cells.iter_mut().find(same) {
                Some(cell) => cell.runs.push(run),
                None => cells.push(Cell {
                    decoder: &result.decoder,
                    loss: &result.loss,
                    alteration: result.alteration,
                    runs: vec![run],
                }),
            }
        }
        cells
    }

    /// For each run of a cell, the sum of a score over the phrases of each picture in a subset.
    pub(crate) fn by_picture(
        &self,
        cell: &Cell<'_>,
        subset: &str,
        value: Value,
    ) -> Vec<BTreeMap<u64, Ratio>> {
        let of_run = |run: &&ScoredRun| {
            let mut pictures = BTreeMap::<u64, Ratio>::new();
            let pairs = self.phrases.iter().zip(&run.phrases);
            for (phrase, score) in pairs.filter(|(phrase, _)| phrase.is_in(subset)) {
                *pictures.entry(phrase.image_id).or_default() += Ratio {
                    numerator: value(score),
                    denominator: 1.0,
                };
            }
            pictures
        };
        cell.runs.iter().map(of_run).collect()
    }

    /// The mean of a score over the phrases of a subset, with its interval over seeds and pictures; `None` if the
    /// subset has no phrase.
    pub(crate) fn interval(
        &self,
        cell: &Cell<'_>,
        subset: &str,
        value: Value,
    ) -> Result<Option<Interval>> {
        let runs = ratios(&self.by_picture(cell, subset, value));
        if runs.first().is_none_or(Vec::is_empty) {
            return Ok(None);
        }
        Ok(Some(Bootstrap::default().crossed_interval(&runs)?))
    }
}

/// The ratios of the pictures of each run, in the order of the pictures.
pub(crate) fn ratios(runs: &[BTreeMap<u64, Ratio>]) -> Vec<Vec<Ratio>> {
    runs.iter()
        .map(|pictures| pictures.values().copied().collect())
        .collect()
}

/// The mean ratio of each picture over the runs.
pub(crate) fn pooled(runs: &[BTreeMap<u64, Ratio>]) -> BTreeMap<u64, Ratio> {
    let mut means = BTreeMap::<u64, Ratio>::new();
    let share = 1.0 / runs.len().max(1) as f64;
    for (&picture, &ratio) in runs.iter().flatten() {
        *means.entry(picture).or_default() += Ratio {
            numerator: share * ratio.numerator,
            denominator: share * ratio.denominator,
        };
    }
    means
}
