//! Encoding pictures and phrases for a training step with a CLIP that is fine-tuned.

use crate::error::Result;
use crate::frozen::encoding::FrozenClip;
use crate::step::input::StepInput;
use burn::prelude::*;
use clipseg_clip::TunedClip;
use clipseg_data::{SampleBatch, Support};
use clipseg_model::ImageFeatures;

impl FrozenClip {
    /// Encodes a loaded batch with a CLIP that is fine-tuned. Features and embeddings are on the autodiff
    /// device. Only phrases for a frozen text tower are cached.
    pub(crate) fn encode_tuned(
        &mut self,
        tuned: &TunedClip,
        batch: SampleBatch,
    ) -> Result<StepInput> {
        let batch = batch.into_tensors(&self.device);
        let [pictures, ..] = batch.pixels.dims();
        let pixels = self.processor.normalise(batch.pixels);
        let decoder = &self.config.decoder;
        let hidden = tuned.hidden_states(pixels.clone(), decoder.extract_layers())?;
        let features = ImageFeatures {
            hidden_states: hidden.states,
            grid: hidden.grid,
            pixel_values: decoder.uses_pixels().then(|| pixels.autodiff()),
        };
        self.counts.pictures_encoded += pictures as u64;
        let conditional_embedding = if tuned.part().text {
            // The tokenizer was checked against the tower when both were loaded.
            let texts = self.tokenizer.batch(&batch.phrases, &self.device)?;
            self.counts.phrases_encoded += batch.phrases.len() as u64;
            tuned.text_embedding_unchecked(&texts)
        } else {
            self.encode_phrases(&batch.phrases)?.autodiff()
        };
        Ok(StepInput {
            features,
            conditional_embedding,
            picture_of: batch.picture_of,
            masks: batch.masks,
        })
    }

    /// Computes the embeddings of visual prompts, as [`encode_supports`](Self::encode_supports), with a CLIP
    /// that is fine-tuned.
    pub(crate) fn encode_supports_tuned(
        &self,
        tuned: &TunedClip,
        supports: &[&Support],
    ) -> Result<Tensor<2>> {
        Ok(tuned.image_embedding(self.support_pixels(supports)?)?)
    }
}
