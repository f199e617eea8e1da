//! Scoring predictions by the protocol of PhraseCut.

use crate::error::Result;
use crate::scoring::exceptions::{Exception, Exceptions, in_phrasecut};
use crate::scoring::scored_records::{Record, file_size};
use clipseg_data::{
    DataError, ImageRecord, Mask, Phrase, PhraseCut, ProblemKind, Split, read_json,
};
use clipseg_metrics::{
    FrequencyRanks, MaskRef, PhraseCutEvaluator, PhraseCutTask, PhraseType, TaskScore,
    is_coco_category, is_stuff,
};
use rayon::prelude::*;
use serde::Deserialize;
use std::collections::{HashMap, HashSet};
use std::path::Path;

/// Frequency ranks of categories and attributes, from `name_att_rel_count.json`.
#[derive(Debug, Clone, Default)]
pub struct WordRanks {
    categories: HashMap<String, usize>,
    attributes: HashMap<String, usize>,
}

impl WordRanks {
    /// Reads the file in the folder of a data set; `None` if the folder has no such file.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, or is not two lists `cat` and `att` of words and counts.
    pub fn open(folder: &Path) -> Result<Option<Self>> {
        #[derive(Deserialize)]
        struct Counts {
            cat: Vec<(String, u64)>,
            att: Vec<(String, u64)>,
        }
        let path = folder.join("name_att_rel_count.json");
        if !path.exists() {
            return Ok(None);
        }
        let counts: Counts = read_json(&path)?;
        Ok(Some(Self {
            categories: indices(counts.cat),
            attributes: indices(counts.att),
        }))
    }

    fn of(&self, phrase: &Phrase) -> FrequencyRanks {
        let structure = &phrase.phrase_structure;
        let attributes = structure.attributes.iter();
        FrequencyRanks {
            category: self.categories.get(&structure.name).copied(),
            attribute: attributes
                .filter_map(|a| self.attributes.get(a).copied())
                .min(),
        }
    }
}

/// The index of each word in a list; for a word that occurs twice, the first index.
fn indices(list: Vec<(String, u64)>) -> HashMap<String, usize> {
    let words = list.into_iter().map(|(word, _)| word);
    // In reverse, so that the first index of a word is inserted last.
    words
        .enumerate()
        .collect::<Vec<_>>()
        .into_iter()
        .rev()
        .map(|(place, word)| (word, place))
        .collect()
}

/// Returns the task of a phrase: what PhraseCut's evaluator needs to know about it.
///
/// # Errors
///
/// If the phrase's picture is not listed.
pub fn phrasecut_task(
    data: &PhraseCut,
    phrase: &Phrase,
    ranks: Option<&WordRanks>,
) -> Result<PhraseCutTask> {
    let image = data.image(phrase.image_id);
    let image = image.ok_or_else(|| DataError::UnknownPicture {
        task_id: phrase.task_id.clone(),
        image_id: phrase.image_id,
    })?;
    Ok(task_of(Some(image), phrase, ranks))
}

/// The task of a phrase; without a listed picture its size is 0 × 0.
fn task_of(
    image: Option<&ImageRecord>,
    phrase: &Phrase,
    ranks: Option<&WordRanks>,
) -> PhraseCutTask {
    let structure = &phrase.phrase_structure;
    PhraseCutTask {
        task_id: phrase.task_id.clone(),
        image_id: phrase.image_id,
        width: image.map_or(0, |image| image.width),
        height: image.map_or(0, |image| image.height),
        instances: phrase.instance_boxes.len(),
        attributes: structure.attributes.len(),
        relations: structure.relation_descriptions.len(),
        phrase_type: PhraseType::from_name(&structure.kind),
        ranks: ranks.map(|ranks| ranks.of(phrase)),
        coco_category: is_coco_category(&structure.name),
        stuff: is_stuff(&structure.name),
        // The official evaluator, too, treats 0 as a missing id.
        coco_picture: image
            .and_then(|image| image.coco_id)
            .is_some_and(|id| id != 0),
    }
}

/// The scores of predictions for a split, by the rules of PhraseCut's official evaluator.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PhraseCutEvaluation {
    /// The score of every record of the split's files: first the usable phrases in their order
    /// ([`PhraseCut::phrases`]), then the others ([`PhraseCut::unusable`]).
    pub evaluator: PhraseCutEvaluator,
    /// The phrases that were not scored like the others.
    pub exceptions: Vec<Exception>,
}

/// Scores predictions for a split at the recorded sizes of the pictures, on several threads.
///
/// `predict` returns the mask of a task, or `None` if there is no prediction; it may be called from
/// several threads. Every record of the split counts, as in the official evaluator:
///
/// - If no polygon can be drawn, the ground truth is empty and the IoU is 0.
/// - If several records have the same task id, each is scored against its own polygons, in the subsets of
///   the first.
/// - If a picture is not listed, or is listed with an impossible size, `predict` is not called and the
///   record counts as one without a prediction. The official evaluator cannot score it either.
/// - If the picture's file does not have the recorded size, as for
///   [17 pictures](clipseg_data::OTHER_SIZE_PICTURES), a prediction may have the size of the file. The
///   ground truth is then drawn at that size. The official evaluator draws it at the size of any
///   prediction, which gives meaningless scores if masks were resized.
///
/// The memory holds the masks of as many tasks as there are threads, and about 300 bytes for each task.
///
/// # Errors
///
/// If the split has no phrase or no polygons, if a mask has neither of the two sizes of its picture, or
/// if `predict` fails. If several tasks fail, the error is that of the first in the file.
pub fn evaluate_phrasecut(
    data: &PhraseCut,
    split: Split,
    ranks: Option<&WordRanks>,
    predict: impl Fn(&PhraseCutTask) -> Result<Option<Mask>> + Sync,
) -> Result<PhraseCutEvaluation> {
    let tasks = Tasks::new(data, split, ranks)?;
    let scores: Vec<Result<Scored>> = (0..tasks.records.len())
        .into_par_iter()
        .map(|place| {
            let task = tasks.task(place);
            let prediction = match tasks.records[place].image(data) {
                Some(_) => predict(&task)?,
                None => None,
            };
            tasks.score(place, task, prediction.as_ref())
        })
        .collect();
    let scores: Result<Vec<Scored>> = scores.into_iter().collect();
    Ok(tasks.evaluation(scores?, Exceptions::default()))
}

/// The score of a task, and whether its prediction had the size of the picture's file instead of the
/// recorded one.
pub(crate) type Scored = (TaskScore, bool);

/// The task id and the picture of a record, which records of one task share.
fn key<'a>(record: &Record<'a>) -> (&'a str, u64) {
    (record.phrase.task_id.as_str(), record.phrase.image_id)
}

/// All records of a split as tasks.
pub(crate) struct Tasks<'a> {
    data: &'a PhraseCut,
    ranks: Option<&'a WordRanks>,
    pub(crate) records: Vec<Record<'a>>,
    /// For each task id and picture that occur repeatedly, the index of their first record.
    first: HashMap<(&'a str, u64), usize>,
}

impl<'a> Tasks<'a> {
    pub(crate) fn new(
        data: &'a PhraseCut,
        split: Split,
        ranks: Option<&'a WordRanks>,
    ) -> Result<Self> {
        let records = Record::all(data, split)?;
        let repeated = records
            .iter()
            .filter(|record| record.problem == Some(ProblemKind::RepeatedTask));
        let repeated: HashSet<(&str, u64)> = repeated.map(key).collect();
        let mut first = HashMap::new();
        for (place, record) in records.iter().enumerate() {
            if repeated.contains(&key(record)) {
                first.entry(key(record)).or_insert(place);
            }
        }
        Ok(Self {
            data,
            ranks,
            records,
            first,
        })
    }

    /// The index of the first record with the same task id and picture.
    pub(crate) fn first(&self, place: usize) -> usize {
        let first = self.first.get(&key(&self.records[place]));
        first.copied().unwrap_or(place)
    }

    /// Whether several records have the same task id and picture.
    pub(crate) fn comes_again(&self, place: usize) -> bool {
        self.first.contains_key(&key(&self.records[place]))
    }

    pub(crate) fn task(&self, place: usize) -> PhraseCutTask {
        let record = &self.records[self.first(place)];
        task_of(record.image(self.data), record.phrase, self.ranks)
    }

    pub(crate) fn score(
        &self,
        place: usize,
        task: PhraseCutTask,
        prediction: Option<&Mask>,
    ) -> Result<Scored> {
        let (own, first) = (self.records[place].phrase, self.first(place));
        let recorded = (task.width, task.height);
        let truth = self.records[first].phrase.mask(task.width, task.height);
        let Some(prediction) = prediction else {
            let score = TaskScore::new(task, view(&pixels(&truth)), None)?;
            return Ok((score, false));
        };
        let size = (prediction.width(), prediction.height());
        let of_file = size != recorded && file_size(self.data, own.image_id) == Some(size);
        let prediction = pixels(prediction);
        let score = if of_file || first != place {
            let (width, height) = if of_file { size } else { recorded };
            let drawn = pixels(&own.mask(width, height));
            TaskScore::against(task, truth.area() as u64, view(&drawn), view(&prediction))
        } else {
            TaskScore::new(task, view(&pixels(&truth)), Some(view(&prediction)))
        };
        Ok((score?, of_file))
    }

    /// Collects the scores, one for each record, and counts the exceptions.
    pub(crate) fn evaluation(
        &self,
        scores: Vec<Scored>,
        mut exceptions: Exceptions,
    ) -> PhraseCutEvaluation {
        for (record, (_, of_file)) in self.records.iter().zip(&scores) {
            let task_id = &record.phrase.task_id;
            if let Some(what) = record.problem.and_then(in_phrasecut) {
                exceptions.add(what, task_id);
            }
            if *of_file {
                exceptions.add(OF_FILE, task_id);
            }
        }
        PhraseCutEvaluation {
            evaluator: scores.into_iter().map(|(score, _)| score).collect(),
            exceptions: exceptions.into_vec(),
        }
    }
}

const OF_FILE: [&str; 2] = [
    "a prediction of the size of their picture's file, which is not the recorded one",
    "their ground truth is drawn at that size, as in the official evaluator",
];

pub(crate) struct Pixels {
    width: u32,
    height: u32,
    values: Vec<u8>,
}

pub(crate) fn pixels(mask: &Mask) -> Pixels {
    Pixels {
        width: mask.width(),
        height: mask.height(),
        values: mask.to_vec(),
    }
}

pub(crate) fn view(pixels: &Pixels) -> MaskRef<'_> {
    MaskRef {
        width: pixels.width,
        height: pixels.height,
        values: &pixels.values,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_indices_in_the_lists() {
        let folder = tempfile::tempdir().unwrap();
        assert!(WordRanks::open(folder.path()).unwrap().is_none());
        let write = |text: &str| {
            std::fs::write(folder.path().join("name_att_rel_count.json"), text).unwrap();
            WordRanks::open(folder.path())
        };
        let ranks = write(
            r#"{"cat": [["cat", 9], ["dog", 8], ["cat", 1]], "att": [["red", 5], ["big", 4]], "rel": []}"#,
        );
        let ranks = ranks.unwrap().unwrap();
        let of = |name: &str, attributes: &[&str]| {
            let json = serde_json::json!({
                "task_id": "1__2", "image_id": 1, "phrase": "",
                "phrase_structure": {"name": name, "attributes": attributes},
            });
            let ranks = ranks.of(&serde_json::from_value(json).unwrap());
            (ranks.category, ranks.attribute)
        };
        assert_eq!(of("cat", &["new", "big", "red"]), (Some(0), Some(0)));
        assert_eq!(of("dog", &["big", "new"]), (Some(1), Some(1)));
        assert_eq!(of("cow", &[]), (None, None));

        let error = write("{\"cat\": [[\"cat\"]]}").unwrap_err().to_string();
        assert!(
            error.contains("name_att_rel_count.json") && error.contains("invalid length 1"),
            "{error}"
        );
    }
}
