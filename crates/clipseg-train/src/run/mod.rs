//! A training run: setting it up, the loop, its folder and checkpoints, stopping and resuming.

pub(crate) mod checkpoint;
pub(crate) mod configured_run;
pub(crate) mod data;
pub(crate) mod decoder_checkpoint;
pub(crate) mod engine;
pub(crate) mod feed;
pub(crate) mod folder;
pub(crate) mod held_out;
pub(crate) mod interrupt;
pub(crate) mod journal;
#[cfg(test)]
pub(crate) mod odd_values;
pub(crate) mod outcome;
pub(crate) mod parts;
pub(crate) mod phrase_sets;
pub(crate) mod preprocessing;
pub(crate) mod progress;
#[cfg(feature = "progress")]
pub(crate) mod progress_bar;
pub(crate) mod setup;
pub(crate) mod training_loop;
