//! CLIP and a decoder as one model.

use crate::config::ClipSegConfig;
use crate::decoder::Decoder;
use crate::error::Result;
use crate::features::ImageFeatures;
use burn::prelude::*;
use clipseg_clip::{Checkpoint, Clip, ClipError, Source, mark_as_own, refuse_foreign, save_module};
use std::path::Path;

/// CLIPSeg: logits of a mask from a picture and a prompt's embedding.
///
/// The encoders are meant to stay frozen. To train the decoder, take the model apart with
/// [`into_parts`](Self::into_parts), leave [`Clip`] on the plain device, where it has fused
/// attention and leaves nothing on the tape, and move the decoder to the autodiff device with
/// Burn's `train`.
///
/// # Example
///
/// ```
/// use burn::tensor::{Device, Distribution, Tensor};
/// use clipseg_clip::ClipTokenizer;
/// use clipseg_model::{ClipSeg, ClipSegConfig};
///
/// let device = Device::flex();
/// device.seed(0);
/// let model = ClipSeg::init(&ClipSegConfig::small(), &device);
/// let tokenizer = ClipTokenizer::openai(77)?;
///
/// let picture = Tensor::<4>::random([1, 3, 64, 96], Distribution::Default, &device);
/// let features = model.encode_image(picture)?;
/// let prompts = model.clip().text_embedding(&tokenizer.batch(&["a cat", "a dog"], &device)?)?;
/// let logits = model.decode(&features, prompts);
/// assert_eq!(logits.dims(), [2, 64, 96]);
/// # Ok::<(), clipseg_model::ModelError>(())
/// ```
#[derive(Module, Debug)]
pub struct ClipSeg {
    clip: Clip,
    decoder: Decoder,
    #[module(skip)]
    config: ClipSegConfig,
}

/// Names that differ between a module's fields and Hugging Face's files.
const HEAD: [(&str, &str); 3] = [
    (
        "decoder.transposed_convolution.conv.",
        "decoder.transposed_convolution.0.",
    ),
    (
        "decoder.transposed_convolution.up1.",
        "decoder.transposed_convolution.2.",
    ),
    (
        "decoder.transposed_convolution.up2.",
        "decoder.transposed_convolution.4.",
    ),
];

impl ClipSeg {
    /// A model with random weights; `device.seed` before it makes them reproducible.
    pub fn init(config: &ClipSegConfig, device: &Device) -> Self {
        Self::with_clip(config, Clip::init(&config.clip, device), device)
    }

    /// A random decoder on a given CLIP, as training starts from.
    pub fn with_clip(config: &ClipSegConfig, clip: Clip, device: &Device) -> Self {
        let decoder = Decoder::init(&config.decoder, &config.clip, device);
        Self {
            clip,
            decoder,
            config: config.clone(),
        }
    }

    /// Loads a CLIPSeg checkpoint in Hugging Face's layout, or one that
    /// [`save_pretrained`](Self::save_pretrained) wrote with another decoder.
    ///
    /// # Errors
    ///
    /// If the configuration or the weights cannot be read or do not fit each other; everything that
    /// does not fit is listed.
    pub fn from_pretrained(folder: &Path, device: &Device) -> Result<Self> {
        let checkpoint = Checkpoint::from_folder(folder)?;
        let config = ClipSegConfig::from_file(&folder.join("config.json"))?;
        let mut model = Self::with_clip(&config, Clip::unfilled(&config.clip, device), device);
        checkpoint.load_into_as(&mut model, |name| Source::whole(&theirs(name)))?;
        Ok(model)
    }

    /// Writes `config.json` and `model.safetensors`, which transformers reads as
    /// `CLIPSegForImageSegmentation` if the decoder is CLIPSeg's own. Makes the folder if there is
    /// none.
    ///
    /// # Errors
    ///
    /// If the folder cannot be written, or one of the two files is there and another program's.
    pub fn save_pretrained(&self, folder: &Path) -> Result<()> {
        refuse_foreign(folder, &["model.safetensors", "config.json"])?;
        std::fs::create_dir_all(folder).map_err(ClipError::io("make", folder))?;
        let mut config = self.config.to_json();
        mark_as_own(&mut config);
        // First, so that the folder counts as one of these from then on.
        let path = folder.join("config.json");
        clipseg_data::files::write(&path, format!("{config:#}\n").as_bytes())
            .map_err(ClipError::io("write", &path))?;
        save_module(
            self,
            &folder.join("model.safetensors"),
            &["clip.logit_scale"],
            theirs,
        )?;
        Ok(())
    }

    /// The tensors that hold an infinity or what is no number, by their names in files, such as
    /// training can leave behind.
    pub fn non_finite(&self) -> Vec<String> {
        let names = clipseg_clip::non_finite(self);
        names.iter().map(|name| theirs(name)).collect()
    }

    /// The configuration.
    pub fn config(&self) -> &ClipSegConfig {
        &self.config
    }

    /// The encoders.
    pub fn clip(&self) -> &Clip {
        &self.clip
    }

    /// The decoder.
    pub fn decoder(&self) -> &Decoder {
        &self.decoder
    }

    /// The encoders and the decoder, for training.
    pub fn into_parts(self) -> (Clip, Decoder) {
        (self.clip, self.decoder)
    }

    /// A model of encoders and a decoder that were made for `config`.
    pub fn from_parts(config: ClipSegConfig, clip: Clip, decoder: Decoder) -> Self {
        Self {
            clip,
            decoder,
            config,
        }
    }

    /// Runs the vision tower as far as the decoder needs it.
    ///
    /// # Shapes
    ///
    /// - `pixel_values`: `[pictures, channels, height, width]`, sides multiples of the patch
    ///
    /// # Errors
    ///
    /// If a side is not a multiple of the patch size.
    pub fn encode_image(&self, pixel_values: Tensor<4>) -> Result<ImageFeatures> {
        ImageFeatures::extract(&self.clip, &self.config.decoder, pixel_values)
    }

    /// Decodes encoded pictures with one prompt each, or one picture with any number of prompts.
    ///
    /// # Shapes
    ///
    /// - `conditional_embedding`: `[prompts, projection_dim]`, of texts or of pictures
    /// - output: logits, `[prompts, height, width]`
    pub fn decode(&self, features: &ImageFeatures, conditional_embedding: Tensor<2>) -> Tensor<3> {
        self.decoder.forward(features, conditional_embedding)
    }

    /// Both in one: pictures and their prompts to logits.
    ///
    /// # Shapes
    ///
    /// - `pixel_values`: `[pictures, channels, height, width]`
    /// - `conditional_embedding`: `[prompts, projection_dim]`
    /// - output: logits, `[prompts, height, width]`
    ///
    /// # Errors
    ///
    /// As [`encode_image`](Self::encode_image).
    pub fn forward(
        &self,
        pixel_values: Tensor<4>,
        conditional_embedding: Tensor<2>,
    ) -> Result<Tensor<3>> {
        let features = self.encode_image(pixel_values)?;
        Ok(self.decode(&features, conditional_embedding))
    }
}

/// The name in Hugging Face's files of a parameter.
fn theirs(name: &str) -> String {
    HEAD.into_iter()
        .find_map(|(ours, theirs)| Some(format!("{theirs}{}", name.strip_prefix(ours)?)))
        .unwrap_or_else(|| name.to_owned())
}
