//! PhraseCut: phrases, polygons, masks, samples and generated scenes.
//!
//! ```
//! use clipseg_data::{PhraseCut, ScenesConfig, Split, generate_scenes};
//!
//! let folder = tempfile::tempdir()?;
//! let scenes = folder.path().join("scenes");
//! generate_scenes(&scenes, &ScenesConfig { images: 20, size: 64, seed: 7 })?;
//!
//! let data = PhraseCut::open(&scenes)?;
//! let phrase = &data.phrases(Split::Train)[0];
//! println!("{}: {} pixels", phrase.phrase, data.mask(phrase)?.area());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![deny(missing_docs)]

mod contours;
mod error;
mod mask;
mod phrasecut;
mod pictures;
mod raster;
mod records;
mod render;
mod samples;
mod scenes;
mod sheet;

pub use error::{DataError, Result};
pub use mask::{BoundingBox, Mask};
pub use phrasecut::PhraseCut;
pub use pictures::{Filter, decode_rgb, load_rgb, resize_rgb};
pub use raster::fill_polygon;
pub use records::{ImageRecord, Phrase, PhraseStructure, Polygons, Split};
pub use render::{add_legend, overlay, prompt_colour};
pub use samples::{PhraseCutDataset, Sample, SampleOptions, SegmentationBatch};
pub use scenes::{ScenesConfig, UnseenPairs, generate_scenes, generate_scenes_with};
pub use sheet::{SheetOptions, contact_sheet};
