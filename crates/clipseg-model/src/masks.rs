//! Segmentation: from an encoded photograph and prompts to masks of the photograph's size.

use crate::encoded_image::{Encoded, EncodedImage};
use crate::error::{ModelError, Result};
use crate::features::ImageFeatures;
use crate::prompt::{Prompt, SegmentOptions};
use crate::read_values::read_values;
use crate::segmenter::Segmenter;
use crate::soft_mask::SoftMask;
use crate::views::{Blend, EncodedView, swap_left_right};
use burn::prelude::*;

/// Number of prompts that are decoded at a time. It limits the memory; larger batches are not faster.
const DECODER_BATCH: usize = 16;
/// Number of patches up to which so many prompts are decoded: those of 352×352 pixels in patches of 16.
const DECODER_PATCHES: usize = 484;

/// The embeddings of prompts, both `[prompts, projection_dim]`.
struct Embeddings {
    given: Tensor<2>,
    /// For the mirror image, where `left` and `right` are exchanged; `None` if they are the same.
    mirrored: Option<Tensor<2>>,
}

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
        let given = self.encode_text(prompts)?;
        let mirrored = image.is_mirrored().then(|| {
            let prompts = prompts.iter();
            let swapped: Vec<String> = prompts.map(|text| swap_left_right(text.as_ref())).collect();
            self.encode_text(&swapped)
        });
        let mirrored = mirrored.transpose()?;
        self.masks(image, Embeddings { given, mirrored })
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
        let positives = self.encode_prompts(image, prompts, options)?;
        let mut negative: Option<SoftMask> = None;
        if !options.negative_prompts.is_empty() {
            let negatives = self.encode_prompts(image, &options.negative_prompts, options)?;
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

    /// Computes a soft mask of the photograph's size for each embedding of a text or of a picture. In the mirror image
    /// of [`Views`](crate::Views) the embeddings are the same, whatever side a text names.
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
        let embeddings = Embeddings {
            given: conditional_embedding,
            mirrored: None,
        };
        self.masks(image, embeddings)
    }

    /// Computes the decoder's logits at the model's resolution, `[prompts, height, width]`.
    ///
    /// # Errors
    ///
    /// If the image was encoded by several views, whose logits are at different places, the embedding has
    /// another width than the model expects, a logit is NaN or infinite, or the device fails.
    pub fn logits(
        &self,
        image: &EncodedImage,
        conditional_embedding: Tensor<2>,
    ) -> Result<Tensor<3>> {
        let features = image.whole()?;
        self.check_width(&conditional_embedding)?;
        let batches = self.decode_in_batches(features, conditional_embedding);
        let batches = batches.map(|logits| {
            read_values(logits.clone())?;
            Ok(logits)
        });
        Ok(Tensor::cat(batches.collect::<Result<_>>()?, 0))
    }

    /// The embeddings of prompts. The embedding of a text is the mean over all templates.
    fn encode_prompts(
        &self,
        image: &EncodedImage,
        prompts: &[Prompt],
        options: &SegmentOptions,
    ) -> Result<Embeddings> {
        let given = self.embed_prompts(prompts, options, str::to_owned)?;
        let mirrored = image
            .is_mirrored()
            .then(|| self.embed_prompts(prompts, options, swap_left_right));
        Ok(Embeddings {
            given,
            mirrored: mirrored.transpose()?,
        })
    }

    /// The embeddings of prompts, `[prompts, projection_dim]`, after `change` was applied to each sentence.
    fn embed_prompts(
        &self,
        prompts: &[Prompt],
        options: &SegmentOptions,
        change: fn(&str) -> String,
    ) -> Result<Tensor<2>> {
        if prompts.is_empty() {
            return Err(ModelError::Input(
                "no prompt was given, expected at least one".into(),
            ));
        }
        let rows = prompts.iter().map(|prompt| match prompt {
            Prompt::Text(text) => {
                let sentences = options.sentences(text).into_iter();
                let sentences: Vec<String> = sentences.map(|text| change(&text)).collect();
                Ok(self.encode_text(&sentences)?.mean_dim(0))
            }
            Prompt::Visual(prompt) => self.encode_visual(prompt),
        });
        Ok(Tensor::cat(rows.collect::<Result<_>>()?, 0))
    }

    fn masks(&self, image: &EncodedImage, embeddings: Embeddings) -> Result<Vec<SoftMask>> {
        let mut masks = Vec::with_capacity(embeddings.given.dims()[0]);
        self.decode_each(image, embeddings, |_, mask| {
            masks.push(mask);
            Ok::<(), ModelError>(())
        })?;
        Ok(masks)
    }

    /// Passes the index and the mask of each embedding to `each` as soon as it is decoded.
    fn decode_each<E: From<ModelError>>(
        &self,
        image: &EncodedImage,
        embeddings: Embeddings,
        mut each: impl FnMut(usize, SoftMask) -> Result<(), E>,
    ) -> Result<(), E> {
        self.check_width(&embeddings.given)?;
        let features = match &image.encoded {
            Encoded::Whole(features) => features,
            Encoded::Views(views) => {
                for index in 0..embeddings.given.dims()[0] {
                    each(index, self.blended_mask(image, views, &embeddings, index)?)?;
                }
                return Ok(());
            }
        };
        let mut index = 0;
        for logits in self.decode_in_batches(features, embeddings.given) {
            let [_, height, width] = logits.dims();
            let from = [width as u32, height as u32];
            let to = [image.width(), image.height()];
            for logits in read_values(logits)?.chunks_exact(height * width) {
                each(index, SoftMask::from_logits(logits, from, to)?)?;
                index += 1;
            }
        }
        Ok(())
    }

    /// The mask of one embedding, blended from those of all views.
    fn blended_mask(
        &self,
        image: &EncodedImage,
        views: &[EncodedView],
        embeddings: &Embeddings,
        index: usize,
    ) -> Result<SoftMask> {
        let row = |embeddings: &Tensor<2>| embeddings.clone().slice(s![index..index + 1]);
        let given = row(&embeddings.given);
        let mirrored = embeddings.mirrored.as_ref().map_or(given.clone(), row);
        let mut blend = Blend::new([image.width(), image.height()]);
        for view in views {
            let embedding = if view.mirrored { &mirrored } else { &given };
            let logits = self.model().decode(&view.features, embedding.clone());
            let [_, height, width] = logits.dims();
            let (from, area) = ([width as u32, height as u32], view.area);
            let values = read_values(logits)?;
            let mask = SoftMask::from_logits(&values, from, [area.width, area.height])?;
            blend.add(&mask, area, &view.weights, view.mirrored);
        }
        blend.finish()
    }

    fn check_width(&self, conditional_embedding: &Tensor<2>) -> Result<()> {
        let [_, width] = conditional_embedding.dims();
        let expected = self.model().config().clip.projection_dim;
        if width != expected {
            return Err(ModelError::Input(format!(
                "the prompt's embedding has {width} values, expected {expected}"
            )));
        }
        Ok(())
    }

    /// The logits of one batch of prompts after another; the iterator decodes lazily.
    fn decode_in_batches<'a>(
        &'a self,
        features: &'a ImageFeatures,
        conditional_embedding: Tensor<2>,
    ) -> impl Iterator<Item = Tensor<3>> + 'a {
        let patches = features.grid[0] * features.grid[1];
        let batch = DECODER_BATCH * DECODER_PATCHES / patches.max(DECODER_PATCHES);
        let batches = conditional_embedding.split(batch.max(1), 0);
        batches
            .into_iter()
            .map(|batch| self.model().decode(features, batch))
    }
}
