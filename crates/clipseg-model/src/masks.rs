//! Segmentation: from an encoded photograph and prompts to masks of the photograph's size.

use crate::error::{ModelError, Result};
use crate::prompt::{Prompt, SegmentOptions};
use crate::segmenter::{EncodedImage, Segmenter};
use crate::soft_mask::{SoftMask, check_finite};
use burn::prelude::*;

/// Number of prompts that are decoded at a time. It limits the memory; larger batches are not faster.
const DECODER_BATCH: usize = 16;

impl Segmenter {
    /// Computes a soft mask of the photograph's size for each text prompt.
    ///
    /// # Errors
    ///
    /// If there is no prompt, a prompt cannot be tokenized, a logit is NaN or infinite, or the device
    /// fails.
    pub fn segment<S: AsRef<str>>(
        &self,
        image: &EncodedImage,
        prompts: &[S],
    ) -> Result<Vec<SoftMask>> {
        self.segment_by_embedding(image, self.encode_text(prompts)?)
    }

    /// Computes a soft mask of the photograph's size for each prompt. Prompts may be texts or visual
    /// prompts.
    ///
    /// # Errors
    ///
    /// If there is no prompt, an option is invalid, a prompt cannot be tokenized or preprocessed, a
    /// logit is NaN or infinite, or the device fails.
    ///
    /// # Example
    ///
    /// ```
    /// # use burn::tensor::Device;
    /// # use clipseg_model::clip::{ClipTokenizer, ImageProcessor};
    /// # use clipseg_model::{ClipSeg, ClipSegConfig, Segmenter};
    /// use clipseg_model::{SegmentOptions, TEMPLATES, VisualPrompt};
    ///
    /// # let mut config = ClipSegConfig::small();
    /// # config.clip.text_config.hidden_size = 32; // small enough for an example
    /// # let model = ClipSeg::init(&config, &Device::flex());
    /// # let processor = ImageProcessor::clipseg(96);
    /// # let segmenter = Segmenter::new(model, ClipTokenizer::openai(77)?, processor);
    /// # let (photo, cat) = (image::RgbImage::new(200, 150), image::RgbImage::new(80, 80));
    /// let encoded = segmenter.encode_image(&photo)?;
    /// let prompts = ["a cat".into(), VisualPrompt::new(cat).into()];
    /// let options = SegmentOptions::default()
    ///     .with_templates(TEMPLATES)
    ///     .with_negative_prompts(["a dog"]);
    /// let masks = segmenter.segment_with(&encoded, &prompts, &options)?;
    /// assert_eq!((masks[1].width(), masks[1].height()), (200, 150));
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

    /// Computes the masks of [`segment_with`](Self::segment_with) one by one. `each` receives the index
    /// of the prompt and its mask.
    ///
    /// Use it for large photographs: the memory does not grow with the number of prompts. At most two
    /// masks of the photograph's size exist at a time, the second one only with negative prompts, in
    /// addition to those that `each` keeps.
    ///
    /// # Errors
    ///
    /// The same as [`segment_with`](Self::segment_with), or the first error of `each`, after which no
    /// further mask is computed.
    ///
    /// # Example
    ///
    /// ```
    /// # use burn::tensor::Device;
    /// # use clipseg_model::clip::{ClipTokenizer, ImageProcessor};
    /// # use clipseg_model::{ClipSeg, ClipSegConfig, Segmenter};
    /// use clipseg_model::{ModelError, Prompt, SegmentOptions};
    ///
    /// # let mut config = ClipSegConfig::small();
    /// # config.clip.text_config.hidden_size = 32; // small enough for an example
    /// # let model = ClipSeg::init(&config, &Device::flex());
    /// # let processor = ImageProcessor::clipseg(96);
    /// # let segmenter = Segmenter::new(model, ClipTokenizer::openai(77)?, processor);
    /// # let photo = image::RgbImage::new(200, 150);
    /// let encoded = segmenter.encode_image(&photo)?;
    /// let prompts = ["a cat", "a sofa", "a lamp"].map(Prompt::from);
    /// let mut areas = [0; 3];
    /// segmenter.for_each_mask(&encoded, &prompts, &SegmentOptions::default(), |index, mask| {
    ///     areas[index] = mask.threshold(0.5).area();
    ///     Ok::<(), ModelError>(())
    /// })?;
    /// # Ok::<(), clipseg_model::ModelError>(())
    /// ```
    pub fn for_each_mask<E: From<ModelError>>(
        &self,
        image: &EncodedImage,
        prompts: &[Prompt],
        options: &SegmentOptions,
        mut each: impl FnMut(usize, SoftMask) -> Result<(), E>,
    ) -> Result<(), E> {
        options.validate()?;
        let positives = self.encode_prompts(prompts, options)?;
        let mut negative: Option<SoftMask> = None;
        if !options.negative_prompts.is_empty() {
            let negatives = self.encode_prompts(&options.negative_prompts, options)?;
            self.decode_each(image, negatives, |_, mask| {
                match &mut negative {
                    None => negative = Some(mask),
                    Some(maximum) => maximum.maximum_with(&mask)?,
                }
                Ok::<(), ModelError>(())
            })?;
        }
        self.decode_each(image, positives, |index, mut mask| {
            if let Some(negative) = &negative {
                mask.suppress(negative)?;
            }
            each(index, mask)
        })
    }

    /// Computes a soft mask of the photograph's size for each embedding of a text or of a picture.
    ///
    /// # Shapes
    ///
    /// - `conditional_embedding`: `[prompts, projection_dim]`
    ///
    /// # Errors
    ///
    /// If the embedding has another width than the model expects, a logit is NaN or infinite, or the
    /// device fails.
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

    /// Computes the decoder's logits at the model's resolution, `[prompts, height, width]`.
    ///
    /// # Errors
    ///
    /// If the embedding has another width than the model expects, a logit is NaN or infinite, or the
    /// device fails.
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

    /// The embeddings of prompts, `[prompts, projection_dim]`. The embedding of a text is the mean over
    /// all templates.
    fn encode_prompts(&self, prompts: &[Prompt], options: &SegmentOptions) -> Result<Tensor<2>> {
        if prompts.is_empty() {
            return Err(ModelError::Input(
                "no prompt was given, expected at least one".into(),
            ));
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

    /// Passes the index and the mask of each embedding to `each` as soon as it is decoded.
    fn decode_each<E: From<ModelError>>(
        &self,
        image: &EncodedImage,
        conditional_embedding: Tensor<2>,
        mut each: impl FnMut(usize, SoftMask) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut index = 0;
        for logits in self.decode_in_batches(image, conditional_embedding)? {
            let [_, height, width] = logits.dims();
            let from = [width as u32, height as u32];
            let to = [image.width(), image.height()];
            for logits in read_logits(logits)?.chunks_exact(height * width) {
                each(index, SoftMask::from_logits(logits, from, to)?)?;
                index += 1;
            }
        }
        Ok(())
    }

    /// The logits of one batch of prompts after another; the iterator decodes lazily.
    fn decode_in_batches<'a>(
        &'a self,
        image: &'a EncodedImage,
        conditional_embedding: Tensor<2>,
    ) -> Result<impl Iterator<Item = Tensor<3>> + 'a> {
        let [_, width] = conditional_embedding.dims();
        let expected = self.model().config().clip.projection_dim;
        if width != expected {
            return Err(ModelError::Input(format!(
                "the prompt's embedding has {width} values, expected {expected}"
            )));
        }
        let batches = conditional_embedding.split(DECODER_BATCH, 0);
        Ok(batches
            .into_iter()
            .map(|batch| self.model().decode(&image.features, batch)))
    }
}

/// Reads logits from their device and checks that all are finite.
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
