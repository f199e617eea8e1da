//! CLIP's vision tower: the vision transformer of Dosovitskiy et al. 2021 (arXiv:2010.11929) with a norm
//! before the first block, QuickGELU, and no bias in the patch embedding.

use crate::config::VisionConfig;
use crate::error::{ClipError, Result};
use crate::fused::check_bf16;
use crate::layers::{AttentionMask, Encoder, EncoderShape, LayerNorm};
use crate::position::CubicWeights;
use crate::precision::Precision;
use burn::module::Param;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{Embedding, EmbeddingConfig, Initializer};
use burn::prelude::*;
use std::ops::Range;

#[derive(Module, Debug)]
struct VisionEmbeddings {
    class_embedding: Param<Tensor<1>>,
    patch_embedding: Conv2d,
    position_embedding: Embedding,
}

impl VisionEmbeddings {
    /// Embeds the patches, row by row.
    ///
    /// # Shapes
    ///
    /// - `pixel_values`: `[batch, channels, height, width]`
    /// - output: `[batch, patches, hidden_size]`
    fn patches(&self, pixel_values: Tensor<4>, patch: usize) -> Tensor<3> {
        // Patches do not overlap, so the convolution is one matrix product, which is faster than Burn's
        // convolution, above all in the backward pass with respect to the weights.
        let weight = self.patch_embedding.weight.val();
        let [batch, channels, height, width] = pixel_values.dims();
        let (rows, columns) = (height / patch, width / patch);
        let pixels = pixel_values
            .reshape([batch, channels, rows, patch, columns, patch])
            .permute([0, 2, 4, 1, 3, 5])
            .reshape([batch * rows * columns, channels * patch * patch]);
        let [hidden_size, ..] = weight.dims();
        let map = weight.reshape([hidden_size, channels * patch * patch]);
        let tokens: Tensor<2> = pixels.matmul(map.transpose());
        tokens.reshape([batch, rows * columns, hidden_size])
    }
}

/// CLIP's vision tower: pictures to tokens, the class token first, then one for each patch, row by row.
#[derive(Module, Debug)]
pub struct VisionEncoder {
    embeddings: VisionEmbeddings,
    pre_layrnorm: LayerNorm,
    encoder: Encoder,
    post_layernorm: LayerNorm,
    patch_size: usize,
    table_side: usize,
    #[module(skip)]
    cubic: CubicWeights,
    /// Precision of the products in the blocks: f32 or bf16.
    #[module(skip)]
    products: Precision,
}

/// The result of [`VisionEncoder::forward`]: everything that the tower computes.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct VisionOutput {
    /// The tokens before the first block, then the hidden state after each block:
    /// `1 + num_layers` tensors `[batch, 1 + patches, hidden_size]`, as `output_hidden_states=True`
    /// returns them in transformers.
    pub hidden_states: Vec<Tensor<3>>,
    /// The class token after the last block and the final norm, `[batch, hidden_size]`.
    pub pooled: Tensor<2>,
    /// Rows and columns of the patch grid.
    pub grid: [usize; 2],
}

/// The result of [`VisionEncoder::hidden_states`]: the hidden states of some blocks.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct HiddenStates {
    /// One tensor `[batch, 1 + patches, hidden_size]` for each requested block, in the order of the
    /// request. The class token comes first.
    pub states: Vec<Tensor<3>>,
    /// Rows and columns of the patch grid.
    pub grid: [usize; 2],
}

/// The hidden states that are kept from a pass through the blocks.
pub(crate) struct RequestedStates<'a> {
    layers: &'a [usize],
    states: Vec<Option<Tensor<3>>>,
}

impl<'a> RequestedStates<'a> {
    /// Requests the hidden states after the blocks `layers` of a tower of `depth` blocks.
    pub(crate) fn new(layers: &'a [usize], depth: usize) -> Result<Self> {
        if let Some(layer) = layers.iter().find(|&&layer| layer >= depth) {
            return Err(ClipError::Input(format!(
                "block {layer} of the vision tower does not exist, expected 0 to {}",
                depth.saturating_sub(1)
            )));
        }
        Ok(Self {
            layers,
            states: vec![None; layers.len()],
        })
    }

    /// Number of blocks that have to be computed.
    pub(crate) fn depth(&self) -> usize {
        self.layers.iter().max().map_or(0, |last| last + 1)
    }

    /// Keeps the output of a block if it is requested.
    pub(crate) fn add(&mut self, block: usize, hidden: &Tensor<3>) {
        let requested = self.states.iter_mut().zip(self.layers);
        for (state, _) in requested.filter(|(_, layer)| **layer == block) {
            *state = Some(hidden.clone());
        }
    }

    /// The states of a pass that has run all [`depth`](Self::depth) blocks.
    pub(crate) fn finish(self, grid: [usize; 2]) -> HiddenStates {
        HiddenStates {
            states: self.states.into_iter().flatten().collect(),
            grid,
        }
    }
}

impl VisionEncoder {
    /// A tower with random weights, initialised as in OpenAI's `model.py`.
    pub fn init(config: &VisionConfig, device: &Device) -> Self {
        let (width, patch) = (config.hidden_size, config.patch_size);
        let table_side = config.image_size / patch;
        let normal = Initializer::Normal {
            mean: 0.0,
            std: (width as f64).powf(-0.5),
        };
        let norm = || LayerNorm::init(width, config.layer_norm_eps, device);
        let shape = EncoderShape {
            width,
            inner: config.intermediate_size,
            heads: config.num_attention_heads,
            layers: config.num_hidden_layers,
            activation: config.hidden_act,
            epsilon: config.layer_norm_eps,
            packed: true,
        };
        Self {
            embeddings: VisionEmbeddings {
                class_embedding: normal.init([width], device),
                patch_embedding: Conv2dConfig::new([config.num_channels, width], [patch, patch])
                    .with_stride([patch, patch])
                    .with_bias(false)
                    .init(device),
                position_embedding: EmbeddingConfig::new(table_side * table_side + 1, width)
                    .with_initializer(normal.clone())
                    .init(device),
            },
            pre_layrnorm: norm(),
            encoder: Encoder::init(&shape, device),
            post_layernorm: norm(),
            patch_size: patch,
            table_side,
            cubic: CubicWeights::default(),
            products: Precision::F32,
        }
    }

    /// See [`Clip::with_bf16_vision`](crate::Clip::with_bf16_vision).
    pub(crate) fn with_bf16(self) -> Result<Self> {
        self.check_bf16()?;
        Ok(self.with_products(Precision::Bf16))
    }

    /// See [`Clip::with_f32_vision`](crate::Clip::with_f32_vision).
    pub(crate) fn with_f32(self) -> Self {
        self.with_products(Precision::F32)
    }

    fn with_products(mut self, products: Precision) -> Self {
        if self.products != products {
            self.encoder = self.encoder.packed_in(products);
            self.products = products;
        }
        self
    }

    fn check_bf16(&self) -> Result<()> {
        check_bf16(&self.embeddings.class_embedding.val())
    }

    /// Number of transformer blocks.
    pub fn num_layers(&self) -> usize {
        self.encoder.layers().len()
    }

    /// Side of a patch in pixels.
    pub fn patch_size(&self) -> usize {
        self.patch_size
    }

    /// Runs the entire tower and returns every hidden state and the pooled state.
    ///
    /// Pictures may have any size whose sides are multiples of the patch size, square or not: the
    /// position embeddings are interpolated. All hidden states stay in memory; use
    /// [`hidden_states`](Self::hidden_states) or [`pooled`](Self::pooled) if you need only some.
    ///
    /// # Shapes
    ///
    /// - `pixel_values`: `[batch, channels, height, width]`, normalised as the checkpoint expects
    /// - output: see [`VisionOutput`]
    ///
    /// # Errors
    ///
    /// [`ClipError::Input`] if a side is not a multiple of the patch size, or the number of channels
    /// is not the tower's.
    pub fn forward(&self, pixel_values: Tensor<4>) -> Result<VisionOutput> {
        let (hidden, grid) = self.embed(pixel_values)?;
        let mut hidden_states = vec![hidden.clone()];
        let hidden = self.run_blocks(hidden, 0..self.num_layers(), |_, hidden| {
            hidden_states.push(hidden.clone());
        });
        Ok(VisionOutput {
            hidden_states,
            pooled: self.pool(hidden),
            grid,
        })
    }

    /// Returns the hidden states after the given blocks and computes no block after the last of them.
    ///
    /// `layers` are 0-based block indices in any order: 3, 6 and 9 of twelve skip the last two blocks.
    /// For pictures of other sizes than the checkpoint's, see [`forward`](Self::forward).
    ///
    /// # Shapes
    ///
    /// - `pixel_values`: `[batch, channels, height, width]`, normalised as the checkpoint expects
    /// - output: see [`HiddenStates`]
    ///
    /// # Errors
    ///
    /// As [`forward`](Self::forward), and [`ClipError::Input`] if a block does not exist.
    pub fn hidden_states(&self, pixel_values: Tensor<4>, layers: &[usize]) -> Result<HiddenStates> {
        let mut states = RequestedStates::new(layers, self.num_layers())?;
        let (hidden, grid) = self.embed(pixel_values)?;
        self.run_blocks(hidden, 0..states.depth(), |index, hidden| {
            states.add(index, hidden);
        });
        Ok(states.finish(grid))
    }

    /// Returns the class token after the last block and the final norm.
    ///
    /// # Shapes
    ///
    /// - `pixel_values`: `[batch, channels, height, width]`, normalised as the checkpoint expects
    /// - output: `[batch, hidden_size]`
    ///
    /// # Errors
    ///
    /// As [`forward`](Self::forward).
    pub fn pooled(&self, pixel_values: Tensor<4>) -> Result<Tensor<2>> {
        let (hidden, _) = self.embed(pixel_values)?;
        Ok(self.pool(self.run_blocks(hidden, 0..self.num_layers(), |_, _| ())))
    }

    /// All tokens after the last block and the final norm: the class token `[batch, hidden_size]`, the
    /// patches `[batch, patches, hidden_size]`, row by row, and the patch grid.
    pub(crate) fn final_tokens(
        &self,
        pixel_values: Tensor<4>,
    ) -> Result<(Tensor<2>, Tensor<3>, [usize; 2])> {
        let (hidden, grid) = self.embed(pixel_values)?;
        let hidden = self.run_blocks(hidden, 0..self.num_layers(), |_, _| ());
        let patches = self
            .post_layernorm
            .forward(hidden.clone().slice(s![.., 1.., ..]));
        Ok((self.pool(hidden), patches, grid))
    }

    /// The patches `[batch, patches, hidden_size]`, row by row, after a last block that is its attention between
    /// keys alone, and after the final norm; and the patch grid. `bias` returns what is added to the attention
    /// scores for a grid, `[1 + patches, 1 + patches]`.
    pub(crate) fn tokens_between_keys(
        &self,
        pixel_values: Tensor<4>,
        bias: impl FnOnce([usize; 2]) -> Tensor<2>,
    ) -> Result<(Tensor<3>, [usize; 2])> {
        let (mut hidden, grid) = self.embed(pixel_values)?;
        if let Some((last, before)) = self.encoder.layers().split_last() {
            for block in before {
                hidden = block.forward(hidden, &AttentionMask::default());
            }
            hidden = last.forward_between_keys(hidden, bias(grid));
        }
        let patches = hidden.slice(s![.., 1.., ..]);
        Ok((self.post_layernorm.forward(patches), grid))
    }

    /// Runs some blocks in succession on their input, `[batch, 1 + patches, hidden_size]`, and returns the
    /// output of the last. `after` gets the index and the output of each block.
    pub(crate) fn run_blocks(
        &self,
        mut hidden: Tensor<3>,
        blocks: Range<usize>,
        mut after: impl FnMut(usize, &Tensor<3>),
    ) -> Tensor<3> {
        for index in blocks {
            hidden = self.encoder.layers()[index].forward(hidden, &AttentionMask::default());
            after(index, &hidden);
        }
        hidden
    }

    /// The tokens before the first block, `[batch, 1 + patches, hidden_size]`, and the patch grid.
    pub(crate) fn embed(&self, pixel_values: Tensor<4>) -> Result<(Tensor<3>, [usize; 2])> {
        if self.products == Precision::Bf16 {
            // Since the last check, the weights may have moved and the kernels may have been turned off.
            self.check_bf16()?;
        }
        let [batch, channels, height, width] = pixel_values.dims();
        let patch = self.patch_size;
        if height == 0
            || width == 0
            || !height.is_multiple_of(patch)
            || !width.is_multiple_of(patch)
        {
            return Err(ClipError::Input(format!(
                "a picture of {width}x{height} pixels does not consist of complete patches of \
                 {patch}x{patch}; both sides must be multiples of {patch}"
            )));
        }
        let [_, expected, ..] = self.embeddings.patch_embedding.weight.dims();
        if channels != expected {
            return Err(ClipError::Input(format!(
                "the pictures have {channels} channels, the vision tower expects {expected}"
            )));
        }
        let grid = [height / patch, width / patch];
        let patches = self.embeddings.patches(pixel_values, patch);
        let class = self
            .embeddings
            .class_embedding
            .val()
            .unsqueeze::<3>()
            .repeat_dim(0, batch);
        let table = self.embeddings.position_embedding.weight.val();
        let positions = self.cubic.resize(table, self.table_side, grid);
        let tokens = Tensor::cat(vec![class, patches], 1) + positions;
        Ok((self.pre_layrnorm.forward(tokens), grid))
    }

    /// The class token through the final norm, `[batch, hidden_size]`.
    pub(crate) fn pool(&self, hidden: Tensor<3>) -> Tensor<2> {
        let class = hidden.slice(s![.., 0..1, ..]);
        self.post_layernorm.forward(class).squeeze_dim::<2>(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ClipConfig;
    use burn::tensor::Distribution;

    fn tower() -> (VisionEncoder, Device) {
        let device = Device::flex();
        let config = ClipConfig::small().vision_config;
        (VisionEncoder::init(&config, &device), device)
    }

    #[test]
    fn selected_hidden_states_are_those_of_a_full_pass() {
        let (tower, device) = tower();
        let pixels = Tensor::<4>::random([2, 3, 16, 24], Distribution::Default, &device);
        let all = tower.forward(pixels.clone()).unwrap();
        assert_eq!((all.hidden_states.len(), all.grid), (5, [2, 3]));
        let some = tower.hidden_states(pixels.clone(), &[2, 0, 2]).unwrap();
        assert_eq!((some.states.len(), some.grid), (3, [2, 3]));
        for (state, index) in some.states.into_iter().zip([3, 1, 3]) {
            assert_eq!(state.dims(), [2, 7, 128]);
            assert_eq!(state.into_data(), all.hidden_states[index].to_data());
        }
        let pooled = tower.pooled(pixels).unwrap();
        assert_eq!(pooled.into_data(), all.pooled.into_data());
    }

    #[test]
    fn incomplete_patches_other_channels_and_missing_blocks_are_errors() {
        let (tower, device) = tower();
        let message = |shape: [usize; 4]| {
            let error = tower.forward(Tensor::zeros(shape, &device)).unwrap_err();
            error.to_string()
        };
        for [height, width] in [[16, 23], [15, 24], [0, 8], [8, 0], [7, 7]] {
            let error = message([1, 3, height, width]);
            let expected = format!(
                "a picture of {width}x{height} pixels does not consist of complete patches of 8x8"
            );
            assert!(error.starts_with(&expected), "{error}");
        }
        assert_eq!(
            message([1, 1, 8, 8]),
            "the pictures have 1 channels, the vision tower expects 3"
        );
        let pixels = Tensor::zeros([1, 3, 8, 8], &device);
        assert_eq!(
            tower
                .hidden_states(pixels, &[1, 4])
                .unwrap_err()
                .to_string(),
            "block 4 of the vision tower does not exist, expected 0 to 3"
        );
    }
}
