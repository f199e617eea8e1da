//! Reads the hub's settings from environment variables, as `huggingface_hub` does.
//!
//! The variables and their precedence are those of `constants.py` and `utils/_auth.py` of
//! `huggingface_hub` 1.x. Its HTTP library reads those that name certificates: httpx reads
//! `SSL_CERT_FILE` and `SSL_CERT_DIR`, and requests, which it used before, reads the other two.

use super::options::Options;
use crate::error::{ClipError, Result};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Variables that name certificates to trust. The first that is set is used.
const CERTIFICATES: [&str; 4] = [
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
];

/// Reads the settings through `variable`, which returns the value of an environment variable. An empty
/// variable counts as not set.
pub(super) fn read(variable: impl Fn(&str) -> Option<OsString>) -> Result<Options> {
    let set = |name: &str| variable(name).filter(|value| !value.is_empty());
    let text = |name: &str| -> Result<Option<String>> {
        let text = set(name).map(OsString::into_string).transpose();
        text.map_err(|value| {
            ClipError::Input(format!("{name} is {}, which is not UTF-8", value.display()))
        })
    };
    let flag = |name: &str| text(name).map(|value| value.as_deref().is_some_and(is_true));
    let home = set("HOME").map(PathBuf::from).or_else(std::env::home_dir);
    let home = home.filter(|home| !home.as_os_str().is_empty());
    let expand = |path: OsString| expand(path, home.as_deref(), &variable);

    let hugging_face = match (set("HF_HOME"), set("XDG_CACHE_HOME"), &home) {
        (Some(path), ..) => expand(path),
        (None, Some(cache), _) => expand(cache).join("huggingface"),
        (None, None, Some(home)) => home.join(".cache/huggingface"),
        (None, None, None) => {
            return Err(ClipError::Input(
                "no home folder is known in which downloads could be cached; set HF_HOME".into(),
            ));
        }
    };
    let cache = set("HF_HUB_CACHE").or_else(|| set("HUGGINGFACE_HUB_CACHE"));
    let cache = cache.map_or_else(|| hugging_face.join("hub"), &expand);

    let mut options = Options::new(cache);
    options.offline = match text("HF_HUB_OFFLINE")? {
        Some(value) => is_true(&value),
        None => flag("TRANSFORMERS_OFFLINE")?,
    };
    options.progress = !flag("HF_HUB_DISABLE_PROGRESS_BARS")?;
    if let Some(endpoint) = text("HF_ENDPOINT")? {
        options.set_endpoint(endpoint.trim());
        options
            .check_endpoint()
            .map_err(|message| ClipError::Input(format!("HF_ENDPOINT is {message}")))?;
    }
    if let Some(name) = CERTIFICATES.into_iter().find(|name| set(name).is_some()) {
        options.certificates = set(name).map(&expand);
    }
    if flag("HF_HUB_DISABLE_IMPLICIT_TOKEN")? {
        return Ok(options);
    }
    let token = match text("HF_TOKEN")? {
        Some(token) => Some(token),
        None => text("HUGGING_FACE_HUB_TOKEN")?,
    };
    options.token = match token.as_deref().and_then(clean) {
        Some(token) => Some(token),
        None => {
            let path = set("HF_TOKEN_PATH");
            stored(&path.map_or_else(|| hugging_face.join("token"), &expand))?
        }
    };
    Ok(options)
}

/// Whether `huggingface_hub` treats a value as true.
fn is_true(value: &str) -> bool {
    ["1", "ON", "YES", "TRUE"].contains(&value.to_uppercase().as_str())
}

/// Removes the line breaks and spaces that copying a token can leave around it.
fn clean(token: &str) -> Option<String> {
    let token = token.replace(['\r', '\n'], "");
    let token = token.trim();
    (!token.is_empty()).then(|| token.to_owned())
}

/// Reads the token that `hf auth login` has stored.
fn stored(path: &Path) -> Result<Option<String>> {
    match std::fs::read_to_string(path) {
        Ok(token) => Ok(clean(&token)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(ClipError::io("read", path)(error)),
    }
}

/// Replaces a leading `~` by the home folder, and `$NAME` and `${NAME}` by the values of variables.
/// Names of variables that are not set stay.
fn expand(
    path: OsString,
    home: Option<&Path>,
    variable: &impl Fn(&str) -> Option<OsString>,
) -> PathBuf {
    let Some(text) = path.to_str() else {
        return path.into();
    };
    let mut expanded = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        expanded.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        let letters = |c: char| !(c.is_ascii_alphanumeric() || c == '_');
        let (name, behind) = match after.strip_prefix('{').and_then(|a| a.split_once('}')) {
            Some(parts) => parts,
            None => after.split_at(after.find(letters).unwrap_or(after.len())),
        };
        match variable(name).and_then(|value| value.into_string().ok()) {
            Some(value) if !name.is_empty() => expanded.push_str(&value),
            _ => expanded.push_str(&rest[at..rest.len() - behind.len()]),
        }
        rest = behind;
    }
    expanded.push_str(rest);
    match (home, expanded.strip_prefix('~')) {
        (Some(home), Some("")) => home.to_owned(),
        (Some(home), Some(inside)) if inside.starts_with('/') => home.join(&inside[1..]),
        _ => expanded.into(),
    }
}
