//! Encoding pictures and phrases with the frozen CLIP, on the plain device.

use crate::config::train_config::CacheConfig;
use crate::error::{Result, TrainError};
use crate::frozen::cache_folder::CacheFolder;
use crate::frozen::fingerprint::{fingerprint, picture_keys, states_settings};
use crate::frozen::hidden_cache::{Found, HiddenCache};
use crate::frozen::hidden_states::HiddenStates;
use crate::frozen::phrase_cache::PhraseCache;
use crate::readback::floats;
use crate::step::input::StepInput;
use burn::module::{Module, ModuleMapper, Param};
use burn::prelude::*;
use burn::tensor::FloatDType;
use clipseg_clip::{Clip, ClipTokenizer, ImageProcessor, Precision};
use clipseg_data::{SegmentationBatch, Support};
use clipseg_model::{ClipSeg, ClipSegConfig, Decoder, ImageFeatures, Segmenter, VisualPrompt};
use half::f16;
use half::slice::HalfFloatSliceExt;
use image::RgbImage;
use std::sync::Arc;

/// Largest number of bytes of cached phrase embeddings if no cache is configured.
const PHRASE_BYTES: u64 = 64 << 20;

/// One in so many bytes of a cache's memory is reserved for phrases. The embedding of a phrase is a
/// thousandth of the size of a picture's hidden states at 352 pixels. Without a reserve, pictures would
/// fill the memory before most phrases are encoded.
const PHRASES_SHARE: u64 = 4;

/// A frozen CLIP with its tokenizer, its preprocessing and its caches.
///
/// Embeddings of phrases are cached, up to 64 MiB. With a cache ([`with_cache`](Self::with_cache)) hidden
/// states of pictures are cached too, and the cache's limit applies to both.
///
/// The result for a phrase or a cached picture is the same bit for bit, whatever else is in the batch and
/// whether it is a cache hit or a miss: phrases and such pictures go through the towers one by one, and
/// the hidden states of such pictures are rounded to half precision in both cases. A run that resumes with
/// empty caches therefore computes the same values.
#[derive(Debug)]
pub struct FrozenClip {
    clip: Clip,
    /// The same in the precision that it runs in.
    running: Clip,
    precision: Precision,
    config: ClipSegConfig,
    tokenizer: ClipTokenizer,
    processor: ImageProcessor,
    device: Device,
    phrases: PhraseCache,
    /// The configuration of the caches, which are opened again when the precision changes.
    cache_config: Option<CacheConfig>,
    cache: Option<HiddenCache>,
    counts: EncodingCounts,
}

/// Numbers of encoded pictures and phrases and of cache hits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct EncodingCounts {
    /// Pictures that went through the vision tower.
    pub pictures_encoded: u64,
    /// Cache hits in memory: pictures whose hidden states were cached.
    pub pictures_from_memory: u64,
    /// Cache hits on disk: pictures whose hidden states were in the folder.
    pub pictures_from_folder: u64,
    /// Phrases that went through the text tower.
    pub phrases_encoded: u64,
    /// Cache hits: phrases whose embeddings were cached.
    pub phrases_from_memory: u64,
}

impl std::fmt::Display for EncodingCounts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "pictures: {} encoded, {} from memory, {} from the folder; \
             phrases: {} encoded, {} from memory",
            self.pictures_encoded,
            self.pictures_from_memory,
            self.pictures_from_folder,
            self.phrases_encoded,
            self.phrases_from_memory
        )
    }
}

impl FrozenClip {
    /// Wraps a CLIP that is on the plain device. It runs in single precision, also after
    /// [`Clip::with_bf16_vision`]; [`with_precision`](Self::with_precision) selects another.
    pub fn new(
        clip: Clip,
        config: ClipSegConfig,
        tokenizer: ClipTokenizer,
        processor: ImageProcessor,
    ) -> Self {
        let device = clip.device();
        let clip = clip.with_f32_vision();
        Self {
            running: clip.clone(),
            clip,
            precision: Precision::F32,
            config,
            tokenizer,
            processor,
            device,
            phrases: PhraseCache::new(PHRASE_BYTES),
            cache_config: None,
            cache: None,
            counts: EncodingCounts::default(),
        }
    }

    /// Runs CLIP in another precision. The results are converted to single precision.
    ///
    /// # Errors
    ///
    /// If the device does not support the precision, or the cache's folder cannot be created or read.
    pub fn with_precision(mut self, precision: Precision) -> Result<Self> {
        let dtype = dtype(precision);
        if !self.device.supports_dtype(dtype) {
            let message = format!("{precision:?}, which the device does not compute in");
            return Err(TrainError::field("clip.data_type", message));
        }
        self.running = match precision {
            Precision::F32 => self.clip.clone(),
            _ => self.clip.clone().map(&mut Cast(dtype)),
        };
        self.precision = precision;
        // Cached states have the old precision.
        self.open_cache()?;
        Ok(self)
    }

    /// Caches hidden states of pictures, in half precision, and embeddings of phrases. A quarter of the
    /// memory is reserved for phrases.
    ///
    /// The folder stores hidden states under a hash of everything that they depend on: the weights and the
    /// configuration of the vision tower, the layers, the precision, the preprocessing, the device and
    /// the version of this crate. So no old states are used after a checkpoint's `config.json` was
    /// corrected.
    ///
    /// # Errors
    ///
    /// If the folder cannot be created or read, or something else has the name of the cache's folder.
    pub fn with_cache(mut self, config: &CacheConfig) -> Result<Self> {
        self.cache_config = Some(config.clone());
        self.open_cache()?;
        Ok(self)
    }

    /// Empties the caches in memory and opens the folder for the current settings.
    fn open_cache(&mut self) -> Result<()> {
        let Some(config) = &self.cache_config else {
            self.phrases = PhraseCache::new(PHRASE_BYTES);
            return Ok(());
        };
        let folder = match &config.folder {
            Some(root) => {
                let settings = states_settings(
                    &self.config,
                    self.precision,
                    &self.processor,
                    &format!("{:?}", self.device),
                );
                let key = fingerprint(self.clip.vision_model(), &settings.to_string())?;
                Some(CacheFolder::open(root, &key, config.folder_limit())?)
            }
            None => None,
        };
        let of_phrases = config.memory.0 / PHRASES_SHARE;
        let of_pictures = config.memory.0 - of_phrases;
        self.phrases = PhraseCache::new(of_phrases);
        self.cache =
            (of_pictures > 0 || folder.is_some()).then(|| HiddenCache::new(of_pictures, folder));
        Ok(())
    }

    /// The names of the weights that are NaN or infinite.
    pub(crate) fn non_finite(&self) -> Vec<String> {
        clipseg_clip::non_finite(&self.clip)
    }

    /// The device that CLIP is on.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The configuration of CLIP and of the decoder.
    pub fn config(&self) -> &ClipSegConfig {
        &self.config
    }

    /// Numbers of encoded pictures and phrases and of cache hits so far.
    pub fn counts(&self) -> EncodingCounts {
        self.counts
    }

    /// The bytes of cached hidden states and phrase embeddings in memory.
    pub fn cached_bytes(&self) -> u64 {
        self.cache.as_ref().map_or(0, HiddenCache::used) + self.phrases.used()
    }

    /// Runs the vision tower up to the last layer that the decoder needs, without any cache.
    ///
    /// # Shapes
    ///
    /// - pixels: `[pictures, 3, height, width]` from 0 to 1, not normalised
    ///
    /// # Errors
    ///
    /// If a side is not a multiple of the patch size.
    pub fn encode_pictures(&self, pixels: Tensor<4>) -> Result<ImageFeatures> {
        let pixels = self.processor.normalise(pixels);
        let running = pixels.clone().cast(dtype(self.precision));
        let features = ImageFeatures::extract(&self.running, &self.config.decoder, running)?;
        let single = |hidden: Tensor<3>| hidden.cast(FloatDType::F32);
        Ok(ImageFeatures {
            hidden_states: features.hidden_states.into_iter().map(single).collect(),
            grid: features.grid,
            pixel_values: self.config.decoder.uses_pixels().then_some(pixels),
        })
    }

    /// Computes the embeddings of visual prompts, `[supports, projection_dim]`, prepared as by
    /// [`VisualPrompt`].
    ///
    /// # Errors
    ///
    /// If there is no visual prompt, or the mask of one is empty.
    pub fn encode_supports(&self, supports: &[&Support]) -> Result<Tensor<2>> {
        let prepared = supports.iter().map(|support| {
            let prompt = VisualPrompt::with_mask(support.image.clone(), support.mask.clone())?;
            Ok(prompt.prepare())
        });
        let prepared: Vec<RgbImage> = prepared.collect::<Result<_>>()?;
        if prepared.is_empty() {
            return Err(TrainError::Empty("given"));
        }
        let pixels = self.processor.pixel_values(&prepared, &self.device)?;
        let pixels = pixels.cast(dtype(self.precision));
        let embeddings = self.running.image_embedding(pixels)?;
        Ok(embeddings.cast(FloatDType::F32))
    }

    /// Computes the embeddings of phrases, `[phrases, projection_dim]`, or takes them from the cache.
    ///
    /// # Errors
    ///
    /// If there is no phrase, or a phrase cannot be tokenized.
    pub fn encode_phrases(&mut self, phrases: &[String]) -> Result<Tensor<2>> {
        if phrases.is_empty() {
            return Err(TrainError::Empty("given"));
        }
        let mut rows = Vec::with_capacity(phrases.len());
        for phrase in phrases {
            let row = match self.phrases.get(phrase) {
                Some(row) => {
                    self.counts.phrases_from_memory += 1;
                    row
                }
                None => {
                    let tokens = self.tokenizer.batch(&[phrase], &self.device)?;
                    let row = self.running.text_embedding(&tokens)?.cast(FloatDType::F32);
                    let row: Tensor<1> = row.squeeze_dim(0);
                    self.counts.phrases_encoded += 1;
                    self.phrases.put(phrase, &row);
                    row
                }
            };
            rows.push(row);
        }
        Ok(Tensor::stack(rows, 0))
    }

    /// Encodes a batch for a training step, with the caches.
    ///
    /// # Errors
    ///
    /// If a phrase cannot be tokenized, a tensor cannot be read back from the device, or a hidden state is
    /// too large for the half precision of the cache.
    pub fn encode(&mut self, batch: SegmentationBatch) -> Result<StepInput> {
        self.encode_if(batch, true)
    }

    /// Encodes a batch for a training step; without `comes_again`, pictures bypass the cache.
    pub(crate) fn encode_if(
        &mut self,
        batch: SegmentationBatch,
        comes_again: bool,
    ) -> Result<StepInput> {
        let [pictures, ..] = batch.pixels.dims();
        let features = if comes_again && self.cache.is_some() {
            self.cached_features(batch.pixels)?
        } else {
            self.counts.pictures_encoded += pictures as u64;
            self.encode_pictures(batch.pixels)?
        };
        Ok(StepInput {
            conditional_embedding: self.encode_phrases(&batch.phrases)?,
            features,
            picture_of: batch.picture_of,
            masks: batch.masks,
        })
    }

    fn cached_features(&mut self, pixels: Tensor<4>) -> Result<ImageFeatures> {
        let [pictures, _, height, width] = pixels.dims();
        let patch = self.clip.vision_model().patch_size();
        let keys = picture_keys(&pixels)?;
        let mut rows: Vec<Vec<Tensor<3>>> = Vec::with_capacity(pictures);
        for (picture, &key) in keys.iter().enumerate() {
            let pixels = || pixels.clone().slice(s![picture..picture + 1]);
            rows.push(self.cached(key, pixels)?);
        }
        let layer = |layer: usize| {
            let of_pictures = rows.iter().map(|row| row[layer].clone()).collect();
            Tensor::cat(of_pictures, 0)
        };
        let decoder = &self.config.decoder;
        Ok(ImageFeatures {
            hidden_states: (0..decoder.extract_layers().len()).map(layer).collect(),
            grid: [height / patch, width / patch],
            pixel_values: decoder
                .uses_pixels()
                .then(|| self.processor.normalise(pixels)),
        })
    }

    /// The hidden states of one picture, from the cache or computed, `[1, tokens, hidden_size]` each.
    fn cached(&mut self, key: u128, pixels: impl Fn() -> Tensor<4>) -> Result<Vec<Tensor<3>>> {
        let found = self.cache.as_mut().and_then(|cache| cache.get(key));
        let hidden = match found {
            Some((hidden, found)) => {
                match found {
                    Found::Memory => self.counts.pictures_from_memory += 1,
                    Found::Folder => self.counts.pictures_from_folder += 1,
                }
                hidden
            }
            None => {
                self.counts.pictures_encoded += 1;
                let hidden = Arc::new(halved(self.encode_pictures(pixels())?.hidden_states)?);
                if let Some(cache) = &mut self.cache {
                    cache.put(key, &hidden);
                }
                hidden
            }
        };
        let [_, tokens, width] = hidden.shape;
        let layers = hidden.values.chunks_exact((tokens * width).max(1));
        Ok(layers
            .map(|values| {
                let mut single = vec![0f32; values.len()];
                values.convert_to_f32_slice(&mut single);
                Tensor::from_data(TensorData::new(single, [1, tokens, width]), &self.device)
            })
            .collect())
    }

    /// Returns CLIP, the configuration, the tokenizer and the preprocessing.
    pub fn into_parts(self) -> (Clip, ClipSegConfig, ClipTokenizer, ImageProcessor) {
        (self.clip, self.config, self.tokenizer, self.processor)
    }

    /// Builds a segmenter from this CLIP and a decoder.
    pub fn segmenter(&self, decoder: Decoder) -> Segmenter {
        let model = ClipSeg::from_parts(self.config.clone(), self.clip.clone(), decoder);
        Segmenter::new(model, self.tokenizer.clone(), self.processor.clone())
    }
}

fn dtype(precision: Precision) -> FloatDType {
    match precision {
        Precision::F32 => FloatDType::F32,
        Precision::F16 => FloatDType::F16,
        Precision::Bf16 => FloatDType::BF16,
    }
}

struct Cast(FloatDType);

impl ModuleMapper for Cast {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.map(|tensor| tensor.cast(self.0))
    }
}

/// Rounds the hidden states of one picture to half precision.
fn halved(hidden_states: Vec<Tensor<3>>) -> Result<HiddenStates> {
    let mut shape = [hidden_states.len(), 0, 0];
    let mut values = Vec::new();
    for hidden in hidden_states {
        let [_, tokens, width] = hidden.dims();
        (shape[1], shape[2]) = (tokens, width);
        let single = floats(hidden)?;
        let start = values.len();
        values.resize(start + single.len(), f16::ZERO);
        values[start..].convert_from_f32_slice(&single);
    }
    if values.iter().any(|value| !value.is_finite()) {
        let message = "a hidden state is too large for the cache's half precision; set \
                       `cache.memory` to 0 and remove `cache.folder`";
        return Err(TrainError::field("cache.memory", message));
    }
    Ok(HiddenStates { shape, values })
}
