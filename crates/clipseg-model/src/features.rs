//! The inputs of a decoder that depend on the pictures only.

use crate::config::DecoderConfig;
use crate::error::Result;
use burn::prelude::*;
use clipseg_clip::Clip;

/// The features of pictures that a decoder needs, computed once for all prompts.
#[derive(Debug, Clone)]
pub struct ImageFeatures {
    /// The outputs of the vision encoder's extracted layers, in ascending order of the layers. Each is
    /// `[pictures, 1 + rows · columns, hidden_size]` with the class token first.
    pub hidden_states: Vec<Tensor<3>>,
    /// Number of rows and of columns of the patch grid.
    pub grid: [usize; 2],
    /// The preprocessed pictures, `[pictures, channels, height, width]`, if the decoder uses them; see
    /// [`DecoderConfig::uses_pixels`].
    pub pixel_values: Option<Tensor<4>>,
}

impl ImageFeatures {
    /// Runs the vision encoder up to the deepest layer that the decoder uses.
    ///
    /// # Shapes
    ///
    /// - `pixel_values`: `[pictures, channels, height, width]`; height and width are multiples of the
    ///   patch size
    ///
    /// # Errors
    ///
    /// If the height or the width is not a multiple of the patch size, or a layer does not exist.
    pub fn extract(clip: &Clip, decoder: &DecoderConfig, pixel_values: Tensor<4>) -> Result<Self> {
        let kept = decoder.uses_pixels().then(|| pixel_values.clone());
        let layers = decoder.extract_layers();
        let hidden = clip.vision_model().hidden_states(pixel_values, layers)?;
        Ok(Self {
            hidden_states: hidden.states,
            grid: hidden.grid,
            pixel_values: kept,
        })
    }

    /// Number of pictures.
    pub fn pictures(&self) -> usize {
        self.hidden_states
            .first()
            .map_or(0, |hidden| hidden.dims()[0])
    }

    /// The features of one of the pictures.
    pub(crate) fn picture(&self, index: usize) -> Self {
        let hidden = self.hidden_states.iter();
        let pixels = self.pixel_values.clone();
        Self {
            hidden_states: hidden
                .map(|hidden| hidden.clone().slice(s![index..index + 1]))
                .collect(),
            grid: self.grid,
            pixel_values: pixels.map(|pixels| pixels.slice(s![index..index + 1])),
        }
    }

    /// The same features on the autodiff device, as input for training a decoder.
    #[must_use]
    pub fn autodiff(&self) -> Self {
        let hidden = self.hidden_states.iter();
        Self {
            hidden_states: hidden.map(|hidden| hidden.clone().autodiff()).collect(),
            grid: self.grid,
            pixel_values: self.pixel_values.clone().map(Tensor::autodiff),
        }
    }
}
