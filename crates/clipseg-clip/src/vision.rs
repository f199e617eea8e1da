//! CLIP's vision transformer (Dosovitskiy et al. 2021, arXiv:2010.11929, as CLIP changed it:
//! a norm before the first block, QuickGELU, no bias in the patch convolution).

use crate::config::VisionConfig;
use crate::layers::{AttentionMask, Encoder, EncoderShape};
use crate::position::CubicWeights;
use burn::module::Param;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{Embedding, EmbeddingConfig, Initializer, LayerNorm, LayerNormConfig};
use burn::prelude::*;

#[derive(Module, Debug)]
struct VisionEmbeddings {
    class_embedding: Param<Tensor<1>>,
    patch_embedding: Conv2d,
    position_embedding: Embedding,
}

impl VisionEmbeddings {
    /// # Shapes
    ///
    /// - `pixel_values`: `[batch, channels, height, width]`
    /// - output: `[batch, patches, hidden_size]`, row by row
    fn patches(&self, pixel_values: Tensor<4>, patch: usize) -> Tensor<3> {
        let weight = self.patch_embedding.weight.val();
        if !weight.is_autodiff() {
            let patches = self.patch_embedding.forward(pixel_values);
            return patches.flatten::<3>(2, 3).swap_dims(1, 2);
        }
        // Patches do not overlap, so the convolution is one matrix product, whose backward pass is
        // fast on every device; that of Burn's convolution by its weights is not.
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

/// Turns pictures into tokens: one for the whole picture, then one for each patch, row by row.
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
}

/// What a pass through the vision tower gives.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct VisionOutput {
    /// The hidden states that were asked for, in the order asked for:
    /// `[batch, 1 + patches, hidden_size]` each, the class token first.
    pub hidden_states: Vec<Tensor<3>>,
    /// The class token after the last block and the last norm, `[batch, hidden_size]`;
    /// only if asked for.
    pub pooled: Option<Tensor<2>>,
    /// Rows and columns of the grid of patches.
    pub grid: [usize; 2],
}

impl VisionEncoder {
    /// A tower with random weights, drawn as OpenAI's `model.py` draws them.
    pub fn init(config: &VisionConfig, device: &Device) -> Self {
        let (width, patch) = (config.hidden_size, config.patch_size);
        let table_side = config.image_size / patch;
        let normal = Initializer::Normal {
            mean: 0.0,
            std: (width as f64).powf(-0.5),
        };
        let norm = || {
            LayerNormConfig::new(width)
                .with_epsilon(config.layer_norm_eps)
                .init(device)
        };
        let shape = EncoderShape {
            width,
            inner: config.intermediate_size,
            heads: config.num_attention_heads,
            layers: config.num_hidden_layers,
            activation: config.hidden_act,
            epsilon: config.layer_norm_eps,
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
        }
    }

    /// Number of blocks.
    pub fn num_layers(&self) -> usize {
        self.encoder.layers().len()
    }

    /// Side of a patch in pixels.
    pub fn patch_size(&self) -> usize {
        self.patch_size
    }

    /// Encodes pictures of any size whose sides are multiples of the patch, square or not.
    ///
    /// `layers` are 0-based block numbers, and the hidden state of a block is the one **after** it;
    /// `usize::MAX` stands for the tokens before the first block. No block after the last one
    /// needed is computed: with `pooled` unset and `layers` 3, 6 and 9, the last two of twelve
    /// are spared.
    ///
    /// # Shapes
    ///
    /// - `pixel_values`: `[batch, channels, height, width]`, normalised as the checkpoint expects
    /// - output: see [`VisionOutput`]
    ///
    /// # Panics
    ///
    /// If a side is not a multiple of the patch, or a layer does not exist.
    pub fn forward(&self, pixel_values: Tensor<4>, layers: &[usize], pooled: bool) -> VisionOutput {
        const BEFORE: usize = usize::MAX;
        let [batch, _, height, width] = pixel_values.dims();
        let patch = self.patch_size;
        assert!(
            height.is_multiple_of(patch) && width.is_multiple_of(patch) && height * width > 0,
            "a picture of {width}x{height} is not made of patches of {patch}x{patch}"
        );
        let depth = self.num_layers();
        assert!(
            layers.iter().all(|&layer| layer == BEFORE || layer < depth),
            "layers {layers:?} were asked for, the encoder has {depth}"
        );
        let grid = [height / patch, width / patch];
        let last = layers
            .iter()
            .filter(|&&layer| layer != BEFORE)
            .map(|layer| layer + 1)
            .max();
        let last = if pooled { depth } else { last.unwrap_or(0) };

        let patches = self.embeddings.patches(pixel_values, patch);
        let class = self
            .embeddings
            .class_embedding
            .val()
            .unsqueeze::<3>()
            .repeat_dim(0, batch);
        let table = self.embeddings.position_embedding.weight.val();
        let tokens =
            Tensor::cat(vec![class, patches], 1) + self.cubic.resize(table, self.table_side, grid);
        let mut hidden = self.pre_layrnorm.forward(tokens);

        let mut kept: Vec<Option<Tensor<3>>> = vec![None; layers.len()];
        let keep = |kept: &mut Vec<Option<Tensor<3>>>, layer: usize, hidden: &Tensor<3>| {
            for (slot, _) in kept
                .iter_mut()
                .zip(layers)
                .filter(|(_, wanted)| **wanted == layer)
            {
                *slot = Some(hidden.clone());
            }
        };
        keep(&mut kept, BEFORE, &hidden);
        let mask = AttentionMask::default();
        for (index, block) in self.encoder.layers()[..last].iter().enumerate() {
            hidden = block.forward(hidden, &mask);
            keep(&mut kept, index, &hidden);
        }
        let pooled = pooled.then(|| {
            self.post_layernorm
                .forward(hidden.slice(s![.., 0..1, ..]))
                .squeeze_dim::<2>(1)
        });
        VisionOutput {
            hidden_states: kept.into_iter().flatten().collect(),
            pooled,
            grid,
        }
    }
}
