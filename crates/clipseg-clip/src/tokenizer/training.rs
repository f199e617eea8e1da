//! Learns a vocabulary from texts by byte-pair encoding (Sennrich et al. 2016, arXiv:1508.07909).

use super::{ClipTokenizer, END, START, build, byte_characters, merges_of};
use crate::error::{ClipError, Result};
use std::collections::HashSet;
use std::path::Path;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::{
    AddedToken, Normalizer, OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer,
    Tokenizer, Trainer,
};

/// Pairs of tokens that occur less often are not merged.
const LEAST_FREQUENCY: u64 = 2;

impl ClipTokenizer {
    /// Learns a vocabulary of at most `vocab_size` tokens from texts, with CLIP's normalisation and
    /// splitting.
    ///
    /// The first 512 tokens are the 256 bytes inside a word and the 256 bytes at the end of a word, so
    /// every text can be encoded. The merged pairs follow, the most frequent first, and then the two
    /// special tokens. The order of the texts has no effect on the vocabulary.
    ///
    /// # Errors
    ///
    /// If `vocab_size` is less than 514, the number of bytes and special tokens, or `max_tokens` is less
    /// than 2.
    ///
    /// # Example
    ///
    /// ```
    /// use clipseg_clip::ClipTokenizer;
    ///
    /// let texts = ["a red star", "a red car", "a blue star"];
    /// let tokenizer = ClipTokenizer::train(&texts, 600, 16)?;
    /// assert_eq!(tokenizer.encode("a red star")?.len(), 5, "one for each word, and two special tokens");
    /// assert!(tokenizer.vocab_size() <= 600);
    /// # Ok::<(), clipseg_clip::ClipError>(())
    /// ```
    pub fn train<S: AsRef<str> + Sync>(
        texts: &[S],
        vocab_size: usize,
        max_tokens: usize,
    ) -> Result<Self> {
        let path = Path::new("tokenizer");
        let fail = |error: tokenizers::Error| {
            ClipError::Input(format!("no vocabulary could be learned: {error}"))
        };
        let letters: Vec<String> = byte_characters().map(String::from).collect();
        let ends = letters.iter().map(|letter| format!("{letter}</w>"));
        let mut tokens: Vec<String> = letters.iter().cloned().chain(ends).collect();
        let special = [START.to_owned(), END.to_owned()];
        let least = tokens.len() + special.len();
        if vocab_size < least {
            return Err(ClipError::Input(format!(
                "a vocabulary of {vocab_size} tokens, expected at least {least} for the bytes and the two \
                 special tokens"
            )));
        }
        let splitter = vocabulary(&tokens, &special, Vec::new(), path)?;
        // The bytes get their ids before any text is processed, because the trainer breaks ties by id.
        let numbered = tokens.iter().map(|token| AddedToken::from(token, true));
        let mut trainer = BpeTrainer::builder()
            .show_progress(false)
            .min_frequency(LEAST_FREQUENCY)
            .vocab_size(vocab_size - special.len())
            .special_tokens(numbered.collect())
            .end_of_word_suffix("</w>".to_owned())
            .build();
        let texts = texts.iter().map(AsRef::as_ref);
        let mut model = BPE::default();
        trainer
            .feed(texts, |text| words(&splitter, text))
            .and_then(|()| trainer.train(&mut model))
            .map_err(fail)?;
        // The model gives its merges only in its serialised form.
        let serialised = serde_json::to_value(&model).ok();
        let merges = serialised.as_ref().and_then(merges_of).ok_or_else(|| {
            ClipError::Input("the learned vocabulary has no list of merges".into())
        })?;
        let mut known: HashSet<String> = tokens.iter().cloned().collect();
        for (left, right) in &merges {
            let joined = format!("{left}{right}");
            if known.insert(joined.clone()) {
                tokens.push(joined);
            }
        }
        let inner = vocabulary(&tokens, &special, merges, path)?;
        Self::finish(inner, max_tokens, END, path)
    }

    /// The same vocabulary with another limit on the tokens of a text.
    ///
    /// # Errors
    ///
    /// If `max_tokens` is less than 2, the number of special tokens.
    pub fn with_max_tokens(self, max_tokens: usize) -> Result<Self> {
        let pad = self.inner.id_to_token(self.pad);
        let pad = pad.unwrap_or_else(|| END.to_owned());
        Self::finish(self.inner, max_tokens, &pad, &self.path)
    }

    /// The id of the start-of-text token.
    pub fn start_id(&self) -> Option<u32> {
        self.inner.token_to_id(START)
    }

    /// The id of the end-of-text token.
    pub fn end_id(&self) -> Option<u32> {
        self.inner.token_to_id(END)
    }

    /// The id of the padding token.
    pub fn pad_id(&self) -> u32 {
        self.pad
    }
}

/// A tokenizer whose ids are the positions of `tokens`, followed by `special`.
fn vocabulary(
    tokens: &[String],
    special: &[String],
    merges: Vec<(String, String)>,
    path: &Path,
) -> Result<Tokenizer> {
    let ids = tokens.iter().chain(special).cloned().zip(0..).collect();
    build(ids, merges, path, path)
}

/// The words of a text, into which it is split before pairs are merged.
fn words(splitter: &Tokenizer, text: &str) -> tokenizers::Result<Vec<String>> {
    let mut text = tokenizers::NormalizedString::from(text);
    if let Some(normalizer) = splitter.get_normalizer() {
        normalizer.normalize(&mut text)?;
    }
    let mut text = PreTokenizedString::from(text);
    if let Some(split) = splitter.get_pre_tokenizer() {
        split.pre_tokenize(&mut text)?;
    }
    let splits = text.get_splits(OffsetReferential::Original, OffsetType::Byte);
    Ok(splits
        .into_iter()
        .map(|(word, ..)| word.to_owned())
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::TextConfig;

    const TEXTS: [&str; 6] = [
        "a small striped red star left of tree",
        "Red Star and a blue car",
        "the tree, the car, the star",
        "red car on table",
        "blue tree above striped table",
        "a star",
    ];

    #[test]
    fn words_become_tokens_and_special_tokens_are_last() {
        let tokenizer = ClipTokenizer::train(&TEXTS, 640, 16).unwrap();
        let size = tokenizer.vocab_size() as u32;
        assert!((514..=640).contains(&size), "{size}");
        let (start, end) = (tokenizer.start_id().unwrap(), tokenizer.end_id().unwrap());
        assert_eq!(
            (start, end, tokenizer.pad_id()),
            (size - 2, size - 1, size - 1)
        );
        let ids = tokenizer.encode("RED   star").unwrap();
        assert_eq!(ids.len(), 4);
        assert_eq!((ids[0], ids[3]), (start, end));
        assert_eq!(ids, tokenizer.encode("red star").unwrap());
    }

    #[test]
    fn every_text_can_be_encoded() {
        let tokenizer = ClipTokenizer::train(&TEXTS, 600, 64).unwrap();
        let end = tokenizer.end_id().unwrap();
        for text in ["Zürich ☂ 東京", "!?", "x", "\u{0}\u{7f}", ""] {
            let ids = tokenizer.encode(text).unwrap();
            let ends = ids.iter().filter(|&&id| id == end).count();
            assert_eq!(ends, 1, "{text:?} has unknown tokens: {ids:?}");
        }
    }

    #[test]
    fn the_order_of_the_texts_does_not_matter() {
        let whole = |tokenizer: ClipTokenizer| tokenizer.inner.to_string(false).unwrap();
        let first = whole(ClipTokenizer::train(&TEXTS, 600, 16).unwrap());
        let mut turned = TEXTS;
        for _ in 0..4 {
            turned.rotate_left(1);
            turned.swap(0, 3);
            assert_eq!(
                whole(ClipTokenizer::train(&turned, 600, 16).unwrap()),
                first
            );
        }
    }

    #[test]
    fn a_saved_tokenizer_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let tokenizer = ClipTokenizer::train(&TEXTS, 600, 16).unwrap();
        tokenizer.save(folder.path()).unwrap();
        let config = TextConfig {
            vocab_size: tokenizer.vocab_size(),
            eos_token_id: i64::from(tokenizer.end_id().unwrap()),
            max_position_embeddings: 16,
            ..TextConfig::default()
        };
        let read = ClipTokenizer::from_folder(folder.path(), &config).unwrap();
        for text in TEXTS.into_iter().chain(["unheard-of words, 123"]) {
            assert_eq!(read.encode(text).unwrap(), tokenizer.encode(text).unwrap());
        }
    }

    #[test]
    fn a_vocabulary_that_is_too_small_is_refused() {
        let message = ClipTokenizer::train(&TEXTS, 500, 16)
            .unwrap_err()
            .to_string();
        assert!(
            message.contains("500 tokens, expected at least 514"),
            "{message}"
        );
    }

    #[test]
    fn a_vocabulary_of_bytes_only_is_learned() {
        let tokenizer = ClipTokenizer::train(&TEXTS, 514, 16).unwrap();
        assert_eq!(tokenizer.vocab_size(), 514);
        // The start token, a token for each letter, the end token.
        assert_eq!(tokenizer.encode("red star").unwrap().len(), 9);
    }
}
