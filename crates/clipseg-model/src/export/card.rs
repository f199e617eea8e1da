//! The model card of an exported model: what is known from the model itself, and how to load it.

use super::ExportOptions;
use crate::config::DecoderConfig;
use crate::segmenter::Segmenter;
use burn::module::Module;
use clipseg_clip::{ClipConfig, TargetSize};
use std::path::Path;

/// The text of `README.md`. The fields at its start are those of the Hugging Face hub.
pub(super) fn text(segmenter: &Segmenter, folder: &Path, options: &ExportOptions) -> String {
    let model = segmenter.model();
    let config = model.config();
    let (name, license) = name_and_license(folder, options);
    let (decoder, library) = match &config.decoder {
        DecoderConfig::Transformer(_) => ("transformer", "transformers"),
        DecoderConfig::Conv(_) => ("conv", "clipseg"),
        DecoderConfig::Deconv(_) => ("deconv", "clipseg"),
    };
    let size = match (segmenter.processor().crop, segmenter.processor().size) {
        (Some([height, width]), _) | (None, Some(TargetSize::Exact { height, width })) => {
            format!("{width}x{height} pixels")
        }
        (None, Some(TargetSize::ShortestEdge(edge))) => format!("shorter side of {edge} pixels"),
        _ => "any size".to_owned(),
    };
    let all = model.num_params();
    let own = model.decoder().num_params();
    let python = match library {
        "transformers" => {
            let threshold = segmenter.threshold().unwrap_or(0.5).to_string();
            PYTHON
                .replace("NAME", &name)
                .replace("THRESHOLD", &threshold)
        }
        _ => String::new(),
    };
    let threshold = match segmenter.threshold() {
        Some(threshold) => format!("{threshold}, chosen on the validation split"),
        None => "none was chosen".to_owned(),
    };
    format!(
        "---\n{license}library_name: {library}\npipeline_tag: image-segmentation\ntags:\n- clipseg\n---\n\n\
         # {name}\n\n\
         A CLIPSeg model, which segments pictures by text: CLIP's two encoders and a decoder on them.\n\n\
         | | |\n|---|---|\n\
         | Parameters | {all}: {} of CLIP, {own} of the decoder |\n\
         | Precision of the file | {} |\n\
         {}\
         | Decoder | {decoder}, on the layers {:?} |\n\
         | Threshold of masks | {threshold} |\n\n\
         ## Use\n\n\
         ```sh\nclipseg segment photo.jpg --model {name} --prompt \"a cat\"\n```\n{python}",
        all - own,
        options.precision,
        tower_rows(&config.clip, &size),
        config.decoder.extract_layers(),
    )
}

/// The text of `README.md` of a CLIP with a number of parameters.
pub(super) fn of_clip(
    config: &ClipConfig,
    parameters: usize,
    folder: &Path,
    options: &ExportOptions,
) -> String {
    let (name, license) = name_and_license(folder, options);
    let side = config.vision_config.image_size;
    format!(
        "---\n{license}library_name: transformers\npipeline_tag: zero-shot-image-classification\ntags:\n- clip\n---\n\n\
         # {name}\n\n\
         A CLIP, which embeds pictures and texts in one space.\n\n\
         | | |\n|---|---|\n\
         | Parameters | {parameters} |\n\
         | Precision of the file | {} |\n\
         {}\n\
         ## Use\n\n\
         ```sh\nclipseg segment photo.jpg --method dense --model {name} --prompt \"a cat\" --background sky\n\
         clipseg train --clip {name}\n```\n",
        options.precision,
        tower_rows(config, &format!("{side}x{side} pixels")),
    )
}

/// The rows of a table about both towers; `size` is that of the pictures.
fn tower_rows(config: &ClipConfig, size: &str) -> String {
    let (vision, texts) = (&config.vision_config, &config.text_config);
    format!(
        "| Pictures | {size}, patches of {} pixels, {} layers of width {} |\n\
         | Texts | {} tokens, at most {} in a text, {} layers of width {} |\n",
        vision.patch_size,
        vision.num_hidden_layers,
        vision.hidden_size,
        texts.vocab_size,
        texts.max_position_embeddings,
        texts.num_hidden_layers,
        texts.hidden_size,
    )
}

/// The name of the model, and the line of its licence.
fn name_and_license(folder: &Path, options: &ExportOptions) -> (String, String) {
    let name = folder
        .file_name()
        .map_or_else(|| "model".into(), |name| name.to_string_lossy());
    let license = options.license.as_ref();
    let license = license.map_or_else(String::new, |id| format!("license: {id}\n"));
    (name.into_owned(), license)
}

/// How transformers loads the folder `NAME`.
const PYTHON: &str = "
```python
from PIL import Image
from transformers import CLIPSegForImageSegmentation, CLIPSegProcessor

model = CLIPSegForImageSegmentation.from_pretrained(\"NAME\")
processor = CLIPSegProcessor.from_pretrained(\"NAME\")
photo = Image.open(\"photo.jpg\").convert(\"RGB\")
inputs = processor(text=[\"a cat\"], images=[photo], padding=True, truncation=True, return_tensors=\"pt\")
mask = model(**inputs).logits.sigmoid() > THRESHOLD
```
";
