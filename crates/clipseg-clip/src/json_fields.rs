//! Reads fields of JSON objects; errors name the file and the field.

use crate::error::{ClipError, Result};
use serde_json::Value;
use std::path::Path;

/// Reads one field of a JSON object; `None` if it is missing or null. `path` is used in messages.
///
/// # Errors
///
/// [`ClipError::Config`] that names the field.
pub fn parse_field<T: serde::de::DeserializeOwned>(
    object: &serde_json::Map<String, Value>,
    field: &str,
    path: &Path,
) -> Result<Option<T>> {
    match object.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => parse(value.clone(), field, path).map(Some),
    }
}

/// Reads a value. The names of its inner fields follow `prefix` in messages.
pub(crate) fn parse<T: serde::de::DeserializeOwned>(
    value: Value,
    prefix: &str,
    path: &Path,
) -> Result<T> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let inner = error.path().to_string();
        let field = if inner == "." {
            prefix.to_owned()
        } else {
            format!("{prefix}.{inner}")
        };
        ClipError::Config {
            path: path.to_owned(),
            field,
            message: error.inner().to_string(),
        }
    })
}
