//! The command-line program `clipseg`; each command has a file.

mod annotations;
mod compare;
mod convert;
mod data;
mod edges;
mod eval;
mod find;
mod formats;
mod loading;
mod look;
mod output;
mod photos;
mod pretrain;
mod progress;
mod report;
mod result_names;
mod segment;
mod train;

use clap::{Parser, Subcommand};
use output::tell;
use std::io::IsTerminal;
use std::process::ExitCode;

/// Keeps the memory of large tensors for the next ones.
#[global_allocator]
static ALLOCATOR: clipseg::Allocator = clipseg::Allocator;

const EXAMPLES: &str = "\
Examples:
  clipseg segment cat.jpg --model CIDAS/clipseg-rd64-refined --prompt \"a cat\"
  clipseg train --preset quick
  clipseg pretrain --minutes 60
  clipseg compare --quick
  clipseg eval --data VGPhraseCut_v0 --split test --model runs/train/model
  clipseg convert runs/train/model exported --precision f16
  clipseg data check VGPhraseCut_v0";

#[derive(Parser)]
#[command(
    name = "clipseg",
    version,
    about = "Segment pictures by text, and train models that do",
    after_help = EXAMPLES
)]
struct Program {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Segment photographs: a heat map and a mask for each prompt, and an overlay of all masks.
    #[command(after_help = segment::EXAMPLE)]
    Segment(segment::Arguments),
    /// Train a decoder on a CLIP, frozen or fine-tuned, and evaluate it.
    #[command(after_help = train::EXAMPLE)]
    Train(Box<train::Arguments>),
    /// Pre-train a CLIP contrastively on captioned pictures or on generated scenes.
    #[command(after_help = pretrain::EXAMPLE)]
    Pretrain(Box<pretrain::Arguments>),
    /// Train and compare many decoders and losses, with controls, and draw a report.
    #[command(after_help = compare::EXAMPLE)]
    Compare(Box<compare::Arguments>),
    /// Evaluate predictions or a model on PhraseCut: mean and cumulative IoU, Pr@.5 to Pr@.9, by subset.
    #[command(after_help = eval::EXAMPLE)]
    Eval(eval::Arguments),
    /// Convert a checkpoint of any supported format into a new folder that transformers reads too.
    #[command(after_help = convert::EXAMPLE)]
    Convert(convert::Arguments),
    /// The same as convert, by default in half precision.
    #[command(hide = true)]
    Export(convert::ExportArguments),
    /// Check, download, generate and show data sets in the layout of PhraseCut.
    #[command(subcommand)]
    Data(data::DataCommand),
}

/// Why a command did not complete.
enum Failure {
    /// The command failed.
    Error(Box<dyn std::error::Error>),
    /// This number of photographs could not be segmented. Each was reported when it failed.
    Photos(usize),
    /// The user stopped the command, and its state is saved.
    Stopped,
}

impl<E: Into<Box<dyn std::error::Error>>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Error(error.into())
    }
}

fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        // A closed standard error would otherwise cause a panic.
        .log_internal_errors(false)
        .with_max_level(tracing::Level::WARN)
        .with_target(false)
        .without_time()
        .init();
    let result = match Program::parse().command {
        Command::Segment(arguments) => segment::run(&arguments),
        Command::Train(arguments) => train::run_training(&arguments),
        Command::Pretrain(arguments) => pretrain::run_pretraining(&arguments),
        Command::Compare(arguments) => compare::run(&arguments),
        Command::Eval(arguments) => eval::run(&arguments),
        Command::Convert(arguments) => convert::run(&arguments),
        Command::Export(arguments) => convert::run(&(&arguments).into()),
        Command::Data(command) => data::run(&command),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Error(error)) => {
            tell(format_args!("{error}"));
            ExitCode::FAILURE
        }
        Err(Failure::Photos(count)) => {
            tell(format_args!(
                "{count} of the photographs could not be segmented"
            ));
            ExitCode::FAILURE
        }
        // The exit code by which shells report Ctrl-C: 128 plus SIGINT's number.
        Err(Failure::Stopped) => ExitCode::from(130),
    }
}
