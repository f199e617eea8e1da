//! A CLIP from a folder or a file.

use crate::clip::Clip;
use crate::config::{Activation, ClipConfig};
use crate::error::{ClipError, Result};
use crate::openai;
use crate::source::Source;
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
    if checkpoint.names().any(|name| name.starts_with("clip.")) {
        let checkpoint =
            checkpoint.rename(|name| name.starts_with("clip.").then(|| name.to_owned()));
        return fill(config, checkpoint, device, |name| {
            Source::whole(&format!("clip.{name}"))
        });
    }
    fill(config, checkpoint, device, Source::whole)
}

/// Loads both towers from one file with the names of OpenAI and open_clip: safetensors, a PyTorch
/// state dict, or a checkpoint of open_clip's training. Its configuration is read off the shapes, except for the activation: OpenAI's
/// own models and those of open_clip that end in `-quickgelu` have [`Activation::QuickGelu`], the
/// others [`Activation::Gelu`].
///
/// # Errors
///
/// If the file cannot be read, or has other names or shapes. OpenAI's own downloads are TorchScript
/// archives, which hold programs besides weights and are not read; the message says how to convert
/// one.
pub fn load_openai_clip(
    file: &Path,
    activation: Activation,
    device: &Device,
) -> Result<(ClipConfig, Clip)> {
    let checkpoint = Checkpoint::from_file(file)?;
    if !openai::is_openai(&checkpoint) {
        return Err(ClipError::format(
            file,
            "the tensor `visual.conv1.weight` is missing, so these are not the names of OpenAI and \
             open_clip",
        ));
    }
    let config = openai::infer_config(&checkpoint, activation)?;
    let checkpoint = checkpoint.rename(|name| (!openai::is_size(name)).then(|| name.to_owned()));
    fill(config, checkpoint, device, openai::source)
}

fn fill(
    config: ClipConfig,
    checkpoint: Checkpoint,
    device: &Device,
    source: impl Fn(&str) -> Source,
) -> Result<(ClipConfig, Clip)> {
    let mut clip = Clip::unfilled(&config, device);
    checkpoint.load_into_as(&mut clip, source)?;
    Ok((config, clip))
}
