//! The metrics file `metrics.jsonl`: one line of JSON for each step and each validation.

use crate::error::{Result, TrainError};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// A line of the metrics file.
///
/// Values have single precision, which JSON keeps exactly: `serde_json` reads doubles to within their last
/// bit only. There is no time and no speed, so that a resumed run has the same file as an uninterrupted
/// one.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Record {
    /// A step of the optimizer.
    Step {
        /// The number of the step, counted from 1.
        step: usize,
        /// The epoch of the step's first batch, counted from 0.
        epoch: u64,
        /// The loss before the step.
        loss: f32,
        /// The learning rate of the step.
        learning_rate: f32,
        /// The gradient norm before clipping.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        gradient_norm: Option<f32>,
    },
    /// A validation.
    Validation {
        /// The number of steps before the validation.
        step: usize,
        /// The mean loss over the phrases.
        loss: f32,
        /// The accuracy over all pixels.
        accuracy: f32,
        /// The Dice coefficient over all pixels.
        dice: f32,
        /// The intersection over union over all pixels.
        iou: f32,
        /// The mean intersection over union of the phrases.
        mean_iou: f32,
        /// The same at the threshold at which it is highest, of 49 from 0.02 to 0.98. Only runs of a study have it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mean_iou_at_best: Option<f32>,
        /// Whether this validation is the best so far.
        best: bool,
    },
}

/// The records of a run, in memory and, if the run has a folder, in its metrics file.
#[derive(Debug)]
pub(crate) struct Journal<R = Record> {
    records: Vec<R>,
    file: Option<(PathBuf, File)>,
    length: u64,
}

impl<R> Default for Journal<R> {
    fn default() -> Self {
        Self {
            records: Vec::new(),
            file: None,
            length: 0,
        }
    }
}

impl<R: Serialize + DeserializeOwned> Journal<R> {
    /// Opens the metrics file of a run and truncates it to `length` bytes: the rest was written by steps
    /// that are done again.
    ///
    /// If the rest does not consist of records, it is not the run's. This is an error, and the file is not
    /// changed.
    pub(crate) fn open(path: &Path, length: u64) -> Result<Self> {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(TrainError::io("write", path))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)
            .map_err(TrainError::io("read", path))?;
        let there = bytes.len() as u64;
        if there < length {
            let message =
                format!("has {there} bytes, but had {length} when the checkpoint was written");
            return Err(TrainError::run(path, message));
        }
        let (kept, rest) = bytes.split_at(length as usize);
        let records = parse(kept, path)?;
        // The last line may be incomplete, if the process was killed while writing it.
        let whole = rest
            .iter()
            .rposition(|&byte| byte == b'\n')
            .map_or(0, |end| end + 1);
        parse::<R>(&rest[..whole], path)?;
        file.set_len(length)
            .map_err(TrainError::io("write", path))?;
        file.seek(SeekFrom::End(0))
            .map_err(TrainError::io("read", path))?;
        Ok(Self {
            records,
            file: Some((path.to_owned(), file)),
            length,
        })
    }

    /// Adds a record.
    pub(crate) fn push(&mut self, record: R) -> Result<()> {
        if let Some((path, file)) = &mut self.file {
            let mut line =
                serde_json::to_string(&record).map_err(|error| TrainError::run(path, error))?;
            line.push('\n');
            file.write_all(line.as_bytes())
                .map_err(TrainError::io("write", path))?;
            self.length += line.len() as u64;
        }
        self.records.push(record);
        Ok(())
    }

    /// Waits until the file is on the disk, and returns its length in bytes.
    pub(crate) fn sync(&self) -> Result<u64> {
        if let Some((path, file)) = &self.file {
            file.sync_data().map_err(TrainError::io("write", path))?;
        }
        Ok(self.length)
    }

    #[cfg(any(test, feature = "plots"))]
    pub(crate) fn records(&self) -> &[R] {
        &self.records
    }

    pub(crate) fn into_records(self) -> Vec<R> {
        self.records
    }
}

#[cfg(feature = "plots")]
impl Journal {
    /// The steps that were followed by a validation.
    pub(crate) fn validated(&self) -> Vec<usize> {
        let step = |record: &Record| match record {
            Record::Validation { step, .. } => Some(*step),
            Record::Step { .. } => None,
        };
        self.records.iter().filter_map(step).collect()
    }
}

/// Reads a metrics file.
///
/// # Errors
///
/// If it cannot be read or a line is not a valid record; the message names the line.
pub fn read_metrics(path: &Path) -> Result<Vec<Record>> {
    read_records(path)
}

/// Reads a metrics file of any kind of run.
pub(crate) fn read_records<R: DeserializeOwned>(path: &Path) -> Result<Vec<R>> {
    let bytes = std::fs::read(path).map_err(TrainError::io("read", path))?;
    parse(&bytes, path)
}

fn parse<R: DeserializeOwned>(bytes: &[u8], path: &Path) -> Result<Vec<R>> {
    let text = std::str::from_utf8(bytes).map_err(|error| TrainError::run(path, error))?;
    let lines = text.lines().enumerate();
    let records = lines.map(|(index, line)| {
        serde_json::from_str(line)
            .map_err(|error| TrainError::run(path, format!("line {}: {error}", index + 1)))
    });
    records.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(step: usize) -> Record {
        Record::Step {
            step,
            epoch: 0,
            loss: 0.1 * step as f32,
            learning_rate: 1e-3,
            gradient_norm: step.is_multiple_of(2).then_some(2.5),
        }
    }

    #[test]
    fn records_after_the_checkpoint_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        let mut journal = Journal::open(&path, 0).unwrap();
        for number in 1..=3 {
            journal.push(step(number)).unwrap();
        }
        let length = journal.sync().unwrap();
        journal.push(step(4)).unwrap();
        drop(journal);
        // The process was killed in the middle of a line.
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"{\"kind\":\"st").unwrap();

        let mut journal = Journal::open(&path, length).unwrap();
        assert_eq!(journal.records(), [step(1), step(2), step(3)]);
        journal.push(step(4)).unwrap();
        let whole = [step(1), step(2), step(3), step(4)];
        assert_eq!(read_metrics(&path).unwrap(), whole);

        drop(journal);
        let error = Journal::<Record>::open(&path, 10_000)
            .unwrap_err()
            .to_string();
        assert!(error.contains("but had 10000 when the checkpoint was written"));

        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"my own notes\n").unwrap();
        let before = std::fs::read(&path).unwrap();
        let error = Journal::<Record>::open(&path, length)
            .unwrap_err()
            .to_string();
        assert!(error.contains("metrics.jsonl: line 2: "), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), before, "nothing is removed");
    }
}
