//! Turns the name of a checkpoint into its files.

use crate::error::Result;
use crate::scenes::SCENES;
use clipseg_clip::CheckpointFiles;
use std::path::Path;

/// Returns the files of a checkpoint: of the model [`SCENES`], of a folder, or of an id on the Hugging Face
/// hub.
///
/// A folder with the name `scenes` is named by `./scenes`. Everything else is as for
/// [`clipseg_clip::resolve`].
///
/// # Errors
///
/// [`ClipError::Hub`](clipseg_clip::ClipError::Hub) if there is no such checkpoint, a download fails, or this build does not contain the
/// model `scenes`; the message says what to pass instead.
///
/// # Example
///
/// ```
/// assert!(clipseg_model::resolve(".").is_ok());
/// assert!(clipseg_model::resolve("no such folder").is_err());
/// assert_eq!(clipseg_model::resolve(clipseg_model::SCENES).is_ok(), cfg!(feature = "scenes"));
/// ```
pub fn resolve(name: &str) -> Result<CheckpointFiles> {
    if name != SCENES {
        return Ok(CheckpointFiles::from(&clipseg_clip::resolve(name)?));
    }
    if Path::new(SCENES).join("config.json").is_file() {
        tracing::warn!(
            "`{SCENES}` names the model that is part of the program; pass `./{SCENES}` to use the folder"
        );
    }
    built_in()
}

#[cfg(feature = "scenes")]
fn built_in() -> Result<CheckpointFiles> {
    Ok(crate::scenes::scenes())
}

#[cfg(not(feature = "scenes"))]
fn built_in() -> Result<CheckpointFiles> {
    let message = "this build does not contain it; build with `--features scenes`, or pass a folder or an id \
                   on the Hugging Face hub";
    Err(clipseg_clip::ClipError::Hub {
        id: SCENES.to_owned(),
        message: message.to_owned(),
    }
    .into())
}
