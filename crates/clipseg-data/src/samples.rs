//! Phrases with their pictures and masks at one size, alone and in batches.

use crate::error::Result;
use crate::mask::Mask;
use crate::phrasecut::PhraseCut;
use crate::pictures::{Filter, load_rgb, resize_rgb};
use crate::records::Split;
use burn::data::dataset::{Dataset, DatasetError};
use burn::prelude::*;
use image::RgbImage;
use rayon::prelude::*;
use std::sync::Arc;

/// A phrase, its picture and its mask.
#[derive(Debug, Clone)]
pub struct Sample {
    /// The phrase's `task_id`.
    pub task_id: String,
    /// The picture's number.
    pub image_id: u64,
    /// The words.
    pub phrase: String,
    /// The picture.
    pub image: RgbImage,
    /// What the phrase names, of the same size.
    pub mask: Mask,
}

/// How samples are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct SampleOptions {
    /// Width of pictures and masks in pixels.
    pub width: u32,
    /// Height of pictures and masks in pixels.
    pub height: u32,
}

impl SampleOptions {
    /// Pictures squashed to this size, bilinear, and masks by the nearest pixel, as CLIPSeg does.
    pub fn new(width: u32, height: u32) -> Self {
        Self { width, height }
    }
}

/// Several phrases as tensors. A picture that several of them share is there once.
#[derive(Debug, Clone)]
pub struct SegmentationBatch {
    /// The `task_id` of each phrase.
    pub task_ids: Vec<String>,
    /// The words of each phrase.
    pub phrases: Vec<String>,
    /// `[pictures, 3, height, width]`, from 0 to 1, not normalised.
    pub pixels: Tensor<4>,
    /// The picture of each phrase.
    pub picture_of: Vec<usize>,
    /// `[phrases, height, width]`, 0 or 1.
    pub masks: Tensor<3>,
}

/// The phrases of a split, read from disk one by one as they are asked for.
#[derive(Debug, Clone)]
pub struct PhraseCutDataset {
    data: Arc<PhraseCut>,
    split: Split,
    options: SampleOptions,
}

impl PhraseCutDataset {
    /// The phrases of a split at one size.
    ///
    /// # Errors
    ///
    /// If the size has no pixel.
    pub fn new(data: Arc<PhraseCut>, split: Split, options: SampleOptions) -> Result<Self> {
        if options.width == 0 || options.height == 0 {
            return Err(crate::DataError::Input(format!(
                "samples of {}x{} have no pixels",
                options.width, options.height
            )));
        }
        Ok(Self {
            data,
            split,
            options,
        })
    }

    /// Number of phrases.
    pub fn phrases(&self) -> usize {
        self.data.phrases(self.split).len()
    }

    /// The picture of each phrase.
    pub fn image_ids(&self) -> Vec<u64> {
        self.data
            .phrases(self.split)
            .iter()
            .map(|phrase| phrase.image_id)
            .collect()
    }

    /// Reads one sample.
    ///
    /// # Errors
    ///
    /// If its picture cannot be read.
    ///
    /// # Panics
    ///
    /// If there are not so many phrases.
    pub fn sample(&self, index: usize) -> Result<Sample> {
        let phrase = &self.data.phrases(self.split)[index];
        let SampleOptions { width, height } = self.options;
        let picture = load_rgb(&self.data.image_path(phrase.image_id))?;
        Ok(Sample {
            task_id: phrase.task_id.clone(),
            image_id: phrase.image_id,
            phrase: phrase.phrase.clone(),
            image: resize_rgb(&picture, width, height, Filter::Bilinear),
            mask: self.data.mask(phrase)?.resize(width, height),
        })
    }

    /// Reads several samples, in parallel, into one batch on `device`. Phrases of one picture that
    /// follow each other share it.
    ///
    /// # Errors
    ///
    /// If a picture cannot be read.
    ///
    /// # Panics
    ///
    /// If there are not so many phrases, or `indices` is empty.
    pub fn batch(&self, indices: &[usize], device: &Device) -> Result<SegmentationBatch> {
        let all = self.data.phrases(self.split);
        let groups: Vec<&[usize]> = indices
            .chunk_by(|&a, &b| all[a].image_id == all[b].image_id)
            .collect();
        let SampleOptions { width, height } = self.options;
        let loaded: Vec<(RgbImage, Vec<Mask>)> = groups
            .par_iter()
            .map(|group| {
                let path = self.data.image_path(all[group[0]].image_id);
                let picture = resize_rgb(&load_rgb(&path)?, width, height, Filter::Bilinear);
                let masks = group.iter().map(|&index| {
                    self.data
                        .mask(&all[index])
                        .map(|mask| mask.resize(width, height))
                });
                Ok((picture, masks.collect::<Result<_>>()?))
            })
            .collect::<Result<_>>()?;

        let (height, width) = (height as usize, width as usize);
        let plane = height * width;
        let mut pixels = vec![0f32; groups.len() * 3 * plane];
        let mut masks = Vec::with_capacity(indices.len() * plane);
        for ((picture, of_picture), values) in loaded.iter().zip(pixels.chunks_exact_mut(3 * plane))
        {
            for (channel, values) in values.chunks_exact_mut(plane).enumerate() {
                let bytes = picture.as_raw().iter().skip(channel).step_by(3);
                for (value, &byte) in values.iter_mut().zip(bytes) {
                    *value = f32::from(byte) / 255.0;
                }
            }
            for mask in of_picture {
                masks.extend(mask.as_slice().iter().map(|&inside| f32::from(inside)));
            }
        }
        let picture_of = groups
            .iter()
            .enumerate()
            .flat_map(|(picture, group)| std::iter::repeat_n(picture, group.len()))
            .collect();
        Ok(SegmentationBatch {
            task_ids: indices
                .iter()
                .map(|&index| all[index].task_id.clone())
                .collect(),
            phrases: indices
                .iter()
                .map(|&index| all[index].phrase.clone())
                .collect(),
            pixels: Tensor::from_data(
                TensorData::new(pixels, [groups.len(), 3, height, width]),
                device,
            ),
            picture_of,
            masks: Tensor::from_data(
                TensorData::new(masks, [indices.len(), height, width]),
                device,
            ),
        })
    }
}

impl Dataset<Sample> for PhraseCutDataset {
    fn get(&self, index: usize) -> Result<Sample, DatasetError> {
        self.sample(index).map_err(DatasetError::new)
    }

    fn len(&self) -> usize {
        self.phrases()
    }
}
