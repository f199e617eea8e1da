//! The result of checking a data set.

use crate::error::{DataError, Result};
use crate::problems::{Problem, ProblemKind};
use crate::records::Split;
use std::collections::HashMap;

/// The result of a [`check`](crate::check()).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    pub(crate) splits: Vec<SplitReport>,
    pub(crate) problems: Vec<Problem>,
}

/// Counts of one split.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct SplitReport {
    /// The split.
    pub split: Split,
    /// Number of distinct pictures of its phrases that are in the picture list.
    pub pictures: usize,
    /// Number of phrases in its file.
    pub phrases: usize,
    /// Number of phrases that cannot be used, because of their record or their picture.
    pub unusable: usize,
}

impl Report {
    /// Counts of each split that was checked.
    pub fn splits(&self) -> &[SplitReport] {
        &self.splits
    }

    /// All problems: first those of the records in the order of the files, then those of the pictures in
    /// the order of their ids.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// Number of problems of one kind in one split.
    pub fn count(&self, kind: ProblemKind, split: Split) -> usize {
        let these = |problem: &&Problem| problem.kind == kind && problem.split == split;
        self.problems.iter().filter(these).count()
    }

    /// Number of phrases that cannot be used, over all splits.
    pub fn unusable(&self) -> usize {
        self.splits.iter().map(|split| split.unusable).sum()
    }

    /// The pictures that are missing, truncated or cannot be decoded, in the order of their ids.
    pub fn broken_pictures(&self) -> impl Iterator<Item = &Problem> {
        let broken =
            |problem: &&Problem| problem.task_id.is_none() && problem.kind.makes_unusable();
        self.problems.iter().filter(broken)
    }

    /// Returns an error if any picture is broken. Call it before work that takes long.
    ///
    /// # Errors
    ///
    /// [`BrokenPictures`](DataError::BrokenPictures), which lists them.
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
