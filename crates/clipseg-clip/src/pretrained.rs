//! Loads a CLIP from a folder or a file, and saves it.

use crate::checkpoint_files::CheckpointFiles;
use crate::clip::Clip;
use crate::config::{Activation, ClipConfig};
use crate::error::{ClipError, Result};
use crate::files::{mark_as_own, refuse_foreign, write_text};
use crate::openai;
use crate::source::Source;
use crate::weights::{Checkpoint, SaveOptions, save_module};
use burn::prelude::*;
use std::path::Path;

/// A CLIP and the configuration that its weights were made for.
///
/// [`load_clip`] and [`load_openai_clip`] return it.
#[derive(Debug, Clone)]
pub struct PretrainedClip {
    /// Sizes of both towers, and the token ids of the text tower.
    pub config: ClipConfig,
    /// The towers with their weights.
    pub clip: Clip,
}

/// Loads both towers from the files of a CLIP or a CLIPSeg in Hugging Face's layout. The decoder of a
/// CLIPSeg is not loaded.
///
/// A prefix that all tensor names share is removed. Weights that are NaN or infinite are loaded with a
/// warning of `tracing`; [`non_finite`](crate::non_finite) lists them.
///
/// # Errors
///
/// If the configuration or the weights cannot be read or do not fit each other, or if the file contains
/// several models.
pub fn load_clip(files: impl Into<CheckpointFiles>, device: &Device) -> Result<PretrainedClip> {
    let files = files.into();
    let checkpoint = Checkpoint::from_folder(&files)?;
    let config = ClipConfig::from_folder(&files)?;
    // A CLIPSeg's CLIP is under the prefix `clip.`, which loading removes. No tensor of a CLIP has
    // `decoder` in its name.
    let is_decoder = |name: &str| name.split('.').any(|part| part == "decoder");
    let checkpoint = checkpoint.rename(|name| (!is_decoder(name)).then(|| name.to_owned()));
    fill(config, checkpoint, device, Source::whole)
}

/// Loads both towers from one file with the tensor names of OpenAI and open_clip.
///
/// The file is a safetensors file, a PyTorch state dict, or a checkpoint of open_clip's training. The
/// configuration is inferred from the shapes, except for the activation: it is
/// [`Activation::QuickGelu`] for OpenAI's models and for those of open_clip whose names end in
/// `-quickgelu`, and [`Activation::Gelu`] for the others. Prefixes, NaN and infinite weights are treated
/// as by [`load_clip`].
///
/// # Errors
///
/// If the file cannot be read, or has other names or shapes. OpenAI's own downloads are TorchScript
/// archives, which contain code besides weights and are not supported; the message gives the command
/// that converts one.
pub fn load_openai_clip(
    file: &Path,
    activation: Activation,
    device: &Device,
) -> Result<PretrainedClip> {
    let checkpoint = Checkpoint::from_file(file)?.remove_prefix_of(openai::PATCHES)?;
    if !openai::is_openai(&checkpoint) {
        return Err(ClipError::format(
            file,
            "the tensor `visual.conv1.weight` is missing, so it does not have the tensor names of OpenAI \
             and open_clip",
        ));
    }
    let config = openai::infer_config(&checkpoint, activation)?;
    let checkpoint = checkpoint.rename(|name| (!openai::is_size(name)).then(|| name.to_owned()));
    fill(config, checkpoint, device, openai::source)
}

/// Writes `config.json` and `model.safetensors` into a folder, which is created if it does not exist.
///
/// [`load_clip`] reads the folder, and transformers reads it as `CLIPModel`.
///
/// # Errors
///
/// If the folder cannot be written, or contains such files that this program did not write; see
/// [`refuse_foreign`].
pub fn save_clip(folder: &Path, config: &ClipConfig, clip: &Clip) -> Result<()> {
    let weights = folder.join("model.safetensors");
    refuse_foreign(folder, &["model.safetensors", "config.json"])?;
    std::fs::create_dir_all(folder).map_err(ClipError::io("make", folder))?;
    let mut json = config.to_json();
    mark_as_own(&mut json);
    // Written first, because it marks the folder as written by this program.
    write_text(&folder.join("config.json"), &format!("{json:#}\n"))?;
    let options = SaveOptions {
        scalars: &["logit_scale"],
        ..SaveOptions::default()
    };
    save_module(clip, &weights, options, str::to_owned)?;
    Ok(())
}

fn fill(
    config: ClipConfig,
    checkpoint: Checkpoint,
    device: &Device,
    source: impl Fn(&str) -> Source,
) -> Result<PretrainedClip> {
    let mut clip = Clip::unfilled(&config, device);
    checkpoint.load_into_as(&mut clip, source)?;
    Ok(PretrainedClip { config, clip })
}
