//! A vocabulary learnt from texts (Sennrich et al. 2016, arXiv:1508.07909), as OpenAI's was.

use super::{ClipTokenizer, END, START, build, byte_letters};
use crate::error::{ClipError, Result};
use serde_json::Value;
use std::collections::HashSet;
use std::path::Path;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::{
    AddedToken, Normalizer, OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer,
    Tokenizer, Trainer,
};

/// Pairs of letters that come up less often are not joined.
const LEAST_FREQUENCY: u64 = 2;

impl ClipTokenizer {
    /// Learns a vocabulary of at most `vocab_size` tokens, split and normalised as CLIP's.
    ///
    /// The first 512 tokens are the bytes, inside a word and at its end, so that every text can be
    /// encoded; then come the joined pairs, the most frequent first, and the two special tokens last.
    /// The same texts give the same vocabulary, whatever their order.
    ///
    /// # Errors
    ///
    /// If `vocab_size` has no room for the bytes and the special tokens, or `max_tokens` none for the
    /// special tokens.
    ///
    /// # Example
    ///
    /// ```
    /// use clipseg_clip::ClipTokenizer;
    ///
    /// let texts = ["a red star", "a red car", "a blue star"];
    /// let tokenizer = ClipTokenizer::train(&texts, 600, 16)?;
    /// assert_eq!(tokenizer.encode("a red star")?.len(), 5, "a token for each word, and two around");
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
            ClipError::Input(format!("no vocabulary could be learnt: {error}"))
        };
        let letters: Vec<String> = byte_letters().map(String::from).collect();
        let ends = letters.iter().map(|letter| format!("{letter}</w>"));
        let mut tokens: Vec<String> = letters.iter().cloned().chain(ends).collect();
        let special = [START.to_owned(), END.to_owned()];
        let least = tokens.len() + special.len();
        if vocab_size < least {
            return Err(ClipError::Input(format!(
                "a vocabulary of {vocab_size} tokens, expected at least {least}: the bytes and the \
                 two special tokens"
            )));
        }
        let splitter = vocabulary(&tokens, &special, Vec::new(), path)?;
        // Numbered before any text is seen: the trainer breaks ties by number.
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
        let merges = merges(&model)
            .ok_or_else(|| ClipError::Input("the learnt vocabulary has no list of pairs".into()))?;
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

    /// The same vocabulary for texts of at most so many tokens.
    ///
    /// # Errors
    ///
    /// If `max_tokens` has no room for the two special tokens.
    pub fn with_max_tokens(self, max_tokens: usize) -> Result<Self> {
        let pad = self.inner.id_to_token(self.pad);
        let pad = pad.unwrap_or_else(|| END.to_owned());
        Self::finish(self.inner, max_tokens, &pad, &self.path)
    }

    /// The number of the token that starts every text.
    pub fn start_id(&self) -> Option<u32> {
        self.inner.token_to_id(START)
    }

    /// The number of the token that ends every text.
    pub fn end_id(&self) -> Option<u32> {
        self.inner.token_to_id(END)
    }

    /// The number of the token that fills up a batch.
    pub fn pad_id(&self) -> u32 {
        self.pad
    }
}

fn vocabulary(
    tokens: &[String],
    special: &[String],
    merges: Vec<(String, String)>,
    path: &Path,
) -> Result<Tokenizer> {
    let ids = tokens.iter().chain(special).cloned().zip(0..).collect();
    build(ids, merges, path, path)
}

/// The words of a text, as they are split before pairs are joined.
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

/// The joined pairs in their order, which the model tells only when it is written.
fn merges(model: &BPE) -> Option<Vec<(String, String)>> {
    let json = serde_json::to_value(model).ok()?;
    let pairs = json.get("merges")?.as_array()?.iter();
    let pair = |pair: &Value| {
        let text = |index: usize| Some(pair.get(index)?.as_str()?.to_owned());
        Some((text(0)?, text(1)?))
    };
    pairs.map(pair).collect()
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
    fn words_become_tokens_and_special_tokens_are_the_last() {
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
            assert_eq!(ends, 1, "{text:?} has unknown parts: {ids:?}");
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
    fn what_is_saved_is_read_back() {
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
    fn a_vocabulary_without_room_is_refused() {
        let message = ClipTokenizer::train(&TEXTS, 500, 16)
            .unwrap_err()
            .to_string();
        assert!(
            message.contains("500 tokens, expected at least 514"),
            "{message}"
        );
    }

    #[test]
    fn a_vocabulary_of_nothing_but_bytes_is_learnt() {
        let tokenizer = ClipTokenizer::train(&TEXTS, 514, 16).unwrap();
        assert_eq!(tokenizer.vocab_size(), 514);
        // Start, a token for each letter, end.
        assert_eq!(tokenizer.encode("red star").unwrap().len(), 9);
    }
}
