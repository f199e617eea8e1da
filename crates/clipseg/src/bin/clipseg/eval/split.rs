//! The split that is scored.

use clipseg::data::{Phrase, PhraseCut, ProblemKind, Split};
use std::error::Error;
use std::path::Path;

/// Reads one split only, which must have polygons.
pub(crate) fn open(folder: &Path, split: Split) -> Result<PhraseCut, Box<dyn Error>> {
    let data = PhraseCut::open_splits(folder, &[split])?;
    data.require_truth(split)?;
    Ok(data)
}

/// The phrases of a split in the order in which they are scored: usable ones first.
pub(crate) fn records(
    data: &PhraseCut,
    split: Split,
) -> impl Iterator<Item = (&Phrase, Option<ProblemKind>)> {
    let usable = data.phrases(split).iter().map(|phrase| (phrase, None));
    let others = data.unusable(split);
    usable.chain(others.map(|(phrase, problem)| (phrase, Some(problem))))
}
