//! Tests of the crates together, against the answers of the reference implementations.
//!
//! One binary, because linking Burn takes longer than running most of these. See `README.md` beside
//! this file for where the answers come from and how to make others.

mod bad_input;
mod checkpoints;
mod configurations;
mod contrastive;
mod damaged_checkpoints;
mod data;
mod data_program;
mod data_reading;
mod decoder_files;
mod decoders;
mod encoders;
mod eval_program;
mod full_size;
mod metrics;
mod model_scores;
mod nothing_lost;
mod original_checkpoints;
mod own_data;
mod parity;
mod phrasecut;
mod pretraining;
mod program;
mod protocol;
mod protocol_scores;
mod round_trip;
mod samples;
mod scenes;
mod segmenter;
mod support;
mod tokenizers;
mod training;
mod training_program;
mod training_runs;
