//! Loading the model that `--model`, `--device` and `--precision` name.

use clipseg::clip::Precision;
use clipseg::model::{Segmenter, resolve};
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
        .map_err(|error| format!("--precision {precision}: {error}").into())
}
