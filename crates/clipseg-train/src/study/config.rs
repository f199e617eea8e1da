//! The configuration of a study: the grid of runs and what they share.

use crate::config::adamw_options::AdamWOptions;
use crate::config::decoder_choice::{DecoderChoice, SECTION};
use crate::config::file::make_absolute;
use crate::config::settings::Settings;
use crate::config::train_config::{
    AugmentConfig, CacheConfig, CheckpointConfig, ClipChoice, DataConfig, ScheduleConfig,
    TrainConfig, ValidationConfig,
};
use crate::error::{Result, TrainError};
use crate::study::alteration::Alteration;
use clipseg_metrics::Loss;
use clipseg_model::SCENES;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// The name and the text of each preset of a study.
pub const STUDY_PRESETS: [(&str, &str); 2] = [
    ("full", include_str!("../../presets/study-full.toml")),
    ("quick", include_str!("../../presets/study-quick.toml")),
];

/// The configuration of a study: every decoder is trained with every loss and every seed, and some runs are repeated
/// with one deliberate [`Alteration`].
///
/// The sections `data`, `augment`, `clip`, `optimizer`, `schedule`, `validation`, `checkpoints` and `cache` are those
/// of a [`TrainConfig`], and all runs share them.
///
/// # Example
///
/// ```
/// use clipseg_train::StudyConfig;
///
/// let text = "seeds = [0, 1]\nlosses = [\"bce\", \"dice\"]\n[decoders.small]\nreduce_dim = 16\n";
/// let study = StudyConfig::from_toml(text, "example".as_ref())?;
/// let names: Vec<String> = study.runs()?.into_iter().map(|run| run.name).collect();
/// assert_eq!(names, ["small.bce.s0", "small.dice.s0", "small.bce.s1", "small.dice.s1"]);
/// # Ok::<(), clipseg_train::TrainError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StudyConfig {
    /// The random seeds. At least three show how much runs vary. Default: 0, 1, 2.
    pub seeds: Vec<u64>,
    /// The losses. Default: `bce` and `dice`.
    pub losses: Vec<Loss>,
    /// The name of the device, as in a [`TrainConfig`]. Default: `cpu`.
    pub device: String,
    /// The largest number of phrases of the test split whose masks are kept as small pictures, evenly spread over the
    /// split. The contact sheets of the report choose among them. Default: 100.
    pub sheet_phrases: usize,
    /// The decoders by their names, which consist of letters, digits, `-` and `_`. No default.
    pub decoders: BTreeMap<String, DecoderChoice>,
    /// The runs with one deliberate change.
    pub alterations: AlterationsConfig,
    /// The phrases. The validation split chooses the threshold of each run; the final scores are those of the test
    /// split. Both must exist.
    pub data: DataConfig,
    /// Augmentation of the training samples.
    pub augment: AugmentConfig,
    /// The frozen CLIP. Without a checkpoint, `scenes` is used. All runs share it, so `unfreeze` is refused.
    pub clip: ClipChoice,
    /// The optimizer.
    pub optimizer: AdamWOptions,
    /// Steps, batches and learning rates. All runs have the same number of steps, so `epochs` is refused.
    pub schedule: ScheduleConfig,
    /// How often and on what a run is validated. `threshold`, `best_by` and `examples` are refused: the decoder after
    /// the last step is scored at 0.5 and at the threshold that is best on the validation split, and `sheet_phrases`
    /// replaces the examples.
    pub validation: ValidationConfig,
    /// How often a checkpoint is saved.
    pub checkpoints: CheckpointConfig,
    /// The caches. All runs share one cache of hidden states.
    pub cache: CacheConfig,
}

impl Default for StudyConfig {
    fn default() -> Self {
        let shared = TrainConfig::default();
        Self {
            seeds: vec![0, 1, 2],
            losses: vec![Loss::bce(), Loss::dice()],
            device: shared.device,
            sheet_phrases: 100,
            decoders: BTreeMap::new(),
            alterations: AlterationsConfig::default(),
            data: shared.data,
            augment: shared.augment,
            clip: shared.clip,
            optimizer: shared.optimizer,
            schedule: shared.schedule,
            validation: shared.validation,
            checkpoints: shared.checkpoints,
            cache: shared.cache,
        }
    }
}

/// The runs of a study with one deliberate change.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AlterationsConfig {
    /// The changes; each is switched on alone. Default: none.
    pub kinds: Vec<Alteration>,
    /// The name of the decoder that is trained with each change, except for `no_features`, which is applied to every
    /// decoder with `picture_branch = true`. No default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decoder: Option<String>,
    /// The losses, which must be among those of the study. Default: the first loss of the study.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub losses: Option<Vec<Loss>>,
}

impl Settings for StudyConfig {
    fn check(&self) -> Result<()> {
        self.validate()
    }

    fn exact_field(section: Option<&str>, message: &str) -> Option<(String, String)> {
        let (field, rest) = message.trim().strip_prefix(SECTION)?.split_once(": ")?;
        let section = section.filter(|section| section.starts_with("decoders."))?;
        let mut parts = section.splitn(3, '.');
        let (decoders, name) = (parts.next()?, parts.next()?);
        Some((format!("{decoders}.{name}.{field}"), rest.to_owned()))
    }
}

impl StudyConfig {
    /// Reads a configuration file.
    ///
    /// # Errors
    ///
    /// If it cannot be read, is not TOML, or a field is unknown, of another type or invalid
    /// ([`validate`](Self::validate)); the message names the file, the line and the field.
    pub fn from_file(path: &Path) -> Result<Self> {
        <Self as Settings>::from_file(path)
    }

    /// Parses the text of a configuration file; `path` is used in error messages.
    ///
    /// # Errors
    ///
    /// As [`from_file`](Self::from_file).
    pub fn from_toml(text: &str, path: &Path) -> Result<Self> {
        <Self as Settings>::from_toml(text, path)
    }

    /// Returns a preset: `full`, whose runs take hours on a CPU, or `quick`, whose runs take minutes.
    ///
    /// # Errors
    ///
    /// If there is no preset of that name; the message lists the names.
    pub fn preset(name: &str) -> Result<Self> {
        let found = STUDY_PRESETS.iter().find(|(known, _)| *known == name);
        let Some((_, text)) = found else {
            let known = STUDY_PRESETS.map(|(name, _)| name).join(", ");
            let message = format!("`{name}` is not a preset of a study, expected one of {known}");
            return Err(TrainError::field("preset", message));
        };
        Self::from_toml(text, Path::new(&format!("preset {name}")))
    }

    /// The configuration that all runs share; decoder, loss and seed have their defaults.
    pub(crate) fn shared(&self) -> TrainConfig {
        let mut config = TrainConfig {
            device: self.device.clone(),
            data: self.data.clone(),
            augment: self.augment,
            clip: self.clip.clone(),
            optimizer: self.optimizer,
            schedule: self.schedule.clone(),
            validation: self.validation.clone(),
            checkpoints: self.checkpoints,
            cache: self.cache.clone(),
            ..TrainConfig::default()
        };
        config.validation.examples = 0;
        let checkpoint = &mut config.clip.checkpoint;
        checkpoint.get_or_insert_with(|| SCENES.to_owned());
        config
    }

    /// The configuration with absolute paths.
    pub(crate) fn with_absolute_paths(mut self) -> Self {
        make_absolute(&mut self.data, &mut self.cache, &mut self.clip);
        self
    }

    /// The decoders that an alteration is applied to.
    pub(crate) fn altered_decoders(&self, alteration: Alteration) -> Vec<&str> {
        let sees_pixels = |decoder: &DecoderChoice| matches!(decoder, DecoderChoice::Conv(choice) if choice.picture_branch);
        match alteration {
            Alteration::NoFeatures => {
                let decoders = self.decoders.iter();
                let seeing = decoders.filter(|(_, decoder)| sees_pixels(decoder));
                seeing.map(|(name, _)| name.as_str()).collect()
            }
            _ => self.alterations.decoder.as_deref().into_iter().collect(),
        }
    }

    /// The losses of the altered runs.
    pub(crate) fn altered_losses(&self) -> &[Loss] {
        let first = &self.losses[..self.losses.len().min(1)];
        self.alterations.losses.as_deref().unwrap_or(first)
    }
}
