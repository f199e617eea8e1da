//! Writes a CLIP without a decoder into a new folder.

use super::{ExportOptions, Exported, NewModel, card};
use crate::error::Result;
use burn::module::Module;
use clipseg_clip::{ClipTokenizer, ImageProcessor, PretrainedClip, SaveOptions, save_module};
use std::path::Path;

/// Writes a CLIP with its tokenizer, its preprocessing and a model card into a new folder, which transformers reads as
/// `CLIPModel` and `CLIPProcessor`. Errors are those of [`Segmenter::export`](crate::Segmenter::export).
pub(crate) fn export_clip(
    model: &PretrainedClip,
    tokenizer: &ClipTokenizer,
    processor: &ImageProcessor,
    folder: &Path,
    options: &ExportOptions,
) -> Result<Exported> {
    let config = model.config.to_json();
    NewModel {
        config,
        tokenizer,
        processor,
        card: card::of_clip(&model.config, model.clip.num_params(), folder, options),
        parameters: model.clip.num_params(),
    }
    .write(folder, options, |path| {
        let options = SaveOptions {
            precision: options.precision,
            scalars: &["logit_scale"],
        };
        Ok(save_module(&model.clip, path, options, str::to_owned)?)
    })
}
