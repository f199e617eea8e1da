//! The PhraseCut data set: reading, checking, downloading and writing it; masks and samples for training;
//! captioned pictures for CLIP; and generated scenes in the same layout.
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

mod captions;
mod check;
mod coco;
mod contours;
mod device_kind;
mod error;
#[cfg(feature = "fetch")]
mod fetch;
pub mod files;
mod guided_filter;
mod jpeg;
mod json_list;
mod left_out;
mod letters;
mod limits;
mod mask;
mod npy;
mod packed_pictures;
mod pamr;
mod phrasecut;
mod pictures;
mod planes;
mod problems;
mod raster;
mod records;
mod render;
mod report;
mod resize;
mod samples;
mod scenes;
mod sheet;
mod writer;
mod yolo;

pub use captions::{
    BoxedName, CAPTION_LIST, CaptionBatch, CaptionOptions, Captioned, CaptionedRegion, Captions,
    HeldOut, LabelledPictures,
};
pub use check::{OTHER_SIZE_PICTURES, check, check_splits};
pub use coco::{CocoAnnotation, CocoCategory, CocoDataset, CocoImage, CocoRle, CocoSegmentation};
pub use device_kind::is_cpu;
pub use error::{DataError, Result};
#[cfg(feature = "fetch")]
pub use fetch::{FailedPicture, FetchProgress, FetchReport, Fetcher};
pub use guided_filter::guided_filter;
pub use json_list::read_json;
pub use left_out::{LeftOut, Omission};
pub use letters::{LETTER_HEIGHT, draw_text, rasterize_text, text_width};
pub use mask::file::load_mask;
pub use mask::instances::Instance;
pub use mask::{BoundingBox, Mask};
pub use npy::npy;
pub use packed_pictures::PackedPictures;
pub use pamr::pamr;
pub use phrasecut::{PhraseCut, list_pictures, read_phrases};
pub use pictures::{decode_rgb, load_rgb, load_stored_rgb};
pub use planes::write_planes;
pub use problems::{Problem, ProblemKind};
pub use raster::RasterRule;
pub use records::{ImageRecord, Phrase, PhraseStructure, Polygons, Split};
pub use render::{add_legend, overlay, prompt_colour, tint};
pub use report::{Report, SplitReport};
pub use resize::{Filter, resize_plane, resize_rgb};
pub use samples::{
    BatchOrder, BatchPosition, Grouping, Loader, MaskScaling, NegativeRule, PhraseCutDataset,
    Preprocessing, Sample, SampleBatch, SampleBatcher, SampleOptions, SamplePicture,
    SegmentationBatch, Selection, Support, TEMPLATES, View, WordMatches, held_out_list,
};
pub use scenes::{
    LargeScene, ScenesConfig, UnseenPairs, generate_scenes, generate_scenes_with,
    scene_of_small_objects,
};
pub use sheet::{SheetOptions, contact_sheet};
pub use writer::PhraseCutWriter;
pub use yolo::yolo_line;
