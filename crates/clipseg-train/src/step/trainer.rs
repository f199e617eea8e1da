//! One step of the optimizer on the decoder.

use crate::config::train_config::AdamWOptions;
use crate::error::Result;
use crate::run::checkpoint::{self, Resumable};
use crate::step::gradients;
use crate::step::optimizer::adamw;
use burn::module::Module;
use burn::optim::{GradientsParams, ModuleOptimizer};
use burn::prelude::*;
use burn::tensor::Bytes;
use clipseg_metrics::Loss;
use clipseg_model::{Decoder, ImageFeatures};

/// What a step learns from, all of it on the plain device.
#[derive(Debug, Clone)]
pub struct StepInput {
    /// What the frozen vision tower made of the pictures.
    pub features: ImageFeatures,
    /// The prompts, `[phrases, projection_dim]`.
    pub conditional_embedding: Tensor<2>,
    /// The picture of each phrase.
    pub picture_of: Vec<usize>,
    /// The truth, `[phrases, height, width]` of zeros and ones.
    pub masks: Tensor<3>,
}

/// A decoder on the autodiff device with its optimizer.
pub struct DecoderTrainer {
    decoder: Decoder,
    optimizer: ModuleOptimizer,
    loss: Loss,
}

impl std::fmt::Debug for DecoderTrainer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DecoderTrainer")
            .field("loss", &self.loss)
            .finish_non_exhaustive()
    }
}

impl DecoderTrainer {
    /// Prepares a decoder for training.
    pub fn new(decoder: Decoder, optimizer: &AdamWOptions, loss: Loss) -> Self {
        Self {
            decoder: decoder.train(),
            optimizer: adamw(optimizer),
            loss,
        }
    }

    /// The loss, `[1]` on the autodiff device.
    pub fn loss(&self, input: &StepInput) -> Tensor<1> {
        let logits = self.decoder.forward_grouped(
            &input.features.autodiff(),
            input.conditional_embedding.clone().autodiff(),
            &input.picture_of,
        );
        self.loss.forward(logits, input.masks.clone().autodiff())
    }

    /// The loss and its gradients.
    pub fn gradients(&self, input: &StepInput) -> (Tensor<1>, GradientsParams) {
        let loss = self.loss(input);
        let gradients = GradientsParams::from_grads(loss.backward(), &self.decoder);
        (loss.without_autodiff(), gradients)
    }

    /// Multiplies gradients, as accumulating them over batches asks for.
    pub fn scale(&self, gradients: GradientsParams, factor: f64) -> GradientsParams {
        gradients::scaled(&self.decoder, gradients, factor)
    }

    /// Length of the gradient of all weights together, `[1]`; `None` without a gradient.
    pub fn gradient_norm(&self, gradients: &GradientsParams) -> Option<Tensor<1>> {
        gradients::norm(&self.decoder, gradients)
    }

    /// Shortens the gradient of all weights together to a length, if it is longer, as PyTorch's
    /// `clip_grad_norm_`; its length before is `[1]`.
    pub fn clip(
        &self,
        gradients: GradientsParams,
        longest: f64,
    ) -> (GradientsParams, Option<Tensor<1>>) {
        gradients::clipped(&self.decoder, gradients, longest)
    }

    /// Moves the weights against the gradients.
    pub fn apply(&mut self, gradients: GradientsParams, learning_rate: f64) {
        let decoder = self.decoder.clone();
        self.decoder = self.optimizer.step(learning_rate, decoder, gradients);
    }

    /// The decoder as it is now, on the plain device.
    pub fn decoder(&self) -> Decoder {
        self.decoder.valid()
    }

    /// The decoder as it is trained.
    pub(crate) fn module(&self) -> &Decoder {
        &self.decoder
    }
}

impl Resumable for DecoderTrainer {
    const MODULE: &'static str = "decoder";

    fn to_bytes(&self) -> Result<[Bytes; 2]> {
        checkpoint::to_bytes(&self.decoder, &self.optimizer)
    }

    fn load(&mut self, records: [Bytes; 2]) -> Result<(), String> {
        (self.decoder, self.optimizer) =
            checkpoint::from_bytes(&self.decoder, &self.optimizer, records)?;
        Ok(())
    }
}
