//! Encoders, decoder and phrases, as a configuration names them.

use crate::config::{AugmentConfig, DataConfig, DecoderKind, TrainConfig};
use crate::encoding::FrozenClip;
use crate::error::{Result, TrainError};
use crate::phrases::{Phrases, contains_words, pairs};
use crate::trainer::Decoder;
use burn::prelude::*;
use clipseg_clip::{Clip, ClipTokenizer, ImageProcessor, load_clip, resolve};
use clipseg_data::{PhraseCut, SampleOptions, ScenesConfig, generate_scenes};
use clipseg_model::{ClipSeg, ClipSegConfig, TransformerDecoderConfig};
use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;

/// Side of the pictures that the published models see.
const PUBLISHED_SIDE: u32 = 352;

/// What a run is made of, loaded.
#[derive(Debug)]
#[non_exhaustive]
pub struct Setup {
    /// The frozen encoders, with the precision and the cache that were asked for.
    pub clip: FrozenClip,
    /// The decoder before its first step.
    pub decoder: Decoder,
    /// What is learnt from.
    pub training: Phrases,
    /// What the best decoder is chosen by.
    pub validation: Phrases,
    /// What the final table is about.
    pub test: Phrases,
    /// Those of the test's phrases that have a held-out word, or an attribute that never stands with
    /// its name in training.
    pub unseen: HashSet<usize>,
}

impl Setup {
    /// Loads or generates everything; `note` is told what was generated.
    ///
    /// # Errors
    ///
    /// If the device is not there, a checkpoint or the data cannot be read, or the settings do not
    /// fit them.
    pub fn new(config: &TrainConfig, mut note: impl FnMut(&str)) -> Result<Self> {
        config.validate()?;
        let device = clipseg_clip::device(&config.device)?;
        // Everything random on the device is drawn here, in this order: the same seed, the same
        // weights.
        device.seed(config.seed);
        let parts = match &config.clip.checkpoint {
            Some(checkpoint) => Parts::pretrained(config, checkpoint, &device)?,
            None => {
                note(&format!(
                    "no CLIP given: a small one with random weights (seed {})",
                    config.seed
                ));
                Parts::random(config, &device)?
            }
        };
        let side = parts.side;
        let patch = parts.config.clip.vision_config.patch_size as u32;
        if side == 0 || !side.is_multiple_of(patch) {
            let message = format!("{side}, expected a multiple of the patch of {patch} pixels");
            return Err(TrainError::field("data.size", message));
        }
        let data = Arc::new(open_data(&config.data, &mut note)?);
        let phrases =
            |split, augment| Phrases::new(data.clone(), split, sample_options(side, augment)?);
        let still = AugmentConfig::default();
        let held_out = |phrase: &str| {
            let words = &config.data.held_out;
            words.iter().any(|words| contains_words(phrase, words))
        };
        let training = phrases(config.data.training, config.augment)?
            .retain(|phrase| !held_out(&phrase.phrase))
            .first(config.data.limit.unwrap_or(usize::MAX));
        let test = phrases(config.data.test, still)?.spread(config.validation.test_phrases);
        // What is held out must not choose the best decoder either.
        let validation = phrases(config.data.validation, still)?
            .retain(|phrase| !held_out(&phrase.phrase))
            .spread(config.validation.phrases);
        let known = training.pairs();
        let unseen = test
            .iter()
            .filter(|(_, phrase)| {
                held_out(&phrase.phrase) || pairs(phrase).any(|pair| !known.contains(&pair))
            })
            .map(|(index, _)| index)
            .collect();
        let clip = FrozenClip::new(parts.clip, parts.config, parts.tokenizer, parts.processor)
            .with_precision(config.clip.data_type)?
            .with_cache(&config.cache)?;
        Ok(Self {
            clip,
            decoder: parts.decoder,
            validation,
            training,
            test,
            unseen,
        })
    }
}

/// The model and what is around it.
struct Parts {
    clip: Clip,
    decoder: Decoder,
    config: ClipSegConfig,
    tokenizer: ClipTokenizer,
    processor: ImageProcessor,
    side: u32,
}

impl Parts {
    fn random(config: &TrainConfig, device: &Device) -> Result<Self> {
        if config.decoder.pretrained {
            let message = "true, but `clip.checkpoint` names no checkpoint";
            return Err(TrainError::field("decoder.pretrained", message));
        }
        let small = ClipSegConfig::small();
        let decoder = decoder_config(config, small.decoder);
        let model_config = ClipSegConfig::new(small.clip, decoder)?;
        let side = model_config.clip.vision_config.image_size as u32;
        let positions = model_config.clip.text_config.max_position_embeddings;
        let clip = Clip::init(&model_config.clip, device);
        let side = config.data.size.unwrap_or(side);
        let (clip, decoder) = ClipSeg::with_clip(&model_config, clip, device).into_parts();
        Ok(Self {
            clip,
            decoder,
            config: model_config,
            tokenizer: ClipTokenizer::openai(positions)?,
            processor: ImageProcessor::clipseg(side),
            side,
        })
    }

    fn pretrained(config: &TrainConfig, checkpoint: &str, device: &Device) -> Result<Self> {
        let folder = resolve(checkpoint)?;
        let (clip, decoder, model_config) = if config.decoder.pretrained {
            let model = ClipSeg::from_pretrained(&folder, device)?;
            let model_config = model.config().clone();
            let (clip, decoder) = model.into_parts();
            (clip, decoder, model_config)
        } else {
            let (clip_config, clip) = load_clip(&folder, device)?;
            let depth = clip_config.vision_config.num_hidden_layers;
            // The published layers of a tower of twelve, and their like in others.
            let layers = TransformerDecoderConfig {
                extract_layers: vec![depth / 4, depth / 2, depth * 3 / 4],
                ..TransformerDecoderConfig::default()
            };
            let model_config = ClipSegConfig::new(clip_config, decoder_config(config, layers))?;
            let model = ClipSeg::with_clip(&model_config, clip, device);
            let (clip, decoder) = model.into_parts();
            (clip, decoder, model_config)
        };
        let positions = model_config.clip.text_config.max_position_embeddings;
        let side = config.data.size.unwrap_or(PUBLISHED_SIDE);
        Ok(Self {
            clip,
            decoder,
            config: model_config,
            tokenizer: ClipTokenizer::from_folder(&folder, positions)?,
            processor: ImageProcessor::clipseg(side),
            side,
        })
    }
}

/// The decoder that was asked for, with what was left open taken from `base`.
fn decoder_config(
    config: &TrainConfig,
    base: TransformerDecoderConfig,
) -> TransformerDecoderConfig {
    let choice = &config.decoder;
    match choice.kind {
        DecoderKind::Transformer => TransformerDecoderConfig {
            reduce_dim: choice.reduce_dim,
            extract_layers: choice.extract_layers.clone().unwrap_or(base.extract_layers),
            decoder_intermediate_size: choice
                .intermediate_size
                .unwrap_or(base.decoder_intermediate_size),
            use_complex_transposed_convolution: choice.refined,
            ..base
        },
    }
}

/// The data set, or scenes in the user's cache folder, made at the first run.
fn open_data(config: &DataConfig, mut note: impl FnMut(&str)) -> Result<PhraseCut> {
    if let Some(folder) = &config.folder {
        return Ok(PhraseCut::open(folder)?);
    }
    let scenes = ScenesConfig {
        images: config.scenes,
        ..ScenesConfig::default()
    };
    let cache = dirs::cache_dir().unwrap_or_else(std::env::temp_dir);
    let folder: PathBuf = cache.join("clipseg").join(scenes.folder_name());
    if !folder.is_dir() {
        note(&format!(
            "no data given: generating {} scenes in {}",
            scenes.images,
            folder.display()
        ));
        generate_scenes(&folder, &scenes)?;
    }
    Ok(PhraseCut::open(&folder)?)
}

/// How samples are made.
fn sample_options(side: u32, augment: AugmentConfig) -> Result<SampleOptions> {
    if augment != AugmentConfig::default() {
        let message = "samples cannot be changed yet, expected none of its fields";
        return Err(TrainError::field("augment", message));
    }
    Ok(SampleOptions::new(side, side))
}
