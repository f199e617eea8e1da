//! A folder in the layout of `VGPhraseCut_v0`.

use crate::check::Report;
use crate::error::{DataError, Result};
use crate::json_list::{read_list, read_list_file};
use crate::mask::Mask;
use crate::pictures::is_too_large;
use crate::problems::{Problem, ProblemKind, examine_phrase};
use crate::records::{ImageRecord, Phrase, Split};
use rayon::prelude::*;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::BufRead;
use std::path::{Path, PathBuf};

/// Both names are in use for the list of pictures.
const PICTURE_LISTS: [&str; 2] = ["image_data_split3000.json", "image_data_split.json"];

/// The pictures and phrases of a data set; the pictures themselves stay on disk.
///
/// What is wrong with single phrases does not keep the rest from being read: it is kept as
/// [`problems`](Self::problems), and phrases that cannot be used are left out.
/// [`ProblemKind`] says which those are. Whether the pictures are there and whole is found out by
/// [`check`](crate::check) only.
#[derive(Debug, Clone)]
pub struct PhraseCut {
    root: PathBuf,
    images: HashMap<u64, ImageRecord>,
    splits: BTreeMap<Split, Phrases>,
    problems: Vec<Problem>,
}

#[derive(Debug, Clone)]
struct Phrases {
    usable: Vec<Phrase>,
    left_out: usize,
    has_truth: bool,
}

impl PhraseCut {
    /// Reads the list of pictures and the phrases of every split that is there: `refer_<split>.json`,
    /// or else `refer_input_<split>.json`, which has no polygons.
    ///
    /// # Errors
    ///
    /// If the folder has no list of pictures or no phrases, or a file is no JSON or of another shape
    /// (the message names the file, the byte and the field).
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

    /// Reads the list of pictures and the phrases of some splits, and no other file.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open), and if a split is not there.
    pub fn open_splits(root: &Path, splits: &[Split]) -> Result<Self> {
        Self::open_files(root, splits, |split| {
            file_of(root, split)
                .ok_or_else(|| none_of(root, [&*truth_file(split), &*input_file(split)]))
        })
    }

    /// As [`open_splits`](Self::open_splits), but always from `refer_input_<split>.json`: what a model
    /// may see before it answers.
    ///
    /// # Errors
    ///
    /// As [`open_splits`](Self::open_splits).
    pub fn open_inputs(root: &Path, splits: &[Split]) -> Result<Self> {
        Self::open_files(root, splits, |split| {
            let path = root.join(input_file(split));
            if path.is_file() {
                Ok((path, false))
            } else {
                Err(none_of(root, [&*input_file(split)]))
            }
        })
    }

    fn open_files(
        root: &Path,
        splits: &[Split],
        file_of: impl Fn(Split) -> Result<(PathBuf, bool)>,
    ) -> Result<Self> {
        let mut data = Self {
            root: root.to_owned(),
            images: HashMap::new(),
            splits: BTreeMap::new(),
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
        for &split in splits {
            if !data.splits.contains_key(&split) {
                let (path, has_truth) = file_of(split)?;
                data.add(split, read_list_file(&path)?, has_truth);
            }
        }
        Ok(data)
    }

    /// Takes in the phrases of a split, as far as they can be used.
    fn add(&mut self, split: Split, phrases: Vec<Phrase>, has_truth: bool) {
        let mut found: Vec<Vec<Problem>> = phrases
            .par_iter()
            .map(|phrase| {
                let image = self.images.get(&phrase.image_id);
                examine_phrase(phrase, split, image, has_truth)
            })
            .collect();
        report_repeated(split, &phrases, &mut found);
        let all = phrases.len();
        let mut each = found.iter();
        let mut usable = phrases;
        usable.retain(|_| {
            let mut problems = each.next().into_iter().flatten();
            !problems.any(|problem| problem.kind.makes_unusable())
        });
        let phrases = Phrases {
            left_out: all - usable.len(),
            usable,
            has_truth,
        };
        self.splits.insert(split, phrases);
        self.problems.extend(found.into_iter().flatten());
    }

    /// The splits that were read.
    pub fn splits(&self) -> impl Iterator<Item = Split> {
        self.splits.keys().copied()
    }

    /// The usable phrases of a split in the order of its file, none if it was not read.
    pub fn phrases(&self, split: Split) -> &[Phrase] {
        self.splits
            .get(&split)
            .map_or(&[], |phrases| &phrases.usable)
    }

    /// Whether the phrases of a split came with polygons, and not from `refer_input_<split>.json`.
    pub fn has_truth(&self, split: Split) -> bool {
        self.splits
            .get(&split)
            .is_some_and(|phrases| phrases.has_truth)
    }

    /// What is wrong with the records, in the order of the files. Without a look at the pictures.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// How many phrases of a split were left out because they cannot be used.
    pub fn left_out(&self, split: Split) -> usize {
        self.splits
            .get(&split)
            .map_or(0, |phrases| phrases.left_out)
    }

    /// Leaves out the phrases of pictures that a check found missing, unreadable or cut off, too.
    pub fn leave_out_unusable(&mut self, report: &Report) {
        let pictures = report.unusable_pictures();
        for phrases in self.splits.values_mut() {
            let before = phrases.usable.len();
            phrases
                .usable
                .retain(|phrase| !pictures.contains(&phrase.image_id));
            phrases.left_out += before - phrases.usable.len();
        }
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A picture by its number.
    pub fn image(&self, image_id: u64) -> Option<&ImageRecord> {
        self.images.get(&image_id)
    }

    /// The file of a picture.
    pub fn image_path(&self, image_id: u64) -> PathBuf {
        image_path(&self.root, image_id)
    }

    /// The mask of a phrase at its picture's recorded size.
    ///
    /// # Errors
    ///
    /// If the phrase's picture is not listed, or as too large. Neither happens with a phrase that
    /// [`phrases`](Self::phrases) gave.
    pub fn mask(&self, phrase: &Phrase) -> Result<Mask> {
        let image = self
            .images
            .get(&phrase.image_id)
            .ok_or_else(|| DataError::UnknownPicture {
                task_id: phrase.task_id.clone(),
                image_id: phrase.image_id,
            })?;
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

/// Reads the list of pictures of a folder, under either of its names, and nothing else.
///
/// # Errors
///
/// If there is none, or it is no JSON or of another shape.
pub fn list_pictures(root: &Path) -> Result<Vec<ImageRecord>> {
    read_list_file(&picture_list(root)?)
}

/// Reads phrases from the text of a `refer_*.json`, whatever may be wrong with them; `name` is for
/// messages.
///
/// # Errors
///
/// If the text cannot be read, is no JSON or is of another shape.
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
        .find(|path| path.is_file())
        .ok_or_else(|| none_of(root, PICTURE_LISTS))
}

fn truth_file(split: Split) -> String {
    format!("refer_{split}.json")
}

fn input_file(split: Split) -> String {
    format!("refer_input_{split}.json")
}

/// The file that a split is read from, and whether it has polygons.
fn file_of(root: &Path, split: Split) -> Option<(PathBuf, bool)> {
    [(truth_file(split), true), (input_file(split), false)]
        .into_iter()
        .map(|(name, has_truth)| (root.join(name), has_truth))
        .find(|(path, _)| path.is_file())
}

fn none_of<'a>(root: &Path, expected: impl IntoIterator<Item = &'a str>) -> DataError {
    DataError::NoDataSet {
        folder: root.to_owned(),
        expected: expected.into_iter().map(str::to_owned).collect(),
    }
}
