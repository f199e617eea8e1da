//! Converts photographs to `pixel_values` as `preprocessor_config.json` describes.
//!
//! The results are those of `ViTImageProcessor` and `CLIPImageProcessor` in transformers 4.57, formerly
//! `…FeatureExtractor`. `clipseg-data` resizes, either like Pillow or like CLIPSeg's original code.

use crate::error::{ClipError, Result};
use burn::prelude::*;
use clipseg_data::{Filter, Preprocessing, resize_rgb, write_planes};
use image::RgbImage;

#[cfg(feature = "hub")]
pub(crate) use json::COMBINED;

mod json;

/// The size to which a picture is resized.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TargetSize {
    /// Exactly this size; the aspect ratio may change.
    Exact {
        /// Rows.
        height: u32,
        /// Columns.
        width: u32,
    },
    /// The length of the shorter side; the aspect ratio is kept.
    ShortestEdge(u32),
}

/// The preprocessing of a checkpoint: resizing, cropping, rescaling and normalising.
///
/// # Two kinds of resizing
///
/// The published CLIPSeg models have Hugging Face's preprocessing, which resizes with antialiasing and
/// rounds to eight bits. The scores in the paper were computed with CLIPSeg's original code, which
/// interpolates between the four nearest pixels with aligned corners and does not round.
/// [`preprocessing`](Self::preprocessing) selects one of them. On 55 photographs with sides of 300 to
/// 640 pixels, resized to 352×352, the mean difference is 2.6 of 255 levels. It is 0.6 to 10.3 for
/// single photographs, largest with fine texture, and exceeds 60 at single edges.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ImageProcessor {
    /// The size to which a picture is resized; `None` keeps its size.
    pub size: Option<TargetSize>,
    /// The interpolation filter.
    pub filter: Filter,
    /// The kind of resizing. That of CLIPSeg's original code requires an exact size, a bilinear filter and
    /// no crop.
    pub preprocessing: Preprocessing,
    /// Rows and columns of the centre crop; missing pixels are black. `None` crops nothing.
    pub crop: Option<[u32; 2]>,
    /// The factor on the 8-bit values; usually 1/255, and 1 without rescaling.
    pub rescale_factor: f64,
    /// The mean of each channel, which is subtracted after rescaling.
    pub mean: [f32; 3],
    /// The standard deviation of each channel, by which it is divided then.
    pub std: [f32; 3],
}

/// Mean and standard deviation of ImageNet.
const IMAGENET: [[f32; 3]; 2] = [[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]];
/// Mean and standard deviation that OpenAI trained CLIP with.
#[expect(clippy::excessive_precision, reason = "the published digits")]
const OPENAI: [[f32; 3]; 2] = [
    [0.48145466, 0.4578275, 0.40821073],
    [0.26862954, 0.26130258, 0.27577711],
];
/// The largest result of resizing. A picture of 1×40,000 with a shorter side of 224 would exceed it.
const MOST_PIXELS: u64 = 1 << 26;

impl ImageProcessor {
    /// The preprocessing of the published CLIPSeg: resized to a square with a bilinear filter, normalised
    /// with ImageNet's mean and standard deviation.
    pub fn clipseg(side: u32) -> Self {
        let [mean, std] = IMAGENET;
        Self {
            size: Some(TargetSize::Exact {
                height: side,
                width: side,
            }),
            filter: Filter::Bilinear,
            preprocessing: Preprocessing::HuggingFace,
            crop: None,
            rescale_factor: 1.0 / 255.0,
            mean,
            std,
        }
    }

    /// The preprocessing of the published CLIP: the shorter side resized with a bicubic filter, the centre
    /// cropped, normalised with CLIP's mean and standard deviation.
    pub fn clip(side: u32) -> Self {
        let [mean, std] = OPENAI;
        Self {
            size: Some(TargetSize::ShortestEdge(side)),
            filter: Filter::Bicubic,
            preprocessing: Preprocessing::HuggingFace,
            crop: Some([side, side]),
            rescale_factor: 1.0 / 255.0,
            mean,
            std,
        }
    }

    /// Selects the kind of resizing; see the type's documentation.
    #[must_use]
    pub fn with_preprocessing(mut self, preprocessing: Preprocessing) -> Self {
        self.preprocessing = preprocessing;
        self
    }

    /// The target size if the resizing is that of CLIPSeg's original code; `None` for Hugging Face's.
    fn original_size(&self) -> Result<Option<[u32; 2]>> {
        match (self.preprocessing, self.size, self.crop, self.filter) {
            (Preprocessing::HuggingFace, ..) => Ok(None),
            (_, Some(TargetSize::Exact { height, width }), None, Filter::Bilinear) => {
                let pixels = u64::from(height) * u64::from(width);
                if pixels == 0 || pixels > MOST_PIXELS {
                    return Err(ClipError::Input(format!(
                        "pictures would be resized to {width}x{height}, expected 1 to {MOST_PIXELS} pixels"
                    )));
                }
                Ok(Some([height, width]))
            }
            _ => Err(ClipError::Input(format!(
                "the preprocessing `{}` requires an exact size, a bilinear filter and no crop",
                self.preprocessing.name()
            ))),
        }
    }

    /// Resizes and crops a picture as Hugging Face's image processor does. The values stay 8-bit.
    ///
    /// # Errors
    ///
    /// If the picture is empty, or the resized picture would have more than 64 megapixels.
    pub fn resize(&self, picture: &RgbImage) -> Result<RgbImage> {
        let (width, height) = picture.dimensions();
        if width == 0 || height == 0 {
            return Err(ClipError::Input(format!(
                "a picture of {width}x{height} has no pixels"
            )));
        }
        let resized = match self.size {
            None => None,
            Some(size) => {
                let [height, width] = match size {
                    TargetSize::Exact { height, width } => [height, width].map(u64::from),
                    TargetSize::ShortestEdge(edge) => {
                        let long = |side: u32, short: u32| {
                            u64::from(edge) * u64::from(side) / u64::from(short)
                        };
                        if width <= height {
                            [long(height, width), edge.into()]
                        } else {
                            [edge.into(), long(width, height)]
                        }
                    }
                };
                if height * width > MOST_PIXELS {
                    return Err(ClipError::Input(format!(
                        "a picture of {}x{} would be resized to {width}x{height}, which is too large",
                        picture.width(),
                        picture.height()
                    )));
                }
                Some(resize_rgb(
                    picture,
                    width as u32,
                    height as u32,
                    self.filter,
                ))
            }
        };
        let resized = resized.as_ref().unwrap_or(picture);
        if let Some([height, width]) = self.crop
            && u64::from(height) * u64::from(width) > MOST_PIXELS
        {
            return Err(ClipError::Input(format!(
                "a crop of {width}x{height} is too large"
            )));
        }
        Ok(match self.crop {
            None => resized.clone(),
            Some([height, width]) => center_crop(resized, height, width),
        })
    }

    /// Resizes, crops, rescales and normalises pictures into one tensor.
    ///
    /// # Shapes
    ///
    /// - output: `[pictures, 3, height, width]`
    ///
    /// # Errors
    ///
    /// If there is no picture, one cannot be resized, or the resized pictures differ in size.
    pub fn pixel_values(&self, pictures: &[RgbImage], device: &Device) -> Result<Tensor<4>> {
        if let Some(size) = self.original_size()? {
            return self.resize_like_original(pictures, size, device);
        }
        let resized: Vec<RgbImage> = pictures
            .iter()
            .map(|picture| self.resize(picture))
            .collect::<Result<_>>()?;
        let Some((width, height)) = resized.first().map(RgbImage::dimensions) else {
            return Err(ClipError::Input(
                "no picture was given, expected at least one".into(),
            ));
        };
        if let Some(other) = resized
            .iter()
            .find(|picture| picture.dimensions() != (width, height))
        {
            return Err(ClipError::Input(format!(
                "pictures of one batch differ in size: {width}x{height} and {}x{}",
                other.width(),
                other.height()
            )));
        }
        let plane = width as usize * height as usize;
        let mut values = vec![0f32; resized.len() * 3 * plane];
        let tables = [0, 1, 2].map(|channel| self.table(channel));
        for (picture, planes) in resized.iter().zip(values.chunks_exact_mut(3 * plane)) {
            write_planes(picture.as_raw(), planes, |channel, byte| {
                tables[channel][usize::from(byte)]
            });
        }
        let shape = [resized.len(), 3, height as usize, width as usize];
        Ok(Tensor::from_data(TensorData::new(values, shape), device))
    }

    /// Resizes with CLIPSeg's original code, rescales and normalises.
    fn resize_like_original(
        &self,
        pictures: &[RgbImage],
        [height, width]: [u32; 2],
        device: &Device,
    ) -> Result<Tensor<4>> {
        if pictures.is_empty() {
            return Err(ClipError::Input(
                "no picture was given, expected at least one".into(),
            ));
        }
        let plane = height as usize * width as usize;
        let mut values = vec![0f32; pictures.len() * 3 * plane];
        for (picture, planes) in pictures.iter().zip(values.chunks_exact_mut(3 * plane)) {
            let (from_width, from_height) = picture.dimensions();
            if from_width == 0 || from_height == 0 {
                return Err(ClipError::Input(format!(
                    "a picture of {from_width}x{from_height} has no pixels"
                )));
            }
            let levels = self.preprocessing.squash(picture, width, height);
            write_planes(&levels, planes, |channel, level| {
                let rescaled = (f64::from(level) * self.rescale_factor) as f32;
                (rescaled - self.mean[channel]) / self.std[channel]
            });
        }
        let shape = [pictures.len(), 3, height as usize, width as usize];
        Ok(Tensor::from_data(TensorData::new(values, shape), device))
    }

    /// Normalises pictures with values from 0 to 1.
    ///
    /// # Shapes
    ///
    /// - pixels: `[batch, 3, height, width]`
    /// - output: the same
    pub fn normalise(&self, pixels: Tensor<4>) -> Tensor<4> {
        let device = pixels.device();
        let channel = |values: [f32; 3]| {
            Tensor::<4>::from_data(TensorData::new(values.to_vec(), [1, 3, 1, 1]), &device)
        };
        let scale = 255.0 * self.rescale_factor;
        (pixels.mul_scalar(scale) - channel(self.mean)) / channel(self.std)
    }

    /// The normalised value of each byte. Rescaled in double precision, like the reference.
    fn table(&self, channel: usize) -> [f32; 256] {
        std::array::from_fn(|byte| {
            let rescaled = (byte as f64 * self.rescale_factor) as f32;
            (rescaled - self.mean[channel]) / self.std[channel]
        })
    }
}

/// Crops the centre like `center_crop` of transformers: an odd row or column is cut from the end, and
/// missing pixels are black.
fn center_crop(picture: &RgbImage, height: u32, width: u32) -> RgbImage {
    let offset = |have: u32, want: u32| {
        if have >= want {
            i64::from((have - want) / 2)
        } else {
            -i64::from((want - have).div_ceil(2))
        }
    };
    let (top, left) = (
        offset(picture.height(), height),
        offset(picture.width(), width),
    );
    RgbImage::from_fn(width, height, |x, y| {
        let (x, y) = (i64::from(x) + left, i64::from(y) + top);
        match (u32::try_from(x), u32::try_from(y)) {
            (Ok(x), Ok(y)) if x < picture.width() && y < picture.height() => {
                *picture.get_pixel(x, y)
            }
            _ => image::Rgb([0, 0, 0]),
        }
    })
}

#[cfg(test)]
mod tests;
