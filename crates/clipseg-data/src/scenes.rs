//! Generated pictures with exact polygons and phrases, in the layout of PhraseCut.
//!
//! Something to train on where no data set is at hand: 22 kinds of objects in ten colours, three sizes
//! and three textures, partly hidden by each other, on cluttered grounds, in varied light. What is seen
//! of each object is known to the pixel, and a phrase is written only if it is true of exactly the
//! objects that it shows and of no other thing in the picture.

mod coverage;
mod drawings;
pub(crate) mod fresh;
mod ground;
mod looks;
mod painting;
mod phrases;
mod placing;
mod relations;
mod shapes;
#[cfg(test)]
mod tests;
mod unseen;
mod writing;

pub use unseen::UnseenPairs;

use crate::error::{DataError, Result};
use crate::records::Split;
use crate::writer::PhraseCutWriter;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use std::path::Path;

/// Counted up when other bytes come out for the same configuration.
const VERSION: u32 = 3;

/// Ids of relations are a thousand times those of pictures, and all have to stay far from overflowing.
const MOST_SCENES: usize = 100_000_000;

/// What is generated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScenesConfig {
    /// Number of pictures, up to 100 million: eight tenths to train on, the rest shared by the other
    /// splits. Default: 1,000.
    pub images: usize,
    /// Side of the pictures in pixels. Default: 128.
    pub size: u32,
    /// Decides everything, on one platform. Default: 0.
    pub seed: u64,
}

impl Default for ScenesConfig {
    fn default() -> Self {
        Self {
            images: 1_000,
            size: 128,
            seed: 0,
        }
    }
}

impl ScenesConfig {
    /// A name for a folder that holds just these scenes.
    pub fn folder_name(&self) -> String {
        format!(
            "scenes-v{VERSION}-{}x{}-{}-seed-{}",
            self.size, self.size, self.images, self.seed
        )
    }

    fn split_of(&self, index: usize) -> Split {
        match 20 * index / self.images.max(1) {
            0..16 => Split::Train,
            16 | 17 => Split::Val,
            18 => Split::Test,
            _ => Split::Miniv,
        }
    }
}

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

/// Any of several, each as likely.
fn pick<'a, T>(random: &mut ChaCha8Rng, of: &'a [T]) -> &'a T {
    &of[random.random_range(0..of.len())]
}
