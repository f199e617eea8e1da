//! PhraseCut's phrases as tasks of its evaluator.

use crate::error::{Result, TrainError};
use clipseg_data::{DataError, Mask, Phrase, PhraseCut, Split, read_json};
use clipseg_metrics::{
    FrequencyRanks, MaskRef, PhraseCutEvaluator, PhraseCutTask, PhraseType, TaskScore,
    is_coco_category, is_stuff,
};
use rayon::prelude::*;
use serde::Deserialize;
use std::collections::HashMap;
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
    let image = data
        .image(phrase.image_id)
        .ok_or_else(|| DataError::UnknownPicture {
            task_id: phrase.task_id.clone(),
            image_id: phrase.image_id,
        })?;
    let structure = &phrase.phrase_structure;
    Ok(PhraseCutTask {
        task_id: phrase.task_id.clone(),
        image_id: phrase.image_id,
        width: image.width,
        height: image.height,
        instances: phrase.instance_boxes.len(),
        attributes: structure.attributes.len(),
        relations: structure.relation_descriptions.len(),
        phrase_type: PhraseType::from_name(&structure.kind),
        ranks: ranks.map(|ranks| ranks.of(phrase)),
        coco_category: is_coco_category(&structure.name),
        stuff: is_stuff(&structure.name),
        // The official evaluator takes 0 for no number too.
        coco_picture: image.coco_id.is_some_and(|id| id != 0),
    })
}

/// Scores the phrases of a split at their pictures' recorded sizes, several at a time.
///
/// `predict` gives the mask of a task, or `None` if there is no prediction; it is asked once for each
/// task and may be called from several threads. The tasks of the result are in the order of the file.
///
/// # Errors
///
/// If the split has no phrase, a picture is not listed, a mask is not of its picture's size, or
/// `predict` fails; of several failures, the first in the file is told.
pub fn evaluate_phrasecut(
    data: &PhraseCut,
    split: Split,
    ranks: Option<&WordRanks>,
    predict: impl Fn(&PhraseCutTask) -> Result<Option<Mask>> + Sync,
) -> Result<PhraseCutEvaluator> {
    let phrases = data.phrases(split);
    if phrases.is_empty() {
        return Err(TrainError::Empty(split.name()));
    }
    let scores: Vec<Result<TaskScore>> = phrases
        .par_iter()
        .map(|phrase| {
            let task = phrasecut_task(data, phrase, ranks)?;
            let truth = pixels(&data.mask(phrase)?);
            let prediction = predict(&task)?.as_ref().map(pixels);
            let score = TaskScore::new(task, view(&truth), prediction.as_ref().map(view))?;
            Ok(score)
        })
        .collect();
    scores.into_iter().collect()
}

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
