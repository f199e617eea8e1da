//! COCO's formats for masks: run lengths, polygons and the annotation file.
//!
//! The run lengths and the rule for polygons are those of `maskApi.c` in COCO's own tools (cocodataset/cocoapi), so
//! this crate and those tools decode the same pixels.

mod dataset;
mod outline;
mod polygon;
mod rle;
mod segmentation;

pub use dataset::{CocoAnnotation, CocoCategory, CocoDataset, CocoImage};
pub use rle::CocoRle;
pub use segmentation::CocoSegmentation;
