//! `clipseg data …`: data sets in the layout of PhraseCut.

mod check;
#[cfg(feature = "fetch")]
mod fetch;
mod scenes;
mod show;

use crate::Failure;
use clap::Subcommand;

#[derive(Subcommand)]
pub(crate) enum DataCommand {
    /// Read a data set and decode all its pictures, and report every problem.
    #[command(after_help = "Example:\n  clipseg data check VGPhraseCut_v0 --split val")]
    Check(check::Arguments),
    /// Download the pictures of a data set from the URLs in its picture list.
    #[cfg(feature = "fetch")]
    #[command(after_help = "Example:\n  clipseg data fetch VGPhraseCut_v0 --split val")]
    Fetch(fetch::Arguments),
    /// Generate scenes: pictures with phrases and exact masks to train on.
    #[command(after_help = "Example:\n  clipseg data scenes scenes --images 10000 --size 128")]
    Scenes(scenes::Arguments),
    /// Write a contact sheet of pictures with the outlines of their phrases' masks.
    #[command(after_help = "Example:\n  clipseg data show scenes --split val --out sheet.png")]
    Show(show::Arguments),
}

pub(crate) fn run(command: &DataCommand) -> Result<(), Failure> {
    match command {
        DataCommand::Check(arguments) => check::run(arguments),
        #[cfg(feature = "fetch")]
        DataCommand::Fetch(arguments) => fetch::run(arguments),
        DataCommand::Scenes(arguments) => scenes::run(arguments),
        DataCommand::Show(arguments) => show::run(arguments),
    }
}
