//! `clipseg data show`: a contact sheet of a data set.

use crate::Failure;
use crate::output::Output;
use clipseg::data::{PhraseCut, SheetOptions, Split, contact_sheet};
use std::path::PathBuf;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Data set in the layout of VGPhraseCut_v0.
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Split: train, val, test, miniv, or `val_miniv` for val and miniv together.
    #[arg(long)]
    split: Split,
    /// PNG file to write.
    #[arg(long, value_name = "SHEET.png")]
    out: PathBuf,
    #[command(flatten)]
    output: Output,
    /// Number of pictures.
    #[arg(long, default_value_t = SheetOptions::default().pictures)]
    count: usize,
    /// Maximum number of phrases of each picture.
    #[arg(long, default_value_t = SheetOptions::default().phrases)]
    phrases: usize,
    /// Pictures in a row.
    #[arg(long, default_value_t = SheetOptions::default().columns)]
    columns: usize,
    /// Longer side of each picture in pixels.
    #[arg(long, default_value_t = SheetOptions::default().side)]
    side: u32,
    /// Random seed by which pictures and phrases are chosen.
    #[arg(long, default_value_t = SheetOptions::default().seed)]
    seed: u64,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    arguments.output.check_with_folder(&arguments.out)?;
    let data = PhraseCut::open_splits(&arguments.folder, &[arguments.split])?;
    let options = SheetOptions {
        pictures: arguments.count,
        phrases: arguments.phrases,
        columns: arguments.columns,
        side: arguments.side,
        seed: arguments.seed,
    };
    let sheet = contact_sheet(&data, arguments.split, &options)?;
    arguments.output.png(&arguments.out, &sheet.into())?;
    Ok(())
}
