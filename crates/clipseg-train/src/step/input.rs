//! The input of a training step.

use burn::prelude::*;
use clipseg_model::ImageFeatures;

/// The input of a training step: encoded pictures and phrases with their ground truth.
///
/// All tensors are on the plain device, except that features and embeddings of a CLIP that is fine-tuned are
/// on the autodiff device, so that the gradients reach CLIP.
#[derive(Debug, Clone)]
pub struct StepInput {
    /// The output of the vision tower for each picture.
    pub features: ImageFeatures,
    /// The embeddings of the prompts, `[phrases, projection_dim]`.
    pub conditional_embedding: Tensor<2>,
    /// The index of the picture of each phrase.
    pub picture_of: Vec<usize>,
    /// The ground truth, `[phrases, height, width]` of zeros and ones.
    pub masks: Tensor<3>,
}
