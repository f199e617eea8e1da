//! Training configurations as TOML: files, presets and changes of single fields.

use crate::config::clip_name;
use crate::config::decoder_choice::SECTION;
use crate::config::settings::Settings;
use crate::config::train_config::{CacheConfig, ClipChoice, DataConfig, TrainConfig};
use crate::error::{Result, TrainError};
use std::path::Path;
use toml::{Table, Value};

/// The name and the text of each preset.
pub const PRESETS: [(&str, &str); 3] = [
    ("paper", include_str!("../../presets/paper.toml")),
    ("student", include_str!("../../presets/student.toml")),
    ("quick", include_str!("../../presets/quick.toml")),
];

impl Settings for TrainConfig {
    const EXCLUSIVE: &'static [[&'static str; 2]] = &[
        ["schedule.steps", "schedule.epochs"],
        ["schedule.warmup_steps", "schedule.warmup_ratio"],
    ];

    fn check(&self) -> Result<()> {
        self.validate()
    }

    fn begins_section(field: &str) -> bool {
        matches!(field, "decoder.kind" | "decoder.pretrained")
    }

    /// Another decoder starts with its own defaults.
    fn begin_section(field: &str, value: &Value, table: &mut Table) {
        let Some(Value::Table(decoder)) = table.get_mut("decoder") else {
            return;
        };
        let other = match field {
            "decoder.kind" => {
                decoder.get("pretrained").is_none() && decoder.get("kind") != Some(value)
            }
            _ => decoder.get("pretrained").unwrap_or(&Value::Boolean(false)) != value,
        };
        if other {
            decoder.clear();
        }
    }

    fn exact_field(_section: Option<&str>, message: &str) -> Option<(String, String)> {
        let (field, rest) = message.trim().strip_prefix(SECTION)?.split_once(": ")?;
        Some((format!("{SECTION}{field}"), rest.to_owned()))
    }

    /// The learning rate of every step depends on the number of steps, so with another number the steps
    /// that are done would have been different.
    fn way_on(&self, field: &str, model: &Path) -> String {
        match field {
            "schedule.steps" | "schedule.epochs" => format!(
                ". The learning rate of every step depends on the number of steps; to train the decoder \
                 further, start a new run from it: `--clip {} --set decoder.pretrained=true` with another \
                 --out",
                model.display()
            ),
            _ => String::new(),
        }
    }
}

impl TrainConfig {
    /// Reads a configuration file.
    ///
    /// # Errors
    ///
    /// If it cannot be read, is not TOML, or a field is unknown or of another type; the message names
    /// the file, the line and the field.
    pub fn from_file(path: &Path) -> Result<Self> {
        <Self as Settings>::from_file(path)
    }

    /// Parses the text of a configuration file; `path` is used in error messages.
    ///
    /// # Errors
    ///
    /// As [`from_file`](Self::from_file), or as [`validate`](Self::validate).
    pub fn from_toml(text: &str, path: &Path) -> Result<Self> {
        <Self as Settings>::from_toml(text, path)
    }

    /// Returns a preset: `paper`, the recipe of the CLIPSeg paper; `student`, a smaller one; or `quick`,
    /// which takes minutes on a CPU.
    ///
    /// # Errors
    ///
    /// If there is no preset of that name; the message lists the names.
    pub fn preset(name: &str) -> Result<Self> {
        let text = preset_text(name)?;
        Self::from_toml(text, Path::new(&format!("preset {name}")))
    }

    /// Returns the configuration as TOML with all fields.
    ///
    /// # Errors
    ///
    /// If a path in it is not Unicode.
    pub fn to_toml(&self) -> Result<String> {
        Settings::to_toml(self)
    }

    /// Changes single fields, each given as `section.field=value` with a value in TOML; quotes around a
    /// string may be omitted.
    ///
    /// `schedule.steps` removes `schedule.epochs` and vice versa. Another decoder, selected by
    /// `decoder.kind` or `decoder.pretrained`, starts with its own defaults and drops the settings of the
    /// former decoder. The other fields of `decoder` in `overrides` then apply to the new decoder, in any
    /// order.
    ///
    /// # Errors
    ///
    /// If an override has no `=`, a field is unknown, has the wrong type or is given twice, or the result
    /// is invalid ([`validate`](Self::validate)); the message names the field.
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
        Settings::with_overrides(self, overrides)
    }

    /// The configuration with absolute paths.
    pub(crate) fn with_absolute_paths(mut self) -> Self {
        make_absolute(&mut self.data, &mut self.cache, &mut self.clip);
        self
    }
}

/// Makes the paths of the sections with paths absolute.
pub(crate) fn make_absolute(data: &mut DataConfig, cache: &mut CacheConfig, clip: &mut ClipChoice) {
    let folders = [&mut data.folder, &mut cache.folder];
    for folder in folders.into_iter().flatten() {
        if let Ok(found) = std::path::absolute(&folder) {
            *folder = found;
        }
    }
    clip_name::make_absolute(&mut clip.checkpoint);
}

/// Returns the commented text of a preset.
///
/// # Errors
///
/// If there is no preset of that name; the message lists the names.
pub fn preset_text(name: &str) -> Result<&'static str> {
    let found = PRESETS.iter().find(|(known, _)| *known == name);
    found.map(|(_, text)| *text).ok_or_else(|| {
        let known: Vec<&str> = PRESETS.iter().map(|(name, _)| *name).collect();
        let message = format!(
            "`{name}` is not a preset, expected one of {}",
            known.join(", ")
        );
        TrainError::field("preset", message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::train_config::BestBy;
    use clipseg_data::{NegativeRule, Preprocessing};

    fn message(text: &str) -> String {
        let path = Path::new("train.toml");
        TrainConfig::from_toml(text, path).unwrap_err().to_string()
    }

    #[test]
    fn a_written_configuration_is_read_back() {
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
        assert_eq!(paper.data.preprocessing, Some(Preprocessing::ClipSeg));
        assert_eq!(paper.augment.negative_rule, Some(NegativeRule::Any));
        assert_eq!(paper.augment.visual, [0.5, 1.0]);
        assert!(paper.augment.crop && paper.augment.templates && !paper.augment.flip);
        assert_eq!(paper.decoder.dropout(), 0.1);
        assert!(!paper.schedule.group_by_picture);
        let student = TrainConfig::preset("student").unwrap();
        assert_eq!(student.schedule.epochs, Some(3));
        assert_eq!(
            TrainConfig::preset("fast").unwrap_err().to_string(),
            "field `preset`: `fast` is not a preset, expected one of paper, student, quick"
        );
    }

    #[test]
    fn errors_of_a_file_name_line_and_field() {
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

    #[test]
    fn a_field_given_twice_is_named() {
        let message = |texts: &[&str]| {
            let error = TrainConfig::default().with_overrides(texts).unwrap_err();
            error.to_string()
        };
        assert_eq!(
            message(&["seed=1", "loss=dice", " seed = 1"]),
            "field `seed`: given twice, expected one value"
        );
        assert_eq!(
            message(&["schedule.steps=1", "schedule.epochs=1"]),
            "field `schedule.epochs`: `schedule.steps` is given too, expected one of the two"
        );
    }
}
