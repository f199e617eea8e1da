//! One phrase with its picture and its mask.

use super::picture::SamplePicture;
use super::view::View;
use crate::mask::Mask;
use image::RgbImage;

/// A phrase, its picture and its mask.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Sample {
    /// The phrase's `task_id`.
    pub task_id: String,
    /// The picture's number.
    pub image_id: u64,
    /// The words.
    pub phrase: String,
    /// Whether the phrase was put in place of another and does not hold.
    pub negative: bool,
    /// The picture.
    pub image: SamplePicture,
    /// What is seen of the picture.
    pub view: View,
    /// What the phrase names, of the same size.
    pub mask: Mask,
    /// Another picture of which the phrase holds, where one was asked for and there is one.
    pub support: Option<Support>,
}

/// A picture of which a phrase holds, at its own size.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Support {
    /// The picture's number.
    pub image_id: u64,
    /// The picture.
    pub image: RgbImage,
    /// What the phrase names in it, of the same size.
    pub mask: Mask,
}
