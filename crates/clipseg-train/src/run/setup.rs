//! Loading everything that a configuration names: the model and the phrases.

use crate::config::train_config::TrainConfig;
use crate::error::Result;
use crate::frozen::encoding::FrozenClip;
use crate::run::data::open_data;
use crate::run::parts::Parts;
use crate::run::phrase_sets::{InputSize, PhraseSets};
use crate::scoring::phrases::Phrases;
use crate::step::randomness::drawing;
use burn::prelude::*;
use clipseg_data::PhraseCutDataset;
use clipseg_model::Decoder;
use std::collections::HashSet;
use std::sync::Arc;

/// Everything that a run needs, loaded.
#[derive(Debug)]
#[non_exhaustive]
pub struct Setup {
    /// CLIP with the configured precision and cache.
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
        if let Some(unfreeze) = config.clip.unfreeze {
            config.tuned_part(&parts.config)?;
            note(&format!(
                "CLIP is fine-tuned (`{unfreeze}`), so hidden states of pictures are not cached{}",
                if config.cache.memory.0 > 0 {
                    "; `cache.memory` bounds embeddings of phrases only"
                } else {
                    ""
                }
            ));
        }
        let patch = parts.config.clip.vision_config.patch_size;
        let size = InputSize::new(parts.side, parts.processor.preprocessing, patch)?;
        let data = Arc::new(open_data(&config.data, &mut note)?);
        let phrases = PhraseSets::new(config, &data, size, &mut note)?;
        Ok(Self {
            clip: FrozenClip::new(parts.clip, parts.config, parts.tokenizer, parts.processor)
                .with_precision(config.clip.data_type)?
                .with_cache(&config.cache)?,
            decoder: parts.decoder,
            training: phrases.training,
            learnt: phrases.learnt,
            validation: phrases.validation,
            test: phrases.test,
            left_out: phrases.left_out,
            unseen: phrases.unseen,
        })
    }
}
