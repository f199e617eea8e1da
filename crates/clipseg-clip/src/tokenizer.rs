//! CLIP's byte-pair encoding, on the `tokenizers` crate, which this file alone names.

use crate::config::read_json;
use crate::error::{ClipError, Result};
use crate::files::write_text;
use crate::text::TextBatch;
use burn::prelude::*;
use serde_json::{Value, json};
use std::path::Path;
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::normalizers::{Lowercase, NFC, Replace, Sequence, replace::ReplacePattern};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence as PreSequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::processors::roberta::RobertaProcessing;
use tokenizers::{
    AddedToken, SplitDelimiterBehavior, Tokenizer, TruncationDirection, TruncationParams,
    TruncationStrategy,
};

const START: &str = "<|startoftext|>";
const END: &str = "<|endoftext|>";
/// The pattern of OpenAI's `simple_tokenizer.py`, without its two special tokens.
const WORDS: &str = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+";
/// OpenAI CLIP's merges; the notice of their licence lies beside them.
const OPENAI_MERGES: &str = include_str!("../assets/merges.txt");

/// Turns texts into token numbers.
///
/// Texts are lower-cased, start with `<|startoftext|>` and end with `<|endoftext|>`; one that is too
/// long loses words from its end and keeps the end token.
#[derive(Debug, Clone)]
pub struct ClipTokenizer {
    inner: Tokenizer,
    pad: u32,
}

impl ClipTokenizer {
    /// The tokenizer of a checkpoint: `tokenizer.json` if the folder has one, else `vocab.json`
    /// and `merges.txt`. `max_tokens` is the text tower's number of positions.
    ///
    /// # Errors
    ///
    /// If neither form is there or one cannot be read; the message names the file.
    pub fn from_folder(folder: &Path, max_tokens: usize) -> Result<Self> {
        let whole = folder.join("tokenizer.json");
        let [vocabulary, merges] = ["vocab.json", "merges.txt"].map(|name| folder.join(name));
        let inner = if whole.is_file() {
            let bytes = std::fs::read(&whole).map_err(ClipError::io("read", &whole))?;
            Tokenizer::from_bytes(bytes).map_err(|error| ClipError::format(&whole, error))?
        } else if vocabulary.is_file() && merges.is_file() {
            let ids = read_vocabulary(&vocabulary)?;
            let text = std::fs::read_to_string(&merges).map_err(ClipError::io("read", &merges))?;
            build(ids, parse_merges(&text, &merges)?, folder)?
        } else {
            return Err(ClipError::NoFile {
                folder: folder.to_owned(),
                expected: vec!["tokenizer.json".into(), "vocab.json with merges.txt".into()],
            });
        };
        let pad = pad_token(folder)?;
        Self::finish(inner, max_tokens, &pad, folder)
    }

    /// OpenAI's own vocabulary of 49,408 tokens, which comes with this crate.
    ///
    /// # Errors
    ///
    /// If `max_tokens` has no room for the two special tokens.
    pub fn openai(max_tokens: usize) -> Result<Self> {
        let path = Path::new("merges.txt");
        let merges = parse_merges(OPENAI_MERGES, path)?;
        let letters: Vec<String> = byte_letters().map(String::from).collect();
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
        Self::finish(build(ids, merges, path)?, max_tokens, END, path)
    }

    fn finish(mut inner: Tokenizer, max_tokens: usize, pad: &str, path: &Path) -> Result<Self> {
        if max_tokens < 2 {
            return Err(ClipError::Input(format!(
                "{max_tokens} tokens have no room for the start and the end token"
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
        Ok(Self { inner, pad })
    }

    /// Writes the files from which this crate and transformers read the tokenizer back.
    ///
    /// # Errors
    ///
    /// If the folder cannot be written.
    pub fn save(&self, folder: &Path) -> Result<()> {
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
        write_text(&folder.join("tokenizer.json"), &whole)?;
        write_text(
            &folder.join("special_tokens_map.json"),
            &format!("{special:#}\n"),
        )?;
        special["tokenizer_class"] = json!("CLIPTokenizer");
        special["model_max_length"] = json!(model_max_length);
        write_text(
            &folder.join("tokenizer_config.json"),
            &format!("{special:#}\n"),
        )
    }

    /// Number of tokens in the vocabulary.
    pub fn vocab_size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// The token numbers of one text, special tokens included.
    ///
    /// # Errors
    ///
    /// If the text cannot be split, which a vocabulary without some bytes can cause.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        self.inner
            .encode(text, true)
            .map(|encoding| encoding.get_ids().to_vec())
            .map_err(|error| ClipError::Input(format!("cannot tokenize `{text}`: {error}")))
    }

    /// Several texts as tensors on `device`, filled up to the longest of them.
    ///
    /// # Errors
    ///
    /// If there is no text at all, or one cannot be split.
    pub fn batch<S: AsRef<str>>(&self, texts: &[S], device: &Device) -> Result<TextBatch> {
        if texts.is_empty() {
            return Err(ClipError::Input(
                "no text was given, expected at least one".into(),
            ));
        }
        let rows: Vec<Vec<u32>> = texts
            .iter()
            .map(|text| self.encode(text.as_ref()))
            .collect::<Result<_>>()?;
        let longest = rows.iter().map(Vec::len).max().unwrap_or(0);
        let size = rows.len() * longest;
        let (mut ids, mut mask) = (Vec::with_capacity(size), Vec::with_capacity(size));
        for row in &rows {
            let fill = longest - row.len();
            ids.extend(row.iter().map(|&id| i64::from(id)));
            ids.extend(std::iter::repeat_n(i64::from(self.pad), fill));
            mask.extend(std::iter::repeat_n(1i64, row.len()));
            mask.extend(std::iter::repeat_n(0i64, fill));
        }
        let filled = rows.iter().any(|row| row.len() < longest);
        let tensor = |values| {
            Tensor::<2, Int>::from_data(TensorData::new(values, [rows.len(), longest]), device)
        };
        Ok(TextBatch {
            input_ids: tensor(ids),
            attention_mask: filled.then(|| tensor(mask)),
        })
    }
}

fn build(ids: Vocab, merges: Vec<(String, String)>, path: &Path) -> Result<Tokenizer> {
    let fail = |error: tokenizers::Error| ClipError::format(path, error);
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

/// The 256 letters that stand for bytes, in the order of the vocabulary: printable ones stand for
/// themselves and come first (`bytes_to_unicode` of OpenAI's `simple_tokenizer.py`).
fn byte_letters() -> impl Iterator<Item = char> {
    let printable = ('!'..='~').chain('¡'..='¬').chain('®'..='ÿ');
    printable.chain(('\u{100}'..).take(256 - 188))
}

fn read_vocabulary(path: &Path) -> Result<Vocab> {
    let bad = || ClipError::format(path, "expected an object of token numbers by token");
    match read_json(path)? {
        Value::Object(entries) => entries
            .into_iter()
            .map(|(token, id)| {
                let id = id
                    .as_u64()
                    .and_then(|id| u32::try_from(id).ok())
                    .ok_or_else(bad)?;
                Ok((token, id))
            })
            .collect(),
        _ => Err(bad()),
    }
}

fn parse_merges(text: &str, path: &Path) -> Result<Vec<(String, String)>> {
    let lines = text.lines().enumerate();
    lines
        .filter(|(_, line)| !line.starts_with("#version") && !line.trim().is_empty())
        .map(|(index, line)| match line.split_once(' ') {
            Some((left, right)) if !right.contains(' ') => Ok((left.into(), right.into())),
            _ => Err(ClipError::format(
                path,
                format!(
                    "line {}: expected two parts with a space between",
                    index + 1
                ),
            )),
        })
        .collect()
}

/// What fills up a batch, from `special_tokens_map.json` or `tokenizer_config.json`; the default is
/// that of `CLIPTokenizer`.
fn pad_token(folder: &Path) -> Result<String> {
    for name in ["special_tokens_map.json", "tokenizer_config.json"] {
        let path = folder.join(name);
        if path.is_file()
            && let Some(token) = read_json(&path)?.get("pad_token")
            && let Some(text) = token
                .as_str()
                .or_else(|| token.get("content").and_then(Value::as_str))
        {
            return Ok(text.to_owned());
        }
    }
    Ok(END.to_owned())
}
