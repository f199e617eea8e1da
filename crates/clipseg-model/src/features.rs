//! What a decoder needs of pictures.

use crate::decoder_config::DecoderConfig;
use crate::error::Result;
use burn::prelude::*;
use clipseg_clip::Clip;

/// What a decoder needs of pictures, made once for all prompts.
#[derive(Debug, Clone)]
pub struct ImageFeatures {
    /// The hidden states of the extracted layers, shallow to deep:
    /// `[pictures, 1 + rows · columns, hidden_size]` each, the class token first.
    pub hidden_states: Vec<Tensor<3>>,
    /// Rows and columns of patches.
    pub grid: [usize; 2],
    /// The pictures themselves, `[pictures, channels, height, width]`, if the decoder looks at them;
    /// see [`DecoderConfig::uses_pixels`].
    pub pixel_values: Option<Tensor<4>>,
}

impl ImageFeatures {
    /// Runs the vision tower as far as the decoder needs it.
    ///
    /// # Shapes
    ///
    /// - `pixel_values`: `[pictures, channels, height, width]`, sides multiples of the patch
    ///
    /// # Errors
    ///
    /// If a side is not a multiple of the patch size, or a layer does not exist.
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

    /// How many pictures there are.
    pub fn pictures(&self) -> usize {
        self.hidden_states
            .first()
            .map_or(0, |hidden| hidden.dims()[0])
    }

    /// The same on the autodiff device, to train a decoder with.
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
