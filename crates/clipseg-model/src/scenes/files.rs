//! The files of the model `scenes`, and loading it.

use super::SCENES;
use crate::error::Result;
use crate::segmenter::Segmenter;
use burn::prelude::*;
use clipseg_clip::CheckpointFiles;

/// The files of the model, except for those that only other programs read.
const FILES: &[(&str, &[u8])] = &[
    (
        "config.json",
        include_bytes!("../../models/scenes/config.json"),
    ),
    (
        "model.safetensors",
        include_bytes!("../../models/scenes/model.safetensors"),
    ),
    (
        "preprocessor_config.json",
        include_bytes!("../../models/scenes/preprocessor_config.json"),
    ),
    (
        "special_tokens_map.json",
        include_bytes!("../../models/scenes/special_tokens_map.json"),
    ),
    (
        "tokenizer.json",
        include_bytes!("../../models/scenes/tokenizer.json"),
    ),
];

/// The files of the model `scenes`, a small CLIP with a decoder.
///
/// This crate's own training made both on generated scenes, so the model knows generated scenes and not
/// photographs. `models/scenes/README.md` in this crate is its model card. [`Segmenter::scenes`] loads the
/// entire model. For training on its CLIP, the files are read one by one:
///
/// ```
/// use burn::tensor::Device;
/// use clipseg_model::clip::{ClipTokenizer, ImageProcessor, load_clip};
/// use clipseg_model::scenes;
///
/// let files = scenes();
/// let pretrained = load_clip(&files, &Device::flex())?;
/// let tokenizer = ClipTokenizer::from_folder(&files, &pretrained.config.text_config)?;
/// let processor = ImageProcessor::from_folder(&files)?;
/// # assert!(processor.is_some() && tokenizer.vocab_size() > 514);
/// # Ok::<(), clipseg_model::clip::ClipError>(())
/// ```
pub fn scenes() -> CheckpointFiles {
    CheckpointFiles::in_memory(SCENES, FILES)
}

impl Segmenter {
    /// The model `scenes`, which is part of the crate with the feature `scenes` and needs no download.
    ///
    /// It knows generated scenes, such as those of `clipseg_data::generate_scenes`, and not photographs.
    ///
    /// # Errors
    ///
    /// If the device cannot hold the weights.
    ///
    /// # Example
    ///
    /// ```
    /// use burn::tensor::Device;
    /// use clipseg_model::Segmenter;
    ///
    /// let segmenter = Segmenter::scenes(&Device::flex())?;
    /// let photo = image::RgbImage::new(200, 150);
    /// let encoded = segmenter.encode_image(&photo)?;
    /// let masks = segmenter.segment(&encoded, &["red heart", "tree"])?;
    /// assert_eq!((masks.len(), masks[0].width()), (2, 200));
    /// # Ok::<(), clipseg_model::ModelError>(())
    /// ```
    pub fn scenes(device: &Device) -> Result<Self> {
        Self::from_pretrained(scenes(), device)
    }
}
