//! `clipseg data show`: a contact sheet.

use crate::Failure;
use crate::output::Output;
use clipseg::data::{PhraseCut, SheetOptions, Split, contact_sheet};
use std::path::PathBuf;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Folder in the layout of VGPhraseCut_v0.
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Which pictures: train, val, test, miniv or `val_miniv`.
    #[arg(long)]
    split: Split,
    /// File for the sheet, a PNG.
    #[arg(long, value_name = "SHEET.png")]
    out: PathBuf,
    #[command(flatten)]
    output: Output,
    /// Number of pictures.
    #[arg(long, default_value_t = SheetOptions::default().pictures)]
    count: usize,
    /// Phrases under each picture, at most.
    #[arg(long, default_value_t = SheetOptions::default().phrases)]
    phrases: usize,
    /// Pictures beside each other.
    #[arg(long, default_value_t = SheetOptions::default().columns)]
    columns: usize,
    /// Longer side of each picture on the sheet in pixels.
    #[arg(long, default_value_t = SheetOptions::default().side)]
    side: u32,
    /// Which pictures and phrases, if there are more.
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
