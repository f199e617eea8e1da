//! All phrases of a split, including those that cannot be used for training: evaluators count them.

use crate::error::{Result, TrainError};
use clipseg_data::{ImageRecord, Phrase, PhraseCut, ProblemKind, Split};
use image::ImageReader;
use std::collections::BTreeMap;

/// A phrase of a split's file, and the problem that makes it unusable for training, if it has one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Record<'a> {
    pub(crate) phrase: &'a Phrase,
    pub(crate) problem: Option<ProblemKind>,
}

impl<'a> Record<'a> {
    /// The usable phrases of a split in the order of its file, then the others.
    pub(crate) fn all(data: &'a PhraseCut, split: Split) -> Result<Vec<Self>> {
        data.require_truth(split)?;
        let usable = data.phrases(split).iter().map(|phrase| Self {
            phrase,
            problem: None,
        });
        let others = data.unusable(split).map(|(phrase, problem)| Self {
            phrase,
            problem: Some(problem),
        });
        let records: Vec<Self> = usable.chain(others).collect();
        if records.is_empty() {
            return Err(TrainError::Empty(split.name()));
        }
        Ok(records)
    }

    /// The record of its picture, if the picture is listed with a possible size.
    pub(crate) fn image(&self, data: &'a PhraseCut) -> Option<&'a ImageRecord> {
        match self.problem {
            Some(ProblemKind::UnknownPicture | ProblemKind::ImpossibleSize) => None,
            _ => data.image(self.phrase.image_id),
        }
    }
}

/// The indices of the records of each picture.
pub(crate) fn by_picture(records: &[Record<'_>]) -> BTreeMap<u64, Vec<usize>> {
    let mut of_picture = BTreeMap::<u64, Vec<usize>>::new();
    for (place, record) in records.iter().enumerate() {
        let places = of_picture.entry(record.phrase.image_id).or_default();
        places.push(place);
    }
    of_picture
}

/// Width and height of a picture's file, if its header can be read.
pub(crate) fn file_size(data: &PhraseCut, image_id: u64) -> Option<(u32, u32)> {
    let reader = ImageReader::open(data.image_path(image_id)).ok()?;
    reader.with_guessed_format().ok()?.into_dimensions().ok()
}
