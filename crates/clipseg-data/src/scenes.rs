//! Generated pictures with exact polygons and phrases, in the layout of PhraseCut.
//!
//! They serve for training without a downloaded data set. The pictures show 22 kinds of objects in ten
//! colours, three sizes and three textures, which partly occlude each other, on cluttered backgrounds and
//! under varying light. The visible pixels of each object are known exactly. A phrase is written only if it
//! describes exactly the objects in its mask and nothing else in the picture.

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
mod small_objects;
#[cfg(test)]
mod tests;
mod unseen;
mod writing;

pub use config::ScenesConfig;
pub use small_objects::{LargeScene, scene_of_small_objects};
pub use unseen::UnseenPairs;

use crate::error::{DataError, Result};
use crate::writer::PhraseCutWriter;
use config::MOST_SCENES;
use std::path::Path;

/// Generates scenes into a new folder, which gets its name only when it is complete.
///
/// On one platform the same configuration always gives the same bytes, with any number of threads. On
/// another platform, sines and cosines may be rounded differently, so that single pixels differ.
///
/// Objects of an [unseen pair](UnseenPairs) occur in no picture of the split `train` and in many pictures
/// of the other splits.
///
/// # Errors
///
/// If the folder already exists or cannot be written, the number of pictures is 0 or above 100 million, or
/// their side is not 32 to 4,096 pixels.
pub fn generate_scenes(folder: &Path, config: &ScenesConfig) -> Result<()> {
    generate_scenes_with(folder, config, || ())
}

/// Like [`generate_scenes`], and calls `progress` after each picture, from any thread.
///
/// # Errors
///
/// Those of [`generate_scenes`].
pub fn generate_scenes_with(
    folder: &Path,
    config: &ScenesConfig,
    progress: impl Fn() + Sync,
) -> Result<()> {
    if !(1..=MOST_SCENES).contains(&config.images) || !(32..=4_096).contains(&config.size) {
        return Err(DataError::Input(format!(
            "{} scenes of {} pixels, expected 1 to {MOST_SCENES} scenes of 32 to 4096 pixels",
            config.images, config.size
        )));
    }
    let mut writer = PhraseCutWriter::new(folder)?;
    writing::write_all(&mut writer, config, &progress)?;
    writer.finish()
}
