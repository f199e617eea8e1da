//! Converts checkpoints of other programs into Hugging Face's layout.
//!
//! | From | Found by |
//! |---|---|
//! | a folder or hub id of a CLIP or a CLIPSeg, with safetensors or PyTorch pickles | its `config.json` |
//! | a file of OpenAI's CLIP or of open_clip | the tensor `visual.conv1.weight` |
//! | a decoder of the original CLIPSeg project | the tensor `film_mul.weight` |

use crate::clipseg::ClipSeg;
use crate::error::{ModelError, Result};
use crate::export::{ExportOptions, Exported, export_clip};
use crate::original::OriginalOptions;
use crate::resolve::resolve;
use crate::segmenter::{Segmenter, refuse_non_finite};
use burn::tensor::Device;
use clipseg_clip::{
    Activation, Checkpoint, CheckpointFiles, ClipError, ClipTokenizer, ImageProcessor, Precision,
    PretrainedClip, TextConfig, load_clip, load_openai_clip, non_finite,
};
use std::path::{Path, PathBuf};

/// Tokens of CLIP's vocabulary.
const OPENAI_TOKENS: usize = 49_408;
/// Side in pixels of the pictures of the published CLIPSeg.
const CLIPSEG_SIDE: u32 = 352;

/// What [`convert`] needs besides the checkpoint. An option that the checkpoint does not need is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConvertOptions {
    /// The data type of the weights and the licence. Default: single precision, no licence.
    pub export: ExportOptions,
    /// For a decoder of the original project: its CLIP, as a folder, a hub id or a file. The published decoders
    /// belong to OpenAI's ViT-B/16.
    pub clip: Option<String>,
    /// For a file of open_clip, which does not tell it: the activation. It is [`Activation::QuickGelu`] if the
    /// model's name ends in `-quickgelu`, else [`Activation::Gelu`].
    pub activation: Option<Activation>,
    /// For a file of open_clip with another vocabulary than CLIP's: the folder of its tokenizer.
    pub tokenizer: Option<PathBuf>,
    /// For a decoder of the original project: what its file does not tell. Default: that of the published ones.
    pub original: Option<OriginalOptions>,
}

impl Default for ConvertOptions {
    fn default() -> Self {
        Self {
            export: ExportOptions {
                precision: Precision::F32,
                license: None,
            },
            clip: None,
            activation: None,
            tokenizer: None,
            original: None,
        }
    }
}

/// What a file contains, by the names of its tensors.
enum Kind {
    /// A CLIP with the names of OpenAI and open_clip. `is_openai`: with the sizes that only OpenAI's files contain.
    Clip { is_openai: bool },
    /// A decoder of the original CLIPSeg project.
    Decoder,
}

/// Writes a checkpoint into a new folder in Hugging Face's layout: a CLIPSeg as [`Segmenter::export`] does, or a CLIP,
/// which transformers reads as `CLIPModel` and `CLIPProcessor`. Weights are loaded
/// onto `device` in single precision and rounded to that of the options.
///
/// `from` is a file, a folder, a hub id, or `scenes`. A file of OpenAI or open_clip gets CLIP's tokenizer and
/// preprocessing; a decoder of the original project gets the preprocessing of the published CLIPSeg.
///
/// # Errors
///
/// If the checkpoint cannot be read or is none of the supported ones, an option is missing or has no effect, or as
/// [`Segmenter::export`].
///
/// # Example
///
/// ```no_run
/// use burn::tensor::Device;
/// use clipseg_model::{ConvertOptions, convert};
/// use std::path::Path;
///
/// let mut options = ConvertOptions::default();
/// options.clip = Some("openai/clip-vit-base-patch16".into());
/// let device = Device::flex();
/// convert("rd64-uni-refined.pth", Path::new("clipseg-rd64-refined"), &options, &device)?;
/// # Ok::<(), clipseg_model::ModelError>(())
/// ```
pub fn convert(
    from: &str,
    to: &Path,
    options: &ConvertOptions,
    device: &Device,
) -> Result<Exported> {
    let path = Path::new(from);
    if !path.is_file() {
        refuse(options, from, "a folder", |_| false)?;
        let files = resolve(from)?;
        if has_decoder(&files)? {
            return Segmenter::from_pretrained(&files, device)?.export(to, &options.export);
        }
        let model = load_clip(&files, device)?;
        refuse_non_finite(&files, &non_finite(&model.clip))?;
        let tokenizer = ClipTokenizer::from_folder(&files, &model.config.text_config)?;
        let side = model.config.vision_config.image_size as u32;
        let processor = ImageProcessor::from_folder_or(&files, ImageProcessor::clip(side))?;
        return export_clip(&model, &tokenizer, &processor, to, &options.export);
    }
    match kind(path)? {
        Kind::Clip { .. } => {
            refuse(options, from, "a CLIP", |option| {
                matches!(option, "activation" | "tokenizer")
            })?;
            let (model, tokenizer) = clip_of_file(path, options, device)?;
            let side = model.config.vision_config.image_size as u32;
            let processor = ImageProcessor::clip(side);
            export_clip(&model, &tokenizer, &processor, to, &options.export)
        }
        Kind::Decoder => {
            let segmenter = original(path, options, device)?;
            segmenter.export(to, &options.export)
        }
    }
}

/// Refuses options that a checkpoint does not need.
fn refuse(
    options: &ConvertOptions,
    from: &str,
    what: &str,
    is_used: impl Fn(&str) -> bool,
) -> Result<()> {
    let given = [
        ("clip", options.clip.is_some()),
        ("activation", options.activation.is_some()),
        ("tokenizer", options.tokenizer.is_some()),
        ("original", options.original.is_some()),
    ];
    let unused = given.iter().find(|(name, given)| *given && !is_used(name));
    match unused {
        None => Ok(()),
        Some((name, _)) => Err(ModelError::Input(format!(
            "`{name}` has no effect: {from} is {what}, which does not need it"
        ))),
    }
}

/// Whether a checkpoint contains a decoder beside CLIP.
fn has_decoder(files: &CheckpointFiles) -> Result<bool> {
    let checkpoint = Checkpoint::from_folder(files)?;
    let mut names = checkpoint.names();
    Ok(names.any(|name| name.split('.').any(|part| part == "decoder")))
}

fn kind(path: &Path) -> Result<Kind> {
    let checkpoint = Checkpoint::from_file(path)?;
    // Wrappers add prefixes.
    let has = |tensor: &str| {
        let mut names = checkpoint.names();
        names.any(|name| {
            let before = name.strip_suffix(tensor);
            before.is_some_and(|before| before.is_empty() || before.ends_with('.'))
        })
    };
    if has("visual.conv1.weight") {
        let is_openai = has("input_resolution") && has("context_length");
        return Ok(Kind::Clip { is_openai });
    }
    if has("film_mul.weight") && has("blocks.0.linear1.weight") {
        return Ok(Kind::Decoder);
    }
    let message = "it is neither a CLIP of OpenAI or open_clip (`visual.conv1.weight`) nor a decoder of the \
                   original CLIPSeg (`film_mul.weight`); pass weights with Hugging Face's names as the folder that \
                   also contains their config.json";
    Err(ClipError::format(path, message).into())
}

/// A CLIP of OpenAI or open_clip with its tokenizer.
fn clip_of_file(
    path: &Path,
    options: &ConvertOptions,
    device: &Device,
) -> Result<(PretrainedClip, ClipTokenizer)> {
    let activation = match (kind(path)?, options.activation) {
        (Kind::Clip { .. }, Some(activation)) => activation,
        (Kind::Clip { is_openai: true }, None) => Activation::QuickGelu,
        (Kind::Clip { .. }, None) => {
            let message = "the file does not tell the activation; set `activation` to quick_gelu for OpenAI's models \
                           and those of open_clip whose names end in -quickgelu, else to gelu";
            return Err(ClipError::format(path, message).into());
        }
        (Kind::Decoder, _) => {
            return Err(ClipError::format(path, "it is a decoder, expected a CLIP").into());
        }
    };
    let model = load_openai_clip(path, activation, device)?;
    refuse_non_finite(&path.into(), &non_finite(&model.clip))?;
    let text = &model.config.text_config;
    let tokenizer = match &options.tokenizer {
        Some(folder) => ClipTokenizer::from_folder(folder, text)?,
        None => openai_tokenizer(path, text)?,
    };
    Ok((model, tokenizer))
}

/// CLIP's tokenizer, if the text tower has its vocabulary.
fn openai_tokenizer(path: &Path, text: &TextConfig) -> Result<ClipTokenizer> {
    if text.vocab_size != OPENAI_TOKENS {
        let message = format!(
            "its vocabulary has {} tokens, expected the {OPENAI_TOKENS} of CLIP's; set `tokenizer` to the folder of \
             its tokenizer",
            text.vocab_size
        );
        return Err(ClipError::format(path, message).into());
    }
    Ok(ClipTokenizer::openai(text.max_position_embeddings)?)
}

/// A decoder of the original project with its CLIP.
fn original(path: &Path, options: &ConvertOptions, device: &Device) -> Result<Segmenter> {
    let Some(clip) = &options.clip else {
        let message = "it contains a decoder only; set `clip` to its CLIP, such as openai/clip-vit-base-patch16";
        return Err(ClipError::format(path, message).into());
    };
    let is_file = Path::new(clip).is_file();
    let (model, tokenizer) = if is_file {
        clip_of_file(Path::new(clip), options, device)?
    } else {
        refuse(options, clip, "a folder", |option| {
            matches!(option, "clip" | "original")
        })?;
        let files = resolve(clip)?;
        let model = load_clip(&files, device)?;
        let tokenizer = ClipTokenizer::from_folder(&files, &model.config.text_config)?;
        (model, tokenizer)
    };
    let default = OriginalOptions::default();
    let settings = options.original.as_ref().unwrap_or(&default);
    let model = ClipSeg::from_original(path, model, settings)?;
    refuse_non_finite(&path.into(), &model.non_finite())?;
    Ok(Segmenter::new(
        model,
        tokenizer,
        ImageProcessor::clipseg(CLIPSEG_SIDE),
    ))
}
