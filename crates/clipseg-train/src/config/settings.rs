//! Configurations of any kind of run as TOML: files and changes of single fields.

use crate::error::{Result, TrainError};
use clipseg_data::files;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::path::Path;
use toml::{Table, Value};

/// The configuration of a run, stored as TOML.
///
/// Every field has a default, so a file needs to contain only what differs from the defaults.
pub trait Settings: Serialize + DeserializeOwned + Clone {
    /// Pairs of fields that exclude each other: an override of one removes the other.
    const EXCLUSIVE: &'static [[&'static str; 2]] = &[];

    /// Checks every value.
    ///
    /// # Errors
    ///
    /// [`TrainError::Config`] with the first invalid field.
    fn check(&self) -> Result<()>;

    /// Whether a field selects the kind of its section, so that it is changed before the other fields.
    #[doc(hidden)]
    fn begins_section(_field: &str) -> bool {
        false
    }

    /// Removes the settings of another kind before such a field is changed.
    #[doc(hidden)]
    fn begin_section(_field: &str, _value: &Value, _table: &mut Table) {}

    /// The field that an error message of serde about a section names, and the rest of the message. `section` is the
    /// field at which serde reports the error, if it is known.
    #[doc(hidden)]
    fn exact_field(_section: Option<&str>, _message: &str) -> Option<(String, String)> {
        None
    }

    /// What to do instead of resuming a run with another value of a field; appended to the error message.
    #[doc(hidden)]
    fn way_on(&self, _field: &str, _model: &Path) -> String {
        String::new()
    }

    /// Reads a file.
    ///
    /// # Errors
    ///
    /// If it cannot be read, is not TOML, or a field is unknown or of another type; the message names
    /// the file, the line and the field.
    fn from_file(path: &Path) -> Result<Self> {
        let text = files::read(path)
            .and_then(files::decode_text)
            .map_err(TrainError::io("read", path))?;
        <Self as Settings>::from_toml(&text, path)
    }

    /// Parses the text of a file; `path` is used in error messages.
    ///
    /// # Errors
    ///
    /// As [`from_file`](Self::from_file), or as [`check`](Self::check).
    fn from_toml(text: &str, path: &Path) -> Result<Self> {
        let fail = |field: Option<String>, error: &toml::de::Error| TrainError::ConfigFile {
            path: path.to_owned(),
            line: error.span().map(|span| line_of(text, span.start)),
            field,
            message: error.message().trim().to_owned(),
        };
        let deserializer = toml::Deserializer::parse(text).map_err(|error| fail(None, &error))?;
        let settings: Self = serde_path_to_error::deserialize(deserializer).map_err(|error| {
            let field = error.path().to_string();
            let mut error = fail((field != ".").then_some(field), error.inner());
            if let TrainError::ConfigFile { field, message, .. } = &mut error
                && let Some((exact, rest)) = Self::exact_field(field.as_deref(), message)
            {
                (*field, *message) = (Some(exact), rest);
            }
            error
        })?;
        settings.check().map_err(|error| match error {
            TrainError::Config { field, message } => TrainError::ConfigFile {
                path: path.to_owned(),
                line: None,
                field: Some(field),
                message,
            },
            other => other,
        })?;
        Ok(settings)
    }

    /// Returns the configuration as TOML with all fields.
    ///
    /// # Errors
    ///
    /// If a path in them is not Unicode.
    fn to_toml(&self) -> Result<String> {
        toml::to_string(self).map_err(|error| TrainError::run(Path::new("config"), error))
    }

    /// Changes single fields, each given as `section.field=value` with a value in TOML; quotes around a
    /// string may be omitted.
    ///
    /// # Errors
    ///
    /// If an override has no `=`, a field is unknown, has the wrong type or is given twice, or the result
    /// is invalid ([`check`](Self::check)); the message names the field.
    fn with_overrides<S: AsRef<str>>(self, overrides: &[S]) -> Result<Self> {
        self.check()?;
        let texts = || overrides.iter().map(AsRef::as_ref);
        check_given_once::<Self>(texts())?;
        let first = |text: &&str| Self::begins_section(field_of(text));
        let mut settings = self;
        for text in texts()
            .filter(first)
            .chain(texts().filter(|text| !first(text)))
        {
            settings = with_override(settings, text)?;
        }
        settings.check()?;
        Ok(settings)
    }

    /// The first field in which two configurations differ, with both values.
    #[doc(hidden)]
    fn first_difference(&self, other: &Self) -> Option<(String, String, String)> {
        let table = |settings: &Self| Table::try_from(settings).unwrap_or_default();
        difference("", &table(self), &table(other))
    }
}

fn with_override<C: Settings>(settings: C, text: &str) -> Result<C> {
    let Some((field, value)) = text.split_once('=') else {
        let message = "expected a value after `=`, as in `schedule.steps=100`";
        return Err(TrainError::field(text, message));
    };
    let field = field.trim();
    let fail = |message: &str| TrainError::field(field, message.trim());
    let mut table = Table::try_from(&settings).map_err(|error| fail(&error.to_string()))?;
    for [one, other] in C::EXCLUSIVE {
        for (given, replaced) in [(one, other), (other, one)] {
            if field == *given {
                remove(&mut table, replaced);
            }
        }
    }
    let value = parse_value(value.trim());
    if C::begins_section(field) {
        C::begin_section(field, &value, &mut table);
    }
    let mut place = &mut table;
    let mut parts: Vec<&str> = field.split('.').collect();
    let name = parts.pop().unwrap_or_default();
    for part in parts {
        place = match place.get_mut(part) {
            Some(Value::Table(inner)) => inner,
            _ => return Err(fail(&format!("there is no section `{part}`"))),
        };
    }
    place.insert(name.to_owned(), value);
    C::deserialize(table).map_err(|error| match C::exact_field(Some(field), error.message()) {
        Some((field, message)) => TrainError::field(&field, message),
        None => fail(error.message()),
    })
}

/// The field that a text changes.
fn field_of(text: &str) -> &str {
    text.split_once('=').map_or(text, |(field, _)| field).trim()
}

/// Refuses fields that are given twice, because the first value would have no effect.
fn check_given_once<'a, C: Settings>(overrides: impl Iterator<Item = &'a str>) -> Result<()> {
    let mut given = Vec::new();
    for field in overrides.map(field_of) {
        if given.contains(&field) {
            return Err(TrainError::field(field, "given twice, expected one value"));
        }
        for [one, other] in C::EXCLUSIVE {
            for (this, that) in [(one, other), (other, one)] {
                if field == *this && given.contains(that) {
                    let message = format!("`{that}` is given too, expected one of the two");
                    return Err(TrainError::field(field, message));
                }
            }
        }
        given.push(field);
    }
    Ok(())
}

fn remove(table: &mut Table, field: &str) {
    match field.split_once('.') {
        None => {
            table.remove(field);
        }
        Some((section, rest)) => {
            if let Some(Value::Table(inner)) = table.get_mut(section) {
                remove(inner, rest);
            }
        }
    }
}

/// Parses a TOML value; a text that is not TOML is a string.
fn parse_value(text: &str) -> Value {
    toml::from_str::<Table>(&format!("value = {text}"))
        .ok()
        .filter(|table| table.len() == 1)
        .and_then(|mut table| table.remove("value"))
        .unwrap_or_else(|| Value::String(text.to_owned()))
}

fn line_of(text: &str, offset: usize) -> usize {
    1 + text
        .bytes()
        .take(offset)
        .filter(|&byte| byte == b'\n')
        .count()
}

fn difference(prefix: &str, left: &Table, right: &Table) -> Option<(String, String, String)> {
    let names: std::collections::BTreeSet<&String> = left.keys().chain(right.keys()).collect();
    names.into_iter().find_map(|name| {
        let field = format!("{prefix}{name}");
        match (left.get(name), right.get(name)) {
            (Some(Value::Table(left)), Some(Value::Table(right))) => {
                difference(&format!("{field}."), left, right)
            }
            (left, right) if left != right => {
                let written =
                    |value: Option<&Value>| value.map_or("unset".into(), ToString::to_string);
                Some((field, written(left), written(right)))
            }
            _ => None,
        }
    })
}
