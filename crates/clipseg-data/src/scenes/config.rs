//! What scenes are generated.

use crate::records::Split;

/// Counted up when other bytes come out for the same configuration.
const VERSION: u32 = 3;

/// Ids of relations are a thousand times those of pictures, and all have to stay far from overflowing.
pub(super) const MOST_SCENES: usize = 100_000_000;

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

    pub(super) fn split_of(&self, index: usize) -> Split {
        match 20 * index / self.images.max(1) {
            0..16 => Split::Train,
            16 | 17 => Split::Val,
            18 => Split::Test,
            _ => Split::Miniv,
        }
    }
}
