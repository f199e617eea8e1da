//! One step of the optimizer on the decoder, and on a CLIP that is fine-tuned with it.

use crate::config::adamw_options::AdamWOptions;
use crate::error::Result;
use crate::run::checkpoint::{Records, Resumable};
use crate::step::gradients;
use crate::step::input::StepInput;
use crate::step::optimizer::adamw;
use burn::module::Module;
use burn::optim::{GradientsParams, ModuleOptimizer};
use burn::prelude::*;
use burn::tensor::activation::sigmoid;
use clipseg_clip::{Clip, TunedClip};
use clipseg_metrics::Loss;
use clipseg_model::Decoder;

/// The name of the decoder in a checkpoint.
pub(crate) const DECODER: &str = "decoder";
/// The name of the fine-tuned CLIP in a checkpoint.
pub(crate) const CLIP: &str = "clip";

/// Everything that is trained, on the autodiff device.
#[derive(Module, Debug)]
pub(crate) struct Trained {
    decoder: Decoder,
    // The optimizer selects the parameters of CLIP by the name of this field.
    clip: Option<TunedClip>,
}

/// A decoder on the autodiff device with its optimizer and its loss, and perhaps a CLIP that is fine-tuned.
pub struct DecoderTrainer {
    module: Trained,
    optimizer: ModuleOptimizer,
    options: AdamWOptions,
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
            module: Trained {
                decoder: decoder.train(),
                clip: None,
            },
            optimizer: adamw(optimizer, None),
            options: *optimizer,
            loss,
            sigmoid_twice: false,
        }
    }

    /// Computes the loss from the sigmoid of the logits as if these were the logits.
    pub(crate) fn with_sigmoid_twice(mut self, twice: bool) -> Self {
        self.sigmoid_twice = twice;
        self
    }

    /// Trains a CLIP together with the decoder. Its learning rate is `share` times that of the decoder.
    ///
    /// The inputs of each step must be encoded by [`tuned_clip`](Self::tuned_clip).
    #[must_use]
    pub fn with_clip(mut self, clip: TunedClip, share: f64) -> Self {
        self.module.clip = Some(clip);
        self.optimizer = adamw(&self.options, Some(share));
        self
    }

    /// Computes the loss, `[1]` on the autodiff device.
    pub fn loss(&self, input: &StepInput) -> Tensor<1> {
        let logits = self.module.decoder.forward_grouped(
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
        let gradients = GradientsParams::from_grads(loss.backward(), &self.module);
        (loss.without_autodiff(), gradients)
    }

    /// Multiplies all gradients by a factor, to accumulate them over batches.
    pub fn scale(&self, gradients: GradientsParams, factor: f64) -> GradientsParams {
        gradients::scaled(&self.module, gradients, factor)
    }

    /// The gradient norm over all trained weights, `[1]`; `None` if there is no gradient.
    pub fn gradient_norm(&self, gradients: &GradientsParams) -> Option<Tensor<1>> {
        gradients::norm(&self.module, gradients)
    }

    /// Scales the gradients down to a norm over all trained weights, if theirs is larger, as PyTorch's
    /// `clip_grad_norm_`. The norm before is `[1]`.
    pub fn clip(
        &self,
        gradients: GradientsParams,
        longest: f64,
    ) -> (GradientsParams, Option<Tensor<1>>) {
        gradients::clipped(&self.module, gradients, longest)
    }

    /// Does a step of the optimizer.
    pub fn apply(&mut self, gradients: GradientsParams, learning_rate: f64) {
        let module = self.module.clone();
        self.module = self.optimizer.step(learning_rate, module, gradients);
    }

    /// The current decoder, on the plain device.
    pub fn decoder(&self) -> Decoder {
        self.module.decoder.valid()
    }

    /// The CLIP that is fine-tuned, as it is now; `None` if CLIP is frozen.
    pub fn tuned_clip(&self) -> Option<&TunedClip> {
        self.module.clip.as_ref()
    }

    /// The current CLIP on the plain device; `None` if CLIP is frozen.
    pub(crate) fn plain_clip(&self) -> Option<Clip> {
        self.tuned_clip().map(TunedClip::clip)
    }

    /// Everything that is trained.
    pub(crate) fn module(&self) -> &Trained {
        &self.module
    }
}

impl Resumable for DecoderTrainer {
    fn non_finite(&self) -> Vec<String> {
        let mut names = clipseg_clip::non_finite(&self.decoder());
        let of_clip = self.tuned_clip().map(TunedClip::non_finite);
        let of_clip = of_clip.into_iter().flatten();
        names.extend(of_clip.map(|name| format!("{CLIP}.{name}")));
        names
    }

    fn to_records(&self) -> Result<Records> {
        let mut records = Records::default().with_module(DECODER, &self.module.decoder)?;
        if let Some(clip) = self.tuned_clip() {
            records = records.with(CLIP, clip.to_bytes()?);
        }
        records.with_optimizer(&self.optimizer)
    }

    fn load(&mut self, mut records: Records) -> Result<(), String> {
        let decoder = records.module(DECODER, &self.module.decoder)?;
        let clip = match &self.module.clip {
            Some(clip) => {
                let loaded = clip.clone().with_bytes(records.take(CLIP)?);
                Some(loaded.map_err(|error| error.to_string())?)
            }
            None => None,
        };
        let optimizer = records.optimizer(&self.optimizer)?;
        records.finish()?;
        self.module = Trained { decoder, clip };
        self.optimizer = optimizer;
        Ok(())
    }
}
