//! One phrase with its picture and its mask.

use super::picture::SamplePicture;
use super::view::View;
use crate::mask::Mask;
use image::RgbImage;

/// A phrase with its picture and its mask.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Sample {
    /// `task_id` of the phrase.
    pub task_id: String,
    /// `image_id` of the picture.
    pub image_id: u64,
    /// Text of the phrase.
    pub phrase: String,
    /// Whether this is a negative: the phrase replaced another one and does not describe the picture.
    pub negative: bool,
    /// The picture.
    pub image: SamplePicture,
    /// The crop, flip and colour changes of the picture.
    pub view: View,
    /// Mask of the phrase, with the size of the picture.
    pub mask: Mask,
    /// Another picture with the same phrase, if support pictures are requested and one exists.
    pub support: Option<Support>,
}

/// A support picture for a phrase, at its own size.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Support {
    /// `image_id` of the picture.
    pub image_id: u64,
    /// The picture.
    pub image: RgbImage,
    /// Mask of the phrase, with the size of the picture.
    pub mask: Mask,
}
