//! What a pre-training run is made of.

use crate::config::settings::Settings;
use crate::config::train_config::{AdamWOptions, CheckpointConfig};
use crate::error::{Result, TrainError};
use crate::step::schedule::warm_cosine;
use clipseg_clip::{ClipConfig, TextConfig, VisionConfig};
use clipseg_data::CaptionOptions;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Steps where neither steps nor minutes are given.
const DEFAULT_STEPS: usize = 2_000;

/// How a CLIP is trained: what a configuration file holds.
///
/// Every field has a default, so a file needs to name only what is different.
///
/// # Example
///
/// ```
/// use clipseg_train::{PretrainConfig, Settings};
///
/// let text = "[schedule]\nsteps = 200\nbatch_size = 64\n";
/// let config = PretrainConfig::from_toml(text, "example".as_ref())?;
/// assert_eq!((config.schedule.steps, config.model.image_size), (Some(200), 128));
/// # Ok::<(), clipseg_train::TrainError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PretrainConfig {
    /// Decides the order of the data, everything drawn at random in it, and the first weights.
    /// Default: 0.
    pub seed: u64,
    /// `cpu`, `ndarray`, `wgpu`, `vulkan` or `cuda`, with a number after a colon for one of several
    /// cards. Default: `cpu`.
    pub device: String,
    /// The captioned pictures.
    pub data: CaptionsConfig,
    /// What is changed about samples before they are learnt from.
    pub augment: CaptionAugment,
    /// What the run starts from.
    pub clip: ClipStart,
    /// The size of a new CLIP.
    pub model: ClipShape,
    /// The optimizer.
    pub optimizer: ClipOptimizer,
    /// Steps, batches and learning rates.
    pub schedule: PretrainSchedule,
    /// How often and on what a run is scored.
    pub validation: RetrievalConfig,
    /// How often a run is saved.
    pub checkpoints: CheckpointConfig,
}

impl Default for PretrainConfig {
    fn default() -> Self {
        Self {
            seed: 0,
            device: "cpu".into(),
            data: CaptionsConfig::default(),
            augment: CaptionAugment::default(),
            clip: ClipStart::default(),
            model: ClipShape::default(),
            optimizer: ClipOptimizer::default(),
            schedule: PretrainSchedule::default(),
            validation: RetrievalConfig::default(),
            checkpoints: CheckpointConfig::default(),
        }
    }
}

/// The captioned pictures of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CaptionsConfig {
    /// Folders with a list `captions.tsv` or in the layout of `VGPhraseCut_v0`. Without one, scenes are
    /// generated, fresh ones in every batch.
    pub folders: Vec<PathBuf>,
    /// Samples of one picture, which stand next to each other in a batch. Default: 4.
    pub per_picture: usize,
    /// Share of the samples that show one object, where objects are known. Default: 0.6.
    pub crops: f32,
    /// Share of the captions that are put into a sentence such as "a photo of a …". Default: 0.2.
    pub templates: f32,
    /// Most phrases that are joined to the caption of a whole picture. Default: 4.
    pub phrases: usize,
}

impl Default for CaptionsConfig {
    fn default() -> Self {
        Self {
            folders: Vec::new(),
            per_picture: 4,
            crops: 0.6,
            templates: 0.2,
            phrases: 4,
        }
    }
}

/// What is changed about samples before they are learnt from; validation sees them as they are.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CaptionAugment {
    /// The smallest share of a whole picture's sides that is seen. Default: 0.8.
    pub crop: f32,
    /// Share of the pictures that are mirrored, and with them "left" and "right". Default: 0.5.
    pub flip: f32,
    /// How far brightness, contrast and saturation may change, from 0 to 1; captions that name a
    /// colour are spared. Default: 0.2.
    pub colour_jitter: f32,
}

impl Default for CaptionAugment {
    fn default() -> Self {
        Self {
            crop: 0.8,
            flip: 0.5,
            colour_jitter: 0.2,
        }
    }
}

/// What a run starts from.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClipStart {
    /// Folder of a CLIP checkpoint, or its id on the hub. Without one, a new CLIP and a new vocabulary
    /// are made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<String>,
}

/// The size of a new CLIP.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClipShape {
    /// Side of the pictures in pixels. Default: 128.
    pub image_size: usize,
    /// Side of a patch in pixels. Default: 8.
    pub patch_size: usize,
    /// Width of the vision tower. Default: 192.
    pub vision_width: usize,
    /// Its blocks. Default: 6.
    pub vision_layers: usize,
    /// Heads of its attention. Default: 3.
    pub vision_heads: usize,
    /// Inner width of its MLPs. Default: 768.
    pub vision_inner: usize,
    /// Width of the text tower. Default: 128.
    pub text_width: usize,
    /// Its blocks. Default: 4.
    pub text_layers: usize,
    /// Heads of its attention. Default: 4.
    pub text_heads: usize,
    /// Inner width of its MLPs. Default: 256.
    pub text_inner: usize,
    /// Most tokens that a text can have; longer ones are cut. Default: 32.
    pub tokens: usize,
    /// Most tokens of the vocabulary. Default: 1,024.
    pub vocabulary: usize,
    /// Width of the shared embeddings. Default: 128.
    pub projection: usize,
}

impl Default for ClipShape {
    fn default() -> Self {
        Self {
            image_size: 128,
            patch_size: 8,
            vision_width: 192,
            vision_layers: 6,
            vision_heads: 3,
            vision_inner: 768,
            text_width: 128,
            text_layers: 4,
            text_heads: 4,
            text_inner: 256,
            tokens: 32,
            vocabulary: 1_024,
            projection: 128,
        }
    }
}

impl ClipShape {
    /// The configuration of a CLIP with a vocabulary of so many tokens, of which the last two are those
    /// that start and end a text.
    pub(crate) fn to_config(&self, vocab_size: usize, start: u32, end: u32) -> ClipConfig {
        ClipConfig {
            text_config: TextConfig {
                vocab_size,
                hidden_size: self.text_width,
                intermediate_size: self.text_inner,
                num_hidden_layers: self.text_layers,
                num_attention_heads: self.text_heads,
                max_position_embeddings: self.tokens,
                bos_token_id: i64::from(start),
                eos_token_id: i64::from(end),
                pad_token_id: i64::from(end),
                ..TextConfig::default()
            },
            vision_config: VisionConfig {
                hidden_size: self.vision_width,
                intermediate_size: self.vision_inner,
                num_hidden_layers: self.vision_layers,
                num_attention_heads: self.vision_heads,
                image_size: self.image_size,
                patch_size: self.patch_size,
                ..VisionConfig::default()
            },
            projection_dim: self.projection,
            ..ClipConfig::default()
        }
    }
}

/// AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101), as CLIP uses it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClipOptimizer {
    /// Share of the weights taken off in each step, times the learning rate. Default: 0.1.
    pub weight_decay: f32,
    /// Whether biases, the weights of norms and the temperature decay too. Default: false.
    pub decay_biases_and_norms: bool,
    /// Memory of the mean of the gradients. Default: 0.9.
    pub beta_1: f32,
    /// Memory of the mean of their squares. Default: 0.98.
    pub beta_2: f32,
    /// Added to the root of the squares. Default: 1e-6.
    pub epsilon: f32,
}

impl Default for ClipOptimizer {
    fn default() -> Self {
        Self {
            weight_decay: 0.1,
            decay_biases_and_norms: false,
            beta_1: 0.9,
            beta_2: 0.98,
            epsilon: 1e-6,
        }
    }
}

impl From<ClipOptimizer> for AdamWOptions {
    fn from(options: ClipOptimizer) -> Self {
        let ClipOptimizer {
            weight_decay,
            decay_biases_and_norms,
            beta_1,
            beta_2,
            epsilon,
        } = options;
        Self {
            weight_decay,
            decay_biases_and_norms,
            beta_1,
            beta_2,
            epsilon,
        }
    }
}

/// Steps, batches and learning rates of pre-training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PretrainSchedule {
    /// Steps of the optimizer. Default: 2,000, unless minutes are given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps: Option<usize>,
    /// As many steps as fit into this time, instead of steps: decided once, by the speed of the first
    /// ones. The report says how many they were, and with that number the run can be repeated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minutes: Option<f64>,
    /// Pictures and texts that are told apart in a step. Default: 128.
    pub batch_size: usize,
    /// So many of them have a tape at a time, which needs less memory and a second forward pass.
    /// Default: all of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub piece: Option<usize>,
    /// Learning rate of the first step after the warm-up. Default: 1e-3.
    pub learning_rate: f64,
    /// Learning rate of the last step, reached on a cosine. Default: 1e-5.
    pub final_learning_rate: f64,
    /// Steps over which the rate rises before the cosine begins. Default: 100.
    pub warmup_steps: usize,
    /// Longest gradient over all weights together; longer ones are shortened. Default: 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip_norm: Option<f64>,
    /// Steps after which losses are read back from the device; reading waits for it. Default: 10.
    pub read_every: usize,
}

impl Default for PretrainSchedule {
    fn default() -> Self {
        Self {
            steps: None,
            minutes: None,
            batch_size: 128,
            piece: None,
            learning_rate: 1e-3,
            final_learning_rate: 1e-5,
            warmup_steps: 100,
            clip_norm: Some(1.0),
            read_every: 10,
        }
    }
}

impl PretrainSchedule {
    /// The steps of a run; `None` if a time decides.
    pub(crate) fn total_steps(&self) -> Option<usize> {
        match (self.steps, self.minutes) {
            (None, Some(_)) => None,
            (steps, _) => Some(steps.unwrap_or(DEFAULT_STEPS)),
        }
    }

    /// The learning rate of a step, counted from 0, of so many.
    pub(crate) fn learning_rate_at(&self, step: usize, steps: usize) -> f64 {
        let rates = [self.learning_rate, self.final_learning_rate];
        warm_cosine(step, steps, self.warmup_steps, rates)
    }
}

/// How often and on what a CLIP is scored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RetrievalConfig {
    /// Steps between two validations; after the last step there is always one. Default: 500.
    pub every: usize,
    /// At most so many held-out pictures among which a text is looked for. Default: 1,000.
    pub pictures: usize,
    /// At most so many held-out objects that are told apart by name and by colour. Default: 1,000.
    pub objects: usize,
}

impl Default for RetrievalConfig {
    fn default() -> Self {
        Self {
            every: 500,
            pictures: 1_000,
            objects: 1_000,
        }
    }
}

impl PretrainConfig {
    /// How captioned pictures of this side are made.
    pub(crate) fn caption_options(&self, side: u32) -> CaptionOptions {
        CaptionOptions {
            per_picture: self.data.per_picture,
            crops: self.data.crops,
            templates: self.data.templates,
            phrases: self.data.phrases,
            crop: self.augment.crop,
            flip: self.augment.flip,
            colour_jitter: self.augment.colour_jitter,
            seed: self.seed,
            ..CaptionOptions::new(side)
        }
    }

    /// The configuration with paths that mean the same from every folder.
    pub(crate) fn with_absolute_paths(mut self) -> Self {
        for folder in &mut self.data.folders {
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

impl Settings for PretrainConfig {
    const EXCLUSIVE: &'static [[&'static str; 2]] = &[["schedule.steps", "schedule.minutes"]];

    fn way_on(&self, field: &str, model: &Path) -> String {
        match field {
            "schedule.steps" | "schedule.minutes" => format!(
                ". The learning rates of a run follow from its steps; to train its CLIP further, start \
                 another run from it: `--clip {}` with another --out",
                model.display()
            ),
            _ => String::new(),
        }
    }

    fn check(&self) -> Result<()> {
        let Self {
            schedule,
            optimizer,
            data,
            augment,
            model,
            ..
        } = self;
        for (field, value) in [
            ("data.per_picture", data.per_picture),
            ("data.phrases", data.phrases),
            ("schedule.steps", schedule.steps.unwrap_or(1)),
            ("schedule.batch_size", schedule.batch_size),
            ("schedule.piece", schedule.piece.unwrap_or(1)),
            ("schedule.read_every", schedule.read_every),
            ("validation.every", self.validation.every),
            ("validation.pictures", self.validation.pictures),
            ("checkpoints.every", self.checkpoints.every),
        ] {
            if value == 0 {
                return Err(TrainError::field(field, "0, expected at least 1"));
            }
        }
        if schedule.steps.is_some() && schedule.minutes.is_some() {
            let message = "steps are given too, expected one of the two";
            return Err(TrainError::field("schedule.minutes", message));
        }
        if schedule.batch_size < 2 {
            let message = "1, expected at least 2: a pair is told from the others of its batch";
            return Err(TrainError::field("schedule.batch_size", message));
        }
        if !schedule.batch_size.is_multiple_of(data.per_picture) {
            let message = format!(
                "{}, expected a multiple of `data.per_picture`, which is {}",
                schedule.batch_size, data.per_picture
            );
            return Err(TrainError::field("schedule.batch_size", message));
        }
        for (field, rate) in [
            ("schedule.learning_rate", schedule.learning_rate),
            ("schedule.final_learning_rate", schedule.final_learning_rate),
        ] {
            if !(rate > 0.0 && rate <= 1.0) {
                let message = format!("{rate}, expected more than 0 and at most 1");
                return Err(TrainError::field(field, message));
            }
        }
        for (field, share) in [
            ("data.crops", data.crops),
            ("data.templates", data.templates),
            ("augment.flip", augment.flip),
            ("augment.colour_jitter", augment.colour_jitter),
            ("optimizer.weight_decay", optimizer.weight_decay),
        ] {
            if !(0.0..=1.0).contains(&share) {
                let message = format!("{share}, expected 0 to 1");
                return Err(TrainError::field(field, message));
            }
        }
        for (field, beta) in [
            ("optimizer.beta_1", optimizer.beta_1),
            ("optimizer.beta_2", optimizer.beta_2),
        ] {
            if !(0.0..1.0).contains(&beta) {
                let message = format!("{beta}, expected at least 0 and less than 1");
                return Err(TrainError::field(field, message));
            }
        }
        for (field, value) in [
            ("augment.crop", f64::from(augment.crop)),
            ("optimizer.epsilon", f64::from(optimizer.epsilon)),
            ("schedule.clip_norm", schedule.clip_norm.unwrap_or(1.0)),
            ("schedule.minutes", schedule.minutes.unwrap_or(1.0)),
        ] {
            if !(value > 0.0 && value.is_finite()) {
                let message = format!("{value}, expected more than 0");
                return Err(TrainError::field(field, message));
            }
        }
        if augment.crop > 1.0 {
            let message = format!("{}, expected at most 1", augment.crop);
            return Err(TrainError::field("augment.crop", message));
        }
        if self.clip.checkpoint.is_some() && *model != ClipShape::default() {
            let message = "has no effect on a CLIP that `clip.checkpoint` names";
            return Err(TrainError::field("model", message));
        }
        // Numbers that no vocabulary changes; the file's name is not looked at.
        let shape = model.to_config(model.vocabulary, 0, 1);
        shape
            .validate(Path::new("model"))
            .map_err(|error| TrainError::field("model", error))?;
        let side = model.image_size;
        if !side.is_multiple_of(model.patch_size.max(1)) || !(32..=4_096).contains(&side) {
            let message = format!(
                "{side}, expected 32 to 4096 and a multiple of the patch of {}",
                model.patch_size
            );
            return Err(TrainError::field("model.image_size", message));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_to_more_steps_is_named() {
        let config = PretrainConfig::default();
        let way = |field| config.way_on(field, Path::new("run/model"));
        assert!(way("schedule.steps").contains("`--clip run/model` with another --out"));
        assert_eq!(way("schedule.steps"), way("schedule.minutes"));
        assert_eq!(way("seed"), "");
    }

    #[test]
    fn what_is_written_is_read_back_and_the_defaults_can_be_used() {
        let config = PretrainConfig::default();
        config.check().unwrap();
        let text = config.to_toml().unwrap();
        let read = PretrainConfig::from_toml(&text, Path::new("x")).unwrap();
        assert_eq!(read, config, "{text}");
        assert_eq!(
            PretrainConfig::from_toml("", Path::new("x")).unwrap(),
            config
        );
        // A field alone does not bring other defaults into its section.
        let one = PretrainConfig::from_toml("[optimizer]\nbeta_1 = 0.8", Path::new("x")).unwrap();
        assert!(!one.optimizer.decay_biases_and_norms && one.optimizer.beta_2 == 0.98);
    }

    #[test]
    fn bad_fields_are_named() {
        let message = |field: &str| {
            let error = PretrainConfig::default().with_overrides(&[field]);
            error.unwrap_err().to_string()
        };
        assert_eq!(
            message("schedule.batch_size=6"),
            "field `schedule.batch_size`: 6, expected a multiple of `data.per_picture`, which is 4"
        );
        assert!(message("schedule.steps=0").starts_with("field `schedule.steps`: 0"));
        assert!(message("data.crops=2").starts_with("field `data.crops`: 2"));
        assert!(message("augment.crop=1.5").starts_with("field `augment.crop`: 1.5"));
        assert!(message("optimizer.beta_2=1").starts_with("field `optimizer.beta_2`"));
        assert!(message("schedule.clip_norm=-1").starts_with("field `schedule.clip_norm`"));
        assert!(message("model.image_size=100").starts_with("field `model.image_size`: 100"));
        assert!(message("model.text_heads=5").contains("5 heads do not divide the width 128"));
        assert!(message("schedule.minutes=0").starts_with("field `schedule.minutes`: 0"));
        assert!(message("schedule.epochs=1").contains("unknown field"));
        let text = "[schedule]\nsteps = 1\nminutes = 1.0";
        let error = PretrainConfig::from_toml(text, Path::new("x")).unwrap_err();
        assert!(error.to_string().contains("steps are given too"), "{error}");
        let both = ["schedule.steps=3", "schedule.minutes=2"];
        let error = PretrainConfig::default().with_overrides(&both).unwrap_err();
        assert!(
            error.to_string().contains("`schedule.steps` is given too"),
            "{error}"
        );
        let changed = PretrainConfig::default()
            .with_overrides(&both[..1])
            .unwrap();
        let changed = changed.with_overrides(&both[1..]).unwrap();
        assert_eq!(
            (changed.schedule.steps, changed.schedule.minutes),
            (None, Some(2.0))
        );
        let both = ["clip.checkpoint=x", "model.text_layers=2"];
        let error = PretrainConfig::default().with_overrides(&both).unwrap_err();
        assert_eq!(
            error.to_string(),
            "field `model`: has no effect on a CLIP that `clip.checkpoint` names"
        );
    }
}
