//! `clipseg convert`: writes a checkpoint into a new folder in Hugging Face's layout. `clipseg export` is the same
//! under its former name and flags.

use crate::Failure;
use crate::output::{print_line, tell};
use clipseg::clip::{Activation, Precision};
use clipseg::model::{ConvertOptions, ExportOptions, OriginalOptions, convert};
use std::path::PathBuf;

pub(crate) const EXAMPLE: &str = "\
Examples:
  clipseg convert runs/train/model stars --precision f16 --license mit
  clipseg convert ViT-B-16.pt clip-vit-b-16
  clipseg convert rd64-uni-refined.pth clipseg-rd64 --clip openai/clip-vit-base-patch16";

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Checkpoint: a folder or hub id of a CLIP or a CLIPSeg, a run's `model`, scenes, a file of OpenAI's CLIP or of
    /// open_clip, or a decoder of the original CLIPSeg. Safetensors and PyTorch pickles are read.
    #[arg(value_name = "FROM")]
    from: String,
    /// Folder to create; it must not exist.
    #[arg(value_name = "TO")]
    to: PathBuf,
    /// Data type of the weights: f32, f16 or bf16.
    #[arg(long, value_name = "NAME", default_value_t = Precision::F32)]
    precision: Precision,
    /// Licence that the model card names, such as mit.
    #[arg(long, value_name = "ID")]
    license: Option<String>,
    /// For a file of open_clip: `quick-gelu` if the model's name ends in -quickgelu, else `gelu`.
    #[arg(long, value_enum, value_name = "NAME")]
    activation: Option<Gelu>,
    /// For a file of open_clip with a vocabulary of its own: the folder of its tokenizer.
    #[arg(long, value_name = "FOLDER")]
    tokenizer: Option<PathBuf>,
    /// For a decoder of the original CLIPSeg: its CLIP, as a folder, a hub id or a file.
    #[arg(long, value_name = "FOLDER-OR-ID-OR-FILE")]
    clip: Option<String>,
    /// For a decoder of the original CLIPSeg: the layers of CLIP that it reads. Default: 3,6,9.
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    extract_layers: Vec<usize>,
    /// For a decoder of the original CLIPSeg: its number of attention heads. Default: 4.
    #[arg(long, value_name = "N")]
    heads: Option<usize>,
}

/// The flags of `clipseg export`.
#[derive(clap::Args)]
pub(crate) struct ExportArguments {
    /// Model to export: the `model` of a training run, a CLIPSeg checkpoint's folder, a hub id, or scenes.
    #[arg(long, value_name = "FOLDER-OR-ID")]
    model: String,
    /// Folder to create; it must not exist.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Data type of the weights: f32, f16 or bf16.
    #[arg(long, value_name = "NAME", default_value_t = Precision::F16)]
    precision: Precision,
    /// Licence that the model card names, such as mit.
    #[arg(long, value_name = "ID")]
    license: Option<String>,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Gelu {
    QuickGelu,
    Gelu,
}

impl Arguments {
    fn options(&self) -> ConvertOptions {
        let mut options = ConvertOptions::default();
        options.export = ExportOptions {
            precision: self.precision,
            license: self.license.clone(),
        };
        options.activation = self.activation.map(|name| match name {
            Gelu::QuickGelu => Activation::QuickGelu,
            Gelu::Gelu => Activation::Gelu,
        });
        options.tokenizer = self.tokenizer.clone();
        options.clip = self.clip.clone();
        let mut original = OriginalOptions::default();
        if !self.extract_layers.is_empty() {
            original.extract_layers.clone_from(&self.extract_layers);
        }
        if let Some(heads) = self.heads {
            original.heads = heads;
        }
        let is_given = !self.extract_layers.is_empty() || self.heads.is_some();
        options.original = is_given.then_some(original);
        options
    }
}

impl From<&ExportArguments> for Arguments {
    fn from(given: &ExportArguments) -> Self {
        Self {
            from: given.model.clone(),
            to: given.out.clone(),
            precision: given.precision,
            license: given.license.clone(),
            activation: None,
            tokenizer: None,
            clip: None,
            extract_layers: Vec::new(),
            heads: None,
        }
    }
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let device = clipseg::device("cpu")?;
    let converted = convert(
        &arguments.from,
        &arguments.to,
        &arguments.options(),
        &device,
    );
    let converted = converted.map_err(|error| with_flags(&error.to_string()))?;
    for note in &converted.notes {
        tell(note);
    }
    print_line(&format!(
        "{}: {:.2} MB with weights in {}",
        arguments.to.display(),
        converted.bytes as f64 / 1e6,
        arguments.precision
    ))?;
    Ok(())
}

/// The message of an error with the options of the library as flags.
fn with_flags(message: &str) -> String {
    let message = message.replace("quick_gelu", "quick-gelu");
    let message = message.replace("`original` has", "--extract-layers and --heads have");
    ["activation", "tokenizer", "clip"]
        .iter()
        .fold(message, |message, name| {
            message.replace(&format!("`{name}`"), &format!("--{name}"))
        })
}
