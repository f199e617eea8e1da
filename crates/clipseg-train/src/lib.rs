//! Training and evaluation of text-prompted segmentation on Burn.
//!
//! A decoder is trained on a frozen CLIP. CLIP runs on the plain device, where Burn has fused attention, and
//! only the decoder on the autodiff device. With [`ClipChoice::unfreeze`] a part of CLIP is trained too. Three
//! levels are public:
//!
//! - [`run`] does everything that a [`TrainConfig`] describes, and writes it into a [`RunFolder`].
//! - [`Engine`] is the training loop; [`train`] is the loop without validation and folder.
//! - [`DecoderTrainer`] computes single steps.
//!
//! [`run_study`] trains and compares many decoders and losses. [`pretrain`] trains a CLIP on captions.
//! [`score_model`], [`evaluate_phrasecut`] and [`score_model_by_clipseg`] score models and predictions.
//!
//! Cargo features: `plots` for curves and example pictures, `progress` for a progress bar, `signals` for
//! stopping on Ctrl-C. Scoring needs none of them.
//!
//! ```
//! use burn::tensor::Device;
//! use clipseg_clip::{ClipTokenizer, ImageProcessor};
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
//! let device = Device::flex();
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
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![deny(missing_docs)]

mod config;
mod contrastive;
mod error;
mod frozen;
mod readback;
mod report;
mod run;
mod scoring;
mod step;
mod study;

pub use clipseg_clip::Precision;
pub use config::adamw_options::AdamWOptions;
pub use config::bytes::ByteSize;
pub use config::decoder_choice::{
    ConvChoice, ConvSize, DecoderChoice, DecoderKind, DeconvChoice, PretrainedChoice,
    TransformerChoice,
};
pub use config::file::{PRESETS, preset_text};
pub use config::settings::Settings;
pub use config::train_config::{
    AugmentConfig, BestBy, BrokenPictures, CacheConfig, CheckpointConfig, ClipChoice, DataConfig,
    ScheduleConfig, TrainConfig, ValidationConfig,
};
pub use config::unfreeze::Unfreeze;
pub use contrastive::{
    CaptionAugment, CaptionTensors, CaptionsConfig, ClipScores, ClipShape, ClipStart, ClipTrainer,
    PretrainConfig, PretrainOutcome, PretrainRecord, PretrainSchedule, RetrievalConfig,
    contrastive_loss, pretrain, read_pretrain_metrics,
};
pub use error::{Result, TrainError};
pub use frozen::encoding::{EncodingCounts, FrozenClip};
pub use report::page::{Table, TableRow};
pub use run::configured_run::{RunOutcome, run};
pub use run::decoder_checkpoint::{load_decoder, load_fine_tuned_clip};
pub use run::engine::{Engine, train};
pub use run::folder::{RunFolder, Start};
pub use run::interrupt::StopFlag;
pub use run::journal::{Record, read_metrics};
pub use run::outcome::{End, LossRange, TrainOutcome};
pub use run::progress::{Observer, Silent};
#[cfg(feature = "progress")]
pub use run::progress_bar::Progress;
pub use run::setup::Setup;
pub use scoring::clipseg_protocol::{ClipSegEvaluation, evaluate_clipseg, score_model_by_clipseg};
pub use scoring::evaluate::{EvaluateOptions, Evaluation, evaluate};
pub use scoring::exceptions::Exception;
pub use scoring::model_scores::{score_model, sweep_model};
pub use scoring::phrasecut_tasks::{
    PhraseCutEvaluation, WordRanks, evaluate_phrasecut, phrasecut_task,
};
pub use scoring::phrases::Phrases;
pub use scoring::prediction_folder::PredictionFolder;
pub use step::input::StepInput;
#[cfg(feature = "burn-train")]
pub use step::learner::{DecoderLearner, EncodedPhrases, StepBatcher};
pub use step::mixing::mix_embeddings;
pub use step::randomness::drawing;
pub use step::trainer::DecoderTrainer;
pub use study::alteration::Alteration;
pub use study::config::{AlterationsConfig, STUDY_PRESETS, StudyConfig};
pub use study::planned_run::PlannedRun;
pub use study::report::page::write_study_report;
pub use study::result::{Cost, CurvePoint, ReliabilityBin, RunResult, Scores, SubsetScore};
pub use study::runner::{StudyOutcome, run_study};
