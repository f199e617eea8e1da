//! Encoders, decoder and phrases, as a configuration names them.

use crate::config::train_config::{AugmentConfig, TrainConfig};
use crate::error::{Result, TrainError};
use crate::frozen::encoding::FrozenClip;
use crate::run::data::{is_there, open_data};
use crate::run::parts::Parts;
use crate::scoring::phrases::Phrases;
use crate::step::randomness::drawing;
use burn::prelude::*;
use clipseg_data::{
    Phrase, PhraseCutDataset, PhraseStructure, Preprocessing, SampleOptions, Selection, TEMPLATES,
    UnseenPairs,
};
use clipseg_model::Decoder;
use std::collections::HashSet;
use std::sync::Arc;

/// Share of a picture's pixels that CLIPSeg's crop keeps inside.
const CROP_SHARE: f32 = 0.05;

/// Phrases of the training split in the final table.
const LEARNT_PHRASES: usize = 300;

/// What a run is made of, loaded.
#[derive(Debug)]
#[non_exhaustive]
pub struct Setup {
    /// The frozen encoders, with the precision and the cache that were asked for.
    pub clip: FrozenClip,
    /// The decoder before its first step.
    pub decoder: Decoder,
    /// What is learnt from.
    pub training: Arc<PhraseCutDataset>,
    /// Some of it as it is, for the final table.
    pub learnt: Phrases,
    /// What the best decoder is chosen by.
    pub validation: Phrases,
    /// What the final table is about.
    pub test: Phrases,
    /// What is left out of the splits: how many phrases and why, a line each.
    pub left_out: Vec<String>,
    /// Those of the test's phrases, by their places, that have a held-out word, or an attribute that
    /// never stands with its name in training.
    pub unseen: HashSet<usize>,
}

impl Setup {
    /// Loads or generates everything, and looks at every picture; `note` is told what was chosen or
    /// generated for the user.
    ///
    /// # Errors
    ///
    /// If the device is not there, a checkpoint or the data cannot be read, pictures are broken and
    /// are not to be left out, a split has no truth, or the settings do not fit what was read.
    pub fn new(config: &TrainConfig, device: &Device, mut note: impl FnMut(&str)) -> Result<Self> {
        config.validate()?;
        let parts = {
            // All weights are drawn here, in one order: the same seed, the same weights.
            let _alone = drawing(device, config.seed);
            Parts::new(config, device, &mut note)?
        };
        let side = parts.side;
        let patch = parts.config.clip.vision_config.patch_size as u32;
        if side == 0 || !side.is_multiple_of(patch) {
            let message = format!("{side}, expected a multiple of the patch of {patch} pixels");
            return Err(TrainError::field("data.size", message));
        }
        let data = Arc::new(open_data(&config.data, &mut note)?);
        let mut left_out = Vec::new();
        let held_out = &config.data.held_out;
        let phrases = |selection: Selection, options| -> Result<Arc<PhraseCutDataset>> {
            Ok(Arc::new(PhraseCutDataset::new(
                data.clone(),
                selection,
                options,
            )?))
        };
        let base = still_options(side, parts.processor.preprocessing);
        let still = || base.clone();
        let mut learnt = Selection::new(config.data.training)
            .without_words(held_out)
            .seed(config.seed);
        if let Some(limit) = config.data.limit {
            learnt = learnt.phrases(0..limit);
        }
        let training = phrases(learnt.clone(), learnt_options(base.clone(), config))?;
        left_out.push(training.left_out().to_string());
        let mut scored = |selection: Selection| -> Result<Phrases> {
            if !is_there(data.root(), selection.split()) {
                return Ok(Phrases::none(training.clone()));
            }
            let scored = phrases(selection, still())?;
            left_out.push(scored.left_out().to_string());
            Ok(Phrases::new(scored))
        };
        // What is held out must not choose the best decoder either.
        let validation = scored(Selection::new(config.data.validation).without_words(held_out))?;
        let test = scored(Selection::new(config.data.test))?;
        let test = test.spread(config.validation.test_phrases);
        if !held_out.is_empty() {
            for (split, use_of) in [
                (config.data.training, "trained on"),
                (config.data.validation, "chosen by"),
            ] {
                if is_there(data.root(), split) {
                    let words = Selection::new(split).only_words(held_out);
                    let count = phrases(words, SampleOptions::new(1, 1))?.phrases();
                    left_out.push(format!(
                        "{split}: {count} phrases with a held-out word are not {use_of}"
                    ));
                }
            }
        }
        let mut said = HashSet::new();
        left_out.retain(|line| said.insert(line.clone()));
        Ok(Self {
            clip: FrozenClip::new(parts.clip, parts.config, parts.tokenizer, parts.processor)
                .with_precision(config.clip.data_type)?
                .with_cache(&config.cache)?,
            decoder: parts.decoder,
            learnt: Phrases::new(phrases(learnt, still())?).spread(LEARNT_PHRASES),
            validation: validation.spread(config.validation.phrases),
            unseen: unseen(&test, &training, config)?,
            left_out,
            training,
            test,
        })
    }
}

/// The places of the phrases that tell whether a decoder has learnt more than its training phrases.
fn unseen(
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
        unseen.extend(places(test, |phrase| tasks.contains(&phrase.task_id)));
    }
    match UnseenPairs::open(data.root())? {
        Some(marked) => {
            unseen.extend(places(test, |phrase| {
                marked.is_unseen(&phrase.phrase_structure)
            }));
        }
        None => {
            let known: HashSet<(&str, &str)> = (0..training.phrases())
                .flat_map(|index| pairs(&training.record(index).phrase_structure))
                .collect();
            unseen.extend(places(test, |phrase| {
                pairs(&phrase.phrase_structure).any(|pair| !known.contains(&pair))
            }));
        }
    }
    Ok(unseen)
}

fn places(phrases: &Phrases, keep: impl Fn(&Phrase) -> bool) -> Vec<usize> {
    let kept = phrases.iter().filter(|(_, phrase)| keep(phrase));
    kept.map(|(place, _)| place).collect()
}

/// The pairs of attribute and name in a phrase.
fn pairs(phrase: &PhraseStructure) -> impl Iterator<Item = (&str, &str)> {
    let attributes = phrase.attributes.iter();
    attributes.map(|attribute| (attribute.as_str(), phrase.name.as_str()))
}

/// How samples are made that are scored.
fn still_options(side: u32, preprocessing: Preprocessing) -> SampleOptions {
    match preprocessing {
        Preprocessing::ClipSeg => SampleOptions::clipseg(side),
        _ => SampleOptions::new(side, side),
    }
}

/// How the samples to learn from are made.
fn learnt_options(still: SampleOptions, config: &TrainConfig) -> SampleOptions {
    let AugmentConfig {
        crop,
        flip,
        colour_jitter,
        negatives,
        negative_rule,
        templates,
        visual,
    } = config.augment;
    SampleOptions {
        crop: crop.then_some(CROP_SHARE),
        flip: if flip { 0.5 } else { 0.0 },
        colour_jitter,
        negatives,
        negative_rule: negative_rule.unwrap_or_default(),
        templates: if templates {
            TEMPLATES.map(str::to_owned).to_vec()
        } else {
            Vec::new()
        },
        support: visual[1] > 0.0,
        seed: config.seed,
        cache_bytes: config.cache.pictures.0,
        ..still
    }
}
