//! The phrases of a run: those to train on, to validate on, and of the final table.

use crate::config::checks::overlap;
use crate::config::train_config::{AugmentConfig, TrainConfig};
use crate::error::{Result, TrainError};
use crate::run::data::is_there;
use crate::run::held_out::{check_held_out, unseen};
use crate::scoring::phrases::Phrases;
use clipseg_data::{
    PhraseCut, PhraseCutDataset, Preprocessing, SampleOptions, Selection, TEMPLATES,
};
use std::collections::HashSet;
use std::sync::Arc;

/// Fraction of a crop's pixels that are inside the mask in CLIPSeg's training.
const CROP_SHARE: f32 = 0.05;

/// Number of phrases of the training split in the final table.
const LEARNT_PHRASES: usize = 300;

/// The input size of a model and how pictures are resized to it.
#[derive(Clone, Copy)]
pub(crate) struct InputSize {
    /// Side of the model's input pictures in pixels.
    pub(crate) side: u32,
    pub(crate) preprocessing: Preprocessing,
}

impl InputSize {
    /// # Errors
    ///
    /// If the side is not a multiple of the patch size.
    pub(crate) fn new(side: u32, preprocessing: Preprocessing, patch: usize) -> Result<Self> {
        if side == 0 || !(side as usize).is_multiple_of(patch) {
            let message = format!("{side}, expected a multiple of the patch size, {patch} pixels");
            return Err(TrainError::field("data.size", message));
        }
        Ok(Self {
            side,
            preprocessing,
        })
    }

    /// The options of samples for scoring.
    fn options(self) -> SampleOptions {
        match self.preprocessing {
            Preprocessing::ClipSeg => SampleOptions::clipseg(self.side),
            _ => SampleOptions::new(self.side, self.side),
        }
    }
}

/// The phrases of a run; [`Setup`](crate::Setup) describes them.
pub(crate) struct PhraseSets {
    pub(crate) training: Arc<PhraseCutDataset>,
    pub(crate) learnt: Phrases,
    pub(crate) validation: Phrases,
    pub(crate) test: Phrases,
    pub(crate) left_out: Vec<String>,
    pub(crate) unseen: HashSet<usize>,
}

impl PhraseSets {
    /// Selects the phrases. `note` is called with a line for each choice that was made for the user.
    ///
    /// # Errors
    ///
    /// If a split has no ground truth, or a held-out word does not occur in the training split.
    pub(crate) fn new(
        config: &TrainConfig,
        data: &Arc<PhraseCut>,
        size: InputSize,
        note: &mut impl FnMut(&str),
    ) -> Result<Self> {
        let mut left_out = Vec::new();
        let held_out = &config.data.held_out;
        check_held_out(data, config, note)?;
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
        let still = || size.options();
        let training = training_phrases(config, data.clone(), size)?;
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
        let learnt = phrases(learnt_selection(config), still())?;
        Ok(Self {
            learnt: Phrases::new(learnt).spread(LEARNT_PHRASES),
            validation: validation.spread(config.validation.phrases),
            unseen: unseen(&test, &training, config)?,
            left_out,
            training,
            test,
        })
    }
}

/// The samples to train on, with augmentation.
pub(crate) fn training_phrases(
    config: &TrainConfig,
    data: Arc<PhraseCut>,
    size: InputSize,
) -> Result<Arc<PhraseCutDataset>> {
    let options = learnt_options(size.options(), config);
    let training = PhraseCutDataset::new(data, learnt_selection(config), options)?;
    Ok(Arc::new(training))
}

/// The choice of the phrases to train on.
fn learnt_selection(config: &TrainConfig) -> Selection {
    let learnt = Selection::new(config.data.training)
        .without_words(&config.data.held_out)
        .seed(config.seed);
    match config.data.limit {
        Some(limit) => learnt.phrases(0..limit),
        None => learnt,
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
