//! CLIP's text transformer (Radford et al. 2021, arXiv:2103.00020).

use crate::config::TextConfig;
use crate::layers::{AttentionMask, Encoder, EncoderShape};
use burn::nn::{Embedding, EmbeddingConfig, Initializer, LayerNorm, LayerNormConfig};
use burn::prelude::*;

/// A batch of tokenized texts, filled up at the end to the length of the longest.
#[derive(Debug, Clone)]
pub struct TextBatch {
    /// `[batch, tokens]`.
    pub input_ids: Tensor<2, Int>,
    /// `[batch, tokens]`, 1 on the text and 0 on what fills it up; `None` if nothing is filled up.
    pub attention_mask: Option<Tensor<2, Int>>,
}

#[derive(Module, Debug)]
struct TextEmbeddings {
    token_embedding: Embedding,
    position_embedding: Embedding,
}

/// Turns texts into tokens, each of which has seen those before it, and into one vector.
///
/// The vector is the hidden state at the end-of-text token. Two rules say where that is. With the
/// token's number known, it is the first position that holds it. Checkpoints exported before 2023
/// say `eos_token_id: 2`, which is wrong for CLIP's vocabulary; for them it is the first position of
/// the highest number, which in CLIP's vocabulary is the same thing.
#[derive(Module, Debug)]
pub struct TextEncoder {
    embeddings: TextEmbeddings,
    encoder: Encoder,
    final_layer_norm: LayerNorm,
    eos_token_id: i64,
}

/// What a pass through the text tower gives.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct TextOutput {
    /// `[batch, tokens, hidden_size]`, after the last norm.
    pub last_hidden_state: Tensor<3>,
    /// `[batch, hidden_size]`, at the end-of-text token.
    pub pooled: Tensor<2>,
}

impl TextEncoder {
    /// A tower with random weights, drawn as OpenAI's `model.py` draws them.
    pub fn init(config: &TextConfig, device: &Device) -> Self {
        let width = config.hidden_size;
        let table = |rows, std| {
            EmbeddingConfig::new(rows, width)
                .with_initializer(Initializer::Normal { mean: 0.0, std })
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
            embeddings: TextEmbeddings {
                token_embedding: table(config.vocab_size, 0.02),
                position_embedding: table(config.max_position_embeddings, 0.01),
            },
            encoder: Encoder::init(&shape, device),
            final_layer_norm: LayerNormConfig::new(width)
                .with_epsilon(config.layer_norm_eps)
                .init(device),
            eos_token_id: config.eos_token_id,
        }
    }

    /// Encodes a batch of texts.
    ///
    /// # Shapes
    ///
    /// See [`TextBatch`] and [`TextOutput`].
    ///
    /// # Panics
    ///
    /// If a text has more tokens than there are positions.
    pub fn forward(&self, texts: &TextBatch) -> TextOutput {
        let input_ids = texts.input_ids.clone();
        let [_, tokens] = input_ids.dims();
        let [positions, _] = self.embeddings.position_embedding.weight.dims();
        assert!(
            tokens <= positions,
            "{tokens} tokens, the encoder has {positions} positions"
        );

        let place = self
            .embeddings
            .position_embedding
            .weight
            .val()
            .slice(s![0..tokens, ..]);
        let mut hidden =
            self.embeddings.token_embedding.forward(input_ids.clone()) + place.unsqueeze();
        let mask = AttentionMask {
            causal: true,
            hidden: texts.attention_mask.clone().map(causal_and_padding),
        };
        for block in self.encoder.layers() {
            hidden = block.forward(hidden, &mask);
        }
        let last_hidden_state = self.final_layer_norm.forward(hidden);
        let pooled = take_rows(last_hidden_state.clone(), self.end_of_text(input_ids));
        TextOutput {
            last_hidden_state,
            pooled,
        }
    }

    /// `[batch]`: the position of the end-of-text token, 0 where there is none.
    fn end_of_text(&self, input_ids: Tensor<2, Int>) -> Tensor<1, Int> {
        let [batch, tokens] = input_ids.dims();
        let device = input_ids.device();
        let is_end = if self.eos_token_id == 2 {
            let highest = input_ids.clone().max_dim(1).expand([batch, tokens]);
            input_ids.equal(highest)
        } else {
            input_ids.equal_elem(self.eos_token_id)
        };
        // The first of several: an arg-max may return any of them on a GPU.
        let places = Tensor::<1, Int>::arange(0..tokens as i64, &device).unsqueeze::<2>();
        let none = tokens as i64;
        let first = places
            .expand([batch, tokens])
            .mask_fill(is_end.bool_not(), none)
            .min_dim(1);
        let missing = first.clone().equal_elem(none);
        first.mask_fill(missing, 0).squeeze_dim(1)
    }
}

/// `[batch, tokens]` of ones and zeros → `[batch, 1, queries, keys]`, true where a key is hidden.
fn causal_and_padding(attention_mask: Tensor<2, Int>) -> Tensor<4, Bool> {
    let [batch, tokens] = attention_mask.dims();
    let device = attention_mask.device();
    let padding = attention_mask
        .equal_elem(0)
        .reshape([batch, 1, 1, tokens])
        .expand([batch, 1, tokens, tokens]);
    let later = Tensor::<2, Bool>::tril_mask([tokens, tokens], 0, &device)
        .unsqueeze::<4>()
        .expand([batch, 1, tokens, tokens]);
    padding.bool_or(later)
}

/// `[batch, tokens, width]` and one position for each → `[batch, width]`.
fn take_rows(hidden: Tensor<3>, positions: Tensor<1, Int>) -> Tensor<2> {
    let [batch, tokens, width] = hidden.dims();
    let device = hidden.device();
    let starts = Tensor::<1, Int>::arange(0..batch as i64, &device).mul_scalar(tokens as i64);
    hidden
        .reshape([batch * tokens, width])
        .select(0, starts + positions)
}
