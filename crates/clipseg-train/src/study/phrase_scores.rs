//! What is known about each test phrase: the phrase itself, and its scores in each run.

use crate::error::{Result, TrainError};
use crate::scoring::phrasecut_tasks::phrasecut_task;
use crate::scoring::phrases::Phrases;
use clipseg_metrics::Subset;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::fmt::Write;
use std::path::Path;

/// The subsets of phrases that have neither a held-out word nor an unseen pair, and of those that have one.
pub(crate) const SEEN: &str = "seen";
pub(crate) const UNSEEN: &str = "unseen";

/// The subsets of PhraseCut's evaluator that a study scores: all phrases, the kind of the phrase, and the size of the
/// object.
pub(crate) const SUBSETS: [Subset; 8] = [
    Subset::All,
    Subset::Name,
    Subset::Attribute,
    Subset::Relation,
    Subset::Small,
    Subset::Middle,
    Subset::Large,
    Subset::MultipleInstances,
];

/// A test phrase: a line of `phrases.jsonl`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TestPhrase {
    pub(crate) task_id: String,
    pub(crate) image_id: u64,
    pub(crate) phrase: String,
    /// The names of the subsets that it is in.
    pub(crate) subsets: Vec<String>,
}

impl TestPhrase {
    /// Describes the test phrases; `unseen` has the indices of the unseen ones.
    pub(crate) fn all(test: &Phrases, unseen: &HashSet<usize>) -> Result<Vec<Self>> {
        let data = test.dataset().data();
        let described = test.iter().map(|(index, phrase)| {
            let task = phrasecut_task(data, phrase, None)?;
            let area = data.mask(phrase)?.area() as u64;
            let own = Subset::of(&task, area);
            let named = own.iter().filter(|subset| SUBSETS.contains(subset));
            let mut subsets: Vec<String> = named.map(|subset| subset.name().to_owned()).collect();
            let seen = if unseen.contains(&index) {
                UNSEEN
            } else {
                SEEN
            };
            subsets.push(seen.to_owned());
            Ok(Self {
                task_id: phrase.task_id.clone(),
                image_id: phrase.image_id,
                phrase: phrase.phrase.clone(),
                subsets,
            })
        });
        described.collect()
    }

    pub(crate) fn is_in(&self, subset: &str) -> bool {
        self.subsets.iter().any(|name| name == subset)
    }
}

/// A description of a subset.
pub(crate) fn describe(subset: &str) -> &str {
    match subset {
        SEEN => "the training phrases contain every pair of attribute and name of the phrase",
        UNSEEN => {
            "the phrase has a held-out word, or a pair of attribute and name that no training phrase has"
        }
        _ => Subset::from_name(subset).map_or(subset, |known| known.describe()),
    }
}

/// The scores of one phrase in one run, at the threshold 0.5 and at that chosen on the validation phrases.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct PhraseScore {
    pub(crate) iou: f64,
    pub(crate) iou_chosen: f64,
    pub(crate) boundary_f: f64,
    pub(crate) boundary_f_chosen: f64,
}

impl PhraseScore {
    const HEADER: &str = "iou,iou_chosen,boundary_f,boundary_f_chosen";

    fn values(&self) -> [f64; 4] {
        [
            self.iou,
            self.iou_chosen,
            self.boundary_f,
            self.boundary_f_chosen,
        ]
    }

    /// A table with a line for each phrase, in the order of `phrases.jsonl`. The numbers are exact.
    pub(crate) fn to_csv(scores: &[Self]) -> String {
        let mut text = format!("{}\n", Self::HEADER);
        for score in scores {
            let [a, b, c, d] = score.values();
            let _ = writeln!(text, "{a},{b},{c},{d}");
        }
        text
    }

    /// Reads such a table of `phrases` lines.
    pub(crate) fn read_csv(path: &Path, phrases: usize) -> Result<Vec<Self>> {
        let text = std::fs::read_to_string(path).map_err(TrainError::io("read", path))?;
        let mut lines = text.lines();
        if lines.next() != Some(Self::HEADER) {
            let message = format!("line 1: expected `{}`", Self::HEADER);
            return Err(TrainError::run(path, message));
        }
        let scores: Vec<Self> = lines
            .enumerate()
            .map(|(index, line)| {
                Self::parse(line).ok_or_else(|| {
                    let message = format!(
                        "line {}: `{line}`, expected four numbers from 0 to 1",
                        index + 2
                    );
                    TrainError::run(path, message)
                })
            })
            .collect::<Result<_>>()?;
        if scores.len() != phrases {
            let message = format!(
                "{} lines of scores, expected {phrases}, as many as `phrases.jsonl` has",
                scores.len()
            );
            return Err(TrainError::run(path, message));
        }
        Ok(scores)
    }

    fn parse(line: &str) -> Option<Self> {
        let values = line.split(',').map(|field| {
            let value = field.parse::<f64>().ok();
            value.filter(|value| (0.0..=1.0).contains(value))
        });
        let values: Vec<f64> = values.collect::<Option<_>>()?;
        let [iou, iou_chosen, boundary_f, boundary_f_chosen] = values.try_into().ok()?;
        Some(Self {
            iou,
            iou_chosen,
            boundary_f,
            boundary_f_chosen,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_are_written_and_read_back_exactly() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.csv");
        let scores = [0.0, 1.0 / 3.0, 1.0].map(|iou| PhraseScore {
            iou,
            iou_chosen: iou / 7.0,
            boundary_f: iou * iou,
            boundary_f_chosen: 1.0 - iou,
        });
        std::fs::write(&path, PhraseScore::to_csv(&scores)).unwrap();
        assert_eq!(PhraseScore::read_csv(&path, 3).unwrap(), scores);

        let message = |text: &str| {
            std::fs::write(&path, text).unwrap();
            PhraseScore::read_csv(&path, 1).unwrap_err().to_string()
        };
        let header = PhraseScore::HEADER;
        for (text, expected) in [
            (String::new(), "run.csv: line 1: expected `iou,"),
            (format!("{header}\n"), "0 lines of scores, expected 1"),
            (
                format!("{header}\n0,0,0\n"),
                "line 2: `0,0,0`, expected four",
            ),
            (format!("{header}\n0,0,0,NaN\n"), "line 2: "),
            (format!("{header}\n0,0,0,2\n"), "line 2: "),
        ] {
            let found = message(&text);
            assert!(found.contains(expected), "{found}");
        }
    }

    #[test]
    fn every_subset_has_a_description() {
        let names = SUBSETS.map(Subset::name);
        for name in names.into_iter().chain([SEEN, UNSEEN]) {
            assert_ne!(describe(name), name);
        }
    }
}
