//! Generated pictures with exact polygons and phrases, in the layout of PhraseCut.
//!
//! Something to train on where no data set is at hand: 22 kinds of objects in ten colours, three sizes
//! and three textures, partly hidden by each other, on cluttered grounds, in varied light. What is seen
//! of each object is known to the pixel, and a phrase is written only if it is true of exactly the
//! objects that it shows and of no other thing in the picture.

mod canvas;
mod config;
mod coverage;
mod drawings;
pub(crate) mod fresh;
mod ground;
mod looks;
mod painting;
mod phrases;
mod pick;
mod placing;
mod relations;
mod shapes;
#[cfg(test)]
mod tests;
mod unseen;
mod writing;

pub use config::ScenesConfig;
pub use unseen::UnseenPairs;

use crate::error::{DataError, Result};
use crate::writer::PhraseCutWriter;
use config::MOST_SCENES;
use std::path::Path;

/// Generates scenes into a new folder. On one platform the same configuration gives the same bytes,
/// however many threads there are; on others sines and cosines may be rounded differently, and single
/// pixels differ. The folder appears only when it is whole.
///
/// Objects of an [unseen pair](UnseenPairs) are in no picture of the split `train` and in many of the
/// others.
///
/// # Errors
///
/// If the folder is there already or cannot be written, or the configuration asks for no or too many
/// pictures, or for pictures of less than 32 or more than 4,096 pixels.
pub fn generate_scenes(folder: &Path, config: &ScenesConfig) -> Result<()> {
    generate_scenes_with(folder, config, || ())
}

/// [`generate_scenes`] that calls `progress` after each picture, from any thread.
///
/// # Errors
///
/// As [`generate_scenes`].
pub fn generate_scenes_with(
    folder: &Path,
    config: &ScenesConfig,
    progress: impl Fn() + Sync,
) -> Result<()> {
    if !(1..=MOST_SCENES).contains(&config.images) || !(32..=4_096).contains(&config.size) {
        return Err(DataError::Input(format!(
            "{} scenes of {} pixels: expected 1 to {MOST_SCENES}, of 32 to 4096 pixels",
            config.images, config.size
        )));
    }
    let mut writer = PhraseCutWriter::new(folder)?;
    writing::write_all(&mut writer, config, &progress)?;
    writer.finish()
}
