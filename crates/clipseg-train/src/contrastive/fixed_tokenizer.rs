//! Tokenizing captions into rows of one length.

use crate::error::Result;
use burn::prelude::*;
use clipseg_clip::{ClipTokenizer, TextBatch};
use rayon::prelude::*;

/// The token ids of texts, in rows of one length.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TokenTable {
    ids: Vec<i64>,
    pub(crate) rows: usize,
    tokens: usize,
    /// The number of truncated texts.
    pub(crate) cut: usize,
}

impl TokenTable {
    /// Moves the ids to the device, `[rows, tokens]`. No mask is needed: padding is behind the end token,
    /// where the causal attention of the tokens before does not look.
    pub(crate) fn into_texts(self, device: &Device) -> TextBatch {
        let ids = TensorData::new(self.ids, [self.rows, self.tokens]);
        TextBatch {
            input_ids: Tensor::from_data(ids, device),
            attention_mask: None,
        }
    }
}

/// A tokenizer that pads and truncates all texts to one length.
#[derive(Debug, Clone)]
pub(crate) struct FixedTokenizer {
    /// Truncates one token later than the tower, so that truncated texts can be counted.
    inner: ClipTokenizer,
    tokens: usize,
    end: i64,
    pad: i64,
}

impl FixedTokenizer {
    /// Creates a tokenizer for a text tower of `tokens` positions.
    pub(crate) fn new(tokenizer: &ClipTokenizer, tokens: usize) -> Result<Self> {
        Ok(Self {
            inner: tokenizer.clone().with_max_tokens(tokens + 1)?,
            tokens,
            end: tokenizer.end_id().map_or(0, i64::from),
            pad: i64::from(tokenizer.pad_id()),
        })
    }

    pub(crate) fn encode<S: AsRef<str> + Sync>(&self, texts: &[S]) -> Result<TokenTable> {
        let rows: Vec<(Vec<i64>, bool)> = texts
            .par_iter()
            .map(|text| {
                let ids = self.inner.encode(text.as_ref())?;
                let cut = ids.len() > self.tokens;
                let mut row: Vec<i64> = ids.into_iter().map(i64::from).collect();
                row.resize(self.tokens, self.pad);
                if cut && let Some(last) = row.last_mut() {
                    *last = self.end;
                }
                Ok((row, cut))
            })
            .collect::<Result<_>>()?;
        Ok(TokenTable {
            cut: rows.iter().filter(|(_, cut)| *cut).count(),
            rows: rows.len(),
            tokens: self.tokens,
            ids: rows.into_iter().flat_map(|(row, _)| row).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_have_one_length_and_truncated_texts_are_counted() {
        let tokenizer = ClipTokenizer::openai(77).unwrap();
        let fixed = FixedTokenizer::new(&tokenizer, 6).unwrap();
        let texts = ["a cat", "a cat on a", "a cat on a mat"];
        let table = fixed.encode(&texts).unwrap();
        assert_eq!((table.ids.len(), table.cut), (18, 1));
        let short = ClipTokenizer::openai(6).unwrap();
        for (row, text) in table.ids.chunks(6).zip(texts) {
            let mut expected: Vec<i64> = short
                .encode(text)
                .unwrap()
                .iter()
                .map(|&id| i64::from(id))
                .collect();
            expected.resize(6, 49_407);
            assert_eq!(row, expected, "{text}");
        }
    }
}
