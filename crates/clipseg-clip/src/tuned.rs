//! A CLIP of which a part is trained together with a model that reads its output.

use crate::clip::Clip;
use crate::error::{ClipError, Result};
use crate::text::TextBatch;
use crate::vision::{HiddenStates, RequestedStates, VisionEncoder};
use burn::module::{ModuleVisitor, Param, ParamGroup};
use burn::prelude::*;
use burn::store::ModuleRecord;
use burn::tensor::Bytes;
use std::ops::Range;

/// The weights of a CLIP that are trained. All others stay frozen, and so does the logit scale.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TunedPart {
    /// Whether the text tower and its projection are trained.
    pub text: bool,
    /// Whether the embeddings of the vision tower and the norm before its first block are trained.
    pub vision_embeddings: bool,
    /// The trained blocks of the vision tower, counted from 0.
    pub vision_blocks: Range<usize>,
    /// Whether the final norm of the vision tower and its projection are trained. They have an effect on
    /// [`TunedClip::image_embedding`] only.
    pub vision_output: bool,
}

impl TunedPart {
    /// The trained weights by parts of their names.
    fn names(&self) -> Vec<String> {
        let mut names = Vec::new();
        if self.text {
            names.extend(["text_model.", "text_projection."].map(str::to_owned));
        }
        if self.vision_embeddings {
            let embeddings = ["vision_model.embeddings.", "vision_model.pre_layrnorm."];
            names.extend(embeddings.map(str::to_owned));
        }
        let blocks = self.vision_blocks.clone();
        names.extend(blocks.map(|block| format!("vision_model.encoder.layers.{block}.")));
        if self.vision_output {
            let output = ["vision_model.post_layernorm.", "visual_projection."];
            names.extend(output.map(str::to_owned));
        }
        names
    }

    fn check(&self, depth: usize) -> Result<()> {
        // A group without names would match every weight.
        if self.names().is_empty() {
            let message = "no weights to train are selected, expected at least one part of CLIP";
            return Err(ClipError::Input(message.into()));
        }
        if self.vision_blocks.end > depth {
            return Err(ClipError::Input(format!(
                "block {} of the vision tower does not exist, expected 0 to {}",
                self.vision_blocks.end - 1,
                depth.saturating_sub(1)
            )));
        }
        Ok(())
    }
}

/// A CLIP of which a part is trained together with a model that reads its output.
///
/// The blocks of the vision tower below the first trained weights run on the plain device, with fused
/// attention. No activation of them is kept for the backward pass. All outputs are on the autodiff device.
///
/// # Example
///
/// ```
/// use burn::module::Module;
/// use burn::optim::GradientsParams;
/// use burn::tensor::{Device, Distribution, Tensor};
/// use clipseg_clip::{Clip, ClipConfig, TunedClip, TunedPart};
///
/// let device = Device::flex();
/// let mut config = ClipConfig::small();
/// config.text_config.hidden_size = 32; // small enough for an example
/// let part = TunedPart {
///     text: false,
///     vision_embeddings: false,
///     vision_blocks: 2..3,
///     vision_output: false,
/// };
/// let tuned = TunedClip::new(Clip::init(&config, &device), part)?;
///
/// let pictures = Tensor::<4>::random([1, 3, 32, 32], Distribution::Default, &device);
/// let states = tuned.hidden_states(pictures, &[1, 2])?.states;
/// let loss = (states[0].clone() + states[1].clone()).square().mean();
/// let gradients = GradientsParams::from_grads(loss.backward(), &tuned);
/// assert_eq!(gradients.len(), 16); // the weights and biases of one block
/// # Ok::<(), clipseg_clip::ClipError>(())
/// ```
#[derive(Module, Debug)]
pub struct TunedClip {
    /// On the autodiff device. Only the trained weights require gradients.
    trained: Clip,
    /// The vision tower on the plain device, of which the blocks below the trained ones are used; `None` if
    /// the embeddings are trained, so that there are none.
    #[module(skip)]
    below: Option<VisionEncoder>,
    #[module(skip)]
    part: TunedPart,
}

impl TunedClip {
    /// Prepares a part of a CLIP on the plain device for training. It runs in single precision, also after
    /// [`Clip::with_bf16_vision`].
    ///
    /// # Errors
    ///
    /// If the part has no weights, or a block that does not exist.
    pub fn new(clip: Clip, part: TunedPart) -> Result<Self> {
        part.check(clip.vision_model().num_layers())?;
        let clip = clip.with_f32_vision();
        let below = (!part.vision_embeddings).then(|| clip.vision_model().clone());
        let group = ParamGroup::from_any_predicates(part.names());
        let trained = clip.train().no_grad().set_require_grad_group(group, true);
        Ok(Self {
            trained,
            below,
            part,
        })
    }

    /// The weights that are trained.
    pub fn part(&self) -> &TunedPart {
        &self.part
    }

    /// The current CLIP on the plain device, with the frozen weights.
    pub fn clip(&self) -> Clip {
        // Whoever trains this CLIP later decides anew which weights are frozen.
        self.trained.valid().set_require_grad(true)
    }

    /// The names of the trained weights that are NaN or infinite.
    pub fn non_finite(&self) -> Vec<String> {
        let names = self.part.names();
        let is_trained = |name: &String| names.iter().any(|part| name.starts_with(part));
        let mut found = crate::non_finite(&self.trained.valid());
        found.retain(is_trained);
        found
    }

    /// The trained weights as a record in Burn's format. Frozen weights are not part of it.
    ///
    /// # Errors
    ///
    /// If the weights cannot be copied from their device.
    pub fn to_bytes(&self) -> Result<Bytes> {
        let group = ParamGroup::from_any_predicates(self.part.names());
        let record = self.trained.valid().into_record_group(group);
        let bytes = record.into_bytes();
        bytes.map_err(|error| ClipError::Input(format!("weights cannot be copied: {error}")))
    }

    /// The same CLIP with the trained weights of a record that [`to_bytes`](Self::to_bytes) has written.
    ///
    /// # Errors
    ///
    /// If the record is damaged, or contains other weights than the trained ones.
    pub fn with_bytes(mut self, bytes: Bytes) -> Result<Self> {
        let fail = |error: &dyn std::fmt::Display| {
            ClipError::Input(format!("the weights of the fine-tuned CLIP: {error}"))
        };
        let record = ModuleRecord::from_bytes(bytes).map_err(|error| fail(&error))?;
        let (found, expected) = (record.len(), self.trained_tensors());
        if found != expected {
            return Err(fail(&format!("{found} tensors, expected {expected}")));
        }
        let loaded = self
            .trained
            .valid()
            .try_load_record(record.allow_partial(true));
        self.trained = loaded.map_err(|error| fail(&error))?.train();
        Ok(self)
    }

    /// Number of trained tensors.
    fn trained_tensors(&self) -> usize {
        struct Count(usize);
        impl ModuleVisitor for Count {
            fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
                self.0 += usize::from(param.is_require_grad());
            }
        }
        let mut count = Count(0);
        self.trained.visit(&mut count);
        count.0
    }

    /// Returns the hidden states after the given blocks, as [`VisionEncoder::hidden_states`], on the
    /// autodiff device.
    ///
    /// # Shapes
    ///
    /// - `pixel_values`: `[batch, channels, height, width]` on the plain device
    ///
    /// # Errors
    ///
    /// As [`VisionEncoder::hidden_states`].
    pub fn hidden_states(&self, pixel_values: Tensor<4>, layers: &[usize]) -> Result<HiddenStates> {
        let mut states = RequestedStates::new(layers, self.trained.vision_model().num_layers())?;
        let depth = states.depth();
        let (_, grid) = self.run(pixel_values, depth, |index, hidden| {
            states.add(index, &hidden.clone().autodiff());
        })?;
        Ok(states.finish(grid))
    }

    /// Embeds pictures, as [`Clip::image_embedding`], on the autodiff device.
    ///
    /// # Shapes
    ///
    /// - `pixel_values`: `[batch, channels, height, width]` on the plain device
    /// - output: `[batch, projection_dim]`
    ///
    /// # Errors
    ///
    /// As [`Clip::image_embedding`].
    pub fn image_embedding(&self, pixel_values: Tensor<4>) -> Result<Tensor<2>> {
        let depth = self.trained.vision_model().num_layers();
        let (hidden, _) = self.run(pixel_values, depth, |_, _| ())?;
        let pooled = self.trained.vision_model().pool(hidden);
        Ok(self.trained.project_pooled(pooled))
    }

    /// Embeds texts without checking the tokens, as [`Clip::text_embedding_unchecked`], on the autodiff
    /// device.
    ///
    /// # Panics
    ///
    /// As [`Clip::text_embedding_unchecked`].
    pub fn text_embedding_unchecked(&self, texts: &TextBatch) -> Tensor<2> {
        self.trained.text_embedding_unchecked(texts)
    }

    /// Runs the first `depth` blocks of the vision tower and returns the output of the last on the autodiff
    /// device, and the patch grid. `after` gets the index and the output of each block.
    fn run(
        &self,
        pixel_values: Tensor<4>,
        depth: usize,
        mut after: impl FnMut(usize, &Tensor<3>),
    ) -> Result<(Tensor<3>, [usize; 2])> {
        let tower = self.trained.vision_model();
        let (hidden, grid, first) = match &self.below {
            None => {
                let (hidden, grid) = tower.embed(pixel_values.autodiff())?;
                (hidden, grid, 0)
            }
            Some(below) => {
                let blocks = &self.part.vision_blocks;
                let first = if blocks.is_empty() {
                    depth
                } else {
                    blocks.start
                };
                let first = first.min(depth);
                let (hidden, grid) = below.embed(pixel_values)?;
                let hidden = below.run_blocks(hidden, 0..first, &mut after);
                (hidden.autodiff(), grid, first)
            }
        };
        Ok((tower.run_blocks(hidden, first..depth, after), grid))
    }
}
