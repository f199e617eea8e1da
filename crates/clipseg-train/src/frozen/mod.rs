//! CLIP beside the decoder: encoding pictures and phrases, and caching what was encoded.

pub(crate) mod cache_files;
pub(crate) mod cache_folder;
pub(crate) mod decoder_input;
pub(crate) mod encoding;
pub(crate) mod fingerprint;
pub(crate) mod hidden_cache;
pub(crate) mod hidden_states;
pub(crate) mod phrase_cache;
pub(crate) mod tuned_encoding;
