//! The CLIP model: both towers, their projections, and the logit scale.

use crate::config::ClipConfig;
use crate::error::Result;
use crate::layers::{initialise, linear};
use crate::regions::Regions;
use crate::text::{TextBatch, TextEncoder};
use crate::vision::VisionEncoder;
use burn::module::Param;
use burn::nn::Linear;
use burn::prelude::*;

/// A CLIP model, which embeds pictures and texts in one space (Radford et al. 2021, arXiv:2103.00020).
///
/// [`Clip::init`] creates it with random weights, and [`load_clip`](crate::load_clip) loads it from a
/// checkpoint. It can be trained on an autodiff device. A frozen CLIP should be on the plain device,
/// where Burn's fused attention is used.
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
    /// A CLIP with random weights. Call `device.seed` before to make them reproducible.
    pub fn init(config: &ClipConfig, device: &Device) -> Self {
        let clip = Self::build(config, device);
        initialise(&clip);
        clip
    }

    /// A CLIP to load weights into. Its parameters take no memory until they are loaded; if they are used
    /// before, they are initialised with random numbers.
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

    /// The logit scale, `[1]`: the logarithm of the learned factor on the similarities, which is the inverse
    /// of the temperature.
    pub fn logit_scale(&self) -> Tensor<1> {
        self.logit_scale.val()
    }

    /// The same model with a logit scale of at most `most`. CLIP limits it to ln 100 in training.
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

    /// The same model with the linear layers and the attention of the vision tower in bf16, which is faster
    /// on CPUs with AVX-512 and bfloat16. Weights that were rounded once take half the memory of packed
    /// ones in single precision.
    ///
    /// Factors are rounded to bf16 (8 significant bits) and their products summed in single precision. The
    /// patch embedding, the norms, the residual connections, the softmax and the text tower stay in single
    /// precision, and so do all tensors and the saved weights.
    ///
    /// # Errors
    ///
    /// [`ClipError::Bf16`](crate::ClipError::Bf16) if the weights are not on the plain `flex` device in
    /// single precision, if the kernels are not compiled in or turned off
    /// ([`kernels_are_used`](crate::kernels_are_used)), or if the CPU lacks the instructions. Each pass of
    /// the vision tower checks this again.
    pub fn with_bf16_vision(mut self) -> Result<Self> {
        self.vision_model = self.vision_model.with_bf16()?;
        Ok(self)
    }

    /// The same model with the entire vision tower in single precision, as after loading; the opposite of
    /// [`with_bf16_vision`](Self::with_bf16_vision).
    #[must_use]
    pub fn with_f32_vision(mut self) -> Self {
        self.vision_model = self.vision_model.with_f32();
        self
    }

    /// The device of the weights.
    pub fn device(&self) -> Device {
        self.logit_scale.val().device()
    }

    /// Embeds texts. The embeddings are **not** normalised, as CLIPSeg's decoder expects them.
    ///
    /// # Shapes
    ///
    /// - output: `[batch, projection_dim]`
    ///
    /// # Errors
    ///
    /// If the tokens do not fit the text tower; see [`TextEncoder::forward`].
    pub fn text_embedding(&self, texts: &TextBatch) -> Result<Tensor<2>> {
        let pooled = self.text_model.forward(texts)?.pooled;
        Ok(self.text_projection.forward(pooled))
    }

    /// Embeds texts like [`text_embedding`](Self::text_embedding) without checking the tokens.
    ///
    /// The check copies the tokens from the device, which waits for all of its queued work. That takes
    /// too long in every training step. Use this for tokens of the model's own tokenizer only.
    ///
    /// # Panics
    ///
    /// On some devices, if a text has more tokens than the tower has positions, or a token is not in the
    /// vocabulary.
    pub fn text_embedding_unchecked(&self, texts: &TextBatch) -> Tensor<2> {
        let pooled = self.text_model.pooled_unchecked(texts);
        self.text_projection.forward(pooled)
    }

    /// Embeds pictures. The embeddings are **not** normalised, as CLIPSeg's decoder expects them.
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

    /// Embeds pictures and regions of them, with one pass of the vision tower. A region's embedding is the
    /// mean of its patches after the final norm, projected like the class token; see [`Regions`]. The
    /// embeddings are **not** normalised.
    ///
    /// # Shapes
    ///
    /// - `pixel_values`: `[batch, channels, height, width]`
    /// - output: pictures `[batch, projection_dim]`, as [`image_embedding`](Self::image_embedding); regions
    ///   `[regions, projection_dim]`, picture by picture
    ///
    /// # Errors
    ///
    /// As [`image_embedding`](Self::image_embedding), and [`ClipError::Input`](crate::ClipError::Input) if
    /// the regions are not those of so many pictures or not on their grid of patches, or if there is none.
    pub fn region_embedding(
        &self,
        pixel_values: Tensor<4>,
        regions: &Regions,
    ) -> Result<(Tensor<2>, Tensor<2>)> {
        let [pictures, ..] = pixel_values.dims();
        let (class, patches, grid) = self.vision_model.final_tokens(pixel_values)?;
        regions.check(pictures, grid)?;
        let regions = regions.pool(patches);
        Ok((self.project_pooled(class), self.project_pooled(regions)))
    }

    /// Projects the pooled state of the vision tower into the shared space, for callers that have run the
    /// tower themselves.
    ///
    /// # Shapes
    ///
    /// - pooled: `[batch, hidden_size]`
    /// - output: `[batch, projection_dim]`
    pub fn project_pooled(&self, pooled: Tensor<2>) -> Tensor<2> {
        self.visual_projection.forward(pooled)
    }

    /// The similarity of every picture with every text: cosine similarities times `exp(logit_scale)`.
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

/// Divides each row by its Euclidean norm.
///
/// # Shapes
///
/// - embedding: `[batch, width]`
/// - output: the same
pub fn normalise(embedding: Tensor<2>) -> Tensor<2> {
    let length = embedding.clone().square().sum_dim(1).sqrt();
    embedding / length
}
