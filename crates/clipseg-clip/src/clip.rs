//! Both towers, and the space in which a picture and a text can be compared.

use crate::config::ClipConfig;
use crate::error::Result;
use crate::layers::{initialise, linear};
use crate::text::{TextBatch, TextEncoder};
use crate::vision::VisionEncoder;
use burn::module::Param;
use burn::nn::Linear;
use burn::prelude::*;

/// CLIP: pictures and texts as vectors of one space (Radford et al. 2021, arXiv:2103.00020).
///
/// Made by [`Clip::init`] with random weights or by [`load_clip`](crate::load_clip) from a
/// checkpoint. On an autodiff device it can be trained; kept frozen, it belongs on the plain one,
/// where Burn has fused attention.
///
/// # Example
///
/// ```
/// use burn::tensor::{Device, Distribution, Tensor};
/// use clipseg_clip::{Clip, ClipConfig, ClipTokenizer};
///
/// let device = Device::flex();
/// let mut config = ClipConfig::small();
/// config.text_config.hidden_size = 32; // small enough for an example
/// let clip = Clip::init(&config, &device);
///
/// let tokenizer = ClipTokenizer::openai(config.text_config.max_position_embeddings)?;
/// let texts = tokenizer.batch(&["a photo of a cat", "a photo of a dog"], &device)?;
/// let pictures = Tensor::<4>::random([1, 3, 96, 96], Distribution::Default, &device);
///
/// // Zero-shot classification: one row for each picture, one column for each text.
/// let scores = clip.logits_per_image(
///     clip.image_embedding(pictures)?,
///     clip.text_embedding(&texts)?,
/// );
/// assert_eq!(scores.dims(), [1, 2]);
/// # Ok::<(), clipseg_clip::ClipError>(())
/// ```
#[derive(Module, Debug)]
pub struct Clip {
    text_model: TextEncoder,
    vision_model: VisionEncoder,
    text_projection: Linear,
    visual_projection: Linear,
    logit_scale: Param<Tensor<1>>,
}

impl Clip {
    /// A CLIP with random weights; `device.seed` before it makes them reproducible.
    pub fn init(config: &ClipConfig, device: &Device) -> Self {
        let clip = Self::build(config, device);
        initialise(&clip);
        clip
    }

    /// A CLIP to load weights into, whose parameters take no memory yet; one that is used before it
    /// is loaded draws random numbers.
    pub fn unfilled(config: &ClipConfig, device: &Device) -> Self {
        Self::build(config, device)
    }

    fn build(config: &ClipConfig, device: &Device) -> Self {
        let (text, vision) = (&config.text_config, &config.vision_config);
        let projection = |width: usize| {
            let mut map = linear(
                width,
                config.projection_dim,
                (width as f64).powf(-0.5),
                device,
            );
            map.bias = None;
            map
        };
        let scale = Tensor::from_floats([config.logit_scale_init_value as f32], device);
        Self {
            text_model: TextEncoder::init(text, device),
            vision_model: VisionEncoder::init(vision, device),
            text_projection: projection(text.hidden_size),
            visual_projection: projection(vision.hidden_size),
            logit_scale: Param::from_tensor(scale),
        }
    }

    /// The text tower.
    pub fn text_model(&self) -> &TextEncoder {
        &self.text_model
    }

    /// The vision tower.
    pub fn vision_model(&self) -> &VisionEncoder {
        &self.vision_model
    }

    /// The logarithm of the factor on scores, `[1]`: CLIP's learned temperature.
    pub fn logit_scale(&self) -> Tensor<1> {
        self.logit_scale.val()
    }

    /// The same model with a logarithm of the factor on scores of at most `most`, as CLIP keeps it at
    /// ln 100 in training.
    #[must_use]
    pub fn with_logit_scale_at_most(mut self, most: f64) -> Self {
        self.logit_scale = self.logit_scale.map(|scale| {
            let (autodiff, trained) = (scale.is_autodiff(), scale.is_require_grad());
            let scale = scale.without_autodiff().clamp_max(most);
            if autodiff {
                scale.autodiff().set_require_grad(trained)
            } else {
                scale
            }
        });
        self
    }

    /// The device that the weights are on.
    pub fn device(&self) -> Device {
        self.logit_scale.val().device()
    }

    /// Texts as vectors, **not** normalised, as CLIPSeg's decoder takes them.
    ///
    /// # Shapes
    ///
    /// - output: `[batch, projection_dim]`
    ///
    /// # Errors
    ///
    /// If the tokens are not this encoder's; see [`TextEncoder::forward`].
    pub fn text_embedding(&self, texts: &TextBatch) -> Result<Tensor<2>> {
        let pooled = self.text_model.forward(texts)?.pooled;
        Ok(self.text_projection.forward(pooled))
    }

    /// [`text_embedding`](Self::text_embedding) for texts that are known to be this encoder's, such as
    /// those of its own tokenizer, of one length. The check reads the tokens back, which waits for
    /// everything that the device still has to do: too long for every step of a training.
    ///
    /// # Panics
    ///
    /// On some devices, if there are more tokens than positions or one is not in the vocabulary.
    pub fn text_embedding_unchecked(&self, texts: &TextBatch) -> Tensor<2> {
        let pooled = self.text_model.forward_unchecked(texts).pooled;
        self.text_projection.forward(pooled)
    }

    /// Pictures as vectors, **not** normalised, as CLIPSeg's decoder takes them.
    ///
    /// # Shapes
    ///
    /// - `pixel_values`: `[batch, channels, height, width]`
    /// - output: `[batch, projection_dim]`
    ///
    /// # Errors
    ///
    /// If the pictures do not consist of complete patches; see [`VisionEncoder::forward`].
    pub fn image_embedding(&self, pixel_values: Tensor<4>) -> Result<Tensor<2>> {
        let pooled = self.vision_model.pooled(pixel_values)?;
        Ok(self.project_pooled(pooled))
    }

    /// The projection of the vision tower's pooled state, for callers that have run the tower.
    ///
    /// # Shapes
    ///
    /// - pooled: `[batch, hidden_size]`
    /// - output: `[batch, projection_dim]`
    pub fn project_pooled(&self, pooled: Tensor<2>) -> Tensor<2> {
        self.visual_projection.forward(pooled)
    }

    /// Cosine similarities times `exp(logit_scale)`.
    ///
    /// # Shapes
    ///
    /// - `image_embedding`: `[images, projection_dim]`
    /// - `text_embedding`: `[texts, projection_dim]`
    /// - output: `[images, texts]`
    pub fn logits_per_image(
        &self,
        image_embedding: Tensor<2>,
        text_embedding: Tensor<2>,
    ) -> Tensor<2> {
        let scores = normalise(image_embedding).matmul(normalise(text_embedding).transpose());
        scores * self.logit_scale.val().exp().unsqueeze()
    }
}

/// Divides each row by its Euclidean length.
///
/// # Shapes
///
/// - embedding: `[batch, width]`
/// - output: the same
pub fn normalise(embedding: Tensor<2>) -> Tensor<2> {
    let length = embedding.clone().square().sum_dim(1).sqrt();
    embedding / length
}
