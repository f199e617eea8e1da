//! Loading everything that a configuration names: the model and the phrases.

use crate::config::checks::overlap;
use crate::config::train_config::{AugmentConfig, TrainConfig};
use crate::error::{Result, TrainError};
use crate::frozen::encoding::FrozenClip;
use crate::run::data::{is_there, open_data};
use crate::run::held_out::{check_held_out, unseen};
use crate::run::parts::Parts;
use crate::scoring::phrases::Phrases;
use crate::step::randomness::drawing;
use burn::prelude::*;
use clipseg_data::{PhraseCutDataset, Preprocessing, SampleOptions, Selection, TEMPLATES};
use clipseg_model::Decoder;
use std::collections::HashSet;
use std::sync::Arc;

/// Fraction of a crop's pixels that are inside the mask in CLIPSeg's training.
const CROP_SHARE: f32 = 0.05;

/// Number of phrases of the training split in the final table.
const LEARNT_PHRASES: usize = 300;

/// Everything that a run needs, loaded.
#[derive(Debug)]
#[non_exhaustive]
pub struct Setup {
    /// The frozen CLIP with the configured precision and cache.
    pub clip: FrozenClip,
    /// The decoder before its first step.
    pub decoder: Decoder,
    /// The phrases to train on.
    pub training: Arc<PhraseCutDataset>,
    /// A part of the training phrases without augmentation, for the final table.
    pub learnt: Phrases,
    /// The phrases by which the best decoder is chosen.
    pub validation: Phrases,
    /// The phrases of the final table.
    pub test: Phrases,
    /// Notes for the report, one line each: how many phrases are left out of each split and why, and
    /// whether the best decoder is chosen on phrases of the final table.
    pub left_out: Vec<String>,
    /// The indices of the unseen phrases of `test`: those with a held-out word, or with a pair of
    /// attribute and name that no training phrase has.
    pub unseen: HashSet<usize>,
}

impl Setup {
    /// Loads or generates everything and checks every picture. `note` is called with a line for each
    /// choice that was made for the user.
    ///
    /// # Errors
    ///
    /// If a checkpoint or the data cannot be read, a picture is damaged and
    /// [`BrokenPictures::Refuse`](crate::BrokenPictures::Refuse) is configured, a split has no ground
    /// truth, a held-out word does not occur in the training split, or the configuration does not fit the
    /// checkpoint.
    pub fn new(config: &TrainConfig, device: &Device, mut note: impl FnMut(&str)) -> Result<Self> {
        config.validate()?;
        let parts = {
            // All weights are drawn here in one order, so that the same seed gives the same weights.
            let _alone = drawing(device, config.seed);
            Parts::new(config, device, &mut note)?
        };
        let side = parts.side;
        let patch = parts.config.clip.vision_config.patch_size as u32;
        if side == 0 || !side.is_multiple_of(patch) {
            let message = format!("{side}, expected a multiple of the patch size, {patch} pixels");
            return Err(TrainError::field("data.size", message));
        }
        let data = Arc::new(open_data(&config.data, &mut note)?);
        let mut left_out = Vec::new();
        let held_out = &config.data.held_out;
        check_held_out(&data, config, &mut note)?;
        if overlap(config.data.validation, config.data.test)
            && is_there(data.root(), config.data.test)
        {
            let line = format!(
                "the best decoder is chosen on the split `{}`, which shares phrases with the split `{}` \
                 of the final table: the scores in the table are better than on new phrases",
                config.data.validation, config.data.test
            );
            note(&line);
            left_out.push(line);
        }
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
        // Held-out words must not influence the choice of the best decoder either.
        let validation = scored(Selection::new(config.data.validation).without_words(held_out))?;
        let test = scored(Selection::new(config.data.test))?;
        let test = test.spread(config.validation.test_phrases);
        if !held_out.is_empty() {
            for (split, purpose) in [
                (config.data.training, "training"),
                (config.data.validation, "validation"),
            ] {
                if is_there(data.root(), split) {
                    let words = Selection::new(split).only_words(held_out);
                    let count = phrases(words, SampleOptions::new(1, 1))?.phrases();
                    left_out.push(format!(
                        "{split}: {count} phrases with a held-out word are not used for {purpose}"
                    ));
                }
            }
        }
        let mut known = HashSet::new();
        left_out.retain(|line| known.insert(line.clone()));
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

/// The options of samples for scoring.
fn still_options(side: u32, preprocessing: Preprocessing) -> SampleOptions {
    match preprocessing {
        Preprocessing::ClipSeg => SampleOptions::clipseg(side),
        _ => SampleOptions::new(side, side),
    }
}

/// The options of training samples.
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
