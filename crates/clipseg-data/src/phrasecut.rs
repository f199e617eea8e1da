//! Reading a data set in the layout of `VGPhraseCut_v0`.

use crate::error::{DataError, Result};
use crate::files;
use crate::json_list::{read_list, read_list_file};
use crate::left_out::LeftOut;
use crate::limits::is_too_large;
use crate::mask::Mask;
use crate::problems::{Problem, ProblemKind, examine_phrase};
use crate::records::{ImageRecord, Phrase, Polygons, Split};
use crate::report::Report;
use rayon::prelude::*;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::io::BufRead;
use std::ops::{Range, RangeBounds};
use std::path::{Path, PathBuf};

/// File names of the picture list; both are in use.
const PICTURE_LISTS: [&str; 2] = ["image_data_split3000.json", "image_data_split.json"];

/// The picture list and the phrases of a data set. Pixels are not loaded.
///
/// Faulty records do not prevent the others from being read: they are reported by
/// [`problems`](Self::problems). Phrases that cannot be used ([`ProblemKind`] defines which) are left out
/// and counted by [`left_out`](Self::left_out). The files of the pictures are not read; this is done by
/// [`check`](crate::check()).
#[derive(Debug, Clone)]
pub struct PhraseCut {
    root: PathBuf,
    images: HashMap<u64, ImageRecord>,
    /// The usable phrases of `train`, of `val` and `miniv` together, and of `test`.
    lists: [Vec<Phrase>; 3],
    parts: BTreeMap<Split, Part>,
    problems: Vec<Problem>,
}

/// The data of a split that is stored in files.
#[derive(Debug, Clone)]
struct Part {
    /// Range of its phrases in their list.
    range: Range<usize>,
    unusable: Vec<(Phrase, ProblemKind)>,
    source: Source,
}

/// The file from which phrases are read.
#[derive(Debug, Clone)]
struct Source {
    path: PathBuf,
    has_truth: bool,
}

/// Index of the list that contains the phrases of a split.
fn list_of(split: Split) -> usize {
    match split {
        Split::Train => 0,
        Split::Val | Split::Miniv | Split::ValMiniv => 1,
        Split::Test => 2,
    }
}

impl PhraseCut {
    /// Reads the picture list and the phrases of all splits that exist, from `refer_<split>.json` or else
    /// from `refer_input_<split>.json`, which has no polygons.
    ///
    /// # Errors
    ///
    /// If the folder has no picture list or no phrases, or a file is not valid JSON or has another
    /// structure. The message names the file, the byte and the field.
    pub fn open(root: &Path) -> Result<Self> {
        picture_list(root)?;
        let there = |split: &Split| file_of(root, *split).is_some();
        let splits: Vec<Split> = Split::ALL.into_iter().filter(there).collect();
        if splits.is_empty() {
            let names = Split::ALL.map(truth_file);
            return Err(none_of(root, names.iter().map(String::as_str)));
        }
        Self::open_splits(root, &splits)
    }

    /// Reads the picture list and the phrases of some splits only. `val_miniv` is read as `val` and
    /// `miniv`.
    ///
    /// # Errors
    ///
    /// Those of [`open`](Self::open), and if a split does not exist.
    pub fn open_splits(root: &Path, splits: &[Split]) -> Result<Self> {
        Self::open_files(root, splits, |split| {
            file_of(root, split)
                .ok_or_else(|| none_of(root, [&*truth_file(split), &*input_file(split)]))
        })
    }

    /// Like [`open_splits`](Self::open_splits), but always reads `refer_input_<split>.json`, which contains
    /// the model's inputs without ground truth.
    ///
    /// # Errors
    ///
    /// Those of [`open_splits`](Self::open_splits).
    pub fn open_inputs(root: &Path, splits: &[Split]) -> Result<Self> {
        Self::open_files(root, splits, |split| {
            let path = root.join(input_file(split));
            if files::is_there(&path) {
                Ok(Source {
                    path,
                    has_truth: false,
                })
            } else {
                Err(none_of(root, [&*input_file(split)]))
            }
        })
    }

    fn open_files(
        root: &Path,
        splits: &[Split],
        source_of: impl Fn(Split) -> Result<Source>,
    ) -> Result<Self> {
        let mut data = Self {
            root: root.to_owned(),
            images: HashMap::new(),
            lists: Default::default(),
            parts: BTreeMap::new(),
            problems: Vec::new(),
        };
        for image in list_pictures(root)? {
            match data.images.entry(image.image_id) {
                Entry::Vacant(place) => {
                    place.insert(image);
                }
                Entry::Occupied(_) => {
                    let detail = "it is listed again".to_owned();
                    let kind = ProblemKind::RepeatedPicture;
                    let problem = Problem::of_picture(kind, &image, detail);
                    data.problems.push(problem);
                }
            }
        }
        // Sorted, so that `val` precedes `miniv` in their list.
        let parts: BTreeSet<Split> = splits
            .iter()
            .flat_map(|split| split.parts())
            .copied()
            .collect();
        for split in parts {
            let source = source_of(split)?;
            let phrases = read_list_file(&source.path)?;
            data.add(split, phrases, source);
        }
        Ok(data)
    }

    /// Adds the usable phrases of a split, and the problems of all of them.
    fn add(&mut self, split: Split, mut phrases: Vec<Phrase>, source: Source) {
        let mut found: Vec<Vec<Problem>> = phrases
            .par_iter()
            .map(|phrase| {
                let image = self.images.get(&phrase.image_id);
                examine_phrase(phrase, split, image, source.has_truth)
            })
            .collect();
        report_repeated(split, &phrases, &mut found);
        let mut kinds = found.iter().map(|problems| {
            let kinds = problems.iter().map(|problem| problem.kind);
            kinds.into_iter().find(|kind| kind.makes_unusable())
        });
        let unusable = take(&mut phrases, .., |_| kinds.next().flatten());
        let list = &mut self.lists[list_of(split)];
        let first = list.len();
        if list.is_empty() {
            *list = phrases;
        } else {
            list.append(&mut phrases);
        }
        let part = Part {
            range: first..list.len(),
            unusable,
            source,
        };
        self.parts.insert(split, part);
        self.problems.extend(found.into_iter().flatten());
    }

    /// The splits whose files were read.
    pub fn splits(&self) -> impl Iterator<Item = Split> {
        self.parts.keys().copied()
    }

    fn parts_of(&self, split: Split) -> impl Iterator<Item = &Part> {
        split.parts().iter().filter_map(|part| self.parts.get(part))
    }

    fn was_read(&self, split: Split) -> bool {
        self.parts_of(split).count() == split.parts().len()
    }

    /// The usable phrases of a split in the order of its file; empty if the split was not read.
    pub fn phrases(&self, split: Split) -> &[Phrase] {
        if !self.was_read(split) {
            return &[];
        }
        let mut parts = self.parts_of(split).map(|part| part.range.clone());
        let first = parts.next().unwrap_or_default();
        let end = parts.last().map_or(first.end, |last| last.end);
        &self.lists[list_of(split)][first.start..end]
    }

    /// Whether the phrases of a split were read with polygons, and not from `refer_input_<split>.json`.
    pub fn has_truth(&self, split: Split) -> bool {
        self.require_truth(split).is_ok()
    }

    /// Returns an error if a split has no ground truth to train on or to score against.
    ///
    /// # Errors
    ///
    /// If the split was not read, or its phrases have no polygons
    /// ([`NoTruth`](DataError::NoTruth), which names the file with the polygons).
    pub fn require_truth(&self, split: Split) -> Result<()> {
        for &part in split.parts() {
            let Some(read) = self.parts.get(&part) else {
                let truth = truth_file(part);
                return Err(match file_of(&self.root, part) {
                    Some(_) => DataError::Input(format!("the split `{part}` was not read")),
                    None => none_of(&self.root, [&*truth]),
                });
            };
            if !read.source.has_truth {
                return Err(no_truth(&self.root, part, &read.source));
            }
        }
        Ok(())
    }

    /// Problems of the records in the order of the files. The pictures themselves are not checked.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// Number of phrases of a split that are left out as unusable, by reason.
    pub fn left_out(&self, split: Split) -> LeftOut {
        let mut left_out = LeftOut::new(split);
        for part in self.parts_of(split) {
            left_out.add_all(part.range.len() + part.unusable.len());
            for (phrase, kind) in &part.unusable {
                left_out.add(kind.omission(), phrase.image_id);
            }
        }
        left_out
    }

    /// The unusable phrases of a split, each with its first problem. The official evaluator scores them
    /// like all others.
    pub fn unusable(&self, split: Split) -> impl Iterator<Item = (&Phrase, ProblemKind)> {
        let unusable = self.parts_of(split).flat_map(|part| &part.unusable);
        unusable.map(|(phrase, kind)| (phrase, *kind))
    }

    /// Also leaves out the phrases of pictures that a check found missing, truncated or unreadable.
    pub fn leave_out_unusable(&mut self, report: &Report) {
        let pictures = report.unusable_pictures();
        for (number, list) in self.lists.iter_mut().enumerate() {
            let mut first = 0;
            for (_, part) in (self.parts.iter_mut()).filter(|(split, _)| list_of(**split) == number)
            {
                let end = first + part.range.len();
                let broken = |phrase: &Phrase| pictures.get(&phrase.image_id).copied();
                let taken = take(list, first..end, broken);
                part.range = first..end - taken.len();
                part.unusable.extend(taken);
                first = part.range.end;
            }
        }
    }

    /// Replaces the polygons of the usable phrases of a split, to train on ground truth that is changed on purpose. No
    /// file is changed.
    ///
    /// `change` returns the new polygons of a phrase, and gets the record of its picture.
    #[must_use]
    pub fn with_polygons(
        mut self,
        split: Split,
        mut change: impl FnMut(&Phrase, &ImageRecord) -> Polygons,
    ) -> Self {
        for part in split.parts() {
            let range = self.parts.get(part).map(|part| part.range.clone());
            for phrase in &mut self.lists[list_of(*part)][range.unwrap_or_default()] {
                if let Some(image) = self.images.get(&phrase.image_id) {
                    phrase.polygons = change(phrase, image);
                }
            }
        }
        self
    }

    /// Folder of the data set.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The record of a picture; `None` if it is not listed.
    pub fn image(&self, image_id: u64) -> Option<&ImageRecord> {
        self.images.get(&image_id)
    }

    /// Path of a picture's file.
    pub fn image_path(&self, image_id: u64) -> PathBuf {
        image_path(&self.root, image_id)
    }

    /// Draws the mask of a phrase at the recorded size of its picture.
    ///
    /// # Errors
    ///
    /// If the phrase has no polygons, such as those of `refer_input_<split>.json`
    /// ([`NoTruth`](DataError::NoTruth)), or its picture is not listed or is listed as too large. This
    /// cannot happen for [`phrases`](Self::phrases) of a split [with ground truth](Self::has_truth).
    pub fn mask(&self, phrase: &Phrase) -> Result<Mask> {
        let image = self
            .images
            .get(&phrase.image_id)
            .ok_or_else(|| DataError::UnknownPicture {
                task_id: phrase.task_id.clone(),
                image_id: phrase.image_id,
            })?;
        if phrase.polygons.iter().next().is_none() {
            let read = self.parts.iter();
            let mut without = read.filter(|(_, part)| !part.source.has_truth);
            return Err(match without.next() {
                Some((&split, part)) => no_truth(&self.root, split, &part.source),
                None => DataError::Input(format!("phrase `{}` has no polygons", phrase.task_id)),
            });
        }
        let (width, height) = (image.width, image.height);
        if is_too_large(width, height) {
            return Err(DataError::TooLarge {
                path: self.image_path(phrase.image_id),
                width,
                height,
            });
        }
        Ok(phrase.mask(width, height))
    }
}

/// Removes the phrases with a reason from a range of a list, and returns them.
fn take(
    list: &mut Vec<Phrase>,
    range: impl RangeBounds<usize>,
    mut reason: impl FnMut(&Phrase) -> Option<ProblemKind>,
) -> Vec<(Phrase, ProblemKind)> {
    let mut reasons = Vec::new();
    let taken: Vec<Phrase> = list
        .extract_if(range, |phrase| {
            let reason = reason(phrase);
            reasons.extend(reason);
            reason.is_some()
        })
        .collect();
    taken.into_iter().zip(reasons).collect()
}

fn no_truth(root: &Path, split: Split, source: &Source) -> DataError {
    let missing = root.join(truth_file(split));
    DataError::NoTruth {
        state: if files::is_there(&missing) {
            "was not read"
        } else {
            "does not exist"
        },
        missing,
        found: source.path.clone(),
    }
}

fn report_repeated(split: Split, phrases: &[Phrase], found: &mut [Vec<Problem>]) {
    let mut tasks = HashSet::with_capacity(phrases.len());
    for (phrase, problems) in phrases.iter().zip(found) {
        if !tasks.insert(phrase.task_id.as_str()) {
            let detail = "an earlier phrase has the same task id".to_owned();
            let kind = ProblemKind::RepeatedTask;
            problems.push(Problem::of_phrase(kind, split, phrase, detail));
        }
    }
}

/// Reads the picture list of a data set and no other file.
///
/// # Errors
///
/// If it does not exist, is not valid JSON or has another structure.
pub fn list_pictures(root: &Path) -> Result<Vec<ImageRecord>> {
    read_list_file(&picture_list(root)?)
}

/// Reads all phrases from the text of a `refer_*.json`, including unusable ones; `name` is used in
/// messages.
///
/// # Errors
///
/// If the text cannot be read, is not valid JSON or has another structure.
pub fn read_phrases(json: impl BufRead + Send, name: &Path) -> Result<Vec<Phrase>> {
    read_list(json, name)
}

pub(crate) fn image_path(root: &Path, image_id: u64) -> PathBuf {
    root.join("images").join(format!("{image_id}.jpg"))
}

fn picture_list(root: &Path) -> Result<PathBuf> {
    PICTURE_LISTS
        .map(|name| root.join(name))
        .into_iter()
        .find(|path| files::is_there(path))
        .ok_or_else(|| none_of(root, PICTURE_LISTS))
}

fn truth_file(split: Split) -> String {
    format!("refer_{split}.json")
}

fn input_file(split: Split) -> String {
    format!("refer_input_{split}.json")
}

/// The file from which a split is read; `None` if it does not exist.
fn file_of(root: &Path, split: Split) -> Option<Source> {
    [(truth_file(split), true), (input_file(split), false)]
        .into_iter()
        .map(|(name, has_truth)| Source {
            path: root.join(name),
            has_truth,
        })
        .find(|source| files::is_there(&source.path))
}

fn none_of<'a>(root: &Path, expected: impl IntoIterator<Item = &'a str>) -> DataError {
    DataError::NoDataSet {
        folder: root.to_owned(),
        expected: expected.into_iter().map(str::to_owned).collect(),
    }
}
