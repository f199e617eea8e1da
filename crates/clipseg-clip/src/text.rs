//! CLIP's text tower (Radford et al. 2021, arXiv:2103.00020).

use crate::config::TextConfig;
use crate::error::{ClipError, Result};
use crate::layers::{AttentionMask, Encoder, EncoderShape, LayerNorm};
use burn::nn::{Embedding, EmbeddingConfig, Initializer};
use burn::prelude::*;

/// The wrong `eos_token_id` in all checkpoints exported before 2023.
pub(crate) const LEGACY_END: i64 = 2;

/// A batch of tokenized texts, padded at the end to the length of the longest.
#[derive(Debug, Clone)]
pub struct TextBatch {
    /// The token ids, `[batch, tokens]`.
    pub input_ids: Tensor<2, Int>,
    /// `[batch, tokens]`, 1 for the text and 0 for padding; `None` if there is no padding.
    pub attention_mask: Option<Tensor<2, Int>>,
}

#[derive(Module, Debug)]
struct TextEmbeddings {
    token_embedding: Embedding,
    position_embedding: Embedding,
}

/// CLIP's text tower: a transformer with causal attention, and one pooled state for each text.
///
/// The pooled state is the hidden state at the end-of-text token, which is the first token with the id
/// `eos_token_id`. Checkpoints exported before 2023 have `eos_token_id: 2`, which is wrong for CLIP's
/// vocabulary. For them it is the first token with the highest id of the text, which is the same
/// token in CLIP's vocabulary.
#[derive(Module, Debug)]
pub struct TextEncoder {
    embeddings: TextEmbeddings,
    encoder: Encoder,
    final_layer_norm: LayerNorm,
    eos_token_id: i64,
}

/// The result of [`TextEncoder::forward`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct TextOutput {
    /// The hidden states after the final norm, `[batch, tokens, hidden_size]`.
    pub last_hidden_state: Tensor<3>,
    /// The hidden state at the end-of-text token, `[batch, hidden_size]`.
    pub pooled: Tensor<2>,
}

impl TextEncoder {
    /// A tower with random weights, initialised as in OpenAI's `model.py`.
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
            // A text is encoded once, so packing would not pay.
            packed: false,
        };
        Self {
            embeddings: TextEmbeddings {
                token_embedding: table(config.vocab_size, 0.02),
                position_embedding: table(config.max_position_embeddings, 0.01),
            },
            encoder: Encoder::init(&shape, device),
            final_layer_norm: LayerNorm::init(width, config.layer_norm_eps, device),
            eos_token_id: config.eos_token_id,
        }
    }

    /// Encodes a batch of texts.
    ///
    /// # Shapes
    ///
    /// See [`TextBatch`] and [`TextOutput`].
    ///
    /// # Errors
    ///
    /// [`ClipError::Input`] if a text has more tokens than the tower has positions, a token is not in the
    /// vocabulary, or a text has no end-of-text token, so that there is no state to pool.
    pub fn forward(&self, texts: &TextBatch) -> Result<TextOutput> {
        self.check(texts)?;
        let hidden = texts.attention_mask.clone().map(causal_and_padding);
        Ok(self.encode(&texts.input_ids, hidden))
    }

    /// Returns only the pooled states, `[batch, hidden_size]`, without checking the tokens; see
    /// [`Clip::text_embedding_unchecked`](crate::Clip::text_embedding_unchecked).
    ///
    /// The end-of-text token precedes the padding, and causal attention sees nothing after it. So padding
    /// is not masked, which lets every device use its kernel for causal attention.
    pub(crate) fn pooled_unchecked(&self, texts: &TextBatch) -> Tensor<2> {
        self.encode(&texts.input_ids, None).pooled
    }

    /// Encodes token ids, `[batch, tokens]`. `hidden` masks tokens besides those after the query.
    fn encode(&self, input_ids: &Tensor<2, Int>, hidden: Option<Tensor<4, Bool>>) -> TextOutput {
        let [_, tokens] = input_ids.dims();
        let positions = self
            .embeddings
            .position_embedding
            .weight
            .val()
            .slice(s![0..tokens, ..]);
        let mut states =
            self.embeddings.token_embedding.forward(input_ids.clone()) + positions.unsqueeze();
        let mask = AttentionMask {
            causal: true,
            hidden,
        };
        for block in self.encoder.layers() {
            states = block.forward(states, &mask);
        }
        let last_hidden_state = self.final_layer_norm.forward(states);
        let end = self.end_of_text(input_ids.clone());
        let pooled = take_rows(last_hidden_state.clone(), end);
        TextOutput {
            last_hidden_state,
            pooled,
        }
    }

    /// Checks that all tokens are in the vocabulary, and that each text has an end-of-text token.
    fn check(&self, texts: &TextBatch) -> Result<()> {
        let [batch, tokens] = texts.input_ids.dims();
        if batch == 0 || tokens == 0 {
            return Err(ClipError::Input(
                "the batch has no tokens, expected at least one text".into(),
            ));
        }
        let [positions, _] = self.embeddings.position_embedding.weight.dims();
        if tokens > positions {
            return Err(ClipError::Input(format!(
                "a text has {tokens} tokens, but the text encoder has {positions} positions"
            )));
        }
        if let Some(mask) = &texts.attention_mask
            && mask.dims() != [batch, tokens]
        {
            return Err(ClipError::Input(format!(
                "the attention mask has shape {:?}, but the tokens have shape {:?}",
                mask.dims(),
                [batch, tokens]
            )));
        }
        let [vocabulary, _] = self.embeddings.token_embedding.weight.dims();
        let ids = texts.input_ids.clone().try_into_data();
        let ids = ids
            .ok()
            .and_then(|ids| ids.convert::<i64>().try_to_vec().ok());
        let ids: Vec<i64> = ids.ok_or_else(|| {
            ClipError::Input("the tokens cannot be copied from the device".into())
        })?;
        for row in ids.chunks(tokens.max(1)) {
            if let Some(id) = row
                .iter()
                .find(|id| usize::try_from(**id).map_or(true, |id| id >= vocabulary))
            {
                return Err(ClipError::Input(format!(
                    "token {id} is outside the text encoder's vocabulary of {vocabulary} (0 to {}); \
                     the tokenizer belongs to another model",
                    vocabulary.saturating_sub(1)
                )));
            }
            if self.eos_token_id != LEGACY_END && !row.contains(&self.eos_token_id) {
                return Err(ClipError::Input(format!(
                    "a text has no end-of-text token ({}), so all such texts would get the same \
                     embedding; the tokenizer belongs to another model",
                    self.eos_token_id
                )));
            }
        }
        Ok(())
    }

    /// `[batch]`: the position of the end-of-text token.
    fn end_of_text(&self, input_ids: Tensor<2, Int>) -> Tensor<1, Int> {
        let [batch, tokens] = input_ids.dims();
        let device = input_ids.device();
        let is_end = if self.eos_token_id == LEGACY_END {
            let highest = input_ids.clone().max_dim(1).expand([batch, tokens]);
            input_ids.equal(highest)
        } else {
            input_ids.equal_elem(self.eos_token_id)
        };
        // Not an arg-max, which may return any of several equal positions on a GPU.
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

/// Combines the causal mask with the padding: `[batch, tokens]` of ones and zeros →
/// `[batch, 1, queries, keys]`, true where a key is masked.
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

/// Selects one position of each sequence: `[batch, tokens, width]` and `[batch]` → `[batch, width]`.
fn take_rows(hidden: Tensor<3>, positions: Tensor<1, Int>) -> Tensor<2> {
    let [batch, tokens, width] = hidden.dims();
    let device = hidden.device();
    let starts = Tensor::<1, Int>::arange(0..batch as i64, &device).mul_scalar(tokens as i64);
    hidden
        .reshape([batch * tokens, width])
        .select(0, starts + positions)
}
