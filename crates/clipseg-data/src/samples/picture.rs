//! Resizing pictures to the size of samples.

use crate::planes::write_planes;
use crate::resize::{Filter, resize_align_corners, resize_rgb};
use image::{Rgb, Rgb32FImage, RgbImage, imageops};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// How pictures are resized to the input size of a model, without keeping the aspect ratio.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Preprocessing {
    /// Pillow's bilinear filter, with antialiasing and rounding to 8 bits, like Hugging Face's processor of
    /// the published models.
    #[default]
    HuggingFace,
    /// Bilinear with aligned corners, without antialiasing and rounding, like CLIPSeg's own code in training
    /// and evaluation (Lüddecke and Ecker 2022, arXiv:2112.10003, `datasets/phrasecut.py`).
    #[serde(rename = "clipseg")]
    ClipSeg,
}

impl Preprocessing {
    /// Name in configurations: `hugging_face` or `clipseg`.
    pub fn name(self) -> &'static str {
        match self {
            Self::HuggingFace => "hugging_face",
            Self::ClipSeg => "clipseg",
        }
    }

    /// Resizes to exactly `width` × `height` pixels, both at least 1. Returns levels from 0 to 255,
    /// `[height, width, 3]`.
    pub fn squash(self, picture: &RgbImage, width: u32, height: u32) -> Vec<f32> {
        match self.apply(picture, width, height) {
            SamplePicture::Rounded(picture) => {
                picture.into_raw().into_iter().map(f32::from).collect()
            }
            SamplePicture::Exact(picture) => picture.into_raw(),
        }
    }

    /// Like [`squash`](Self::squash), but keeps the type of the pixels.
    pub(super) fn apply(self, picture: &RgbImage, width: u32, height: u32) -> SamplePicture {
        match self {
            Self::HuggingFace => {
                SamplePicture::Rounded(resize_rgb(picture, width, height, Filter::Bilinear))
            }
            Self::ClipSeg => {
                let values = resize_align_corners(picture, width, height);
                let exact = Rgb32FImage::from_raw(width, height, values);
                SamplePicture::Exact(exact.unwrap_or_default())
            }
        }
    }
}

/// Pixels of a sample's picture.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum SamplePicture {
    /// 8 bits per channel, the result of [`HuggingFace`](Preprocessing::HuggingFace).
    Rounded(RgbImage),
    /// Unrounded levels from 0 to 255, the result of [`ClipSeg`](Preprocessing::ClipSeg).
    Exact(Rgb32FImage),
}

impl SamplePicture {
    /// Width and height in pixels.
    pub fn dimensions(&self) -> (u32, u32) {
        match self {
            Self::Rounded(picture) => picture.dimensions(),
            Self::Exact(picture) => picture.dimensions(),
        }
    }

    /// Rounds the levels to 8 bits.
    pub fn to_rgb8(&self) -> RgbImage {
        match self {
            Self::Rounded(picture) => picture.clone(),
            Self::Exact(picture) => RgbImage::from_fn(picture.width(), picture.height(), |x, y| {
                Rgb(picture.get_pixel(x, y).0.map(|level| level.round() as u8))
            }),
        }
    }

    /// The levels `[height, width, 3]` as bytes: one for each level that is 8-bit, or four, little-endian, for each
    /// unrounded level.
    pub fn level_bytes(&self) -> Cow<'_, [u8]> {
        match self {
            Self::Rounded(picture) => picture.as_raw().into(),
            Self::Exact(picture) => {
                let levels = picture.as_raw().iter();
                levels.flat_map(|level| level.to_le_bytes()).collect()
            }
        }
    }

    /// The picture if its levels are 8-bit.
    pub(super) fn as_rgb8(&self) -> Option<&RgbImage> {
        match self {
            Self::Rounded(picture) => Some(picture),
            Self::Exact(_) => None,
        }
    }

    /// Writes the channels as planes `[3, height, width]`, from 0 to 1.
    pub(super) fn write_planes(&self, planes: &mut [f32]) {
        match self {
            Self::Rounded(picture) => {
                write_planes(picture.as_raw(), planes, |_, level| {
                    f32::from(level) / 255.0
                });
            }
            Self::Exact(picture) => {
                write_planes(picture.as_raw(), planes, |_, level| level / 255.0);
            }
        }
    }

    pub(super) fn mirror(&mut self) {
        match self {
            Self::Rounded(picture) => imageops::flip_horizontal_in_place(picture),
            Self::Exact(picture) => imageops::flip_horizontal_in_place(picture),
        }
    }

    /// Size of the pixels in memory in bytes.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Rounded(picture) => size_of_val(picture.as_raw().as_slice()),
            Self::Exact(picture) => size_of_val(picture.as_raw().as_slice()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture() -> RgbImage {
        RgbImage::from_fn(7, 5, |x, y| {
            Rgb([(31 * x + 3) as u8, (40 * y) as u8, (x * y * 9) as u8])
        })
    }

    #[test]
    fn each_preprocessing_has_its_name_and_its_pixels() {
        let picture = picture();
        let rounded = Preprocessing::HuggingFace.squash(&picture, 5, 3);
        let expected = resize_rgb(&picture, 5, 3, Filter::Bilinear);
        assert!(
            rounded
                .iter()
                .copied()
                .eq(expected.as_raw().iter().map(|&v| f32::from(v)))
        );
        let exact = Preprocessing::ClipSeg.squash(&picture, 5, 3);
        assert_eq!(exact, resize_align_corners(&picture, 5, 3));
        assert!(exact.iter().any(|level| level.fract() != 0.0), "{exact:?}");
        for preprocessing in [Preprocessing::HuggingFace, Preprocessing::ClipSeg] {
            let json = serde_json::to_string(&preprocessing).unwrap();
            assert_eq!(json, format!("\"{}\"", preprocessing.name()));
            assert_eq!(
                serde_json::from_str::<Preprocessing>(&json).unwrap(),
                preprocessing
            );
        }
    }

    #[test]
    fn planes_are_not_rounded() {
        let exact = Preprocessing::ClipSeg.apply(&picture(), 5, 3);
        let mut planes = vec![0.0; 45];
        exact.write_planes(&mut planes);
        let levels = Preprocessing::ClipSeg.squash(&picture(), 5, 3);
        for (index, value) in planes.into_iter().enumerate() {
            assert_eq!(value, levels[3 * (index % 15) + index / 15] / 255.0);
        }
        assert_eq!(exact.bytes(), 4 * 45);
        let mut mirrored = exact.clone();
        mirrored.mirror();
        let (SamplePicture::Exact(a), SamplePicture::Exact(b)) = (&exact, &mirrored) else {
            panic!("both must be exact");
        };
        assert_eq!(a.get_pixel(0, 2), b.get_pixel(4, 2));
        let level = a.get_pixel(1, 1).0[0];
        assert_eq!(exact.to_rgb8().get_pixel(1, 1).0[0], level.round() as u8);
    }
}
