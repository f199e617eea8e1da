//! Configuration of generated scenes.

use crate::records::Split;

/// Version of the generator. It is increased whenever the same configuration gives other bytes.
const VERSION: u32 = 3;

/// Maximum number of scenes. Ids of relations are a thousand times those of pictures and must not overflow.
pub(super) const MOST_SCENES: usize = 100_000_000;

/// Configuration of generated scenes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScenesConfig {
    /// Number of pictures, up to 100 million. 80 % are in the split `train`, 10 % in `val`, 5 % in `test` and
    /// 5 % in `miniv`. Default: 1,000.
    pub images: usize,
    /// Side of the pictures in pixels. Default: 128.
    pub size: u32,
    /// Random seed. Default: 0.
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
    /// Name of a folder for exactly these scenes.
    pub fn folder_name(&self) -> String {
        format!(
            "scenes-v{VERSION}-{}x{}-{}-seed-{}",
            self.size, self.size, self.images, self.seed
        )
    }

    pub(super) fn split_of(&self, index: usize) -> Split {
        match 20 * index / self.images.max(1) {
            0..16 => Split::Train,
            16 | 17 => Split::Val,
            18 => Split::Test,
            _ => Split::Miniv,
        }
    }
}
