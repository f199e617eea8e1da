//! The CLIPSeg model: CLIP and a decoder.

use crate::config::ClipSegConfig;
use crate::decoder::Decoder;
use crate::error::{ModelError, Result};
use crate::features::ImageFeatures;
use crate::threshold::add_threshold;
use burn::prelude::*;
use clipseg_clip::{
    Checkpoint, CheckpointFiles, Clip, ClipError, Precision, SaveOptions, Source, mark_as_own,
    refuse_foreign, save_module,
};
use std::path::Path;

/// The CLIPSeg model. It computes the logits of a mask from a picture and a prompt's embedding.
///
/// CLIP stays frozen during training. To train the decoder, split the model with
/// [`into_parts`](Self::into_parts). Leave [`Clip`] on its device without autodiff, where it uses fused
/// attention and records no gradients. Move the decoder to the autodiff device with Burn's `train`.
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

/// Prefixes of parameter names that differ between this crate and Hugging Face's files.
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
    /// Creates a model with random weights. Call `device.seed` first to make them reproducible.
    pub fn init(config: &ClipSegConfig, device: &Device) -> Self {
        Self::with_clip(config, Clip::init(&config.clip, device), device)
    }

    /// Combines a given CLIP with a decoder that has random weights, as at the start of training.
    pub fn with_clip(config: &ClipSegConfig, clip: Clip, device: &Device) -> Self {
        let decoder = Decoder::init(&config.decoder, &config.clip, device);
        Self {
            clip,
            decoder,
            config: config.clone(),
        }
    }

    /// Loads a CLIPSeg checkpoint in Hugging Face's layout, or a folder that
    /// [`save_pretrained`](Self::save_pretrained) wrote.
    ///
    /// # Errors
    ///
    /// If the configuration or the weights cannot be read or do not fit each other; the message lists
    /// every tensor that is missing or has another shape.
    pub fn from_pretrained(files: impl Into<CheckpointFiles>, device: &Device) -> Result<Self> {
        let files = files.into();
        let checkpoint = Checkpoint::from_folder(&files)?;
        let config = ClipSegConfig::from_folder(&files)?;
        let mut model = Self {
            clip: Clip::unfilled(&config.clip, device),
            decoder: Decoder::unfilled(&config.decoder, &config.clip, device),
            config,
        };
        checkpoint.load_into_as(&mut model, |name| Source::whole(&hugging_face_name(name)))?;
        Ok(model)
    }

    /// Writes `config.json` and `model.safetensors` into a folder, which is created if necessary.
    /// transformers reads them as `CLIPSegForImageSegmentation` if the decoder is the transformer
    /// decoder.
    ///
    /// # Errors
    ///
    /// If the folder cannot be written, or one of the two files exists and was written by another
    /// program.
    pub fn save_pretrained(&self, folder: &Path) -> Result<()> {
        self.save_with_threshold(folder, None)
    }

    /// As [`save_pretrained`](Self::save_pretrained), with a threshold in `config.json`.
    pub(crate) fn save_with_threshold(&self, folder: &Path, threshold: Option<f32>) -> Result<()> {
        refuse_foreign(folder, &["model.safetensors", "config.json"])?;
        std::fs::create_dir_all(folder).map_err(ClipError::io("make", folder))?;
        let mut config = self.config.to_json();
        add_threshold(&mut config, threshold);
        mark_as_own(&mut config);
        // The configuration is written first, because it marks the folder as written by this program.
        let path = folder.join("config.json");
        clipseg_data::files::write(&path, format!("{config:#}\n").as_bytes())
            .map_err(ClipError::io("write", &path))?;
        self.save_weights(&folder.join("model.safetensors"), Precision::F32)?;
        Ok(())
    }

    /// Writes the weights in a precision with Hugging Face's names, and returns the number of weights that
    /// are rounded to zero.
    pub(crate) fn save_weights(&self, path: &Path, precision: Precision) -> Result<usize> {
        let options = SaveOptions {
            precision,
            scalars: &["clip.logit_scale"],
        };
        Ok(save_module(self, path, options, hugging_face_name)?)
    }

    /// The names, as in checkpoint files, of the tensors with NaN or infinite values. Training that
    /// diverged can leave such values.
    pub fn non_finite(&self) -> Vec<String> {
        let names = clipseg_clip::non_finite(self);
        names.iter().map(|name| hugging_face_name(name)).collect()
    }

    /// The configuration.
    pub fn config(&self) -> &ClipSegConfig {
        &self.config
    }

    /// CLIP.
    pub fn clip(&self) -> &Clip {
        &self.clip
    }

    /// The decoder.
    pub fn decoder(&self) -> &Decoder {
        &self.decoder
    }

    /// Splits the model into CLIP and the decoder, for training.
    pub fn into_parts(self) -> (Clip, Decoder) {
        (self.clip, self.decoder)
    }

    /// Combines CLIP and a decoder. Both must have been created for `config`.
    pub fn from_parts(config: ClipSegConfig, clip: Clip, decoder: Decoder) -> Self {
        Self {
            clip,
            decoder,
            config,
        }
    }

    /// The same model with the linear layers and the attention of the vision encoder in a precision: `F32`
    /// as after loading, or `Bf16`, see [`Clip::with_bf16_vision`].
    ///
    /// # Errors
    ///
    /// For `F16`, and where bf16 is not supported.
    pub fn with_vision_precision(mut self, precision: Precision) -> Result<Self> {
        self.clip = with_vision_precision(self.clip, precision)?;
        Ok(self)
    }

    /// Runs the vision encoder up to the deepest layer that the decoder uses.
    ///
    /// # Shapes
    ///
    /// - `pixel_values`: `[pictures, channels, height, width]`; height and width are multiples of the
    ///   patch size
    ///
    /// # Errors
    ///
    /// If the height or the width is not a multiple of the patch size.
    pub fn encode_image(&self, pixel_values: Tensor<4>) -> Result<ImageFeatures> {
        ImageFeatures::extract(&self.clip, &self.config.decoder, pixel_values)
    }

    /// Computes the logits of encoded pictures with one prompt each, or of one picture with any number of
    /// prompts.
    ///
    /// # Shapes
    ///
    /// - `conditional_embedding`: `[prompts, projection_dim]`, of texts or of pictures
    /// - output: logits, `[prompts, height, width]`
    ///
    /// # Panics
    ///
    /// If the shapes do not match.
    pub fn decode(&self, features: &ImageFeatures, conditional_embedding: Tensor<2>) -> Tensor<3> {
        self.decoder.forward(features, conditional_embedding)
    }

    /// Encodes pictures and computes the logits for their prompts.
    ///
    /// # Shapes
    ///
    /// - `pixel_values`: `[pictures, channels, height, width]`
    /// - `conditional_embedding`: `[prompts, projection_dim]`
    /// - output: logits, `[prompts, height, width]`
    ///
    /// # Errors
    ///
    /// The same as [`encode_image`](Self::encode_image).
    ///
    /// # Panics
    ///
    /// If the number of prompts or the width of their embeddings does not match.
    pub fn forward(
        &self,
        pixel_values: Tensor<4>,
        conditional_embedding: Tensor<2>,
    ) -> Result<Tensor<3>> {
        let features = self.encode_image(pixel_values)?;
        Ok(self.decode(&features, conditional_embedding))
    }
}

/// A parameter's name in Hugging Face's files.
fn hugging_face_name(name: &str) -> String {
    HEAD.into_iter()
        .find_map(|(ours, theirs)| Some(format!("{theirs}{}", name.strip_prefix(ours)?)))
        .unwrap_or_else(|| name.to_owned())
}

/// The same CLIP with its vision tower computing in a precision.
pub(crate) fn with_vision_precision(clip: Clip, precision: Precision) -> Result<Clip> {
    match precision {
        Precision::F32 => Ok(clip.with_f32_vision()),
        Precision::Bf16 => Ok(clip.with_bf16_vision()?),
        Precision::F16 => Err(ModelError::Input(format!(
            "the vision tower computes in f32 or bf16, not in {precision}"
        ))),
    }
}
