//! A CLIP from a folder.

use crate::clip::Clip;
use crate::config::ClipConfig;
use crate::error::Result;
use crate::weights::Checkpoint;
use burn::prelude::*;
use std::path::Path;

/// Loads both towers from a Hugging Face folder of a CLIP, or of a CLIPSeg, whose decoder is then
/// left where it is.
///
/// # Errors
///
/// If the configuration or the weights cannot be read or do not fit each other.
pub fn load_clip(folder: &Path, device: &Device) -> Result<(ClipConfig, Clip)> {
    let checkpoint = Checkpoint::from_folder(folder)?;
    let config = ClipConfig::from_file(&folder.join("config.json"))?;
    let mut clip = Clip::init(&config, device);
    let inside = checkpoint.names().any(|name| name.starts_with("clip."));
    let checkpoint = checkpoint.rename(|name| match (inside, name.strip_prefix("clip.")) {
        (true, stripped) => stripped.map(str::to_owned),
        (false, _) => Some(name.to_owned()),
    });
    checkpoint.load_into(&mut clip)?;
    Ok((config, clip))
}
