//! What the frozen CLIP makes of pictures and phrases, on the plain device.

use crate::error::{Result, TrainError};
use burn::prelude::*;
use clipseg_clip::{Clip, ClipTokenizer, ImageProcessor};
use clipseg_data::SegmentationBatch;
use clipseg_model::{ClipSegConfig, ImageFeatures};
use std::collections::HashMap;

/// A frozen CLIP with what it needs around it.
///
/// Each phrase is encoded once and remembered.
#[derive(Debug)]
pub struct FrozenClip {
    clip: Clip,
    config: ClipSegConfig,
    tokenizer: ClipTokenizer,
    processor: ImageProcessor,
    device: Device,
    known: HashMap<String, Tensor<1>>,
}

impl FrozenClip {
    /// Takes the encoders of a model on the plain device.
    pub fn new(
        clip: Clip,
        config: ClipSegConfig,
        tokenizer: ClipTokenizer,
        processor: ImageProcessor,
    ) -> Self {
        let device = clip.device();
        Self {
            clip,
            config,
            tokenizer,
            processor,
            device,
            known: HashMap::new(),
        }
    }

    /// The device that the encoders are on.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The configuration that the encoders and the decoder share.
    pub fn config(&self) -> &ClipSegConfig {
        &self.config
    }

    /// Runs the vision tower as far as the decoder needs it.
    ///
    /// # Shapes
    ///
    /// - pixels: `[pictures, 3, height, width]` from 0 to 1; they are normalised here
    pub fn encode_pictures(&self, pixels: Tensor<4>) -> ImageFeatures {
        let pixels = self.processor.normalise(pixels);
        ImageFeatures::extract(&self.clip, &self.config.decoder, pixels)
    }

    /// The embeddings of phrases, `[phrases, projection_dim]`.
    ///
    /// # Errors
    ///
    /// If there is none, or one cannot be tokenized.
    pub fn encode_phrases(&mut self, phrases: &[String]) -> Result<Tensor<2>> {
        let mut new: Vec<&String> = phrases
            .iter()
            .filter(|phrase| !self.known.contains_key(*phrase))
            .collect();
        new.sort_unstable();
        new.dedup();
        if !new.is_empty() {
            let embeddings = self
                .clip
                .text_embedding(&self.tokenizer.batch(&new, &self.device)?);
            for (row, phrase) in new.into_iter().enumerate() {
                let embedding = embeddings
                    .clone()
                    .slice(s![row..row + 1, ..])
                    .squeeze_dim(0);
                self.known.insert(phrase.clone(), embedding);
            }
        }
        let rows: Vec<Tensor<1>> = phrases
            .iter()
            .filter_map(|phrase| self.known.get(phrase).cloned())
            .collect();
        if rows.is_empty() {
            return Err(TrainError::Empty("given"));
        }
        Ok(Tensor::stack(rows, 0))
    }

    /// Everything that a step needs of a batch.
    ///
    /// # Errors
    ///
    /// As [`encode_phrases`](Self::encode_phrases).
    pub fn encode(&mut self, batch: SegmentationBatch) -> Result<crate::StepInput> {
        Ok(crate::StepInput {
            conditional_embedding: self.encode_phrases(&batch.phrases)?,
            features: self.encode_pictures(batch.pixels),
            picture_of: batch.picture_of,
            masks: batch.masks,
        })
    }

    /// The encoders and what is around them, to build a model or a segmenter.
    pub fn into_parts(self) -> (Clip, ClipSegConfig, ClipTokenizer, ImageProcessor) {
        (self.clip, self.config, self.tokenizer, self.processor)
    }
}
