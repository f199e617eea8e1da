//! Reads the files of a tokenizer, and refuses content on which the crate `tokenizers` would panic.

use super::END;
use crate::checkpoint_files::CheckpointFiles;
use crate::error::{ClipError, Result};
use serde_json::Value;
use std::path::Path;
use tokenizers::models::bpe::Vocab;

/// Refuses merges of tokens that are not in the vocabulary, on which `tokenizers` panics.
pub(super) fn check_merges(
    merges: &[(String, String)],
    has: impl Fn(&str) -> bool,
    path: &Path,
) -> Result<()> {
    for (number, (left, right)) in merges.iter().enumerate() {
        for token in [left, right, &format!("{left}{right}")] {
            if !has(token) {
                return Err(ClipError::format(
                    path,
                    format!(
                        "merge {} joins `{left}` and `{right}`, but `{token}` is not in the vocabulary",
                        number + 1
                    ),
                ));
            }
        }
    }
    Ok(())
}

/// Refuses a `tokenizer.json` with such merges, or with another model than byte-pair encoding.
pub(super) fn check_merges_of_json(text: &str, path: &Path) -> Result<()> {
    let json: Value = serde_json::from_str(text)
        .map_err(|error| ClipError::format(path, format!("not JSON: {error}")))?;
    let model = &json["model"];
    let fail = |field: &str, message: String| ClipError::Config {
        path: path.to_owned(),
        field: field.to_owned(),
        message,
    };
    match model.get("type").and_then(Value::as_str) {
        None | Some("BPE") => {}
        Some(other) => {
            return Err(fail("model.type", format!("`{other}`, expected `BPE`")));
        }
    }
    match model.get("continuing_subword_prefix") {
        None | Some(Value::Null) => {}
        Some(prefix) if prefix.as_str() == Some("") => {}
        Some(other) => {
            return Err(fail(
                "model.continuing_subword_prefix",
                format!("{other}, expected none"),
            ));
        }
    }
    let vocabulary = model.get("vocab").and_then(Value::as_object);
    let vocabulary = vocabulary.ok_or_else(|| {
        fail(
            "model.vocab",
            "expected an object with an id for each token".into(),
        )
    })?;
    let merges = model.get("merges").and_then(Value::as_array);
    let merges = merges.ok_or_else(|| fail("model.merges", "expected a list".into()))?;
    let pair = |merge: &Value| -> Option<(String, String)> {
        if let Some(text) = merge.as_str() {
            let (left, right) = text.split_once(' ')?;
            return Some((left.to_owned(), right.to_owned()));
        }
        match merge.as_array()?.as_slice() {
            [left, right] => Some((left.as_str()?.to_owned(), right.as_str()?.to_owned())),
            _ => None,
        }
    };
    let pairs = merges.iter().map(|merge| {
        pair(merge).ok_or_else(|| fail("model.merges", format!("{merge}, expected two tokens")))
    });
    let pairs: Vec<_> = pairs.collect::<Result<_>>()?;
    check_merges(&pairs, |token| vocabulary.contains_key(token), path)
}

/// Reads a vocabulary file.
pub(super) fn read_vocabulary(files: &CheckpointFiles, name: &str) -> Result<Vocab> {
    let path = files.location(name);
    let bad = || ClipError::format(&path, "expected an object with an id for each token");
    match files.read_json(name)? {
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

/// Parses the content of `merges.txt`.
pub(super) fn parse_merges(text: &str, path: &Path) -> Result<Vec<(String, String)>> {
    let lines = text.lines().enumerate();
    lines
        .filter(|(_, line)| !line.starts_with("#version") && !line.trim().is_empty())
        .map(|(index, line)| match line.split_once(' ') {
            Some((left, right)) if !right.contains(' ') => Ok((left.into(), right.into())),
            _ => Err(ClipError::format(
                path,
                format!(
                    "line {}: expected two tokens separated by a space",
                    index + 1
                ),
            )),
        })
        .collect()
}

/// The padding token from `special_tokens_map.json` or `tokenizer_config.json`, or else the default of
/// `CLIPTokenizer`.
pub(super) fn pad_token(files: &CheckpointFiles) -> Result<String> {
    for name in ["special_tokens_map.json", "tokenizer_config.json"] {
        if files.has(name)
            && let Some(token) = files.read_json(name)?.get("pad_token")
            && let Some(text) = token
                .as_str()
                .or_else(|| token.get("content").and_then(Value::as_str))
        {
            return Ok(text.to_owned());
        }
    }
    Ok(END.to_owned())
}
