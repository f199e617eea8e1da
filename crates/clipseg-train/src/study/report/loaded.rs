//! The result files of a study, read and checked.

use crate::error::{Result, TrainError};
use crate::study::config::StudyConfig;
use crate::study::folder::StudyFolder;
use crate::study::phrase_scores::{PhraseScore, TestPhrase};
use crate::study::planned_run::PlannedRun;
use crate::study::result::{RunResult, Scores};

/// A complete run with its scores.
pub(crate) struct ScoredRun {
    pub(crate) result: RunResult,
    pub(crate) scores: Scores,
    /// The scores of each test phrase.
    pub(crate) phrases: Vec<PhraseScore>,
}

/// The result files of a study.
pub(crate) struct Loaded {
    pub(crate) study: StudyConfig,
    /// All planned runs.
    pub(crate) planned: Vec<PlannedRun>,
    pub(crate) phrases: Vec<TestPhrase>,
    /// The complete runs in the order of the plan.
    pub(crate) runs: Vec<ScoredRun>,
    /// The runs whose training failed.
    pub(crate) failed: Vec<RunResult>,
}

impl Loaded {
    /// Reads the files in a folder.
    ///
    /// # Errors
    ///
    /// If no run is finished, or a file is missing or invalid.
    pub(crate) fn read(folder: &StudyFolder, study: StudyConfig) -> Result<Self> {
        let planned = study.runs()?;
        let results = folder.read_results(&planned)?;
        if results.is_empty() {
            let message = "no run is finished, so there is nothing to report";
            return Err(TrainError::run(folder.root(), message));
        }
        let phrases = folder.read_phrases()?;
        let (mut runs, mut failed) = (Vec::new(), Vec::new());
        for result in results {
            let Some(scores) = result.scores.clone() else {
                failed.push(result);
                continue;
            };
            let path = folder.phrase_scores(&result.name);
            runs.push(ScoredRun {
                phrases: PhraseScore::read_csv(&path, phrases.len())?,
                result,
                scores,
            });
        }
        Ok(Self {
            study,
            planned,
            phrases,
            runs,
            failed,
        })
    }
}
