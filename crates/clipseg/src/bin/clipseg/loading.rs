//! Loading the model that `--model`, `--device` and `--precision` name.

use clipseg::clip::{ClipConfig, Precision, VisionConfig};
use clipseg::model::{DenseClip, Segmenter, resolve};
use std::error::Error;

/// Loads a checkpoint, a folder, a hub id or `scenes`, onto a device.
pub(crate) fn load(
    model: &str,
    device: &str,
    precision: Precision,
) -> Result<Segmenter, Box<dyn Error>> {
    let device = clipseg::device(device)?;
    let segmenter = Segmenter::from_pretrained(&resolve(model)?, &device)?;
    segmenter
        .with_vision_precision(precision)
        .map_err(|error| in_precision(precision, error))
}

/// Loads the CLIP of a checkpoint for segmentation without a decoder.
pub(crate) fn load_dense(
    model: &str,
    device: &str,
    precision: Precision,
) -> Result<DenseClip, Box<dyn Error>> {
    let device = clipseg::device(device)?;
    let dense = DenseClip::from_pretrained(&resolve(model)?, &device)?;
    dense
        .with_vision_precision(precision)
        .map_err(|error| in_precision(precision, error))
}

/// The configuration of a checkpoint's vision tower, without its weights.
pub(crate) fn vision_config(model: &str) -> Result<VisionConfig, Box<dyn Error>> {
    Ok(ClipConfig::from_folder(&resolve(model)?)?.vision_config)
}

fn in_precision(precision: Precision, error: impl Error) -> Box<dyn Error> {
    format!("--precision {precision}: {error}").into()
}
