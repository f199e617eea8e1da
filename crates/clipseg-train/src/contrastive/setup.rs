//! Loading everything that a pre-training configuration names: CLIP, its tokenizer and the captions.

use super::config::PretrainConfig;
use crate::error::{Result, TrainError};
use crate::step::randomness::drawing;
use burn::prelude::*;
use clipseg_clip::{Clip, ClipConfig, ClipTokenizer, ImageProcessor, PretrainedClip, load_clip};
use clipseg_data::Captions;
use clipseg_model::resolve;
use std::path::Path;
use std::sync::Arc;

/// Everything that a pre-training run needs, loaded.
#[derive(Debug)]
pub(crate) struct PretrainSetup {
    pub(crate) parts: ClipParts,
    /// The CLIP before the first step, on the plain device.
    pub(crate) clip: Clip,
    pub(crate) captions: Arc<Captions>,
    pub(crate) device: Device,
}

/// What belongs to a CLIP beside its weights.
#[derive(Debug, Clone)]
pub(crate) struct ClipParts {
    pub(crate) config: ClipConfig,
    pub(crate) tokenizer: ClipTokenizer,
    pub(crate) processor: ImageProcessor,
}

impl ClipParts {
    /// Writes a checkpoint folder, which `clipseg train --clip` reads, and transformers as a `CLIPModel`.
    pub(crate) fn save(&self, folder: &Path, clip: &Clip) -> Result<()> {
        clipseg_clip::save_clip(folder, &self.config, clip)?;
        self.tokenizer.save(folder)?;
        self.processor.save(folder)?;
        Ok(())
    }
}

impl PretrainSetup {
    pub(crate) fn new(
        config: &PretrainConfig,
        device: &Device,
        mut note: impl FnMut(&str),
    ) -> Result<Self> {
        let started = config
            .clip
            .checkpoint
            .as_deref()
            .map(|checkpoint| {
                let files = resolve(checkpoint)?;
                let PretrainedClip { config, clip } = load_clip(&files, device)?;
                Ok::<_, TrainError>((files, config, clip))
            })
            .transpose()?;
        let side = started
            .as_ref()
            .map_or(config.model.image_size, |(_, shape, _)| {
                let vision = &shape.vision_config;
                vision.image_size / vision.patch_size * vision.patch_size
            });
        let side = u32::try_from(side).unwrap_or(u32::MAX);
        let options = config.caption_options(side);
        let captions = if config.data.folders.is_empty() {
            note("no data given: generating new scenes in every batch");
            Captions::scenes(options)?
        } else {
            Captions::open(&config.data.folders, options)?
        };
        if config.data.regions > 0 {
            let without = captions.without_objects();
            if without > 0 {
                note(&format!(
                    "{without} training pictures are from caption lists and have no regions"
                ));
            }
        }
        let (parts, clip) = match started {
            Some((files, shape, clip)) => {
                let mut processor = ImageProcessor::clipseg(side);
                let own = ImageProcessor::from_folder_or(&files, processor.clone())?;
                (processor.mean, processor.std) = (own.mean, own.std);
                let parts = ClipParts {
                    tokenizer: ClipTokenizer::from_folder(&files, &shape.text_config)?,
                    config: shape,
                    processor,
                };
                (parts, clip)
            }
            None => Self::begin(config, &captions, side, device)?,
        };
        Ok(Self {
            parts,
            clip,
            captions: Arc::new(captions),
            device: device.clone(),
        })
    }

    /// Rows and columns of a picture's patches.
    pub(crate) fn grid(&self) -> [usize; 2] {
        let side = self.captions.options().side as usize;
        [side / self.parts.config.vision_config.patch_size; 2]
    }

    /// Creates a new CLIP and trains its vocabulary on the captions.
    fn begin(
        config: &PretrainConfig,
        captions: &Captions,
        side: u32,
        device: &Device,
    ) -> Result<(ClipParts, Clip)> {
        let model = &config.model;
        let tokenizer = ClipTokenizer::train(&captions.texts(), model.vocabulary, model.tokens)?;
        let (Some(start), Some(end)) = (tokenizer.start_id(), tokenizer.end_id()) else {
            let message = "the trained vocabulary has no start or end token";
            return Err(TrainError::field("model.vocabulary", message));
        };
        let shape = model.to_config(tokenizer.vocab_size(), start, end);
        let clip = {
            let _alone = drawing(device, config.seed);
            Clip::init(&shape, device)
        };
        let parts = ClipParts {
            config: shape,
            tokenizer,
            processor: ImageProcessor::clipseg(side),
        };
        Ok((parts, clip))
    }
}
