//! Batches of samples, as pixels and as tensors.

use super::picture::SamplePicture;
use super::sample::{Sample, Support};
use super::view::View;
use crate::device_kind::is_cpu;
use crate::mask::Mask;
use crate::packed_pictures::PackedPictures;
use burn::data::dataloader::batcher::Batcher;
use burn::prelude::*;

/// A batch of phrases with their pictures and masks. Phrases can share a picture, which is then stored
/// once.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct SampleBatch {
    /// `task_id` of each phrase. A [negative](Self::negative) has that of the phrase it replaced.
    pub task_ids: Vec<String>,
    /// Text of each phrase.
    pub phrases: Vec<String>,
    /// Whether each phrase is a negative: it replaced another one and does not describe the picture.
    pub negative: Vec<bool>,
    /// The pictures, all with the same size.
    pub pictures: Vec<SamplePicture>,
    /// The crop, flip and colour changes of each picture.
    pub views: Vec<View>,
    /// Index of each phrase's picture.
    pub picture_of: Vec<usize>,
    /// Mask of each phrase, with the size of the pictures.
    pub masks: Vec<Mask>,
    /// Another picture with the same phrase, if support pictures are requested and one exists.
    pub supports: Vec<Option<Support>>,
}

/// A batch of phrases as tensors. Phrases can share a picture, which is then stored once.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct SegmentationBatch {
    /// `task_id` of each phrase. A [negative](Self::negative) has that of the phrase it replaced.
    pub task_ids: Vec<String>,
    /// Text of each phrase.
    pub phrases: Vec<String>,
    /// Whether each phrase is a negative: it replaced another one and does not describe the picture.
    pub negative: Vec<bool>,
    /// Pixels `[pictures, 3, height, width]`, from 0 to 1, not normalised.
    pub pixels: Tensor<4>,
    /// The crop, flip and colour changes of each picture.
    pub views: Vec<View>,
    /// Index of each phrase's picture.
    pub picture_of: Vec<usize>,
    /// Masks `[phrases, height, width]`, 0 or 1.
    pub masks: Tensor<3>,
    /// Another picture with the same phrase, if support pictures are requested and one exists.
    pub supports: Vec<Option<Support>>,
}

impl SampleBatch {
    /// Moves the pictures and masks to tensors on `device`.
    ///
    /// # Panics
    ///
    /// If the batch is empty, or pictures and masks differ in size.
    pub fn into_tensors(self, device: &Device) -> SegmentationBatch {
        let (width, height) = self.pictures[0].dimensions();
        let (height, width) = (height as usize, width as usize);
        let inside = self.masks.iter().flat_map(Mask::pixels);
        let masks: Vec<f32> = inside.map(|inside| f32::from(u8::from(inside))).collect();
        let masks = TensorData::new(masks, [self.masks.len(), height, width]);
        let pixels = self.pixels(device);
        SegmentationBatch {
            task_ids: self.task_ids,
            phrases: self.phrases,
            negative: self.negative,
            pixels,
            views: self.views,
            picture_of: self.picture_of,
            masks: Tensor::from_data(masks, device),
            supports: self.supports,
        }
    }

    /// The pictures on `device`, `[pictures, 3, height, width]`, from 0 to 1.
    fn pixels(&self, device: &Device) -> Tensor<4> {
        let bytes: Option<Vec<_>> = self.pictures.iter().map(SamplePicture::as_rgb8).collect();
        if let Some(bytes) = bytes
            && !is_cpu(device)
        {
            return PackedPictures::of(bytes).into_pixels(device);
        }
        let (width, height) = self.pictures[0].dimensions();
        let (height, width) = (height as usize, width as usize);
        let plane = height * width;
        let mut pixels = vec![0f32; self.pictures.len() * 3 * plane];
        for (picture, values) in self.pictures.iter().zip(pixels.chunks_exact_mut(3 * plane)) {
            picture.write_planes(values);
        }
        let pixels = TensorData::new(pixels, [self.pictures.len(), 3, height, width]);
        Tensor::from_data(pixels, device)
    }
}

/// Batches samples for Burn's `DataLoader`. Each sample keeps its own picture.
///
/// Burn's loader queues up to a hundred batches in memory; [`Loader`](super::Loader) holds three.
#[derive(Debug, Clone, Copy, Default)]
pub struct SampleBatcher;

impl Batcher<Sample, SegmentationBatch> for SampleBatcher {
    fn batch(&self, samples: Vec<Sample>, device: &Device) -> SegmentationBatch {
        SampleBatch {
            picture_of: (0..samples.len()).collect(),
            task_ids: samples
                .iter()
                .map(|sample| sample.task_id.clone())
                .collect(),
            negative: samples.iter().map(|sample| sample.negative).collect(),
            views: samples.iter().map(|sample| sample.view).collect(),
            supports: samples
                .iter()
                .map(|sample| sample.support.clone())
                .collect(),
            phrases: samples.iter().map(|sample| sample.phrase.clone()).collect(),
            masks: samples.iter().map(|sample| sample.mask.clone()).collect(),
            pictures: samples.into_iter().map(|sample| sample.image).collect(),
        }
        .into_tensors(device)
    }
}
