//! Configurations of runs: fields, files, presets and checks.

pub(crate) mod adamw_options;
pub(crate) mod bytes;
pub(crate) mod checks;
pub(crate) mod clip_checks;
pub(crate) mod clip_name;
pub(crate) mod decoder_choice;
pub(crate) mod file;
pub(crate) mod settings;
pub(crate) mod train_config;
pub(crate) mod unfreeze;
pub(crate) mod values;
