//! The result of checking a data set.

use crate::error::{DataError, Result};
use crate::problems::{Problem, ProblemKind};
use crate::records::Split;
use std::collections::HashMap;

/// What a [`check`](crate::check()) found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    pub(crate) splits: Vec<SplitReport>,
    pub(crate) problems: Vec<Problem>,
}

/// What was found in one split.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct SplitReport {
    /// The split.
    pub split: Split,
    /// Number of different pictures that its phrases name and the list has.
    pub pictures: usize,
    /// Number of phrases in its file.
    pub phrases: usize,
    /// How many of them cannot be used, or have a picture that cannot.
    pub unusable: usize,
}

impl Report {
    /// A line for each split that was read.
    pub fn splits(&self) -> &[SplitReport] {
        &self.splits
    }

    /// All problems: those of the records in the order of the files, then those of the pictures in the
    /// order of their numbers.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// How many problems of a kind a split has.
    pub fn count(&self, kind: ProblemKind, split: Split) -> usize {
        let these = |problem: &&Problem| problem.kind == kind && problem.split == split;
        self.problems.iter().filter(these).count()
    }

    /// How many phrases cannot be used, in all splits.
    pub fn unusable(&self) -> usize {
        self.splits.iter().map(|split| split.unusable).sum()
    }

    /// The pictures that are missing, cannot be decoded or are cut off, in the order of their numbers.
    pub fn broken_pictures(&self) -> impl Iterator<Item = &Problem> {
        let broken =
            |problem: &&Problem| problem.task_id.is_none() && problem.kind.makes_unusable();
        self.problems.iter().filter(broken)
    }

    /// Makes sure that no picture is broken, before anything long begins.
    ///
    /// # Errors
    ///
    /// [`BrokenPictures`](DataError::BrokenPictures) with what is wrong with each.
    pub fn require_pictures(&self) -> Result<()> {
        let pictures: Vec<String> = self.broken_pictures().map(Problem::to_string).collect();
        if pictures.is_empty() {
            return Ok(());
        }
        Err(DataError::BrokenPictures { pictures })
    }

    pub(crate) fn unusable_pictures(&self) -> HashMap<u64, ProblemKind> {
        let broken = self.broken_pictures();
        broken
            .map(|problem| (problem.image_id, problem.kind))
            .collect()
    }
}
