//! Photographs encoded window by window.

use super::options::Sizes;
use super::windows::{Mean, starts};
use super::{DenseClip, DenseOptions};
use crate::error::{ModelError, Result};
use crate::read_values::read_values;
use burn::prelude::*;
use clipseg_data::{pamr, resize_plane, resize_rgb};
use image::RgbImage;
use image::imageops::crop_imm;

/// Number of tokens that are encoded at a time, if a window does not have more.
const BATCH_TOKENS: usize = 2048;

/// A photograph encoded by [`DenseClip`]: an embedding for each patch of each window.
#[derive(Debug, Clone)]
pub struct DenseImage {
    /// `[patches, projection_dim]` of each window, by rows of windows.
    windows: Vec<Tensor<2>>,
    /// Rows and columns of the patch grid of a window.
    grid: [usize; 2],
    /// Width and height in pixels of a window.
    window: [u32; 2],
    columns: Vec<u32>,
    rows: Vec<u32>,
    /// The resized photograph, which PAMR follows; `None` if only its pixel values are known.
    resized: Option<RgbImage>,
    /// Width and height of the resized photograph.
    size: [u32; 2],
    width: u32,
    height: u32,
}

impl DenseImage {
    /// Width of the photograph in pixels.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Height of the photograph in pixels.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// Width and height of the resized photograph, over which the windows slide.
    pub fn resized_size(&self) -> [u32; 2] {
        self.size
    }

    /// Number of windows.
    pub fn windows(&self) -> usize {
        self.windows.len()
    }
}

impl DenseClip {
    /// Resizes a photograph and encodes all windows, once for all classes.
    ///
    /// # Errors
    ///
    /// If an option is invalid or does not fit the model, the photograph is empty, or the resized one would have
    /// more than 16 megapixels.
    pub fn encode_image(&self, picture: &RgbImage, options: &DenseOptions) -> Result<DenseImage> {
        options.validate()?;
        let sizes = options.sizes(&self.vision)?;
        let [width, height] = sizes.resized(picture.width(), picture.height())?;
        let resized = resize_rgb(picture, width, height, self.processor.filter);
        let Sizes { window, stride, .. } = sizes;
        let [columns, rows] = [width, height].map(|side| starts(side, window, stride));
        let corners = rows
            .iter()
            .flat_map(|&top| columns.iter().map(move |&left| [left, top]));
        let corners: Vec<[u32; 2]> = corners.collect();
        let mut windows = Vec::with_capacity(corners.len());
        let side = window as usize / self.vision.patch_size;
        let batch = (BATCH_TOKENS / (1 + side * side)).max(1);
        for batch in corners.chunks(batch) {
            let crops: Vec<RgbImage> = batch
                .iter()
                .map(|&[left, top]| crop_imm(&resized, left, top, window, window).to_image())
                .collect();
            let pixels = self.processor.pixel_values(&crops, &self.device)?;
            let (tokens, _) = self.clip.patch_embedding(pixels, options.deviation)?;
            let tokens = tokens.split(1, 0).into_iter();
            windows.extend(tokens.map(|tokens| tokens.squeeze_dim::<2>(0)));
        }
        Ok(DenseImage {
            windows,
            grid: [side, side],
            window: [window, window],
            columns,
            rows,
            resized: Some(resized),
            size: [width, height],
            width: picture.width(),
            height: picture.height(),
        })
    }

    /// Encodes a preprocessed picture as one window; its masks have the size of the pixel values. PAMR needs the
    /// picture itself, so it is not possible.
    ///
    /// # Shapes
    ///
    /// - `pixel_values`: `[1, 3, height, width]`, normalised as the checkpoint expects
    ///
    /// # Errors
    ///
    /// If there is not exactly one picture, or it does not consist of complete patches.
    pub fn encode_pixels(&self, pixel_values: Tensor<4>, deviation: f32) -> Result<DenseImage> {
        let [count, _, height, width] = pixel_values.dims();
        if count != 1 {
            return Err(ModelError::Input(format!(
                "{count} pictures, expected pixel values of one"
            )));
        }
        let (tokens, grid) = self.clip.patch_embedding(pixel_values, deviation)?;
        let size = [width as u32, height as u32];
        Ok(DenseImage {
            windows: vec![tokens.squeeze_dim::<2>(0)],
            grid,
            window: size,
            columns: vec![0],
            rows: vec![0],
            resized: None,
            size,
            width: size[0],
            height: size[1],
        })
    }
}

impl DenseImage {
    /// The cosine similarity of each pixel of the resized photograph with each text: one plane for each text, row
    /// by row. With `pamr_rounds`, PAMR refines the planes.
    ///
    /// # Shapes
    ///
    /// - `texts`: `[texts, projection_dim]`, of unit length, as [`DenseClip::encode_text`] returns them
    ///
    /// # Errors
    ///
    /// If the texts have another width than the patches, a similarity is NaN or infinite, or PAMR is not possible.
    pub fn similarities(
        &self,
        texts: &Tensor<2>,
        pamr_rounds: Option<u32>,
    ) -> Result<Vec<Vec<f32>>> {
        let [count, width] = texts.dims();
        let expected = self
            .windows
            .first()
            .map_or(width, |tokens| tokens.dims()[1]);
        if width != expected {
            return Err(ModelError::Input(format!(
                "the embeddings of the texts have {width} values, expected {expected}"
            )));
        }
        let scores: Vec<Vec<f32>> = self
            .windows
            .iter()
            .map(|tokens| read_values(texts.clone().matmul(tokens.clone().transpose())))
            .collect::<Result<_>>()?;
        let patches = self.grid[0] * self.grid[1];
        (0..count)
            .map(|text| {
                let of_text = scores
                    .iter()
                    .map(|scores| &scores[text * patches..][..patches]);
                let plane = self.plane(of_text)?;
                match (pamr_rounds, &self.resized) {
                    (None, _) => Ok(plane),
                    (Some(rounds), Some(photo)) => Ok(pamr(photo, &plane, rounds)?),
                    (Some(_), None) => Err(ModelError::Input(
                        "PAMR needs the photograph, but only its pixel values were encoded".into(),
                    )),
                }
            })
            .collect()
    }

    /// The mean over the windows of the values of their patches, resized bilinearly.
    fn plane<'a>(&self, windows: impl Iterator<Item = &'a [f32]>) -> Result<Vec<f32>> {
        let [rows, columns] = self.grid;
        let from = [columns as u32, rows as u32];
        let corners = self
            .rows
            .iter()
            .flat_map(|&top| self.columns.iter().map(move |&left| [left, top]));
        let mut mean = Mean::new(self.size, self.window);
        for (corner, values) in corners.zip(windows) {
            mean.add(corner, &resize_plane(values, from, self.window)?);
        }
        Ok(mean.finish(&self.columns, &self.rows))
    }
}
