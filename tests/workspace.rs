//! Integration tests across the crates, against reference implementations.
//!
//! One binary, because linking Burn takes longer than running most tests. `README.md` in this folder
//! describes the fixtures and how to compute them for another seed.

mod bad_input;
mod checkpoints;
mod coco;
mod configurations;
mod contrastive;
mod convert;
mod damaged_checkpoints;
mod data;
mod data_program;
mod data_reading;
mod decoder_files;
mod decoders;
mod dense;
mod edges;
mod encoders;
mod eval_program;
mod export;
mod fine_tuning;
mod formats;
mod full_size;
mod look_program;
mod metrics;
mod model_scores;
mod nothing_lost;
mod original_checkpoints;
mod own_data;
mod parity;
mod phrasecut;
mod precision;
mod pretraining;
mod program;
mod protocol;
mod protocol_scores;
#[cfg(all(feature = "fetch", feature = "hub"))]
mod published;
mod refinement;
mod round_trip;
mod running;
mod samples;
mod scenes;
mod segmenter;
#[cfg(feature = "scenes")]
mod shipped;
#[cfg(feature = "scenes")]
mod studies;
mod support;
mod tokenizers;
mod training;
mod training_program;
mod training_runs;
mod views;
