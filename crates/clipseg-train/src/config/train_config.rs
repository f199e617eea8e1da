//! The configuration of a training run.

use crate::config::adamw_options::AdamWOptions;
use crate::config::bytes::ByteSize;
use crate::config::decoder_choice::DecoderChoice;
use crate::config::unfreeze::Unfreeze;
use clipseg_clip::Precision;
use clipseg_data::{NegativeRule, Preprocessing, Split};
use clipseg_metrics::Loss;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// The configuration of the training of a decoder: the content of a configuration file.
///
/// Every field has a default, so a file needs to contain only what differs from the defaults.
///
/// # Example
///
/// ```
/// use clipseg_train::TrainConfig;
///
/// let text = "loss = \"dice\"\n[schedule]\nsteps = 200\n";
/// let config = TrainConfig::from_toml(text, "example".as_ref())?;
/// assert_eq!((config.schedule.steps, config.schedule.batch_size), (Some(200), 16));
/// # Ok::<(), clipseg_train::TrainError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainConfig {
    /// The random seed of the order of the data, of augmentation, of dropout and of the decoder's initial
    /// weights. Default: 0.
    pub seed: u64,
    /// The name of the device: `cpu`, `ndarray`, `wgpu`, `vulkan` or `cuda`, with a number after a colon
    /// to select one of several GPUs. The program resolves it; the functions of this crate take the
    /// device itself. Default: `cpu`.
    pub device: String,
    /// The loss that is minimised. Default: `bce`.
    pub loss: Loss,
    /// The phrases.
    pub data: DataConfig,
    /// Augmentation of the training samples.
    pub augment: AugmentConfig,
    /// CLIP, which is frozen unless a part of it is unfrozen.
    pub clip: ClipChoice,
    /// The decoder.
    pub decoder: DecoderChoice,
    /// The optimizer.
    pub optimizer: AdamWOptions,
    /// Steps, batches and learning rates.
    pub schedule: ScheduleConfig,
    /// How often and on what a run is validated.
    pub validation: ValidationConfig,
    /// How often a checkpoint is saved.
    pub checkpoints: CheckpointConfig,
    /// The caches of pictures, hidden states and embeddings.
    pub cache: CacheConfig,
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            seed: 0,
            device: "cpu".into(),
            loss: Loss::bce(),
            data: DataConfig::default(),
            augment: AugmentConfig::default(),
            clip: ClipChoice::default(),
            decoder: DecoderChoice::default(),
            optimizer: AdamWOptions::default(),
            schedule: ScheduleConfig::default(),
            validation: ValidationConfig::default(),
            checkpoints: CheckpointConfig::default(),
            cache: CacheConfig::default(),
        }
    }
}

/// The data of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DataConfig {
    /// A folder in the layout of `VGPhraseCut_v0`. Without a folder, scenes are generated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub folder: Option<PathBuf>,
    /// The split to train on. Default: `train`.
    pub training: Split,
    /// The split by which the best decoder is chosen; it shares no phrases with `training`.
    /// Default: `val`.
    pub validation: Split,
    /// The split of the final table; it shares no phrases with `training`. If it shares phrases with
    /// `validation`, the log and the report say that its scores are too good. Default: `test`.
    pub test: Split,
    /// Side of the model's input pictures in pixels. Default: that of the random CLIP if no checkpoint is
    /// given, that of the checkpoint's preprocessing if its decoder is fine-tuned or if it resizes pictures
    /// to a square without cropping them, else 352.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u32>,
    /// How pictures and masks are resized, in training and in validation. `clipseg` does it as the
    /// paper's own code: masks are drawn by pixel centres and resized by PyTorch's `nearest`, pictures are
    /// resized without antialiasing, and phrases with an empty mask are left out. The mean IoU is then
    /// that of the paper's evaluation, TP / (1 + TP + FP + FN) for each phrase. `hugging_face` does it as
    /// the processor that is published with the weights. Default: that of the checkpoint if its decoder
    /// is fine-tuned, else `hugging_face`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preprocessing: Option<Preprocessing>,
    /// Held-out words or sequences of words: phrases that contain one are used neither for training nor
    /// for validation, and count as unseen in the final table. `list:` and the name of a
    /// [list](clipseg_data::held_out_list) stand for its words. Each entry must occur in the training
    /// split. Default: none.
    pub held_out: Vec<String>,
    /// The approximate number of phrases to train on: complete pictures, drawn with the random seed.
    /// Default: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// The number of scenes to generate if there is no folder. Default: 1,000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scenes: Option<usize>,
    /// What to do about pictures that are missing or cannot be decoded. All pictures are checked before
    /// the first step. Default: `refuse`.
    pub broken_pictures: BrokenPictures,
}

/// What to do about pictures that are missing or cannot be decoded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BrokenPictures {
    /// The run does not start, and the error lists the pictures.
    #[default]
    Refuse,
    /// Their phrases are left out; the log and the report give their number.
    LeaveOut,
}

impl Default for DataConfig {
    fn default() -> Self {
        Self {
            folder: None,
            training: Split::Train,
            validation: Split::Val,
            test: Split::Test,
            size: None,
            preprocessing: None,
            held_out: Vec::new(),
            limit: None,
            scenes: None,
            broken_pictures: BrokenPictures::Refuse,
        }
    }
}

/// Augmentation of the training samples; validation uses none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AugmentConfig {
    /// Crops a random square that contains part of the object, instead of resizing the entire picture.
    /// Default: false.
    pub crop: bool,
    /// Flips half of the pictures horizontally and swaps "left" and "right" in their phrases.
    /// Default: false.
    pub flip: bool,
    /// Largest change of brightness, contrast and saturation, from 0 to 1. Default: 0.
    pub colour_jitter: f32,
    /// Fraction of the phrases that are replaced by a negative: another phrase with an empty mask.
    /// Default: 0.
    pub negatives: f32,
    /// The phrases that negatives are drawn from: `not_shown`, those of things that the picture does not
    /// show, or `any`, as in the paper's own training. Default: `not_shown`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub negative_rule: Option<NegativeRule>,
    /// Puts phrases into templates such as "a photo of a …". Default: false.
    pub templates: bool,
    /// The range of the weight of visual prompts. If another picture shows the same thing, its embedding
    /// is mixed into that of the phrase, with a weight drawn from this range for each phrase: 0 leaves
    /// the phrase unchanged, 1 replaces it. CLIPSeg's published training files draw the weight of the
    /// text from 0 to 0.5, which is `[0.5, 1.0]` here; its paper (arXiv:2112.10003) says `[0.0, 1.0]`.
    /// Default: `[0.0, 0.0]`.
    pub visual: [f32; 2],
}

/// The CLIP of a run. It is frozen unless `unfreeze` is given.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClipChoice {
    /// Folder of a CLIP or CLIPSeg checkpoint, its id on the Hugging Face hub, or `scenes` for the small
    /// model that is part of `clipseg-model` with the feature `scenes`. With the name `random` or without
    /// any, a small CLIP with random weights is used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<String>,
    /// Precision of a frozen CLIP; everything that is trained is in single precision. Default: `f32`.
    pub data_type: Precision,
    /// The part of CLIP that is trained together with the decoder: `clip`, both towers, or `vision-last-N`,
    /// the last N blocks of the vision tower up to the deepest layer that the decoder reads. Pictures are
    /// then encoded again in every step instead of being cached. Default: none, CLIP is frozen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unfreeze: Option<Unfreeze>,
    /// Learning rate of the unfrozen part at the first step after the warm-up. It has the warm-up and the
    /// cosine of `schedule`: at each step it is the same multiple of the decoder's. Default: 1e-5.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub learning_rate: Option<f64>,
}

/// Steps, batches and learning rates.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScheduleConfig {
    /// Steps of the optimizer. Default: 300, unless `epochs` is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps: Option<usize>,
    /// Epochs, instead of `steps`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epochs: Option<usize>,
    /// Phrases in a batch. Default: 16.
    pub batch_size: usize,
    /// Batches whose gradients are accumulated for one step. Default: 1.
    pub accumulation: usize,
    /// Keeps the phrases of a picture in one batch, so that the picture is encoded once for all of them.
    /// Default: true.
    pub group_by_picture: bool,
    /// Learning rate of the first step after the warm-up. Default: 1e-3, as in the paper.
    pub learning_rate: f64,
    /// Learning rate of the last step, reached on a cosine. Default: 1e-4, as in the paper.
    pub final_learning_rate: f64,
    /// Steps over which the learning rate rises linearly before the cosine begins; fewer than the steps
    /// of the run. Default: 0, as in the paper.
    pub warmup_steps: usize,
    /// The warm-up as a fraction of the run's steps, rounded down, instead of `warmup_steps`; less
    /// than 1. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warmup_ratio: Option<f64>,
    /// Largest gradient norm, over all weights together; longer gradients are scaled down to it.
    /// Default: no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip_norm: Option<f64>,
}

impl Default for ScheduleConfig {
    fn default() -> Self {
        Self {
            steps: None,
            epochs: None,
            batch_size: 16,
            accumulation: 1,
            group_by_picture: true,
            learning_rate: 1e-3,
            final_learning_rate: 1e-4,
            warmup_steps: 0,
            warmup_ratio: None,
            clip_norm: None,
        }
    }
}

/// How often and on what a run is validated.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ValidationConfig {
    /// Steps between two validations; the last step is always followed by one. Default: 100.
    pub every: usize,
    /// Largest number of phrases, evenly spread over the split. Default: 300.
    pub phrases: usize,
    /// Probability above which a pixel counts as inside. Default: 0.5.
    pub threshold: f32,
    /// The score by which the best checkpoint is chosen. Default: `mean_iou`.
    pub best_by: BestBy,
    /// Stops the run after this number of successive validations without improvement. Default: never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patience: Option<usize>,
    /// Phrases in the picture with examples. Default: 6.
    pub examples: usize,
    /// Largest number of phrases of the test split in the final table. Default: 1,000.
    pub test_phrases: usize,
}

impl Default for ValidationConfig {
    fn default() -> Self {
        Self {
            every: 100,
            phrases: 300,
            threshold: 0.5,
            best_by: BestBy::MeanIou,
            patience: None,
            examples: 6,
            test_phrases: 1_000,
        }
    }
}

/// The score by which the best checkpoint is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BestBy {
    /// The mean intersection over union of the phrases; higher is better.
    MeanIou,
    /// The validation loss; lower is better.
    Loss,
}

/// How often a checkpoint is saved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CheckpointConfig {
    /// Steps between two checkpoints. A checkpoint is also saved after each validation, on Ctrl-C and at
    /// the end. Default: 100.
    pub every: usize,
}

impl Default for CheckpointConfig {
    fn default() -> Self {
        Self { every: 100 }
    }
}

/// The caches of a run.
///
/// Cached hidden states are rounded to half precision. With `memory` 0 and no `folder` none is cached, and
/// none is rounded. With `clip.unfreeze` none is cached either, and `memory` bounds embeddings of phrases
/// only.
///
/// Beside `memory` and `pictures`, a run needs a fixed amount of memory: the weights, three times the
/// trained ones for gradients and moments, the activations of one batch, and three batches of pictures, masks
/// and visual prompts that are loaded ahead. This does not grow with the number of steps, nor with the
/// size of the data except for the records of the phrases.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CacheConfig {
    /// Largest number of bytes in memory for hidden states (three quarters) and embeddings of phrases (one
    /// quarter). Default: 1 GiB.
    pub memory: ByteSize,
    /// A folder for hidden states on disk, which later runs use too. They are stored in the subfolder
    /// `clipseg-hidden-states`; nothing else in the folder is changed. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub folder: Option<PathBuf>,
    /// Largest number of bytes in that folder. When it is full, hidden states of other checkpoints are
    /// evicted first. Default: 20 GiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub folder_limit: Option<ByteSize>,
    /// Largest number of bytes in memory for decoded pictures and masks of the training split.
    /// Default: 256 MiB.
    pub pictures: ByteSize,
}

impl Default for CacheConfig {
    fn default() -> Self {
        Self {
            memory: ByteSize(1 << 30),
            folder: None,
            folder_limit: None,
            pictures: ByteSize(256 << 20),
        }
    }
}

impl CacheConfig {
    /// Largest number of bytes in the folder.
    pub(crate) fn folder_limit(&self) -> u64 {
        self.folder_limit.map_or(20 << 30, |limit| limit.0)
    }
}
