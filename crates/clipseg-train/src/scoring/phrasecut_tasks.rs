//! PhraseCut's phrases as tasks of its evaluator.

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

/// How frequent categories and attributes are, from `name_att_rel_count.json`.
#[derive(Debug, Clone, Default)]
pub struct WordRanks {
    categories: HashMap<String, usize>,
    attributes: HashMap<String, usize>,
}

impl WordRanks {
    /// Reads the file of a data set's folder; `None` if it has none.
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
            categories: places(counts.cat),
            attributes: places(counts.att),
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

/// The place of each word in a list; of a word that comes twice, the first.
fn places(list: Vec<(String, u64)>) -> HashMap<String, usize> {
    let words = list.into_iter().map(|(word, _)| word);
    // From the end, so that the first one is what stays.
    words
        .enumerate()
        .collect::<Vec<_>>()
        .into_iter()
        .rev()
        .map(|(place, word)| (word, place))
        .collect()
}

/// What the evaluator knows about a phrase.
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

/// The task of a phrase; without a picture that could be drawn on, it has no pixels.
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
        // The official evaluator takes 0 for no number too.
        coco_picture: image
            .and_then(|image| image.coco_id)
            .is_some_and(|id| id != 0),
    }
}

/// How predictions for a split compare with its truth, by the rules of PhraseCut's official evaluator.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PhraseCutEvaluation {
    /// The score of every record of the split's files: the usable phrases in their order
    /// ([`PhraseCut::phrases`]), then the others ([`PhraseCut::unusable`]).
    pub evaluator: PhraseCutEvaluator,
    /// What was not scored like the rest.
    pub exceptions: Vec<Exception>,
}

/// Scores predictions for a split at the pictures' recorded sizes, several at a time.
///
/// `predict` gives the mask of a task, or `None` if there is no prediction; it may be called from several
/// threads. Every record of the split counts, as in the official evaluator:
///
/// - Without a polygon that can be drawn, the truth is empty and the IoU 0.
/// - Of records with one task id, each is scored against its own polygons, in the subsets of the first.
/// - Where a picture is not listed, or with an impossible size, `predict` is not asked: there is no
///   prediction. The official evaluator cannot score a prediction for it either.
/// - A prediction may have the size of its picture's file where that is not the recorded one, as for
///   [17 pictures](clipseg_data::OTHER_SIZE_PICTURES); then the truth is drawn at that size. The official
///   evaluator draws it at any prediction's size, which gives figures without a meaning where masks were
///   resized.
///
/// In memory are the masks of as many tasks as there are threads, and for each task some 300 bytes.
///
/// # Errors
///
/// If the split has no phrase or no polygons, a mask has neither of its picture's two sizes, or `predict`
/// fails; of several failures, the first in the file is told.
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

/// The score of a task, and whether its prediction had the size of its picture's file.
pub(crate) type Scored = (TaskScore, bool);

/// What two records with one task have in common.
fn key<'a>(record: &Record<'a>) -> (&'a str, u64) {
    (record.phrase.task_id.as_str(), record.phrase.image_id)
}

/// All records of a split as tasks.
pub(crate) struct Tasks<'a> {
    data: &'a PhraseCut,
    ranks: Option<&'a WordRanks>,
    pub(crate) records: Vec<Record<'a>>,
    /// For a task id and picture that comes up again, the first record with it.
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

    /// The place of the first record with this one's task id, on the same picture.
    pub(crate) fn first(&self, place: usize) -> usize {
        let first = self.first.get(&key(&self.records[place]));
        first.copied().unwrap_or(place)
    }

    /// Whether several records have this one's task id.
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

    /// Everything that was found, one score for each record.
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
    "their truth is drawn at that size, as in the official evaluator",
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
    fn ranks_are_places_in_the_lists() {
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
