//! The configuration of a pre-training run.

use super::schedule::PretrainSchedule;
use super::shape::ClipShape;
use crate::config::adamw_options::{AdamWOptions, with_clip_defaults};
use crate::config::clip_name::make_absolute;
use crate::config::train_config::CheckpointConfig;
use clipseg_data::CaptionOptions;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// The configuration of contrastive pre-training: the content of a configuration file.
///
/// Every field has a default, so a file needs to contain only what differs from the defaults.
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
    /// The random seed of the order of the data, of augmentation and of the initial weights. Default: 0.
    pub seed: u64,
    /// The name of the device: `cpu`, `ndarray`, `wgpu`, `vulkan` or `cuda`, with a number after a colon
    /// to select one of several GPUs. The program resolves it; the functions of this crate take the
    /// device itself. Default: `cpu`.
    pub device: String,
    /// The captioned pictures.
    pub data: CaptionsConfig,
    /// Augmentation of the training samples.
    pub augment: CaptionAugment,
    /// The CLIP that the run starts from.
    pub clip: ClipStart,
    /// The size of a new CLIP.
    pub model: ClipShape,
    /// The optimizer. Its defaults are those of [`AdamWOptions::clip`].
    #[serde(deserialize_with = "with_clip_defaults")]
    pub optimizer: AdamWOptions,
    /// Steps, batches and learning rates.
    pub schedule: PretrainSchedule,
    /// How often and on what a run is validated.
    pub validation: RetrievalConfig,
    /// How often a checkpoint is saved.
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
            optimizer: AdamWOptions::clip(),
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
    /// Folders with a list `captions.tsv`, or in the layout of `VGPhraseCut_v0`. Without a folder, scenes
    /// are generated, new ones in every batch.
    pub folders: Vec<PathBuf>,
    /// Samples of one picture; they are neighbours in a batch. Default: 4.
    pub per_picture: usize,
    /// Fraction of the samples that are cropped to one object, where objects are annotated. Default: 0.6.
    pub crops: f32,
    /// Fraction of the captions that are put into a template such as "a photo of a …". Default: 0.2.
    pub templates: f32,
    /// Largest number of phrases that are joined to the caption of an entire picture. Default: 4.
    pub phrases: usize,
    /// Largest number of regions of an entire picture that are pairs of the batch too: the mean of the
    /// patches in the bounding box of an object, with a text about the object. A picture is encoded once
    /// for all its pairs, and the other objects of a picture are negatives. Pictures with few objects have
    /// fewer regions, crops and pictures of caption lists none. With regions, validation also classifies
    /// the boxes of objects in held-out pictures by name. Default: 0.
    pub regions: usize,
}

impl Default for CaptionsConfig {
    fn default() -> Self {
        Self {
            folders: Vec::new(),
            per_picture: 4,
            crops: 0.6,
            templates: 0.2,
            phrases: 4,
            regions: 0,
        }
    }
}

/// Augmentation of the training samples; validation uses none.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CaptionAugment {
    /// Smallest side of a random crop, as a fraction of the picture's side. Default: 0.8.
    pub crop: f32,
    /// Fraction of the pictures that are flipped horizontally; "left" and "right" in their captions are
    /// swapped. Default: 0.5.
    pub flip: f32,
    /// Largest change of brightness, contrast and saturation, from 0 to 1. Samples whose caption, or the
    /// text of a region, names a colour are not changed. Default: 0.2.
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

/// The CLIP that a run starts from.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClipStart {
    /// Folder of a CLIP checkpoint, its id on the Hugging Face hub, or `scenes`. Without it, the run starts from a
    /// new CLIP with random weights and trains a vocabulary for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<String>,
}

/// How often and on what a CLIP is validated.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RetrievalConfig {
    /// Steps between two validations; the last step is always followed by one. Default: 500.
    pub every: usize,
    /// Largest number of held-out pictures in the retrieval scores. Default: 1,000.
    pub pictures: usize,
    /// Largest number of held-out objects that are classified by name and by colour. Default: 1,000.
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
    /// The options of captioned pictures of `side` × `side` pixels.
    pub(crate) fn caption_options(&self, side: u32) -> CaptionOptions {
        CaptionOptions {
            per_picture: self.data.per_picture,
            crops: self.data.crops,
            templates: self.data.templates,
            phrases: self.data.phrases,
            regions: self.data.regions,
            crop: self.augment.crop,
            flip: self.augment.flip,
            colour_jitter: self.augment.colour_jitter,
            seed: self.seed,
            ..CaptionOptions::new(side)
        }
    }

    /// The configuration with absolute paths.
    pub(crate) fn with_absolute_paths(mut self) -> Self {
        for folder in &mut self.data.folders {
            if let Ok(found) = std::path::absolute(&folder) {
                *folder = found;
            }
        }
        make_absolute(&mut self.clip.checkpoint);
        self
    }
}
