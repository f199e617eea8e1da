//! CLIP's tokenizer: byte-pair encoding on the crate `tokenizers`.

use crate::checkpoint_files::CheckpointFiles;
use crate::config::TextConfig;
use crate::error::{ClipError, Result};
use crate::files::{refuse_foreign, write_text};
use crate::text::{LEGACY_END, TextBatch};
use burn::prelude::*;
use files::{check_merges, check_merges_of_json, pad_token, parse_merges, read_vocabulary};
use serde_json::{Value, json};
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::normalizers::{Lowercase, NFC, Replace, Sequence, replace::ReplacePattern};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence as PreSequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::processors::roberta::RobertaProcessing;
use tokenizers::{
    AddedToken, Encoding, PostProcessor, SplitDelimiterBehavior, Tokenizer, TruncationDirection,
    TruncationParams, TruncationStrategy,
};

mod files;
mod training;

const START: &str = "<|startoftext|>";
const END: &str = "<|endoftext|>";
/// The pattern of OpenAI's `simple_tokenizer.py`, without its two special tokens.
const WORDS: &str = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+";
/// The merges of OpenAI's CLIP. Their licence is in the same folder.
const OPENAI_MERGES: &str = include_str!("../assets/merges.txt");

/// The file with an entire tokenizer.
const COMPLETE: &str = "tokenizer.json";
/// The two files that older programs read instead.
const VOCABULARY: &str = "vocab.json";
const MERGES: &str = "merges.txt";
/// The files that [`ClipTokenizer::save`] writes.
const SAVED: [&str; 3] = [COMPLETE, "special_tokens_map.json", "tokenizer_config.json"];
/// How many truncated texts are stored, so that each is reported only once.
const MOST_REPORTED: usize = 10_000;

/// CLIP's tokenizer, which converts texts to token ids.
///
/// Texts are converted to lower case, and enclosed by `<|startoftext|>` and `<|endoftext|>`. A text
/// that is too long is truncated before the end token, with a warning of [`batch`](Self::batch).
#[derive(Debug, Clone)]
pub struct ClipTokenizer {
    inner: Tokenizer,
    pad: u32,
    /// The file that it was read from, for messages.
    path: PathBuf,
    /// Truncated texts that have been reported.
    reported: Arc<Mutex<HashSet<String>>>,
}

impl ClipTokenizer {
    /// Reads the tokenizer of a checkpoint: `tokenizer.json`, or else `vocab.json` with `merges.txt`.
    ///
    /// `config` is the configuration of the text tower that gets the tokens.
    ///
    /// # Errors
    ///
    /// If the folder has neither, a file cannot be read, or the tokenizer does not fit the text tower:
    /// a token is outside its vocabulary, or texts do not end with its end-of-text token. The message
    /// names the file.
    pub fn from_folder(files: impl Into<CheckpointFiles>, config: &TextConfig) -> Result<Self> {
        let files = files.into();
        let (inner, path) = if files.has(COMPLETE) {
            let path = files.location(COMPLETE);
            let text = files.read_text(COMPLETE)?;
            check_merges_of_json(&text, &path)?;
            let inner = Tokenizer::from_bytes(text);
            (
                inner.map_err(|error| ClipError::format(&path, error))?,
                path,
            )
        } else if files.has(VOCABULARY) && files.has(MERGES) {
            let [path, merges] = [VOCABULARY, MERGES].map(|name| files.location(name));
            let ids = read_vocabulary(&files, VOCABULARY)?;
            let pairs = parse_merges(&files.read_text(MERGES)?, &merges)?;
            (build(ids, pairs, &path, &merges)?, path)
        } else {
            return Err(ClipError::NoFile {
                folder: files.path().to_owned(),
                expected: vec![COMPLETE.into(), format!("{VOCABULARY} with {MERGES}")],
            });
        };
        let pad = pad_token(&files)?;
        let tokenizer = Self::finish(inner, config.max_position_embeddings, &pad, &path)?;
        tokenizer.check(config)?;
        Ok(tokenizer)
    }

    /// Checks that every token is in the text tower's vocabulary, and that texts end with its end-of-text
    /// token.
    fn check(&self, config: &TextConfig) -> Result<()> {
        let fail = |message| Err(ClipError::format(&self.path, message));
        let vocabulary = self.inner.get_vocab(true);
        let size = config.vocab_size;
        let above = vocabulary.iter().filter(|(_, id)| **id as usize >= size);
        let count = above.clone().count();
        if let Some((token, id)) = above.min_by_key(|(_, id)| **id) {
            return fail(format!(
                "`{token}` has the id {id}; {count} tokens in total are outside the text encoder's \
                 vocabulary of {size} (0 to {}, `vocab_size` in config.json), so this tokenizer \
                 belongs to another model",
                size.saturating_sub(1)
            ));
        }
        let ids = self.encode("a")?;
        let last = ids.last().map(|&id| i64::from(id));
        let highest = ids.iter().max().map(|&id| i64::from(id));
        let (expected, rule) = match config.eos_token_id {
            LEGACY_END => (highest, "the highest id"),
            end => (Some(end), "`eos_token_id` in config.json"),
        };
        if last != expected || ids.len() < 2 {
            let number = |id: Option<i64>| id.map_or("none".into(), |id| id.to_string());
            return fail(format!(
                "texts end with token {}, but the text encoder expects {} ({rule}), so this tokenizer \
                 belongs to another model",
                number(last),
                number(expected)
            ));
        }
        if vocabulary.len() < size {
            tracing::warn!(
                path = %self.path.display(),
                tokens = vocabulary.len(),
                vocab_size = size,
                "the tokenizer has fewer tokens than the text encoder"
            );
        }
        Ok(())
    }

    /// OpenAI's tokenizer with 49,408 tokens, which is included in this crate.
    ///
    /// # Errors
    ///
    /// If `max_tokens` is less than 2, the number of special tokens.
    pub fn openai(max_tokens: usize) -> Result<Self> {
        let path = Path::new("merges.txt");
        let merges = parse_merges(OPENAI_MERGES, path)?;
        let letters: Vec<String> = byte_characters().map(String::from).collect();
        let words = letters.iter().map(|letter| format!("{letter}</w>"));
        let joined = merges.iter().map(|(left, right)| format!("{left}{right}"));
        let special = [START.to_owned(), END.to_owned()];
        let all = letters
            .iter()
            .cloned()
            .chain(words)
            .chain(joined)
            .chain(special);
        let ids = all.zip(0..).collect();
        Self::finish(build(ids, merges, path, path)?, max_tokens, END, path)
    }

    fn finish(mut inner: Tokenizer, max_tokens: usize, pad: &str, path: &Path) -> Result<Self> {
        let special = inner
            .get_post_processor()
            .map_or(0, |add| add.added_tokens(false));
        if max_tokens < special.max(2) {
            return Err(ClipError::Input(format!(
                "a limit of {max_tokens} tokens leaves no room for the start and the end token"
            )));
        }
        let pad = inner.token_to_id(pad).ok_or_else(|| {
            ClipError::format(
                path,
                format!("the padding token `{pad}` is not in the vocabulary"),
            )
        })?;
        let truncation = TruncationParams {
            max_length: max_tokens,
            strategy: TruncationStrategy::LongestFirst,
            direction: TruncationDirection::Right,
            stride: 0,
        };
        inner
            .with_truncation(Some(truncation))
            .map_err(|error| ClipError::format(path, error))?
            .with_padding(None);
        Ok(Self {
            inner,
            pad,
            path: path.to_owned(),
            reported: Arc::default(),
        })
    }

    /// Writes the tokenizer into a folder, as files that this crate and transformers read.
    ///
    /// # Errors
    ///
    /// If the folder cannot be written, or contains such files that this program did not write; see
    /// [`refuse_foreign`].
    pub fn save(&self, folder: &Path) -> Result<()> {
        refuse_foreign(folder, &SAVED)?;
        let pad = self
            .inner
            .id_to_token(self.pad)
            .unwrap_or_else(|| END.to_owned());
        let model_max_length = self.inner.get_truncation().map(|limit| limit.max_length);
        let mut special = json!({
            "bos_token": START, "eos_token": END, "unk_token": END, "pad_token": pad,
        });
        let mut inner = self.inner.clone();
        inner
            .with_truncation(None)
            .map_err(|error| ClipError::Input(format!("cannot write the tokenizer: {error}")))?;
        let whole = inner
            .to_string(false)
            .map_err(|error| ClipError::Input(format!("cannot write the tokenizer: {error}")))?;
        let [file, map, config] = SAVED.map(|name| folder.join(name));
        write_text(&file, &whole)?;
        write_text(&map, &format!("{special:#}\n"))?;
        special["tokenizer_class"] = json!("CLIPTokenizer");
        special["model_max_length"] = json!(model_max_length);
        write_text(&config, &format!("{special:#}\n"))
    }

    /// Writes `vocab.json` and `merges.txt` into a folder, which transformers' `CLIPTokenizer` without the
    /// suffix `Fast` reads up to version 4.
    ///
    /// # Errors
    ///
    /// If the folder cannot be written, or contains such files that this program did not write; see
    /// [`refuse_foreign`].
    pub fn save_vocabulary(&self, folder: &Path) -> Result<()> {
        refuse_foreign(folder, &[VOCABULARY, MERGES])?;
        let fail =
            || ClipError::Input("the vocabulary cannot be written: no list of merges".into());
        let model = serde_json::to_value(self.inner.get_model())
            .map_err(|error| ClipError::Input(format!("cannot write the vocabulary: {error}")))?;
        let vocabulary = model.get("vocab").ok_or_else(fail)?;
        let mut lines = vec!["#version: 0.2".to_owned()];
        for (left, right) in merges_of(&model).ok_or_else(fail)? {
            lines.push(format!("{left} {right}"));
        }
        write_text(&folder.join(VOCABULARY), &vocabulary.to_string())?;
        write_text(&folder.join(MERGES), &(lines.join("\n") + "\n"))
    }

    /// Number of tokens in the vocabulary.
    pub fn vocab_size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// The token ids of one text, including the special tokens.
    ///
    /// # Errors
    ///
    /// If the text cannot be tokenized, for example because the vocabulary lacks some bytes.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        Ok(self.split(text)?.get_ids().to_vec())
    }

    /// The end of a text that is truncated because the text has too many tokens; `None` if nothing is
    /// truncated.
    ///
    /// # Errors
    ///
    /// As [`encode`](Self::encode).
    pub fn truncated_part(&self, text: &str) -> Result<Option<String>> {
        Ok(truncated_part(&self.split(text)?, text).map(str::to_owned))
    }

    fn split(&self, text: &str) -> Result<Encoding> {
        let encoding = self.inner.encode(text, true);
        encoding.map_err(|error| ClipError::Input(format!("cannot tokenize `{text}`: {error}")))
    }

    /// The token ids of a text, with a warning if the text is truncated and has not been reported.
    fn encode_with_warning(&self, text: &str) -> Result<Vec<u32>> {
        let encoding = self.split(text)?;
        if let Some(truncated) = truncated_part(&encoding, text) {
            let mut reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
            if reported.len() < MOST_REPORTED && reported.insert(text.to_owned()) {
                let limit = self.inner.get_truncation().map(|limit| limit.max_length);
                tracing::warn!(
                    truncated,
                    "a text has more than {} tokens; its end is ignored",
                    limit.unwrap_or_default()
                );
            }
        }
        Ok(encoding.get_ids().to_vec())
    }

    /// Tokenizes texts into tensors on `device`, padded to the longest text.
    ///
    /// If a text is truncated, a warning of `tracing` names the truncated part, once for each text.
    ///
    /// # Errors
    ///
    /// If there is no text, or one cannot be tokenized.
    pub fn batch<S: AsRef<str>>(&self, texts: &[S], device: &Device) -> Result<TextBatch> {
        if texts.is_empty() {
            return Err(ClipError::Input(
                "no text was given, expected at least one".into(),
            ));
        }
        let rows: Vec<Vec<u32>> = texts
            .iter()
            .map(|text| self.encode_with_warning(text.as_ref()))
            .collect::<Result<_>>()?;
        let longest = rows.iter().map(Vec::len).max().unwrap_or(0);
        let size = rows.len() * longest;
        let (mut ids, mut mask) = (Vec::with_capacity(size), Vec::with_capacity(size));
        for row in &rows {
            let padding = longest - row.len();
            ids.extend(row.iter().map(|&id| i64::from(id)));
            ids.extend(std::iter::repeat_n(i64::from(self.pad), padding));
            mask.extend(std::iter::repeat_n(1i64, row.len()));
            mask.extend(std::iter::repeat_n(0i64, padding));
        }
        let padded = rows.iter().any(|row| row.len() < longest);
        let tensor = |values| {
            Tensor::<2, Int>::from_data(TensorData::new(values, [rows.len(), longest]), device)
        };
        Ok(TextBatch {
            input_ids: tensor(ids),
            attention_mask: padded.then(|| tensor(mask)),
        })
    }
}

/// The part of a text after the tokens that were kept.
fn truncated_part<'a>(encoding: &Encoding, text: &'a str) -> Option<&'a str> {
    let rest = encoding.get_overflowing().first()?;
    let special = rest.get_special_tokens_mask();
    let mut offsets = rest.get_offsets().iter().zip(special);
    let ((start, _), _) = offsets.find(|(_, special)| **special == 0)?;
    // The offset may be inside a character of several bytes.
    let start = (0..=*start).rev().find(|&at| text.is_char_boundary(at))?;
    Some(text[start..].trim())
}

/// A tokenizer with CLIP's normalisation and splitting.
fn build(
    ids: Vocab,
    merges: Vec<(String, String)>,
    path: &Path,
    merges_path: &Path,
) -> Result<Tokenizer> {
    let fail = |error: tokenizers::Error| ClipError::format(path, error);
    check_merges(&merges, |token| ids.contains_key(token), merges_path)?;
    let special = |token: &str| {
        ids.get(token)
            .map(|&id| (token.to_owned(), id))
            .ok_or_else(|| {
                ClipError::format(
                    path,
                    format!("the token `{token}` is not in the vocabulary"),
                )
            })
    };
    let (start, end) = (special(START)?, special(END)?);
    let model = BPE::builder()
        .vocab_and_merges(ids, merges)
        .unk_token(END.to_owned())
        .continuing_subword_prefix(String::new())
        .end_of_word_suffix("</w>".to_owned())
        .build()
        .map_err(fail)?;
    let spaces = Replace::new(ReplacePattern::Regex(r"\s+".into()), " ").map_err(fail)?;
    let words = Split::new(
        SplitPattern::Regex(WORDS.into()),
        SplitDelimiterBehavior::Removed,
        true,
    )
    .map_err(fail)?;
    let normalizer = Sequence::new(vec![NFC.into(), spaces.into(), Lowercase.into()]);
    let mut tokenizer = Tokenizer::new(model);
    tokenizer
        .with_normalizer(Some(normalizer))
        .map_err(fail)?
        .with_pre_tokenizer(Some(PreSequence::new(vec![
            words.into(),
            ByteLevel::new(false, true, true).into(),
        ])))
        .with_post_processor(Some(
            RobertaProcessing::new(end, start)
                .trim_offsets(false)
                .add_prefix_space(false),
        ));
    let added: Vec<AddedToken> = [START, END]
        .map(|token| AddedToken::from(token, true).normalized(true))
        .into();
    tokenizer.add_special_tokens(added).map_err(fail)?;
    Ok(tokenizer)
}

/// The merges of a serialised model, in their order.
fn merges_of(model: &Value) -> Option<Vec<(String, String)>> {
    let pairs = model.get("merges")?.as_array()?.iter();
    let pair = |pair: &Value| {
        let text = |index: usize| Some(pair.get(index)?.as_str()?.to_owned());
        Some((text(0)?, text(1)?))
    };
    pairs.map(pair).collect()
}

/// The 256 characters that represent bytes, in the order of the vocabulary. Printable characters
/// represent themselves and come first (`bytes_to_unicode` in OpenAI's `simple_tokenizer.py`).
fn byte_characters() -> impl Iterator<Item = char> {
    let printable = ('!'..='~').chain('¡'..='¬').chain('®'..='ÿ');
    printable.chain(('\u{100}'..).take(256 - 188))
}
