//! `clipseg data …`: what looks after a data set.

mod check;
#[cfg(feature = "fetch")]
mod fetch;

use crate::Failure;
use clap::Subcommand;
use clipseg::data::Split;

#[derive(Subcommand)]
pub(crate) enum DataCommand {
    /// Read a data set and all its pictures, and report what is wrong.
    Check(check::Arguments),
    /// Download the pictures of a data set from the addresses in its picture list.
    #[cfg(feature = "fetch")]
    Fetch(fetch::Arguments),
}

pub(crate) fn run(command: &DataCommand) -> Result<(), Failure> {
    match command {
        DataCommand::Check(arguments) => check::run(arguments),
        #[cfg(feature = "fetch")]
        DataCommand::Fetch(arguments) => fetch::run(arguments),
    }
}

/// For clap: a split by its name in files.
fn split(name: &str) -> Result<Split, String> {
    Split::ALL
        .into_iter()
        .find(|split| split.name() == name)
        .ok_or_else(|| format!("expected one of {}", Split::ALL.map(Split::name).join(", ")))
}
