//! The gradients and the optimizer of contrastive training.

use super::loss::contrastive_loss;
use crate::config::adamw_options::AdamWOptions;
use crate::error::Result;
use crate::run::checkpoint::{self, Resumable};
use crate::step::gradients;
use crate::step::optimizer::adamw;
use burn::module::Module;
use burn::optim::{GradientsAccumulator, GradientsParams, ModuleOptimizer};
use burn::prelude::*;
use burn::tensor::Bytes;
use clipseg_clip::{Clip, TextBatch};

/// The largest value of the learned factor on cosine similarities, as in CLIP.
const LARGEST_SCALE: f64 = 100.0;

/// A batch of pictures with their texts, all on the plain device.
#[derive(Debug, Clone)]
pub struct CaptionTensors {
    /// `[batch, channels, height, width]`, normalised.
    pub pixel_values: Tensor<4>,
    /// The text of each picture.
    pub texts: TextBatch,
    /// `[batch, batch]`, pictures by texts: true for the text of another picture that also describes this
    /// picture, so that the pair is not a negative.
    pub not_negatives: Option<Tensor<2, Bool>>,
}

/// A CLIP on the autodiff device with its optimizer.
pub struct ClipTrainer {
    clip: Clip,
    optimizer: ModuleOptimizer,
}

impl std::fmt::Debug for ClipTrainer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClipTrainer").finish_non_exhaustive()
    }
}

impl ClipTrainer {
    /// Prepares both towers, the projections and the temperature for training.
    pub fn new(clip: Clip, optimizer: &AdamWOptions) -> Self {
        Self {
            clip: clip.train(),
            optimizer: adamw(optimizer),
        }
    }

    /// Computes the loss of a batch, `[1]`, and its gradients.
    ///
    /// # Panics
    ///
    /// As [`Clip::text_embedding_unchecked`]; token ids of the CLIP's own tokenizer are always valid.
    ///
    /// # Errors
    ///
    /// If the pictures do not consist of complete patches.
    pub fn gradients(&self, input: &CaptionTensors) -> Result<(Tensor<1>, GradientsParams)> {
        let loss = contrastive_loss(
            self.clip.image_embedding(input.pixel_values.clone())?,
            self.clip.text_embedding_unchecked(&input.texts),
            self.clip.logit_scale(),
            input.not_negatives.clone(),
        );
        let gradients = GradientsParams::from_grads(loss.backward(), &self.clip);
        Ok((loss.without_autodiff(), gradients))
    }

    /// Computes the same loss and gradients with the activations of only `piece` samples in memory at a
    /// time, at the cost of a second forward pass (`GradCache`, Gao et al. 2021, arXiv:2101.06983). All
    /// samples are embedded without activations, the loss of the entire batch gives the gradients of the
    /// embeddings, and each piece is embedded again to backpropagate them.
    ///
    /// # Panics
    ///
    /// If `piece` is zero.
    ///
    /// # Errors
    ///
    /// As [`gradients`](Self::gradients).
    pub fn gradients_in_pieces(
        &self,
        input: &CaptionTensors,
        piece: usize,
    ) -> Result<(Tensor<1>, GradientsParams)> {
        let [batch, ..] = input.pixel_values.dims();
        if batch <= piece {
            return self.gradients(input);
        }
        let pieces: Vec<(Tensor<4>, TextBatch)> = (0..batch)
            .step_by(piece)
            .map(|start| input.part(start, (start + piece).min(batch)))
            .collect();
        let plain = self.clip.valid();
        let (mut images, mut texts) = (Vec::new(), Vec::new());
        for (pixels, tokens) in &pieces {
            images.push(plain.image_embedding(pixels.clone())?);
            texts.push(plain.text_embedding_unchecked(tokens));
        }
        let leaf = |parts: Vec<Tensor<2>>| Tensor::cat(parts, 0).autodiff().require_grad();
        let (images, texts) = (leaf(images), leaf(texts));
        let loss = contrastive_loss(
            images.clone(),
            texts.clone(),
            self.clip.logit_scale(),
            input.not_negatives.clone(),
        );
        let mut tape = loss.backward();
        let mut accumulator = GradientsAccumulator::new();
        if let (Some(to_images), Some(to_texts)) =
            (images.grad_remove(&mut tape), texts.grad_remove(&mut tape))
        {
            for (index, (pixels, texts)) in pieces.into_iter().enumerate() {
                let rows = index * piece..((index + 1) * piece).min(batch);
                let of = |gradient: &Tensor<2>| gradient.clone().slice(s![rows.clone(), ..]);
                let image = self.clip.image_embedding(pixels)? * of(&to_images).autodiff();
                let text = self.clip.text_embedding_unchecked(&texts) * of(&to_texts).autodiff();
                let back = (image.sum() + text.sum()).backward();
                let gradients = GradientsParams::from_grads(back, &self.clip);
                accumulator.accumulate(&self.clip, gradients);
            }
        }
        // The remaining gradients of the loss are those of the temperature.
        let rest = GradientsParams::from_grads(tape, &self.clip);
        accumulator.accumulate(&self.clip, rest);
        Ok((loss.without_autodiff(), accumulator.grads()))
    }

    /// Scales the gradients down to a norm over all weights, if theirs is larger, as PyTorch's
    /// `clip_grad_norm_`. The norm before is `[1]`.
    pub fn clip_gradients(
        &self,
        gradients: GradientsParams,
        longest: f64,
    ) -> (GradientsParams, Option<Tensor<1>>) {
        gradients::clipped(&self.clip, gradients, longest)
    }

    /// Does a step of the optimizer and limits the factor on cosine similarities to 100.
    pub fn apply(&mut self, gradients: GradientsParams, learning_rate: f64) {
        let clip = self
            .optimizer
            .step(learning_rate, self.clip.clone(), gradients);
        self.clip = clip.with_logit_scale_at_most(LARGEST_SCALE.ln());
    }

    /// The logarithm of the factor on cosine similarities, `[1]` on the plain device.
    pub(crate) fn logit_scale(&self) -> Tensor<1> {
        self.clip.logit_scale().without_autodiff()
    }

    /// The current CLIP, on the plain device.
    pub fn clip(&self) -> Clip {
        self.clip.valid()
    }
}

impl CaptionTensors {
    fn part(&self, start: usize, end: usize) -> (Tensor<4>, TextBatch) {
        let pixels = self.pixel_values.clone().slice(s![start..end, .., .., ..]);
        let rows = |ids: &Tensor<2, Int>| ids.clone().slice(s![start..end, ..]);
        let texts = TextBatch {
            input_ids: rows(&self.texts.input_ids),
            attention_mask: self.texts.attention_mask.as_ref().map(rows),
        };
        (pixels, texts)
    }
}

impl Resumable for ClipTrainer {
    const MODULE: &'static str = "clip";

    type Module = Clip;

    fn plain(&self) -> Clip {
        self.clip()
    }

    fn to_bytes(&self) -> Result<[Bytes; 2]> {
        checkpoint::to_bytes(&self.clip, &self.optimizer)
    }

    fn load(&mut self, records: [Bytes; 2]) -> Result<(), String> {
        (self.clip, self.optimizer) = checkpoint::from_bytes(&self.clip, &self.optimizer, records)?;
        Ok(())
    }
}
