//! The command-line program: `clipseg segment PHOTO… --prompt …`, `clipseg data check DIR`,
//! `clipseg train --preset quick`, `clipseg eval --data DIR …`.

mod data;
mod eval;
mod eval_clipseg;
mod eval_model;
mod eval_report;
mod output;
mod photos;
mod pretrain;
mod report;
mod segment;
mod train;

use clap::{Parser, Subcommand};
use output::tell;
use std::io::IsTerminal;
use std::process::ExitCode;

#[derive(Parser)]
#[command(
    name = "clipseg",
    version,
    about = "Segment pictures by text, and train models that do"
)]
struct Program {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Write heat maps, masks and an overlay for photographs and prompts.
    Segment(segment::Arguments),
    /// Train a decoder on a frozen CLIP and score it.
    Train(Box<train::Arguments>),
    /// Train a CLIP on captioned pictures, or on generated scenes.
    Pretrain(Box<pretrain::Arguments>),
    /// Score predictions or a model on PhraseCut: mean and cumulative IoU, Pr@.5 to Pr@.9, all subsets.
    Eval(eval::Arguments),
    /// Make, fetch, check and look at data in the layout of PhraseCut.
    #[command(subcommand)]
    Data(data::DataCommand),
}

/// Why a command did not do all that it was asked for.
enum Failure {
    /// Nothing was done.
    Whole(Box<dyn std::error::Error>),
    /// So many files were passed over; each was reported when it came up.
    Files(usize),
    /// It was asked to stop, and what was done by then is saved.
    Stopped,
}

impl<E: Into<Box<dyn std::error::Error>>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Whole(error.into())
    }
}

fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        // What cannot be told would be told by a panic.
        .log_internal_errors(false)
        .with_max_level(tracing::Level::WARN)
        .with_target(false)
        .without_time()
        .init();
    let result = match Program::parse().command {
        Command::Segment(arguments) => segment::run(&arguments),
        Command::Train(arguments) => train::run_training(&arguments),
        Command::Pretrain(arguments) => pretrain::run_pretraining(&arguments),
        Command::Eval(arguments) => eval::run(&arguments),
        Command::Data(command) => data::run(&command),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Whole(error)) => {
            tell(format_args!("{error}"));
            ExitCode::FAILURE
        }
        Err(Failure::Files(count)) => {
            tell(format_args!(
                "{count} of the photographs could not be segmented"
            ));
            ExitCode::FAILURE
        }
        // What shells report of a program that Ctrl-C has ended.
        Err(Failure::Stopped) => ExitCode::from(130),
    }
}
