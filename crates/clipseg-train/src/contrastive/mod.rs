//! CLIP's contrastive pre-training.

mod config;
mod engine;
mod feed;
mod loss;
mod records;
mod report;
mod run;
mod scores;
mod setup;
mod trainer;

pub use config::{
    CaptionAugment, CaptionsConfig, ClipOptimizer, ClipShape, ClipStart, PretrainConfig,
    PretrainSchedule, RetrievalConfig,
};
pub use engine::PretrainOutcome;
pub use loss::contrastive_loss;
pub use records::{PretrainRecord, read_pretrain_metrics};
pub use run::pretrain;
pub use scores::ClipScores;
pub use trainer::{CaptionTensors, ClipTrainer};
