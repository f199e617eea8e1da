//! A CLIP from a folder or a file.

use crate::clip::Clip;
use crate::config::{Activation, ClipConfig};
use crate::error::{ClipError, Result};
use crate::files::{mark_as_own, refuse_foreign, write_text};
use crate::openai;
use crate::source::Source;
use crate::weights::{Checkpoint, save_module};
use burn::prelude::*;
use serde_json::json;
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

/// Loads both towers from a Hugging Face folder of a CLIP, or of a CLIPSeg, whose decoder is then
/// left where it is.
///
/// # Errors
///
/// If the configuration or the weights cannot be read or do not fit each other.
pub fn load_clip(folder: &Path, device: &Device) -> Result<PretrainedClip> {
    let checkpoint = Checkpoint::from_folder(folder)?;
    let config = ClipConfig::from_file(&folder.join("config.json"))?;
    // A CLIPSeg's CLIP is under the prefix `clip.`, which loading removes. No tensor of a CLIP has
    // `decoder` in its name.
    let is_decoder = |name: &str| name.split('.').any(|part| part == "decoder");
    let checkpoint = checkpoint.rename(|name| (!is_decoder(name)).then(|| name.to_owned()));
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
) -> Result<PretrainedClip> {
    let checkpoint = Checkpoint::from_file(file)?.remove_prefix_of(openai::PATCHES)?;
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

/// Writes `config.json` and `model.safetensors`, which [`load_clip`] reads, and transformers as
/// `CLIPModel`. Makes the folder if there is none.
///
/// # Errors
///
/// If the folder cannot be written, or holds such files of another program; see [`refuse_foreign`].
pub fn save_clip(folder: &Path, config: &ClipConfig, clip: &Clip) -> Result<()> {
    let weights = folder.join("model.safetensors");
    refuse_foreign(folder, &["model.safetensors", "config.json"])?;
    std::fs::create_dir_all(folder).map_err(ClipError::io("make", folder))?;
    let mut json = json!(config);
    if let Some(fields) = json.as_object_mut() {
        fields.insert("model_type".into(), json!("clip"));
        fields.insert("architectures".into(), json!(["CLIPModel"]));
    }
    mark_as_own(&mut json);
    // First, so that the folder counts as one of these from then on.
    write_text(&folder.join("config.json"), &format!("{json:#}\n"))?;
    save_module(clip, &weights, &["logit_scale"], str::to_owned)
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
