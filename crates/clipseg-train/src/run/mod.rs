//! A training run: setting it up, the loop, its folder and checkpoints, stopping and resuming.

pub(crate) mod checkpoint;
pub(crate) mod data;
pub(crate) mod engine;
pub(crate) mod feed;
pub(crate) mod folder;
pub(crate) mod interrupt;
pub(crate) mod journal;
#[cfg(test)]
pub(crate) mod odd_values;
pub(crate) mod outcome;
pub(crate) mod parts;
pub(crate) mod progress;
pub(crate) mod setup;
pub(crate) mod whole;
