//! One step of the optimizer on the decoder.

use crate::config::adamw_options::AdamWOptions;
use crate::error::Result;
use crate::run::checkpoint::{self, Resumable};
use crate::step::gradients;
use crate::step::input::StepInput;
use crate::step::optimizer::adamw;
use burn::module::Module;
use burn::optim::{GradientsParams, ModuleOptimizer};
use burn::prelude::*;
use burn::tensor::Bytes;
use burn::tensor::activation::sigmoid;
use clipseg_metrics::Loss;
use clipseg_model::Decoder;

/// A decoder on the autodiff device with its optimizer and its loss.
pub struct DecoderTrainer {
    decoder: Decoder,
    optimizer: ModuleOptimizer,
    loss: Loss,
    /// Whether the loss gets the sigmoid of the logits instead of the logits, a defect that a study reproduces.
    sigmoid_twice: bool,
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
            sigmoid_twice: false,
        }
    }

    /// Computes the loss from the sigmoid of the logits as if these were the logits.
    pub(crate) fn with_sigmoid_twice(mut self, twice: bool) -> Self {
        self.sigmoid_twice = twice;
        self
    }

    /// Computes the loss, `[1]` on the autodiff device.
    pub fn loss(&self, input: &StepInput) -> Tensor<1> {
        let logits = self.decoder.forward_grouped(
            &input.features.autodiff(),
            input.conditional_embedding.clone().autodiff(),
            &input.picture_of,
        );
        let logits = if self.sigmoid_twice {
            sigmoid(logits)
        } else {
            logits
        };
        self.loss.forward(logits, input.masks.clone().autodiff())
    }

    /// Computes the loss, `[1]`, and its gradients.
    pub fn gradients(&self, input: &StepInput) -> (Tensor<1>, GradientsParams) {
        let loss = self.loss(input);
        let gradients = GradientsParams::from_grads(loss.backward(), &self.decoder);
        (loss.without_autodiff(), gradients)
    }

    /// Multiplies all gradients by a factor, to accumulate them over batches.
    pub fn scale(&self, gradients: GradientsParams, factor: f64) -> GradientsParams {
        gradients::scaled(&self.decoder, gradients, factor)
    }

    /// The gradient norm over all weights, `[1]`; `None` if there is no gradient.
    pub fn gradient_norm(&self, gradients: &GradientsParams) -> Option<Tensor<1>> {
        gradients::norm(&self.decoder, gradients)
    }

    /// Scales the gradients down to a norm over all weights, if theirs is larger, as PyTorch's
    /// `clip_grad_norm_`. The norm before is `[1]`.
    pub fn clip(
        &self,
        gradients: GradientsParams,
        longest: f64,
    ) -> (GradientsParams, Option<Tensor<1>>) {
        gradients::clipped(&self.decoder, gradients, longest)
    }

    /// Does a step of the optimizer.
    pub fn apply(&mut self, gradients: GradientsParams, learning_rate: f64) {
        let decoder = self.decoder.clone();
        self.decoder = self.optimizer.step(learning_rate, decoder, gradients);
    }

    /// The current decoder, on the plain device.
    pub fn decoder(&self) -> Decoder {
        self.decoder.valid()
    }

    /// The current decoder, on the autodiff device.
    pub(crate) fn module(&self) -> &Decoder {
        &self.decoder
    }
}

impl Resumable for DecoderTrainer {
    const MODULE: &'static str = "decoder";

    type Module = Decoder;

    fn plain(&self) -> Decoder {
        self.decoder()
    }

    fn to_bytes(&self) -> Result<[Bytes; 2]> {
        checkpoint::to_bytes(&self.decoder, &self.optimizer)
    }

    fn load(&mut self, records: [Bytes; 2]) -> Result<(), String> {
        (self.decoder, self.optimizer) =
            checkpoint::from_bytes(&self.decoder, &self.optimizer, records)?;
        Ok(())
    }
}
