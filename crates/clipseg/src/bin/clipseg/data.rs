//! `clipseg data …`: folders in the layout of PhraseCut.

mod scenes;
mod show;

use crate::Failure;
use clap::Subcommand;
use clipseg::data::Split;

#[derive(Subcommand)]
pub(crate) enum DataCommand {
    /// Generate pictures with exact masks and phrases, to train on.
    Scenes(scenes::Arguments),
    /// Write a contact sheet of pictures, with outlines of what their phrases name.
    Show(show::Arguments),
}

pub(crate) fn run(command: &DataCommand) -> Result<(), Failure> {
    match command {
        DataCommand::Scenes(arguments) => scenes::run(arguments),
        DataCommand::Show(arguments) => show::run(arguments),
    }
}

/// For clap: a split by its name.
fn split(text: &str) -> Result<Split, String> {
    let found = Split::ALL.into_iter().find(|split| split.name() == text);
    found.ok_or_else(|| format!("expected {}", Split::ALL.map(Split::name).join(", ")))
}
