//! Encoding pictures and phrases with a CLIP on the plain device, without gradients.

use crate::config::train_config::CacheConfig;
use crate::error::{Result, TrainError};
use crate::frozen::cache_folder::CacheFolder;
use crate::frozen::decoder_input::DecoderInput;
use crate::frozen::fingerprint::{fingerprint, sample_key, states_settings, tensor_keys};
use crate::frozen::hidden_cache::{Found, HiddenCache};
use crate::frozen::hidden_states::{HiddenStates, halved, upload};
use crate::frozen::phrase_cache::PhraseCache;
use crate::step::input::StepInput;
use burn::module::{Module, ModuleMapper, Param};
use burn::prelude::*;
use burn::tensor::FloatDType;
use clipseg_clip::{Clip, ClipTokenizer, ImageProcessor, Precision};
use clipseg_data::{SampleBatch, SegmentationBatch, Support, is_cpu};
use clipseg_model::{ClipSeg, ClipSegConfig, Decoder, ImageFeatures, Segmenter, VisualPrompt};
use image::RgbImage;
use std::collections::HashMap;
use std::sync::Arc;

/// Largest number of bytes of cached phrase embeddings if no cache is configured.
const PHRASE_BYTES: u64 = 64 << 20;

/// One in so many bytes of a cache's memory is reserved for phrases. The embedding of a phrase is a
/// thousandth of the size of a picture's hidden states at 352 pixels. Without a reserve, pictures would
/// fill the memory before most phrases are encoded.
const PHRASES_SHARE: u64 = 4;

/// A frozen CLIP with its tokenizer, its preprocessing and its caches.
///
/// In a run that fine-tunes CLIP, this is the CLIP of the last validation, and after the run that of the best
/// validation. From the start of such a run on, hidden states are not cached.
///
/// Embeddings of phrases are cached, up to 64 MiB. With a cache ([`with_cache`](Self::with_cache)) hidden
/// states of pictures are cached too, and the cache's limit applies to both.
///
/// On the CPU, the result for a phrase or a cached picture is the same bit for bit, whatever else is in the batch
/// and whether it is a cache hit or a miss: phrases and such pictures go through the towers one by one, and
/// the hidden states of such pictures are rounded to half precision in both cases. A run that resumes with
/// empty caches therefore computes the same values. On a GPU, all cache misses of a batch go through a tower in
/// one pass, and their last bits can depend on the number of them.
#[derive(Debug)]
pub struct FrozenClip {
    clip: Clip,
    /// The same in the precision that it runs in.
    running: Clip,
    precision: Precision,
    pub(super) config: ClipSegConfig,
    /// The encoded layers of the vision tower in ascending order: those of the decoder, or of several decoders that
    /// share the cache.
    layers: Vec<usize>,
    /// What the decoder gets instead of the encoded pictures and phrases, for the controls of a study.
    input: DecoderInput,
    pub(super) tokenizer: ClipTokenizer,
    pub(super) processor: ImageProcessor,
    pub(super) device: Device,
    phrases: PhraseCache,
    /// The configuration of the caches, which are opened again when the precision changes.
    cache_config: Option<CacheConfig>,
    cache: Option<HiddenCache>,
    /// Whether CLIP is fine-tuned, so that hidden states are outdated after each step.
    is_tuned: bool,
    pub(super) counts: EncodingCounts,
    /// Whether all cache misses of a batch go through a tower in one pass.
    ///
    /// On the CPU they go one by one: a batch is not faster there, and the result of a picture or a phrase is
    /// the same bit for bit whatever else is in the batch. A GPU would be idle for most of the time.
    in_one_pass: bool,
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
            in_one_pass: !is_cpu(&device),
            running: clip.clone(),
            clip,
            precision: Precision::F32,
            layers: config.decoder.extract_layers().to_vec(),
            input: DecoderInput::default(),
            config,
            tokenizer,
            processor,
            device,
            phrases: PhraseCache::new(PHRASE_BYTES),
            cache_config: None,
            cache: None,
            is_tuned: false,
            counts: EncodingCounts::default(),
        }
    }

    /// Encodes these layers of the vision tower, in ascending order, whichever of them a decoder uses. So decoders that
    /// use different layers share the cache. Call it before [`with_cache`](Self::with_cache).
    pub(crate) fn with_layers(mut self, layers: Vec<usize>) -> Self {
        self.layers = layers;
        self
    }

    /// Encodes for another decoder from now on, whose layers are among the encoded ones.
    pub(crate) fn set_decoder(&mut self, config: ClipSegConfig) {
        self.config = config;
    }

    /// Replaces a part of what the decoder gets from now on.
    pub(crate) fn set_input(&mut self, input: DecoderInput) {
        self.input = input;
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
        self.precision = precision;
        self.running = self.in_precision();
        // Cached states have the old precision.
        self.open_cache()?;
        Ok(self)
    }

    /// CLIP in the precision that it runs in.
    fn in_precision(&self) -> Clip {
        match self.precision {
            Precision::F32 => self.clip.clone(),
            other => self.clip.clone().map(&mut Cast(dtype(other))),
        }
    }

    /// Prepares for a run that fine-tunes CLIP: hidden states are no longer cached.
    ///
    /// # Errors
    ///
    /// If CLIP does not run in single precision.
    pub(crate) fn begin_tuning(&mut self) -> Result<()> {
        if self.precision != Precision::F32 {
            let message = format!(
                "{}, expected f32, because CLIP is fine-tuned",
                self.precision
            );
            return Err(TrainError::field("clip.data_type", message));
        }
        self.is_tuned = true;
        self.cache = None;
        Ok(())
    }

    /// The CLIP.
    pub(crate) fn clip(&self) -> &Clip {
        &self.clip
    }

    /// Replaces CLIP by a fine-tuned one of the same shape. With `text`, the text tower has changed too, so
    /// that cached phrases are outdated.
    pub(crate) fn replace_clip(&mut self, clip: Clip, text: bool) {
        self.clip = clip;
        self.running = self.in_precision();
        if text {
            self.phrases = self.phrases.emptied();
        }
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
            Some(root) if !self.is_tuned => {
                let settings = states_settings(
                    &self.config.clip,
                    &self.layers,
                    self.precision,
                    &self.processor,
                    &format!("{:?}", self.device),
                );
                let key = fingerprint(self.clip.vision_model(), &settings.to_string())?;
                Some(CacheFolder::open(root, &key, config.folder_limit())?)
            }
            _ => None,
        };
        let of_phrases = config.memory.0 / PHRASES_SHARE;
        let of_pictures = config.memory.0 - of_phrases;
        self.phrases = PhraseCache::new(of_phrases);
        let cached = !self.is_tuned && (of_pictures > 0 || folder.is_some());
        self.cache = cached.then(|| HiddenCache::new(of_pictures, folder));
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
        self.encode_layers(pixels, self.config.decoder.extract_layers())
    }

    /// Runs the vision tower up to the last of these layers.
    fn encode_layers(&self, pixels: Tensor<4>, layers: &[usize]) -> Result<ImageFeatures> {
        let pixels = self.processor.normalise(pixels);
        let running = pixels.clone().cast(dtype(self.precision));
        let hidden = self.running.vision_model().hidden_states(running, layers)?;
        let single = |hidden: Tensor<3>| hidden.cast(FloatDType::F32);
        Ok(ImageFeatures {
            hidden_states: hidden.states.into_iter().map(single).collect(),
            grid: hidden.grid,
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
        let pixels = self.support_pixels(supports)?.cast(dtype(self.precision));
        let embeddings = self.running.image_embedding(pixels)?;
        Ok(embeddings.cast(FloatDType::F32))
    }

    /// The pixels of visual prompts, `[supports, 3, height, width]`, normalised.
    pub(super) fn support_pixels(&self, supports: &[&Support]) -> Result<Tensor<4>> {
        let prepared = supports.iter().map(|support| {
            let prompt = VisualPrompt::with_mask(support.image.clone(), support.mask.clone())?;
            Ok(prompt.prepare())
        });
        let prepared: Vec<RgbImage> = prepared.collect::<Result<_>>()?;
        if prepared.is_empty() {
            return Err(TrainError::Empty("given"));
        }
        Ok(self.processor.pixel_values(&prepared, &self.device)?)
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
        let mut found: HashMap<&String, Tensor<1>> = HashMap::new();
        let mut missed: Vec<&String> = Vec::new();
        for phrase in phrases {
            if let Some(row) = self.phrases.get(phrase) {
                self.counts.phrases_from_memory += 1;
                found.insert(phrase, row);
            } else if missed.contains(&phrase) {
                self.counts.phrases_from_memory += 1;
            } else {
                missed.push(phrase);
            }
        }
        for pass in missed.chunks(self.pass(missed.len())) {
            let tokens = self.tokenizer.batch(pass, &self.device)?;
            let embeddings = self.running.text_embedding(&tokens)?;
            let embeddings = embeddings.cast(FloatDType::F32);
            self.counts.phrases_encoded += pass.len() as u64;
            for (phrase, row) in pass.iter().zip(embeddings.split(1, 0)) {
                let row: Tensor<1> = row.squeeze_dim(0);
                self.phrases.put(phrase, &row);
                found.insert(phrase, row);
            }
        }
        let rows = phrases.iter().map(|phrase| found[phrase].clone());
        Ok(Tensor::stack(rows.collect(), 0))
    }

    /// The number of cache misses that go through a tower in one pass, out of `missed`.
    fn pass(&self, missed: usize) -> usize {
        if self.in_one_pass { missed.max(1) } else { 1 }
    }

    /// Encodes a batch for a training step, with the caches. To identify pictures, their pixels are read back
    /// from the device if there is a cache of hidden states.
    ///
    /// # Errors
    ///
    /// If a phrase cannot be tokenized, a tensor cannot be read back from the device, or a hidden state is
    /// too large for the half precision of the cache.
    pub fn encode(&mut self, batch: SegmentationBatch) -> Result<StepInput> {
        let keys = match self.cache {
            Some(_) => Some(tensor_keys(&batch.pixels)?),
            None => None,
        };
        self.encode_tensors(batch, keys)
    }

    /// Encodes a loaded batch for a training step; without `comes_again`, pictures bypass the cache.
    pub(crate) fn encode_loaded(
        &mut self,
        batch: SampleBatch,
        comes_again: bool,
    ) -> Result<StepInput> {
        let cached = comes_again && self.cache.is_some();
        let keys = cached.then(|| batch.pictures.iter().map(sample_key).collect());
        self.encode_tensors(batch.into_tensors(&self.device), keys)
    }

    /// Encodes a batch; with keys of its pictures, through the cache.
    fn encode_tensors(
        &mut self,
        batch: SegmentationBatch,
        keys: Option<Vec<u128>>,
    ) -> Result<StepInput> {
        let [pictures, ..] = batch.pixels.dims();
        let features = match keys {
            Some(keys) => self.cached_features(batch.pixels, &keys)?,
            None => {
                self.counts.pictures_encoded += pictures as u64;
                self.encode_pictures(batch.pixels)?
            }
        };
        let input = StepInput {
            conditional_embedding: self.encode_phrases(&batch.phrases)?,
            features,
            picture_of: batch.picture_of,
            masks: batch.masks,
        };
        self.input.apply(input, &batch.phrases, &self.tokenizer)
    }

    fn cached_features(&mut self, pixels: Tensor<4>, keys: &[u128]) -> Result<ImageFeatures> {
        let [_, _, height, width] = pixels.dims();
        let patch = self.clip.vision_model().patch_size();
        let hidden = self.cached(&pixels, keys)?;
        let decoder = &self.config.decoder;
        let layers = self.layers.iter().enumerate();
        let used = layers.filter(|(_, layer)| decoder.extract_layers().contains(layer));
        Ok(ImageFeatures {
            hidden_states: used
                .map(|(place, _)| upload(&hidden, place, &self.device))
                .collect(),
            grid: [height / patch, width / patch],
            pixel_values: decoder
                .uses_pixels()
                .then(|| self.processor.normalise(pixels)),
        })
    }

    /// The hidden states of each picture, from the cache or computed.
    fn cached(&mut self, pixels: &Tensor<4>, keys: &[u128]) -> Result<Vec<Arc<HiddenStates>>> {
        let mut found: HashMap<u128, Arc<HiddenStates>> = HashMap::new();
        let mut missed: Vec<usize> = Vec::new();
        for (picture, key) in keys.iter().enumerate() {
            let cached = self.cache.as_mut().and_then(|cache| cache.get(*key));
            match cached {
                Some((hidden, place)) => {
                    match place {
                        Found::Memory => self.counts.pictures_from_memory += 1,
                        Found::Folder => self.counts.pictures_from_folder += 1,
                    }
                    found.insert(*key, hidden);
                }
                // The same picture again in this batch.
                None if missed.iter().any(|&earlier| keys[earlier] == *key) => {
                    self.counts.pictures_from_memory += 1;
                }
                None => missed.push(picture),
            }
        }
        for pass in missed.chunks(self.pass(missed.len())) {
            let pictures = match pass {
                [one] => pixels.clone().slice(s![*one..*one + 1]),
                all if all.len() == keys.len() => pixels.clone(),
                some => {
                    let indices: Vec<i64> = some.iter().map(|&index| index as i64).collect();
                    let indices = TensorData::from(indices.as_slice());
                    pixels
                        .clone()
                        .select(0, Tensor::<1, Int>::from_data(indices, &self.device))
                }
            };
            self.counts.pictures_encoded += pass.len() as u64;
            let hidden = self.encode_layers(pictures, &self.layers)?;
            let hidden = halved(hidden.hidden_states, pass.len())?;
            for (&picture, hidden) in pass.iter().zip(hidden) {
                let hidden = Arc::new(hidden);
                if let Some(cache) = &mut self.cache {
                    cache.put(keys[picture], &hidden);
                }
                found.insert(keys[picture], hidden);
            }
        }
        Ok(keys.iter().map(|key| found[key].clone()).collect())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::bytes::ByteSize;
    use crate::readback::floats;
    use burn::tensor::Tolerance;
    use clipseg_data::{
        PhraseCut, PhraseCutDataset, SampleOptions, ScenesConfig, Split, generate_scenes,
    };

    fn clip(memory: u64, in_one_pass: bool) -> FrozenClip {
        let device = Device::flex();
        let config = ClipSegConfig::small();
        let _alone = crate::step::randomness::drawing(&device, 3);
        let cache = CacheConfig {
            memory: ByteSize(memory),
            ..CacheConfig::default()
        };
        let mut clip = FrozenClip::new(
            Clip::init(&config.clip, &device),
            config,
            ClipTokenizer::openai(77).unwrap(),
            ImageProcessor::clipseg(32),
        )
        .with_cache(&cache)
        .unwrap();
        assert!(!clip.in_one_pass, "on the CPU");
        clip.in_one_pass = in_one_pass;
        clip
    }

    #[test]
    fn cache_misses_in_one_pass_give_the_states_of_each_alone() {
        let folder = tempfile::tempdir().unwrap();
        let config = ScenesConfig {
            images: 10,
            size: 32,
            seed: 6,
        };
        let scenes = folder.path().join("scenes");
        generate_scenes(&scenes, &config).unwrap();
        let data = Arc::new(PhraseCut::open(&scenes).unwrap());
        let options = SampleOptions::new(32, 32);
        let data = PhraseCutDataset::new(data, Split::Train, options).unwrap();
        let load = |indices: &[usize]| data.load(indices, 0).unwrap();
        for memory in [0, 16 << 20] {
            let [mut one_by_one, mut together] = [false, true].map(|pass| clip(memory, pass));
            // Hits and misses, in another order.
            for indices in [vec![0, 5, 9], vec![12, 5, 14, 0, 10], vec![14, 12]] {
                let [expected, found] = [&mut one_by_one, &mut together]
                    .map(|clip| clip.encode_loaded(load(&indices), true).unwrap());
                let tensors = |input: &StepInput| {
                    let mut values = floats(input.conditional_embedding.clone()).unwrap();
                    for hidden in &input.features.hidden_states {
                        values.extend(floats(hidden.clone()).unwrap());
                    }
                    let count = values.len();
                    TensorData::new(values, [count])
                };
                // Half precision rounds the cached states, to 2^-11 of their size.
                let tolerance = Tolerance::rel_abs(1e-3, 1e-4);
                tensors(&found).assert_approx_eq::<f32>(&tensors(&expected), tolerance);
                assert_eq!(found.picture_of, expected.picture_of);
            }
            assert_eq!(one_by_one.counts(), together.counts());
            assert_eq!(together.counts().pictures_from_memory > 0, memory > 0);
        }
    }
}
