//! `clipseg data …`: folders in the layout of PhraseCut.

mod check;
#[cfg(feature = "fetch")]
mod fetch;
mod scenes;
mod show;

use crate::Failure;
use clap::Subcommand;

#[derive(Subcommand)]
pub(crate) enum DataCommand {
    /// Read a data set and all its pictures, and report what is wrong.
    Check(check::Arguments),
    /// Download the pictures of a data set from the addresses in its picture list.
    #[cfg(feature = "fetch")]
    Fetch(fetch::Arguments),
    /// Generate pictures with exact masks and phrases, to train on.
    Scenes(scenes::Arguments),
    /// Write a contact sheet of pictures, with outlines of what their phrases name.
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
