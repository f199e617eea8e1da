//! Encoders, decoder and phrases, as a configuration names them.

use crate::config::{AugmentConfig, ConvSize, DataConfig, DecoderKind, TrainConfig};
use crate::encoding::FrozenClip;
use crate::error::{Result, TrainError};
use crate::phrases::Phrases;
use burn::prelude::*;
use clipseg_clip::{Clip, ClipConfig, ClipTokenizer, ImageProcessor, load_clip, resolve};
use clipseg_data::{
    Phrase, PhraseCut, PhraseCutDataset, PhraseStructure, SampleOptions, ScenesConfig, Selection,
    TEMPLATES, UnseenPairs, generate_scenes,
};
use clipseg_model::{
    ClipSeg, ClipSegConfig, ConvDecoderConfig, Decoder, DecoderConfig, DeconvBaselineConfig,
    TransformerDecoderConfig,
};
use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

/// Side of the pictures that the published models see.
const PUBLISHED_SIDE: u32 = 352;

/// Share of a picture's pixels that CLIPSeg's crop keeps inside.
const CROP_SHARE: f32 = 0.05;

/// Phrases of the training split in the final table.
const LEARNT_PHRASES: usize = 300;

/// Held while weights are drawn: a device has one generator for the whole process.
pub(crate) static DRAWING: Mutex<()> = Mutex::new(());

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
    /// Those of the test's phrases, by their places, that have a held-out word, or an attribute that
    /// never stands with its name in training.
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
        let parts = {
            let _alone = DRAWING.lock().unwrap_or_else(PoisonError::into_inner);
            // Everything random on the device is drawn here, in this order: the same seed, the same
            // weights.
            device.seed(config.seed);
            match &config.clip.checkpoint {
                Some(checkpoint) => Parts::pretrained(config, checkpoint, &device)?,
                None => {
                    note(&format!(
                        "no CLIP given: a small one with random weights (seed {})",
                        config.seed
                    ));
                    Parts::random(config, &device)?
                }
            }
        };
        let side = parts.side;
        let patch = parts.config.clip.vision_config.patch_size as u32;
        if side == 0 || !side.is_multiple_of(patch) {
            let message = format!("{side}, expected a multiple of the patch of {patch} pixels");
            return Err(TrainError::field("data.size", message));
        }
        let data = Arc::new(open_data(&config.data, &mut note)?);
        let held_out = &config.data.held_out;
        let phrases = |selection: Selection, options| -> Result<Arc<PhraseCutDataset>> {
            Ok(Arc::new(PhraseCutDataset::new(
                data.clone(),
                selection,
                options,
            )?))
        };
        let still = || SampleOptions::new(side, side);
        let mut learnt = Selection::new(config.data.training)
            .without_words(held_out)
            .seed(config.seed);
        if let Some(limit) = config.data.limit {
            learnt = learnt.phrases(0..limit);
        }
        // What is held out must not choose the best decoder either.
        let validation = Selection::new(config.data.validation).without_words(held_out);
        let validation = Phrases::new(phrases(validation, still())?);
        let test = phrases(Selection::new(config.data.test), still())?;
        let test = Phrases::new(test).spread(config.validation.test_phrases);
        let training = phrases(learnt.clone(), sample_options(side, config))?;
        Ok(Self {
            clip: FrozenClip::new(parts.clip, parts.config, parts.tokenizer, parts.processor)
                .with_precision(config.clip.data_type)?
                .with_cache(&config.cache)?,
            decoder: parts.decoder,
            learnt: Phrases::new(phrases(learnt, still())?).spread(LEARNT_PHRASES),
            validation: validation.spread(config.validation.phrases),
            unseen: unseen(&test, &training, config)?,
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
    if !config.data.held_out.is_empty() {
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
        let decoder = decoder_config(config, small.decoder.extract_layers(), SMALL_INNER);
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
            let inner = TransformerDecoderConfig::default().decoder_intermediate_size;
            let decoder = decoder_config(config, &published_layers(&clip_config), inner);
            let model_config = ClipSegConfig::new(clip_config, decoder)?;
            let model = ClipSeg::with_clip(&model_config, clip, device);
            let (clip, decoder) = model.into_parts();
            (clip, decoder, model_config)
        };
        let side = config.data.size.unwrap_or(PUBLISHED_SIDE);
        let tokenizer = ClipTokenizer::from_folder(&folder, &model_config.clip.text_config)?;
        Ok(Self {
            clip,
            decoder,
            config: model_config,
            tokenizer,
            processor: ImageProcessor::clipseg(side),
            side,
        })
    }
}

/// Inner width of the MLPs of a decoder on the small random CLIP.
const SMALL_INNER: usize = 256;

/// The published layers of a tower of twelve, and their like in others.
fn published_layers(clip: &ClipConfig) -> [usize; 3] {
    let depth = clip.vision_config.num_hidden_layers;
    [depth / 4, depth / 2, depth * 3 / 4]
}

/// The decoder that was asked for, with what was left open.
fn decoder_config(config: &TrainConfig, layers: &[usize], inner: usize) -> DecoderConfig {
    let choice = &config.decoder;
    let extract_layers = choice.extract_layers.clone();
    match choice.kind {
        DecoderKind::Transformer => TransformerDecoderConfig {
            reduce_dim: choice.reduce_dim,
            extract_layers: extract_layers.unwrap_or_else(|| layers.to_vec()),
            decoder_intermediate_size: choice.intermediate_size.unwrap_or(inner),
            use_complex_transposed_convolution: choice.refined,
            ..TransformerDecoderConfig::default()
        }
        .into(),
        DecoderKind::Conv => ConvDecoderConfig {
            extract_layers: extract_layers.unwrap_or_else(|| layers.to_vec()),
            upsampling: choice.upsampling,
            picture_branch: choice.picture_branch,
            ..match choice.size {
                ConvSize::Tiny => ConvDecoderConfig::tiny(),
                ConvSize::Base => ConvDecoderConfig::base(),
                ConvSize::Large => ConvDecoderConfig::large(),
            }
        }
        .into(),
        DecoderKind::Deconv => DeconvBaselineConfig {
            reduce_dim: choice.reduce_dim,
            extract_layer: extract_layers
                .as_deref()
                .unwrap_or(layers)
                .last()
                .copied()
                .unwrap_or_default(),
            ..DeconvBaselineConfig::default()
        }
        .into(),
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

/// How the samples to learn from are made.
fn sample_options(side: u32, config: &TrainConfig) -> SampleOptions {
    let AugmentConfig {
        crop,
        flip,
        colour_jitter,
        negatives,
        templates,
        visual,
    } = config.augment;
    SampleOptions {
        crop: crop.then_some(CROP_SHARE),
        flip: if flip { 0.5 } else { 0.0 },
        colour_jitter,
        negatives,
        templates: if templates {
            TEMPLATES.map(str::to_owned).to_vec()
        } else {
            Vec::new()
        },
        support: visual > 0.0,
        seed: config.seed,
        cache_bytes: config.cache.pictures.0,
        ..SampleOptions::new(side, side)
    }
}
