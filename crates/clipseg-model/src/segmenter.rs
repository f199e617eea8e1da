//! From a photograph and prompts to masks at the photograph's own size.

use crate::clipseg::ClipSeg;
use crate::error::{ModelError, Result};
use crate::features::ImageFeatures;
use crate::prompt::{Prompt, SegmentOptions, VisualPrompt};
use crate::soft_mask::{SoftMask, check_finite};
use burn::prelude::*;
use clipseg_clip::{ClipError, ClipTokenizer, ImageProcessor, refuse_foreign};
use image::RgbImage;
use std::collections::HashMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// Prompts decoded at a time; bounds the memory, costs no time.
const DECODER_BATCH: usize = 16;
/// What a saved model consists of, and the newer form of the preprocessing, which would be read in
/// place of the saved one.
const SAVED: [&str; 7] = [
    "model.safetensors",
    "config.json",
    "tokenizer.json",
    "special_tokens_map.json",
    "tokenizer_config.json",
    "preprocessor_config.json",
    "processor_config.json",
];
/// Prompts whose embeddings are remembered.
const REMEMBERED: usize = 4_096;
/// Channels of a picture.
const COLOURS: usize = 3;

/// A model with its tokenizer and its preprocessing: what a program that segments needs.
///
/// A photograph is encoded once by [`encode_image`](Self::encode_image); after that each prompt
/// costs the decoder only.
///
/// # Example
///
/// ```no_run
/// use clipseg_model::Segmenter;
/// use std::path::Path;
///
/// let device = burn::tensor::Device::flex();
/// let segmenter = Segmenter::from_pretrained(Path::new("clipseg-rd64-refined"), &device)?;
/// let photo = segmenter.encode_image(&clipseg_data::load_rgb(Path::new("cat.jpg"))?)?;
/// for mask in segmenter.segment(&photo, &["a cat", "a sofa"])? {
///     println!("{:.0} % are inside", 100.0 * mask.coverage(0.5));
/// }
/// # Ok::<(), clipseg_model::ModelError>(())
/// ```
#[derive(Debug)]
pub struct Segmenter {
    model: ClipSeg,
    tokenizer: ClipTokenizer,
    processor: ImageProcessor,
    device: Device,
    known: Mutex<HashMap<String, Tensor<1>>>,
}

/// A photograph that has been through the vision tower.
#[derive(Debug, Clone)]
pub struct EncodedImage {
    features: ImageFeatures,
    width: u32,
    height: u32,
}

impl EncodedImage {
    /// Width of the photograph in pixels.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Height of the photograph in pixels.
    pub fn height(&self) -> u32 {
        self.height
    }
}

impl Segmenter {
    /// Puts together a model and what belongs to it. The model must be on the plain device.
    pub fn new(model: ClipSeg, tokenizer: ClipTokenizer, processor: ImageProcessor) -> Self {
        let device = model.clip().device();
        Self {
            model,
            tokenizer,
            processor,
            device,
            known: Mutex::default(),
        }
    }

    /// Loads a folder in Hugging Face's layout, or one that [`save_pretrained`](Self::save_pretrained)
    /// wrote with another decoder. Without a `preprocessor_config.json`, pictures are
    /// preprocessed as for the published CLIPSeg, at 352×352, and a warning of `tracing` says so.
    ///
    /// # Errors
    ///
    /// If a file is missing, cannot be read, or does not fit the others, or a weight is NaN or infinite.
    pub fn from_pretrained(folder: &Path, device: &Device) -> Result<Self> {
        let model = ClipSeg::from_pretrained(folder, device)?;
        let broken = model.non_finite();
        if let Some(first) = broken.first() {
            let message = match broken.len() {
                1 => format!("the tensor `{first}` holds a NaN or an infinity"),
                count => format!("{count} tensors hold a NaN or an infinity, such as `{first}`"),
            };
            return Err(ClipError::format(folder, message).into());
        }
        let tokenizer = ClipTokenizer::from_folder(folder, &model.config().clip.text_config)?;
        let processor = ImageProcessor::from_folder_or(folder, ImageProcessor::clipseg(352))?;
        Ok(Self::new(model, tokenizer, processor))
    }

    /// Writes a folder that [`from_pretrained`](Self::from_pretrained) reads, and transformers if the
    /// decoder is CLIPSeg's own: configuration, weights, tokenizer and preprocessing.
    ///
    /// Files of a model that was saved there before are replaced, others are not.
    ///
    /// # Errors
    ///
    /// If the folder cannot be written, or one of the files is there and another program's.
    pub fn save_pretrained(&self, folder: &Path) -> Result<()> {
        refuse_foreign(folder, &SAVED)?;
        self.model.save_pretrained(folder)?;
        self.tokenizer.save(folder)?;
        self.processor.save(folder)?;
        Ok(())
    }

    /// The model.
    pub fn model(&self) -> &ClipSeg {
        &self.model
    }

    /// The preprocessing.
    pub fn processor(&self) -> &ImageProcessor {
        &self.processor
    }

    /// Runs a photograph through the vision tower, once for all prompts.
    ///
    /// # Errors
    ///
    /// If the picture is empty, or the preprocessing does not give whole patches.
    pub fn encode_image(&self, picture: &RgbImage) -> Result<EncodedImage> {
        let pixels = self.pixel_values(picture)?;
        Ok(EncodedImage {
            features: self.model.encode_image(pixels)?,
            width: picture.width(),
            height: picture.height(),
        })
    }

    /// `[1, 3, height, width]`, whole patches.
    fn pixel_values(&self, picture: &RgbImage) -> Result<Tensor<4>> {
        let channels = self.model.config().clip.vision_config.num_channels;
        if channels != COLOURS {
            return Err(ModelError::Input(format!(
                "the model takes pictures of {channels} channels, these have {COLOURS}"
            )));
        }
        let pixels = self
            .processor
            .pixel_values(std::slice::from_ref(picture), &self.device)?;
        let [_, _, height, width] = pixels.dims();
        let patch = self.model.clip().vision_model().patch_size();
        if !height.is_multiple_of(patch) || !width.is_multiple_of(patch) {
            return Err(ModelError::Input(format!(
                "the preprocessing gives {width}x{height}, which patches of {patch}x{patch} do not fill"
            )));
        }
        Ok(pixels)
    }

    /// Embeddings of text prompts, `[prompts, projection_dim]`; each is computed once and remembered.
    ///
    /// # Errors
    ///
    /// If there is no prompt, or one cannot be tokenized.
    pub fn encode_text<S: AsRef<str>>(&self, prompts: &[S]) -> Result<Tensor<2>> {
        if prompts.is_empty() {
            return Err(no_prompt());
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let mut new: Vec<&str> = prompts
            .iter()
            .map(S::as_ref)
            .filter(|prompt| !known.contains_key(*prompt))
            .collect();
        new.sort_unstable();
        new.dedup();
        if known.len() + new.len() > REMEMBERED {
            known.clear();
            new = prompts.iter().map(S::as_ref).collect();
            new.sort_unstable();
            new.dedup();
        }
        // Texts of one batch are filled up to the longest of them, so a stray long one should not
        // slow down all the others.
        for batch in new.chunks(DECODER_BATCH) {
            let embeddings = self
                .model
                .clip()
                .text_embedding(&self.tokenizer.batch(batch, &self.device)?)?;
            for (row, prompt) in batch.iter().enumerate() {
                let embedding = embeddings
                    .clone()
                    .slice(s![row..row + 1, ..])
                    .squeeze_dim(0);
                known.insert((*prompt).to_owned(), embedding);
            }
        }
        let rows = prompts
            .iter()
            .filter_map(|prompt| known.get(prompt.as_ref()).cloned())
            .collect();
        Ok(Tensor::stack(rows, 0))
    }

    /// The embedding of an example's picture, `[1, projection_dim]`.
    ///
    /// # Errors
    ///
    /// If the picture is empty, or the preprocessing does not give whole patches.
    pub fn encode_visual(&self, prompt: &VisualPrompt) -> Result<Tensor<2>> {
        let pixels = self.pixel_values(&prompt.prepare())?;
        Ok(self.model.clip().image_embedding(pixels)?)
    }

    /// A soft mask for each prompt, at the photograph's size; prompts may be words or examples.
    ///
    /// # Errors
    ///
    /// If there is no prompt, one cannot be tokenized or prepared, a logit is NaN or infinite, or the device fails.
    ///
    /// # Example
    ///
    /// ```no_run
    /// use clipseg_model::{Prompt, SegmentOptions, Segmenter, TEMPLATES, VisualPrompt};
    /// use std::path::Path;
    ///
    /// let device = burn::tensor::Device::flex();
    /// let segmenter = Segmenter::from_pretrained(Path::new("clipseg-rd64-refined"), &device)?;
    /// let photo = segmenter.encode_image(&clipseg_data::load_rgb(Path::new("cat.jpg"))?)?;
    /// let example = VisualPrompt::new(clipseg_data::load_rgb(Path::new("another-cat.jpg"))?);
    /// let options = SegmentOptions::default()
    ///     .with_templates(TEMPLATES)
    ///     .with_negative_prompts(["a dog"]);
    /// let masks = segmenter.segment_with(&photo, &["a cat".into(), example.into()], &options)?;
    /// # Ok::<(), clipseg_model::ModelError>(())
    /// ```
    pub fn segment_with(
        &self,
        image: &EncodedImage,
        prompts: &[Prompt],
        options: &SegmentOptions,
    ) -> Result<Vec<SoftMask>> {
        let mut masks = Vec::with_capacity(prompts.len());
        self.for_each_mask(image, prompts, options, |_, mask| {
            masks.push(mask);
            Ok::<(), ModelError>(())
        })?;
        Ok(masks)
    }

    /// [`segment_with`](Self::segment_with) one mask after another, with the index of its prompt.
    ///
    /// The masks of a large photograph take much memory. Here that does not grow with the number of
    /// prompts: at most two masks are held at the photograph's size, one of them only with negative
    /// prompts, beside those that `each` keeps.
    ///
    /// # Errors
    ///
    /// As [`segment_with`](Self::segment_with), and the first of `each`, after which no more prompt is
    /// decoded.
    ///
    /// # Example
    ///
    /// ```no_run
    /// use clipseg_model::{ModelError, Prompt, SegmentOptions, Segmenter};
    /// use std::path::Path;
    ///
    /// let device = burn::tensor::Device::flex();
    /// let segmenter = Segmenter::from_pretrained(Path::new("clipseg-rd64-refined"), &device)?;
    /// let photo = segmenter.encode_image(&clipseg_data::load_rgb(Path::new("cat.jpg"))?)?;
    /// let prompts: Vec<Prompt> = ["a cat", "a sofa", "a lamp"].map(Prompt::from).into();
    /// segmenter.for_each_mask(&photo, &prompts, &SegmentOptions::default(), |index, mask| {
    ///     println!("{:?}: {:.0} % are inside", prompts[index], 100.0 * mask.coverage(0.5));
    ///     Ok::<(), ModelError>(())
    /// })?;
    /// # Ok::<(), ModelError>(())
    /// ```
    pub fn for_each_mask<E: From<ModelError>>(
        &self,
        image: &EncodedImage,
        prompts: &[Prompt],
        options: &SegmentOptions,
        mut each: impl FnMut(usize, SoftMask) -> Result<(), E>,
    ) -> Result<(), E> {
        options.validate()?;
        let wanted = self.encode_prompts(prompts, options)?;
        let mut not_meant: Option<SoftMask> = None;
        if !options.negative_prompts.is_empty() {
            let negatives = self.encode_prompts(&options.negative_prompts, options)?;
            self.decode_each(image, negatives, |_, mask| {
                match &mut not_meant {
                    None => not_meant = Some(mask),
                    Some(highest) => highest.join(&mask)?,
                }
                Ok::<(), ModelError>(())
            })?;
        }
        self.decode_each(image, wanted, |index, mut mask| {
            if let Some(not_meant) = &not_meant {
                mask.take_away(not_meant)?;
            }
            each(index, mask)
        })
    }

    /// `[prompts, projection_dim]`: words by the mean over their sentences, examples as they are.
    fn encode_prompts(&self, prompts: &[Prompt], options: &SegmentOptions) -> Result<Tensor<2>> {
        if prompts.is_empty() {
            return Err(no_prompt());
        }
        let rows = prompts.iter().map(|prompt| match prompt {
            Prompt::Text(text) => {
                let sentences = self.encode_text(&options.sentences(text))?;
                Ok(sentences.mean_dim(0))
            }
            Prompt::Visual(prompt) => self.encode_visual(prompt),
        });
        Ok(Tensor::cat(rows.collect::<Result<_>>()?, 0))
    }

    /// A soft mask for each text, at the photograph's size.
    ///
    /// # Errors
    ///
    /// If there is no prompt, one cannot be tokenized, a logit is NaN or infinite, or the device fails.
    pub fn segment<S: AsRef<str>>(
        &self,
        image: &EncodedImage,
        prompts: &[S],
    ) -> Result<Vec<SoftMask>> {
        self.segment_by_embedding(image, self.encode_text(prompts)?)
    }

    /// A soft mask for each embedding of a text or of a picture, at the photograph's size.
    ///
    /// # Shapes
    ///
    /// - `conditional_embedding`: `[prompts, projection_dim]`
    ///
    /// # Errors
    ///
    /// If the embedding has another width than the model's, a logit is NaN or infinite, or the device fails.
    pub fn segment_by_embedding(
        &self,
        image: &EncodedImage,
        conditional_embedding: Tensor<2>,
    ) -> Result<Vec<SoftMask>> {
        let mut masks = Vec::with_capacity(conditional_embedding.dims()[0]);
        self.decode_each(image, conditional_embedding, |_, mask| {
            masks.push(mask);
            Ok::<(), ModelError>(())
        })?;
        Ok(masks)
    }

    /// The decoder's logits at the model's own resolution, `[prompts, height, width]`.
    ///
    /// # Errors
    ///
    /// If the embedding has another width than the model's, a logit is NaN or infinite, or the device
    /// fails.
    pub fn logits(
        &self,
        image: &EncodedImage,
        conditional_embedding: Tensor<2>,
    ) -> Result<Tensor<3>> {
        let batches = self.decode_in_batches(image, conditional_embedding)?;
        let batches = batches.map(|logits| {
            read_logits(logits.clone())?;
            Ok(logits)
        });
        Ok(Tensor::cat(batches.collect::<Result<_>>()?, 0))
    }

    /// Hands out the mask of each embedding, with its index, as soon as it is decoded.
    fn decode_each<E: From<ModelError>>(
        &self,
        image: &EncodedImage,
        conditional_embedding: Tensor<2>,
        mut each: impl FnMut(usize, SoftMask) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut index = 0;
        for logits in self.decode_in_batches(image, conditional_embedding)? {
            let [_, height, width] = logits.dims();
            let (from, to) = ([width as u32, height as u32], [image.width, image.height]);
            for logits in read_logits(logits)?.chunks_exact(height * width) {
                each(index, SoftMask::from_logits(logits, from, to)?)?;
                index += 1;
            }
        }
        Ok(())
    }

    /// Logits of some prompts at a time, each decoded when it is asked for.
    fn decode_in_batches<'a>(
        &'a self,
        image: &'a EncodedImage,
        conditional_embedding: Tensor<2>,
    ) -> Result<impl Iterator<Item = Tensor<3>> + 'a> {
        let [_, width] = conditional_embedding.dims();
        let expected = self.model.config().clip.projection_dim;
        if width != expected {
            return Err(ModelError::Input(format!(
                "the prompt's embedding has {width} values, the model takes {expected}"
            )));
        }
        let batches = conditional_embedding.split(DECODER_BATCH, 0);
        Ok(batches
            .into_iter()
            .map(|batch| self.model.decode(&image.features, batch)))
    }
}

/// The values of logits, all of which are finite.
fn read_logits(logits: Tensor<3>) -> Result<Vec<f32>> {
    let values = logits
        .try_into_data()
        .map_err(|error| ModelError::Device(error.to_string()))?
        .convert::<f32>()
        .try_to_vec::<f32>()
        .map_err(|error| ModelError::Device(format!("{error:?}")))?;
    check_finite(&values)?;
    Ok(values)
}

fn no_prompt() -> ModelError {
    ModelError::Input("no prompt was given, expected at least one".into())
}
