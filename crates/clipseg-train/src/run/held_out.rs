//! Held-out words, and the unseen phrases of the final table.

use crate::config::train_config::TrainConfig;
use crate::error::{Result, TrainError};
use crate::scoring::phrases::Phrases;
use clipseg_data::{
    Phrase, PhraseCut, PhraseCutDataset, PhraseStructure, SampleOptions, Selection, UnseenPairs,
};
use std::collections::HashSet;

/// Requires that every held-out word or list occurs in the training split, where it would be trained on
/// otherwise. A list may have words that do not occur; their number is reported.
pub(crate) fn check_held_out(
    data: &PhraseCut,
    config: &TrainConfig,
    note: &mut impl FnMut(&str),
) -> Result<()> {
    let (split, held_out) = (config.data.training, &config.data.held_out);
    if held_out.is_empty() {
        return Ok(());
    }
    let matches = Selection::new(split)
        .only_words(held_out)
        .word_matches(data)?;
    let mut without_effect = Vec::new();
    for (entry, found) in held_out.iter().zip(matches) {
        if found.unmatched == found.words {
            without_effect.push(format!("`{entry}`"));
        } else if found.unmatched > 0 {
            note(&format!(
                "{} of the {} words of `{entry}` are in no phrase of the split `{split}`",
                found.unmatched, found.words
            ));
        }
    }
    if without_effect.is_empty() {
        return Ok(());
    }
    let message = format!(
        "no phrase of the split `{split}` contains {}, so holding out has no effect",
        without_effect.join(" or ")
    );
    Err(TrainError::field("data.held_out", message))
}

/// The indices of the unseen phrases, which show whether a decoder generalizes beyond its training phrases:
/// those with a held-out word, or with a pair of attribute and name that no training phrase has.
pub(crate) fn unseen(
    test: &Phrases,
    training: &PhraseCutDataset,
    config: &TrainConfig,
) -> Result<HashSet<usize>> {
    let data = training.data();
    let mut unseen = HashSet::new();
    if !config.data.held_out.is_empty() && !test.is_empty() {
        let words = Selection::new(config.data.test).only_words(&config.data.held_out);
        let held_out = PhraseCutDataset::new(data.clone(), words, SampleOptions::new(1, 1))?;
        let tasks = (0..held_out.phrases()).map(|index| &held_out.record(index).task_id);
        let tasks: HashSet<&String> = tasks.collect();
        unseen.extend(indices(test, |phrase| tasks.contains(&phrase.task_id)));
    }
    match UnseenPairs::open(data.root())? {
        Some(marked) => {
            unseen.extend(indices(test, |phrase| {
                marked.is_unseen(&phrase.phrase_structure)
            }));
        }
        None => {
            let known: HashSet<(&str, &str)> = (0..training.phrases())
                .flat_map(|index| pairs(&training.record(index).phrase_structure))
                .collect();
            unseen.extend(indices(test, |phrase| {
                pairs(&phrase.phrase_structure).any(|pair| !known.contains(&pair))
            }));
        }
    }
    Ok(unseen)
}

/// The indices of the phrases that `keep` selects.
fn indices(phrases: &Phrases, keep: impl Fn(&Phrase) -> bool) -> Vec<usize> {
    let kept = phrases.iter().filter(|(_, phrase)| keep(phrase));
    kept.map(|(index, _)| index).collect()
}

/// The pairs of attribute and name of a phrase.
fn pairs(phrase: &PhraseStructure) -> impl Iterator<Item = (&str, &str)> {
    let attributes = phrase.attributes.iter();
    attributes.map(|attribute| (attribute.as_str(), phrase.name.as_str()))
}
