//! What a run is told to do: the configuration, its file, its checks and its presets.

pub(crate) mod bytes;
pub(crate) mod checks;
pub(crate) mod decoder_choice;
pub(crate) mod file;
pub(crate) mod settings;
pub(crate) mod train_config;
