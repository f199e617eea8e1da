//! Configurations as TOML: files, presets, and single fields from a command line.

use crate::config::TrainConfig;
use crate::error::{Result, TrainError};
use serde::Deserialize;
use std::path::Path;
use toml::{Table, Value};

/// The presets' names and texts.
pub const PRESETS: [(&str, &str); 3] = [
    ("paper", include_str!("../presets/paper.toml")),
    ("student", include_str!("../presets/student.toml")),
    ("quick", include_str!("../presets/quick.toml")),
];

impl TrainConfig {
    /// Reads a configuration file.
    ///
    /// # Errors
    ///
    /// If it cannot be read, is not TOML, or a field is unknown or of another type; the message names
    /// the file, the line and the field.
    pub fn from_file(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(TrainError::io("read", path))?;
        Self::from_toml(&text, path)
    }

    /// Reads the text of a configuration file; `path` is for messages.
    ///
    /// # Errors
    ///
    /// As [`from_file`](Self::from_file), or as [`validate`](Self::validate).
    pub fn from_toml(text: &str, path: &Path) -> Result<Self> {
        let fail = |field: Option<String>, error: &toml::de::Error| TrainError::ConfigFile {
            path: path.to_owned(),
            line: error.span().map(|span| line_of(text, span.start)),
            field,
            message: error.message().trim().to_owned(),
        };
        let deserializer = toml::Deserializer::parse(text).map_err(|error| fail(None, &error))?;
        let config: Self = serde_path_to_error::deserialize(deserializer).map_err(|error| {
            let field = error.path().to_string();
            fail((field != ".").then_some(field), error.inner())
        })?;
        config.validate().map_err(|error| match error {
            TrainError::Config { field, message } => TrainError::ConfigFile {
                path: path.to_owned(),
                line: None,
                field: Some(field),
                message,
            },
            other => other,
        })?;
        Ok(config)
    }

    /// A recipe by its name: `paper`, the published one; `student`, a smaller one; `quick`, minutes
    /// on a processor.
    ///
    /// # Errors
    ///
    /// If there is none of that name; the message lists them.
    pub fn preset(name: &str) -> Result<Self> {
        let text = preset_text(name)?;
        Self::from_toml(text, Path::new(&format!("preset {name}")))
    }

    /// The configuration as TOML, all fields written out.
    ///
    /// # Errors
    ///
    /// If a path in it is not Unicode.
    pub fn to_toml(&self) -> Result<String> {
        toml::to_string(self).map_err(|error| TrainError::run(Path::new("config"), error))
    }

    /// Changes single fields, each as `section.field=value` with a value as in TOML; quotes around a
    /// text may be left out.
    ///
    /// # Errors
    ///
    /// If one has no `=`, or the field is unknown or of another type; the message names it.
    ///
    /// # Example
    ///
    /// ```
    /// use clipseg_train::TrainConfig;
    ///
    /// let config = TrainConfig::preset("quick")?
    ///     .with_overrides(&["loss=dice", "schedule.steps=50", "data.held_out=[\"cat\"]"])?;
    /// assert_eq!(config.schedule.steps, Some(50));
    /// # Ok::<(), clipseg_train::TrainError>(())
    /// ```
    pub fn with_overrides<S: AsRef<str>>(self, overrides: &[S]) -> Result<Self> {
        let mut config = self;
        for text in overrides.iter().map(AsRef::as_ref) {
            config = config.with_override(text)?;
        }
        config.validate()?;
        Ok(config)
    }

    fn with_override(self, text: &str) -> Result<Self> {
        let Some((field, value)) = text.split_once('=') else {
            let message = "expected a value after `=`, as in `schedule.steps=100`";
            return Err(TrainError::field(text, message));
        };
        let field = field.trim();
        let fail = |message: &str| TrainError::field(field, message.trim());
        let mut table = Table::try_from(&self).map_err(|error| fail(&error.to_string()))?;
        // Of steps and epochs only one may be there; the one asked for replaces the other.
        for (given, other) in [("schedule.steps", "epochs"), ("schedule.epochs", "steps")] {
            if field == given
                && let Some(Value::Table(schedule)) = table.get_mut("schedule")
            {
                schedule.remove(other);
            }
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
        place.insert(name.to_owned(), parse_value(value.trim()));
        Self::deserialize(table).map_err(|error| fail(error.message()))
    }

    /// The first field in which two configurations differ, with both values.
    pub(crate) fn first_difference(&self, other: &Self) -> Option<(String, String, String)> {
        let table = |config: &Self| Table::try_from(config).unwrap_or_default();
        difference("", &table(self), &table(other))
    }

    /// The configuration with paths that mean the same from every folder.
    pub(crate) fn with_absolute_paths(mut self) -> Self {
        let folders = [&mut self.data.folder, &mut self.cache.folder];
        for folder in folders.into_iter().flatten() {
            if let Ok(found) = std::path::absolute(&folder) {
                *folder = found;
            }
        }
        if let Some(checkpoint) = &mut self.clip.checkpoint
            && Path::new(checkpoint).is_dir()
            && let Ok(found) = std::path::absolute(&checkpoint)
            && let Some(found) = found.to_str()
        {
            *checkpoint = found.to_owned();
        }
        self
    }
}

/// The commented text of a preset.
///
/// # Errors
///
/// If there is none of that name; the message lists them.
pub fn preset_text(name: &str) -> Result<&'static str> {
    let found = PRESETS.iter().find(|(known, _)| *known == name);
    found.map(|(_, text)| *text).ok_or_else(|| {
        let known: Vec<&str> = PRESETS.iter().map(|(name, _)| *name).collect();
        let message = format!("`{name}` is none, known are {}", known.join(", "));
        TrainError::field("preset", message)
    })
}

/// A TOML value, or the text itself where it is none.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::BestBy;

    fn message(text: &str) -> String {
        let path = Path::new("train.toml");
        TrainConfig::from_toml(text, path).unwrap_err().to_string()
    }

    #[test]
    fn what_is_written_is_read_back() {
        for (name, _) in PRESETS {
            let config = TrainConfig::preset(name).unwrap();
            let text = config.to_toml().unwrap();
            let read = TrainConfig::from_toml(&text, Path::new("x")).unwrap();
            assert_eq!(read, config, "{text}");
        }
        assert_eq!(
            TrainConfig::from_toml("", Path::new("x")).unwrap(),
            TrainConfig::default()
        );
    }

    #[test]
    fn the_presets_are_the_recipes() {
        let paper = TrainConfig::preset("paper").unwrap();
        assert_eq!(paper.schedule.steps, Some(20_000));
        assert_eq!(
            (paper.schedule.batch_size, paper.augment.negatives),
            (64, 0.2)
        );
        assert_eq!(paper.validation.best_by, BestBy::MeanIou);
        let student = TrainConfig::preset("student").unwrap();
        assert_eq!(student.schedule.epochs, Some(3));
        assert_eq!(
            TrainConfig::preset("fast").unwrap_err().to_string(),
            "field `preset`: `fast` is none, known are paper, student, quick"
        );
    }

    #[test]
    fn a_bad_file_is_told_by_line_and_field() {
        let unknown = message("seed = 1\n[schedule]\nstepz = 3\n");
        assert!(
            unknown.starts_with("train.toml, line 3: field `schedule.stepz`: unknown field"),
            "{unknown}"
        );
        let wrong = message("\n\n[schedule]\nbatch_size = \"many\"\n");
        assert!(
            wrong.starts_with("train.toml, line 4: field `schedule.batch_size`: invalid type"),
            "{wrong}"
        );
        let loss = message("loss = \"hinge\"\n");
        assert!(
            loss.starts_with("train.toml, line 1: field `loss`:"),
            "{loss}"
        );
        let no_toml = message("seed = 1\nseed 2\n");
        assert!(no_toml.starts_with("train.toml, line 2:"), "{no_toml}");
        assert_eq!(
            message("[schedule]\nbatch_size = 0"),
            "train.toml: field `schedule.batch_size`: 0, expected at least 1"
        );
        let missing = TrainConfig::from_file(Path::new("no/such.toml")).unwrap_err();
        assert!(
            missing.to_string().starts_with("cannot read no/such.toml:"),
            "{missing}"
        );
    }

    #[test]
    fn single_fields_are_changed() {
        let config = TrainConfig::preset("student").unwrap();
        let changed = config
            .clone()
            .with_overrides(&["schedule.steps=7", "device=vulkan:1", "cache.memory=1 MiB"])
            .unwrap();
        assert_eq!(
            (changed.schedule.steps, changed.schedule.epochs),
            (Some(7), None)
        );
        assert_eq!(changed.device, "vulkan:1");
        assert_eq!(
            config.first_difference(&changed),
            Some((
                "cache.memory".into(),
                "\"1 GiB\"".into(),
                "\"1 MiB\"".into()
            ))
        );
        let message = |text: &str| {
            let error = TrainConfig::default().with_overrides(&[text]).unwrap_err();
            error.to_string()
        };
        assert!(message("schedule.stepz=1").starts_with("field `schedule.stepz`: unknown field"));
        assert!(message("shedule.steps=1").contains("there is no section `shedule`"));
        assert!(message("seed").contains("expected a value after `=`"));
        assert!(message("schedule.batch_size=0").contains("expected at least 1"));
    }
}
