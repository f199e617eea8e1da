//! Segmentation by a CLIP alone: no decoder and no training, any number of classes.
//!
//! The method is NACLIP (Hajimiri et al. 2024, arXiv:2404.08181). Each patch has an embedding in the space of the
//! texts ([`Clip::patch_embedding`](clipseg_clip::Clip::patch_embedding)). Windows slide over the resized
//! photograph, and the similarities of their patches with the names are averaged where windows overlap. The
//! softmax over all names then gives probabilities.

mod class;
mod image;
mod masks;
mod options;
mod windows;

pub use class::DenseClass;
pub use image::DenseImage;
pub use options::DenseOptions;

use crate::error::{ModelError, Result};
use crate::prompt::sentences;
use crate::segmenter::refuse_non_finite;
use crate::text_cache::TextCache;
use burn::prelude::*;
use clipseg_clip::{
    CheckpointFiles, Clip, ClipTokenizer, ImageProcessor, Precision, PretrainedClip, VisionConfig,
    load_clip, normalise,
};
use clipseg_data::Preprocessing;

/// A CLIP with its tokenizer and preprocessing, which segments photographs without a decoder.
///
/// Each class gets a probability for each pixel, and those of all classes and of the background sum to 1 unless a
/// class has several names. So it needs at least two classes, or one and a background.
///
/// # Example
///
/// ```
/// # use burn::tensor::Device;
/// # use clipseg_model::clip::{Clip, ClipConfig, ClipTokenizer, ImageProcessor, PretrainedClip};
/// use clipseg_model::{DenseClip, DenseOptions};
///
/// # let device = Device::flex();
/// # let mut config = ClipConfig::small();
/// # config.text_config.hidden_size = 32; // small enough for an example
/// # let clip = Clip::init(&config, &device);
/// # let model = PretrainedClip { config, clip };
/// # let tokenizer = ClipTokenizer::openai(77)?;
/// # let photo = image::RgbImage::new(200, 150);
/// // `DenseClip::from_pretrained` loads a checkpoint instead.
/// let dense = DenseClip::new(model, tokenizer, ImageProcessor::clip(96));
/// let options = DenseOptions::default().with_background(["sky", "grass"]);
/// let image = dense.encode_image(&photo, &options)?;
/// let classes = ["cat|kitten".parse()?, "sofa".parse()?];
/// for soft_mask in dense.segment(&image, &classes, &options)? {
///     println!("{} pixels", soft_mask.threshold(0.5).area());
/// }
/// # Ok::<(), clipseg_model::ModelError>(())
/// ```
#[derive(Debug)]
pub struct DenseClip {
    clip: Clip,
    tokenizer: ClipTokenizer,
    /// Normalises windows; it neither resizes nor crops.
    processor: ImageProcessor,
    vision: VisionConfig,
    device: Device,
    texts: TextCache,
}

impl DenseClip {
    /// Combines a CLIP with its tokenizer and preprocessing. Of the preprocessing, the filter, the mean and the
    /// standard deviation are used; [`DenseOptions`] has the sizes. CLIP must not be on an autodiff device.
    pub fn new(
        model: PretrainedClip,
        tokenizer: ClipTokenizer,
        mut processor: ImageProcessor,
    ) -> Self {
        processor.size = None;
        processor.crop = None;
        processor.preprocessing = Preprocessing::HuggingFace;
        Self {
            device: model.clip.device(),
            vision: model.config.vision_config,
            clip: model.clip,
            tokenizer,
            processor,
            texts: TextCache::default(),
        }
    }

    /// Loads a CLIP, or the CLIP of a CLIPSeg, in Hugging Face's layout. Without preprocessing among the files,
    /// pictures are normalised with CLIP's own mean and standard deviation, and a `tracing` warning reports it.
    ///
    /// # Errors
    ///
    /// If a file is missing, cannot be read or does not fit the others, or a weight is NaN or infinite.
    pub fn from_pretrained(files: impl Into<CheckpointFiles>, device: &Device) -> Result<Self> {
        let files = files.into();
        let model = load_clip(&files, device)?;
        refuse_non_finite(&files, &clipseg_clip::non_finite(&model.clip))?;
        let tokenizer = ClipTokenizer::from_folder(&files, &model.config.text_config)?;
        let side = model.config.vision_config.image_size as u32;
        let processor = ImageProcessor::from_folder_or(&files, ImageProcessor::clip(side))?;
        Ok(Self::new(model, tokenizer, processor))
    }

    /// The same model with the linear layers of the vision encoder in a precision: `F32` as after loading, or
    /// `Bf16`, see [`Clip::with_bf16_vision`](clipseg_clip::Clip::with_bf16_vision).
    ///
    /// # Errors
    ///
    /// For `F16`, and where bf16 is not supported.
    pub fn with_vision_precision(mut self, precision: Precision) -> Result<Self> {
        self.clip = crate::clipseg::with_vision_precision(self.clip, precision)?;
        Ok(self)
    }

    /// CLIP.
    pub fn clip(&self) -> &Clip {
        &self.clip
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &ClipTokenizer {
        &self.tokenizer
    }

    /// Embeds names. The embedding of a name is the mean over the templates of the unit embeddings of its
    /// sentences, scaled to unit length. Embeddings of sentences are cached.
    ///
    /// # Shapes
    ///
    /// - output: `[names, projection_dim]`, of unit length
    ///
    /// # Errors
    ///
    /// If there is no name, or a sentence cannot be tokenized.
    pub fn encode_text<S: AsRef<str>>(
        &self,
        names: &[S],
        templates: &[String],
    ) -> Result<Tensor<2>> {
        if names.is_empty() {
            return Err(ModelError::Input(
                "no name was given, expected at least one".into(),
            ));
        }
        let rows = names.iter().map(|name| {
            let sentences = sentences(templates, name.as_ref());
            let embeddings = self.texts.get(&sentences, |batch| {
                let tokens = self.tokenizer.batch(batch, &self.device)?;
                Ok(self.clip.text_embedding(&tokens)?)
            })?;
            Ok(normalise(normalise(embeddings).mean_dim(0)))
        });
        Ok(Tensor::cat(rows.collect::<Result<_>>()?, 0))
    }
}
