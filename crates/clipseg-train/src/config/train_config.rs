//! What a training run is made of.

use crate::config::bytes::ByteSize;
use crate::config::decoder_choice::DecoderChoice;
use clipseg_data::{NegativeRule, Preprocessing, Split};
use clipseg_metrics::Loss;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// How a decoder is trained: what a configuration file holds.
///
/// Every field has a default, so a file needs to name only what is different.
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
    /// Decides the order of the data, everything drawn at random in it, and the decoder's first
    /// weights. Default: 0.
    pub seed: u64,
    /// `cpu`, `ndarray`, `wgpu`, `vulkan` or `cuda`, with a number after a colon for one of several
    /// cards. Default: `cpu`.
    pub device: String,
    /// What is minimised. Default: `bce`.
    pub loss: Loss,
    /// The phrases.
    pub data: DataConfig,
    /// What is changed about samples before they are learnt from.
    pub augment: AugmentConfig,
    /// The frozen encoders.
    pub clip: ClipChoice,
    /// The decoder.
    pub decoder: DecoderChoice,
    /// The optimizer.
    pub optimizer: AdamWOptions,
    /// Steps, batches and learning rates.
    pub schedule: ScheduleConfig,
    /// How often and on what a run is scored.
    pub validation: ValidationConfig,
    /// How often a run is saved.
    pub checkpoints: CheckpointConfig,
    /// What is remembered of pictures and of the frozen vision tower.
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

/// The phrases of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DataConfig {
    /// A folder in the layout of `VGPhraseCut_v0`. Without one, scenes are generated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub folder: Option<PathBuf>,
    /// The split to learn from. Default: `train`.
    pub training: Split,
    /// The split to choose by. Default: `val`.
    pub validation: Split,
    /// The split of the final table. Default: `test`.
    pub test: Split,
    /// Side of the pictures that the model sees, in pixels. Default: what the random CLIP was made for,
    /// what the preprocessing of a checkpoint says whose decoder goes on, else 352.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u32>,
    /// How pictures and masks come to this size, in training and in validation. `clipseg` is the way of
    /// the paper's own code: masks are drawn by pixel centres and resized by PyTorch's `nearest`,
    /// pictures are squashed without antialiasing, and phrases with an empty mask are left out; the
    /// mean IoU is then that of its evaluation, TP / (1 + TP + FP + FN) for each phrase.
    /// `hugging_face` is the way of its published processor. Default: that of a checkpoint whose
    /// decoder goes on, else `hugging_face`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preprocessing: Option<Preprocessing>,
    /// Phrases with one of these words (or sequences of words) are neither trained on nor chosen by.
    /// Default: none.
    pub held_out: Vec<String>,
    /// About so many phrases are trained on: whole pictures, drawn by the seed. Default: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// Generated pictures, where there is no folder. Default: 1,000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scenes: Option<usize>,
    /// What is done about pictures that are missing or cannot be decoded; all of them are looked for
    /// before the first step. Default: `refuse`.
    pub broken_pictures: BrokenPictures,
}

/// What is done about pictures that are missing or cannot be decoded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BrokenPictures {
    /// The run does not begin, and the pictures are listed.
    #[default]
    Refuse,
    /// Their phrases are left out, which is said in the log and in the report.
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

/// What is changed about samples before they are learnt from; validation sees them as they are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AugmentConfig {
    /// Cut a random square that shows the object, instead of squashing the picture. Default: false.
    pub crop: bool,
    /// Mirror half of the pictures, and with them "left" and "right" in phrases. Default: false.
    pub flip: bool,
    /// How far brightness, contrast and saturation may change, from 0 to 1. Default: 0.
    pub colour_jitter: f32,
    /// Share of phrases that are replaced by one of something else, with an empty mask. Default: 0.
    pub negatives: f32,
    /// Which phrases others are replaced by, if any are: `not_shown`, one of something that the picture
    /// does not show, or `any`, as in the paper's own training. Default: `not_shown`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub negative_rule: Option<NegativeRule>,
    /// Put phrases into sentences such as "a photo of a …". Default: false.
    pub templates: bool,
    /// The share of the embedding of another picture of the same thing that is mixed into the phrase's,
    /// where there is one: each phrase draws its own between these two. At 0 the phrase is left alone,
    /// at 1 the picture takes its place. CLIPSeg's published training files draw the text's weight from
    /// 0 to 0.5, which is `[0.5, 1.0]`; its paper (arXiv:2112.10003) says `[0.0, 1.0]`.
    /// Default: `[0.0, 0.0]`.
    pub visual: [f32; 2],
}

/// Which encoders the decoder stands on.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClipChoice {
    /// Folder of a CLIP or CLIPSeg checkpoint, or its id on the hub. Without one, a small CLIP with
    /// random weights is made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<String>,
    /// Precision of the frozen encoders; the decoder is trained in single precision.
    /// Default: `f32`.
    pub data_type: Precision,
}

/// A float type of the frozen encoders.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// Single.
    #[default]
    F32,
    /// Half, with five bits of exponent.
    F16,
    /// Half, with the range of single precision.
    Bf16,
}

/// AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101), with PyTorch's defaults, not Burn's.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdamWOptions {
    /// Share of the weights taken off in each step, times the learning rate. Default: 0.01.
    pub weight_decay: f32,
    /// Whether biases and the weights of norms decay too. Default: true, as in PyTorch.
    pub decay_biases_and_norms: bool,
    /// Memory of the mean of the gradients. Default: 0.9.
    pub beta_1: f32,
    /// Memory of the mean of their squares. Default: 0.999.
    pub beta_2: f32,
    /// Added to the root of the squares. Default: 1e-8.
    pub epsilon: f32,
}

impl Default for AdamWOptions {
    fn default() -> Self {
        Self {
            weight_decay: 1e-2,
            decay_biases_and_norms: true,
            beta_1: 0.9,
            beta_2: 0.999,
            epsilon: 1e-8,
        }
    }
}

/// Steps, batches and learning rates.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScheduleConfig {
    /// Steps of the optimizer. Default: 300, unless epochs are given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps: Option<usize>,
    /// Passes over the data, instead of steps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epochs: Option<usize>,
    /// Phrases that are decoded at a time. Default: 16.
    pub batch_size: usize,
    /// Batches whose gradients make one step. Default: 1.
    pub accumulation: usize,
    /// Keep the phrases of a picture in one batch, so that it is encoded once for all of them.
    /// Default: true.
    pub group_by_picture: bool,
    /// Learning rate of the first step after the warm-up. Default: 1e-3, as in the paper.
    pub learning_rate: f64,
    /// Learning rate of the last step, reached on a cosine. Default: 1e-4, as in the paper.
    pub final_learning_rate: f64,
    /// Steps over which the rate rises before the cosine begins. Default: 0, as in the paper.
    pub warmup_steps: usize,
    /// Longest gradient over all weights together; longer ones are shortened. Default: any.
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
            clip_norm: None,
        }
    }
}

/// How often and on what a run is scored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ValidationConfig {
    /// Steps between two validations; after the last step there is always one. Default: 100.
    pub every: usize,
    /// At most so many phrases, evenly spread over the split. Default: 300.
    pub phrases: usize,
    /// Probability above which a pixel is inside. Default: 0.5.
    pub threshold: f32,
    /// What the best checkpoint is best at. Default: `mean_iou`.
    pub best_by: BestBy,
    /// Stop when so many validations in a row bring no improvement. Default: never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patience: Option<usize>,
    /// Phrases in the picture of examples. Default: 6.
    pub examples: usize,
    /// At most so many phrases of the test split in the final table. Default: 1,000.
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

/// What the best checkpoint is best at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BestBy {
    /// The mean over phrases of intersection over union, the higher the better.
    MeanIou,
    /// The loss, the lower the better.
    Loss,
}

/// How often a run is saved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CheckpointConfig {
    /// Steps between two checkpoints; each validation, Ctrl-C and the end save too. Default: 100.
    pub every: usize,
}

impl Default for CheckpointConfig {
    fn default() -> Self {
        Self { every: 100 }
    }
}

/// What is remembered. Without memory and folder no hidden state is, and none is rounded.
///
/// A run takes `memory` and `pictures` beside a fixed amount: the weights, with three times the
/// decoder's for gradients and moments, what a step's batch leaves on the tape, and three batches of
/// pictures, masks and examples that are read ahead. None of it grows with the length of the run or,
/// but for the records of the phrases, with the size of the data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CacheConfig {
    /// Most memory for hidden states (three quarters of it) and embeddings of phrases (a quarter).
    /// Default: 1 GiB.
    pub memory: ByteSize,
    /// A folder for hidden states that do not fit there, also for later runs. They lie in a folder
    /// `clipseg-hidden-states` inside it; nothing else in it is touched. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub folder: Option<PathBuf>,
    /// Most bytes in that folder; when there is no room, what other checkpoints left goes first.
    /// Default: 20 GiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub folder_limit: Option<ByteSize>,
    /// Most memory for decoded pictures and masks to train on. Default: 256 MiB.
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
    /// Most bytes in the folder.
    pub(crate) fn folder_limit(&self) -> u64 {
        self.folder_limit.map_or(20 << 30, |limit| limit.0)
    }
}
