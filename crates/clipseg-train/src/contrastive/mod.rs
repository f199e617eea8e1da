//! Contrastive pre-training of CLIP.

mod checks;
mod config;
#[cfg(feature = "plots")]
mod curves;
mod engine;
mod feed;
mod fixed_tokenizer;
mod loss;
mod outcome;
mod records;
mod report;
mod run;
mod schedule;
mod scores;
mod setup;
mod shape;
mod trainer;

pub use config::{CaptionAugment, CaptionsConfig, ClipStart, PretrainConfig, RetrievalConfig};
pub use loss::contrastive_loss;
pub use outcome::PretrainOutcome;
pub use records::{PretrainRecord, read_pretrain_metrics};
pub use run::pretrain;
pub use schedule::PretrainSchedule;
pub use scores::ClipScores;
pub use shape::ClipShape;
pub use trainer::{CaptionTensors, ClipTrainer};
