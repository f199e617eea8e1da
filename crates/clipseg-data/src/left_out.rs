//! Counting the phrases that are left out of a data set.

use crate::problems::ProblemKind;
use crate::records::Split;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// The reason why a phrase is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Omission {
    /// Its record cannot be used: no polygon can be drawn, the picture is not listed, or the task id is
    /// repeated.
    UnusableRecord,
    /// Its picture is missing, truncated or cannot be decoded.
    BrokenPicture,
    /// Its picture was to be [skipped](crate::Selection::skipping), for example as one of the
    /// [17](crate::OTHER_SIZE_PICTURES) whose size differs from the recorded one.
    SkippedPicture,
    /// Its mask is empty.
    EmptyMask,
}

impl Omission {
    /// All reasons.
    pub const ALL: [Self; 4] = [
        Self::UnusableRecord,
        Self::BrokenPicture,
        Self::SkippedPicture,
        Self::EmptyMask,
    ];

    /// Key in result files, such as `unusable_record`.
    pub fn name(self) -> &'static str {
        match self {
            Self::UnusableRecord => "unusable_record",
            Self::BrokenPicture => "broken_picture",
            Self::SkippedPicture => "skipped_picture",
            Self::EmptyMask => "empty_mask",
        }
    }
}

impl ProblemKind {
    /// The reason under which an unusable phrase with this problem is counted.
    pub(crate) fn omission(self) -> Omission {
        match self {
            Self::MissingPicture | Self::UnreadablePicture | Self::CutOffPicture => {
                Omission::BrokenPicture
            }
            _ => Omission::UnusableRecord,
        }
    }
}

/// Number of phrases of a split that are left out, by reason. It is displayed as one line:
/// `val: 3 of 20 phrases are left out: 1 with an unusable record, 2 of 1 broken or missing picture`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    split: Split,
    all: usize,
    counts: BTreeMap<Omission, (usize, BTreeSet<u64>)>,
}

impl LeftOut {
    pub(crate) fn new(split: Split) -> Self {
        Self {
            split,
            all: 0,
            counts: BTreeMap::new(),
        }
    }

    pub(crate) fn add_all(&mut self, phrases: usize) {
        self.all += phrases;
    }

    pub(crate) fn add(&mut self, why: Omission, image_id: u64) {
        let (phrases, pictures) = self.counts.entry(why).or_default();
        *phrases += 1;
        pictures.insert(image_id);
    }

    /// The split.
    pub fn split(&self) -> Split {
        self.split
    }

    /// Number of phrases in the split's files, including those that are left out.
    pub fn all(&self) -> usize {
        self.all
    }

    /// Number of phrases that are left out.
    pub fn phrases(&self) -> usize {
        self.counts.values().map(|(phrases, _)| phrases).sum()
    }

    /// Number of phrases that are left out for one reason.
    pub fn phrases_for(&self, why: Omission) -> usize {
        self.counts.get(&why).map_or(0, |(phrases, _)| *phrases)
    }

    /// Number of pictures of the phrases that are left out for one reason.
    pub fn pictures_for(&self, why: Omission) -> usize {
        self.counts
            .get(&why)
            .map_or(0, |(_, pictures)| pictures.len())
    }

    /// Whether nothing is left out.
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { split, all, .. } = self;
        if self.is_empty() {
            return write!(f, "{split}: none of {all} phrases is left out");
        }
        let count = self.phrases();
        let be = if count == 1 { "is" } else { "are" };
        write!(f, "{split}: {count} of {all} phrases {be} left out: ")?;
        for (place, (why, (phrases, pictures))) in self.counts.iter().enumerate() {
            let pictures = pictures.len();
            let many = if pictures == 1 { "" } else { "s" };
            f.write_str(if place == 0 { "" } else { ", " })?;
            match why {
                Omission::UnusableRecord if *phrases == 1 => {
                    write!(f, "{phrases} with an unusable record")
                }
                Omission::UnusableRecord => write!(f, "{phrases} with unusable records"),
                Omission::BrokenPicture => {
                    write!(f, "{phrases} of {pictures} broken or missing picture{many}")
                }
                Omission::SkippedPicture => {
                    write!(f, "{phrases} of {pictures} picture{many} to be skipped")
                }
                Omission::EmptyMask if *phrases == 1 => write!(f, "{phrases} with an empty mask"),
                Omission::EmptyMask => write!(f, "{phrases} with empty masks"),
            }?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_contains_counts_and_reasons() {
        let mut left_out = LeftOut::new(Split::Val);
        left_out.add_all(20);
        assert_eq!(left_out.to_string(), "val: none of 20 phrases is left out");
        left_out.add(Omission::BrokenPicture, 7);
        assert_eq!(
            left_out.to_string(),
            "val: 1 of 20 phrases is left out: 1 of 1 broken or missing picture"
        );
        for image_id in [7, 8] {
            left_out.add(Omission::BrokenPicture, image_id);
            left_out.add(Omission::SkippedPicture, 61530);
            left_out.add(Omission::EmptyMask, image_id);
        }
        left_out.add(Omission::UnusableRecord, 3);
        assert_eq!(
            left_out.to_string(),
            "val: 8 of 20 phrases are left out: 1 with an unusable record, 3 of 2 broken or missing \
             pictures, 2 of 1 picture to be skipped, 2 with empty masks"
        );
        assert_eq!(left_out.phrases_for(Omission::BrokenPicture), 3);
        assert_eq!(left_out.pictures_for(Omission::BrokenPicture), 2);
    }
}
