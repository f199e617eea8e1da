//! Paired comparisons between the cells of a study, corrected for their number.

use crate::error::Result;
use crate::study::phrase_scores::{SEEN, UNSEEN};
use crate::study::report::cells::{Cell, IOU, IOU_CHOSEN, Value, pooled, ratios};
use crate::study::report::loaded::Loaded;
use clipseg_metrics::{Bootstrap, Interval, holm};

/// Comparisons that answer one question. Holm's correction is over all of them.
pub(crate) struct Family {
    pub(crate) question: &'static str,
    pub(crate) rows: Vec<Compared>,
}

/// The difference between two cells on seen or on unseen phrases.
pub(crate) struct Compared {
    /// What is compared, the second with the first.
    pub(crate) what: String,
    pub(crate) subset: &'static str,
    /// The mean IoU of the second minus that of the first, with its interval over seeds and pictures.
    pub(crate) difference: Interval,
    /// The p-value of the permutation test over pictures, before and after the correction.
    pub(crate) p_value: f64,
    pub(crate) adjusted: f64,
}

/// One side of a comparison: a cell and the score that is compared.
type Side<'a, 'b> = (&'b Cell<'a>, Value);

/// What is compared, and both sides.
type Pair<'a, 'b> = (String, [Side<'a, 'b>; 2]);

impl Loaded {
    /// The four families of comparisons of a study; a family without a comparison is left out.
    pub(crate) fn families(&self, cells: &[Cell<'_>]) -> Result<Vec<Family>> {
        let questions: [(&'static str, Vec<Pair<'_, '_>>); 4] = [
            (
                "Does the loss matter at the threshold 0.5? Each loss minus the first loss",
                self.losses(cells, IOU),
            ),
            (
                "Is the difference only one of calibration? Each loss at 0.5 minus the first loss at its best \
                 validation threshold",
                self.losses(cells, IOU_CHOSEN),
            ),
            (
                "Does the decoder matter? Each decoder minus the reference decoder, both at their best validation \
                 thresholds",
                self.decoders(cells),
            ),
            (
                "What does each control and each defect cost? The altered run minus the run without the change, both at \
                 their best validation thresholds",
                altered(cells),
            ),
        ];
        let mut families = Vec::new();
        for (question, pairs) in questions {
            let rows = self.compare(&pairs)?;
            if !rows.is_empty() {
                families.push(Family { question, rows });
            }
        }
        Ok(families)
    }

    /// The name of the decoder that others are compared with: that of the alterations, or the first one.
    pub(crate) fn reference(&self) -> &str {
        let altered = self.study.alterations.decoder.as_deref();
        let first = || self.study.decoders.keys().next().map(String::as_str);
        altered.or_else(first).unwrap_or_default()
    }

    /// For each decoder, every other loss at 0.5 beside the first loss.
    fn losses<'a, 'b>(&self, cells: &'b [Cell<'a>], of_first: Value) -> Vec<Pair<'a, 'b>> {
        let Some(first) = self.study.losses.first() else {
            return Vec::new();
        };
        let mut pairs = Vec::new();
        for cell in plain(cells).filter(|cell| cell.loss != first) {
            let base = plain(cells).find(|base| base.decoder == cell.decoder && base.loss == first);
            if let Some(base) = base {
                let what = format!("{}: {} − {first}", cell.decoder, cell.loss);
                pairs.push((what, [(base, of_first), (cell, IOU)]));
            }
        }
        pairs
    }

    /// For each loss, every other decoder beside the reference decoder.
    fn decoders<'a, 'b>(&self, cells: &'b [Cell<'a>]) -> Vec<Pair<'a, 'b>> {
        let reference = self.reference();
        let mut pairs = Vec::new();
        for cell in plain(cells).filter(|cell| cell.decoder != reference) {
            let base =
                plain(cells).find(|base| base.decoder == reference && base.loss == cell.loss);
            if let Some(base) = base {
                let what = format!("{}: {} − {reference}", cell.loss, cell.decoder);
                pairs.push((what, [(base, IOU_CHOSEN), (cell, IOU_CHOSEN)]));
            }
        }
        pairs
    }

    /// Compares each pair on seen and on unseen phrases, and corrects for their number.
    fn compare(&self, pairs: &[Pair<'_, '_>]) -> Result<Vec<Compared>> {
        let mut rows = Vec::new();
        for (what, [first, second]) in pairs {
            for subset in [SEEN, UNSEEN] {
                let [before, after] =
                    [first, second].map(|(cell, value)| self.by_picture(cell, subset, *value));
                if before.first().is_none_or(|pictures| pictures.is_empty()) {
                    continue;
                }
                let bootstrap = Bootstrap::default();
                let difference = bootstrap.crossed_difference(&ratios(&before), &ratios(&after))?;
                let p_value = bootstrap
                    .compare(&pooled(&before), &pooled(&after))?
                    .p_value;
                rows.push(Compared {
                    what: what.clone(),
                    subset,
                    difference,
                    p_value,
                    adjusted: p_value,
                });
            }
        }
        let p_values: Vec<f64> = rows.iter().map(|row| row.p_value).collect();
        for (row, adjusted) in rows.iter_mut().zip(holm(&p_values)) {
            row.adjusted = adjusted;
        }
        Ok(rows)
    }
}

/// The cells without an alteration.
fn plain<'a, 'b>(cells: &'b [Cell<'a>]) -> impl Iterator<Item = &'b Cell<'a>> {
    cells.iter().filter(|cell| cell.alteration.is_none())
}

/// Every altered cell beside the one without the alteration.
fn altered<'a, 'b>(cells: &'b [Cell<'a>]) -> Vec<Pair<'a, 'b>> {
    let mut pairs = Vec::new();
    for cell in cells {
        let Some(alteration) = cell.alteration else {
            continue;
        };
        let base = plain(cells).find(|base| (base.decoder, base.loss) == (cell.decoder, cell.loss));
        if let Some(base) = base {
            let what = format!("{alteration} ({}, {})", cell.decoder, cell.loss);
            pairs.push((what, [(base, IOU_CHOSEN), (cell, IOU_CHOSEN)]));
        }
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::study::config::StudyConfig;
    use crate::study::phrase_scores::{PhraseScore, TestPhrase};
    use crate::study::report::loaded::ScoredRun;
    use crate::study::result::tests::result;

    /// A study of 60 phrases on 30 pictures, whose scores are those of `iou` for a run and the number of a phrase.
    fn loaded(text: &str, iou: impl Fn(&str, f64) -> f64) -> Loaded {
        let study = StudyConfig::from_toml(text, "study.toml".as_ref()).unwrap();
        let phrases: Vec<TestPhrase> = (0..60)
            .map(|index| TestPhrase {
                task_id: format!("{}__{index}", index / 2),
                image_id: index / 2,
                phrase: "a cat".into(),
                subsets: vec![if index < 40 { SEEN } else { UNSEEN }.to_owned()],
            })
            .collect();
        let planned = study.runs().unwrap();
        let runs = planned.iter().map(|run| {
            let result = result(run, 0.5);
            let scores = (0..phrases.len()).map(|index| {
                let iou = iou(&run.name, index as f64 / 100.0);
                PhraseScore {
                    iou,
                    iou_chosen: iou + 0.02,
                    ..PhraseScore::default()
                }
            });
            ScoredRun {
                scores: result.scores.clone().unwrap(),
                phrases: scores.collect(),
                result,
            }
        });
        Loaded {
            runs: runs.collect(),
            study,
            planned,
            phrases,
            failed: Vec::new(),
        }
    }

    const TEXT: &str = "seeds = [0, 1]\nlosses = [\"bce\", \"dice\"]\n\
        [decoders.a]\nreduce_dim = 8\n[decoders.b]\nreduce_dim = 16\n\
        [alterations]\nkinds = [\"no_text\"]\ndecoder = \"b\"\n";

    #[test]
    fn every_question_has_its_comparisons() {
        let loaded = loaded(TEXT, |name, phrase| {
            let decoder = if name.starts_with('a') { 0.0 } else { 0.1 };
            let loss = if name.contains("dice") { 0.02 } else { 0.0 };
            let cost = if name.contains("no_text") { 0.3 } else { 0.0 };
            0.3 + phrase / 2.0 + decoder + loss - cost
        });
        let cells = loaded.cells();
        assert_eq!(cells.len(), 5);
        let interval = loaded.interval(&cells[0], SEEN, IOU).unwrap().unwrap();
        assert!((interval.estimate - (0.3 + 0.195 / 2.0)).abs() < 1e-12);
        assert_eq!(
            loaded
                .interval(&cells[0], "s_small", IOU)
                .unwrap()
                .map(|i| i.low),
            None
        );

        let families = loaded.families(&cells).unwrap();
        let found: Vec<Vec<(&str, &str, f64)>> = families
            .iter()
            .map(|family| {
                let rows = family.rows.iter();
                let rounded = |value: f64| (1e9 * value).round() / 1e9;
                rows.map(|row| (&*row.what, row.subset, rounded(row.difference.estimate)))
                    .collect()
            })
            .collect();
        let both = |what: &'static str, value: f64| [(what, SEEN, value), (what, UNSEEN, value)];
        assert_eq!(
            found,
            [
                // At 0.5, and beside the first loss at its chosen threshold, which adds 0.02.
                [both("a: dice − bce", 0.02), both("b: dice − bce", 0.02)].concat(),
                [both("a: dice − bce", 0.0), both("b: dice − bce", 0.0)].concat(),
                [both("bce: a − b", -0.1), both("dice: a − b", -0.1)].concat(),
                both("no_text (b, bce)", -0.3).to_vec(),
            ]
        );
        for row in families.iter().flat_map(|family| &family.rows) {
            assert!(row.adjusted >= row.p_value);
        }
        // Four comparisons: the smallest p-value is multiplied by four.
        let decoders = &families[2].rows;
        let smallest = decoders.iter().map(|row| row.p_value).fold(1.0, f64::min);
        let adjusted = decoders.iter().map(|row| row.adjusted).fold(1.0, f64::min);
        assert!((adjusted - 4.0 * smallest).abs() < 1e-12);
        assert!(adjusted < 0.01, "{adjusted}");
    }

    #[test]
    fn an_unfinished_study_compares_what_there_is() {
        let mut loaded = loaded(TEXT, |_, phrase| phrase);
        // Only one seed of one cell, and nothing of others.
        loaded.runs.retain(|run| run.result.name.starts_with("a."));
        loaded.runs.truncate(3);
        let cells = loaded.cells();
        assert_eq!(cells.len(), 2);
        let families = loaded.families(&cells).unwrap();
        let counts: Vec<usize> = families.iter().map(|family| family.rows.len()).collect();
        assert_eq!(counts, [2, 2]);
        assert!(families[0].rows[0].difference.estimate.abs() < 1e-12);
    }
}
