//! The folder of a study.

use crate::error::{Result, TrainError};
use crate::run::folder::{RunFolder, Start};
use crate::run::journal::read_records;
use crate::study::config::StudyConfig;
use crate::study::phrase_scores::TestPhrase;
use crate::study::planned_run::PlannedRun;
use crate::study::result::{RunResult, to_lines};
use std::path::{Path, PathBuf};

/// The folder of a study. It is locked until this value is dropped.
///
/// | Name | Content |
/// |---|---|
/// | `config.toml` | the configuration with all fields |
/// | `results.jsonl` | a line for each finished run, in the order of the runs |
/// | `phrases.jsonl` | a line for each test phrase, with its subsets |
/// | `phrases/<run>.csv` | the scores of each test phrase in a run |
/// | `shown.png`, `masks/<run>.png` | pictures, ground truth and soft masks of the shown phrases |
/// | `runs/<run>/` | the run itself, as of `clipseg train`, with the checkpoint of the scored decoder |
/// | `report.md`, `figures/` | the report, which is drawn from the files above except for `runs/` |
#[derive(Debug)]
pub(crate) struct StudyFolder {
    inner: RunFolder,
}

const NAMES: [&str; 9] = [
    "config.toml",
    "results.jsonl",
    "phrases.jsonl",
    "phrases",
    "shown.png",
    "masks",
    "runs",
    "report.md",
    "figures",
];

impl StudyFolder {
    /// Opens the folder of a study, creates it if it does not exist, and writes the configuration into it.
    ///
    /// # Errors
    ///
    /// As [`RunFolder::open`].
    pub(crate) fn open(root: &Path, study: &StudyConfig, start: Start) -> Result<Self> {
        let inner = RunFolder::open_with(root, study, start, &NAMES)?;
        let folder = Self { inner };
        for path in [
            folder.root().join("phrases"),
            folder.root().join("masks"),
            folder.root().join("figures"),
        ] {
            std::fs::create_dir_all(&path).map_err(TrainError::io("make", &path))?;
            folder.inner.remove_leftovers(&path)?;
        }
        Ok(folder)
    }

    /// Opens the folder of an existing study and reads its configuration.
    ///
    /// # Errors
    ///
    /// If it contains no study, or another process uses it.
    pub(crate) fn existing(root: &Path) -> Result<(Self, StudyConfig)> {
        let config = RunFolder::config_of::<StudyConfig>(root)?;
        let Some(config) = config else {
            let message = "contains no study; expected a folder with its `config.toml`";
            return Err(TrainError::run(root, message));
        };
        Ok((Self::open(root, &config, Start::Resume)?, config))
    }

    pub(crate) fn root(&self) -> &Path {
        self.inner.root()
    }

    /// Removes what [`open`](Self::open) has created, for a study that could not start.
    pub(crate) fn abandon(self) {
        // This removes empty folders only.
        for name in ["phrases", "masks", "figures"] {
            let _ = std::fs::remove_dir(self.root().join(name));
        }
        self.inner.abandon();
    }

    /// The folder of a run.
    pub(crate) fn run(&self, name: &str) -> PathBuf {
        self.root().join("runs").join(name)
    }

    pub(crate) fn results(&self) -> PathBuf {
        self.root().join("results.jsonl")
    }

    pub(crate) fn phrases(&self) -> PathBuf {
        self.root().join("phrases.jsonl")
    }

    pub(crate) fn phrase_scores(&self, run: &str) -> PathBuf {
        self.root().join("phrases").join(format!("{run}.csv"))
    }

    pub(crate) fn shown(&self) -> PathBuf {
        self.root().join("shown.png")
    }

    pub(crate) fn masks(&self, run: &str) -> PathBuf {
        self.root().join("masks").join(format!("{run}.png"))
    }

    pub(crate) fn report(&self) -> PathBuf {
        self.root().join("report.md")
    }

    pub(crate) fn figure(&self, name: &str) -> PathBuf {
        self.root().join("figures").join(name)
    }

    /// Writes a file atomically.
    pub(crate) fn write(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        self.inner.write(path, bytes)
    }

    /// Reads the results of the finished runs, in the order of `runs`.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, a line is not the result of one of the runs, or a run has two lines.
    pub(crate) fn read_results(&self, runs: &[PlannedRun]) -> Result<Vec<RunResult>> {
        let path = self.results();
        if !path.exists() {
            return Ok(Vec::new());
        }
        let mut results: Vec<RunResult> = read_records(&path)?;
        for (index, result) in results.iter().enumerate() {
            let fail = |message: String| {
                let message = format!("line {}: {message}", index + 1);
                Err(TrainError::run(&path, message))
            };
            let name = &result.name;
            if !runs.iter().any(|run| result.is_of(run)) {
                return fail(format!("`{name}` is not a run of the study"));
            }
            if results[..index].iter().any(|earlier| earlier.name == *name) {
                return fail(format!("the run `{name}` has a line already"));
            }
        }
        sort(&mut results, runs);
        Ok(results)
    }

    /// Writes the results of the finished runs in the order of `runs`. The file is replaced in one step, so that it
    /// always consists of complete lines.
    pub(crate) fn write_results(
        &self,
        results: &mut [RunResult],
        runs: &[PlannedRun],
    ) -> Result<()> {
        sort(results, runs);
        let path = self.results();
        let lines = to_lines(results, &path)?;
        self.write(&path, lines.as_bytes())
    }

    /// Writes the test phrases, or checks that they are those of the earlier runs.
    ///
    /// # Errors
    ///
    /// If they are not.
    pub(crate) fn keep_phrases(&self, phrases: &[TestPhrase]) -> Result<()> {
        let path = self.phrases();
        if path.exists() {
            if self.read_phrases()? == phrases {
                return Ok(());
            }
            let message = "the test phrases are not those of the finished runs, so the study cannot be \
                           resumed: a record or a picture was added, removed or damaged";
            return Err(TrainError::run(&path, message));
        }
        let mut text = String::new();
        for phrase in phrases {
            let line = serde_json::to_string(phrase);
            text += &line.map_err(|error| TrainError::run(&path, error))?;
            text.push('\n');
        }
        self.write(&path, text.as_bytes())
    }

    pub(crate) fn read_phrases(&self) -> Result<Vec<TestPhrase>> {
        read_records(&self.phrases())
    }
}

fn sort(results: &mut [RunResult], runs: &[PlannedRun]) {
    results.sort_by_key(|result| runs.iter().position(|run| run.name == result.name));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::study::result::tests::result;

    fn study() -> StudyConfig {
        let text = "seeds = [0, 1]\n[decoders.small]\nreduce_dim = 8\n";
        StudyConfig::from_toml(text, "study.toml".as_ref()).unwrap()
    }

    #[test]
    fn results_are_written_in_the_order_of_the_runs() {
        let folder = tempfile::tempdir().unwrap();
        let (study, root) = (study(), folder.path().join("study"));
        let runs = study.runs().unwrap();
        let opened = StudyFolder::open(&root, &study, Start::New).unwrap();
        assert!(opened.read_results(&runs).unwrap().is_empty());
        let mut results: Vec<RunResult> = [3, 0, 1].map(|run| result(&runs[run], 0.5)).to_vec();
        opened.write_results(&mut results, &runs).unwrap();
        let names = |results: &[RunResult]| -> Vec<String> {
            results.iter().map(|result| result.name.clone()).collect()
        };
        let read = opened.read_results(&runs).unwrap();
        assert_eq!(read, results);
        let expected = [0, 1, 3].map(|run| runs[run].name.clone());
        assert_eq!(names(&read), expected);

        let mut lines = std::fs::read_to_string(opened.results()).unwrap();
        let first = lines.lines().next().unwrap().to_owned();
        lines += &format!("{first}\n");
        std::fs::write(opened.results(), lines).unwrap();
        let message = opened.read_results(&runs).unwrap_err().to_string();
        assert!(
            message.contains("results.jsonl: line 4: the run"),
            "{message}"
        );
        let other = first.replace("small.bce", "large.bce");
        std::fs::write(opened.results(), other).unwrap();
        let message = opened.read_results(&runs).unwrap_err().to_string();
        assert!(message.ends_with("is not a run of the study"), "{message}");
        std::fs::write(opened.results(), "notes\n").unwrap();
        let message = opened.read_results(&runs).unwrap_err().to_string();
        assert!(message.contains("results.jsonl: line 1: "), "{message}");
    }

    #[test]
    fn a_folder_with_something_else_is_refused_and_a_study_resumes_with_its_settings_only() {
        let folder = tempfile::tempdir().unwrap();
        let study = study();
        let root = folder.path().join("mine");
        std::fs::create_dir(&root).unwrap();
        std::fs::write(root.join("results.jsonl"), "mine").unwrap();
        let open = |root: &Path, study: &StudyConfig| {
            StudyFolder::open(root, study, Start::Resume).map_err(|error| error.to_string())
        };
        let message = open(&root, &study).unwrap_err();
        assert!(message.contains("contains `results.jsonl`"), "{message}");
        assert_eq!(std::fs::read_dir(&root).unwrap().count(), 1);

        let root = folder.path().join("study");
        drop(open(&root, &study).unwrap());
        let mut other = study.clone();
        other.seeds = vec![0];
        let message = open(&root, &other).unwrap_err();
        assert!(message.contains("field `seeds` is [0, 1]"), "{message}");
        let (opened, read) = StudyFolder::existing(&root).unwrap();
        assert_eq!(read, study);
        opened.abandon();
        assert!(root.join("config.toml").exists(), "it was there before");
        let message = StudyFolder::existing(folder.path())
            .unwrap_err()
            .to_string();
        assert!(message.contains("contains no study"), "{message}");
    }
}
