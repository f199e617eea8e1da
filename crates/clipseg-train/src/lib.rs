//! Training and evaluation of text-prompted segmentation on Burn.
//!
//! CLIP stays frozen: its encoders run on the plain device, where Burn has fused attention, and only
//! the decoder is on the tape. [`run`] does everything that a [`TrainConfig`] asks for and leaves it
//! in a [`RunFolder`]; [`Engine`] is the loop alone, [`DecoderTrainer`] one step.
//!
//! ```
//! # #[cfg(feature = "flex")] {
//! use clipseg_clip::{ClipTokenizer, ImageProcessor, device};
//! use clipseg_data::{
//!     PhraseCut, PhraseCutDataset, SampleOptions, ScenesConfig, Split, generate_scenes,
//! };
//! use clipseg_model::{ClipSeg, ClipSegConfig};
//! use clipseg_train::{FrozenClip, Silent, TrainConfig, train};
//! use std::sync::Arc;
//!
//! let folder = tempfile::tempdir()?;
//! let scenes = folder.path().join("scenes");
//! generate_scenes(&scenes, &ScenesConfig { images: 10, size: 64, seed: 7 })?;
//! let data = Arc::new(PhraseCut::open(&scenes)?);
//! let options = SampleOptions::new(64, 64);
//! let training = Arc::new(PhraseCutDataset::new(data, Split::Train, options)?);
//!
//! let device = device("cpu")?;
//! device.seed(0);
//! let mut config = ClipSegConfig::small();
//! config.clip.text_config.hidden_size = 32; // small enough for an example
//! let (clip, decoder) = ClipSeg::init(&config, &device).into_parts();
//! let tokenizer = ClipTokenizer::openai(77)?;
//! let mut clip = FrozenClip::new(clip, config, tokenizer, ImageProcessor::clipseg(64));
//!
//! let run = TrainConfig::default()
//!     .with_overrides(&["schedule.steps=2", "schedule.batch_size=4"])?;
//! let outcome = train(&mut clip, decoder, &training, &run, &mut Silent)?;
//! assert_eq!(outcome.losses().len(), 2);
//! # }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![deny(missing_docs)]

mod bytes;
mod cache_files;
mod cache_folder;
mod canvas;
mod checkpoint;
mod clipseg_protocol;
mod config;
mod config_checks;
mod config_file;
mod contrastive;
mod curves;
mod data;
mod decoder_choice;
mod encoding;
mod engine;
mod error;
mod evaluate;
mod examples;
mod exceptions;
mod feed;
mod files;
mod fingerprint;
mod gradients;
mod hidden_cache;
mod interrupt;
mod journal;
#[cfg(feature = "burn-train")]
mod learner;
mod mixing;
mod model_scores;
#[cfg(all(test, feature = "flex"))]
mod odd_values;
mod optimizer;
mod outcome;
mod parts;
mod phrase_memory;
mod phrasecut_tasks;
mod phrases;
mod prediction_folder;
mod progress;
mod randomness;
mod readback;
mod report;
mod run;
mod run_folder;
mod schedule;
mod scored_records;
mod settings;
mod setup;
mod step;
mod trainer;

pub use bytes::ByteSize;
pub use checkpoint::load_decoder;
pub use clipseg_protocol::{ClipSegEvaluation, evaluate_clipseg, score_model_by_clipseg};
pub use config::{
    AdamWOptions, AugmentConfig, BestBy, BrokenPictures, CacheConfig, CheckpointConfig, ClipChoice,
    DataConfig, Precision, ScheduleConfig, TrainConfig, ValidationConfig,
};
pub use config_file::{PRESETS, preset_text};
pub use contrastive::{
    CaptionAugment, CaptionTensors, CaptionsConfig, ClipOptimizer, ClipScores, ClipShape,
    ClipStart, ClipTrainer, PretrainConfig, PretrainOutcome, PretrainRecord, PretrainSchedule,
    RetrievalConfig, contrastive_loss, pretrain, read_pretrain_metrics,
};
pub use decoder_choice::{
    ConvChoice, ConvSize, DecoderChoice, DecoderKind, DeconvChoice, PretrainedChoice,
    TransformerChoice,
};
pub use encoding::{EncodingCounts, FrozenClip};
pub use engine::{Engine, train};
pub use error::{Result, TrainError};
pub use evaluate::{EvaluateOptions, Evaluation, evaluate};
pub use exceptions::Exception;
pub use interrupt::StopFlag;
pub use journal::{Record, read_metrics};
#[cfg(feature = "burn-train")]
pub use learner::{DecoderLearner, EncodedPhrases, StepBatcher};
pub use mixing::mix_embeddings;
pub use model_scores::{score_model, sweep_model};
pub use outcome::{End, TrainOutcome};
pub use phrasecut_tasks::{PhraseCutEvaluation, WordRanks, evaluate_phrasecut, phrasecut_task};
pub use phrases::Phrases;
pub use prediction_folder::PredictionFolder;
pub use progress::{Observer, Progress, Silent};
pub use report::{Table, TableRow};
pub use run::{RunOutcome, run};
pub use run_folder::RunFolder;
pub use settings::Settings;
pub use setup::Setup;
pub use trainer::{DecoderTrainer, StepInput};
