//! `clipseg export`: writes a model into a new folder for other programs.

use crate::Failure;
use crate::loading::load;
use crate::output::{print_line, tell};
use clipseg::clip::Precision;
use clipseg::model::ExportOptions;
use std::path::PathBuf;

pub(crate) const EXAMPLE: &str = "\
Example:
  clipseg export --model runs/train/model --out stars --license mit";

#[derive(clap::Args)]
pub(crate) struct Arguments {
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

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let segmenter = load(&arguments.model, "cpu", Precision::F32)?;
    let options = ExportOptions {
        precision: arguments.precision,
        license: arguments.license.clone(),
    };
    let exported = segmenter.export(&arguments.out, &options)?;
    for note in &exported.notes {
        tell(note);
    }
    print_line(&format!(
        "{}: {:.2} MB with weights in {}",
        arguments.out.display(),
        exported.bytes as f64 / 1e6,
        arguments.precision
    ))?;
    Ok(())
}
