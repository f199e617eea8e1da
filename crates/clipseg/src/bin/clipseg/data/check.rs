//! `clipseg data check`: the problems of a data set, counted and with examples.

use crate::Failure;
use crate::output::print_line;
use crate::progress::progress_bar;
use clipseg::data::{PhraseCut, ProblemKind, Report, Split, check};
use std::fmt::Write;
use std::path::PathBuf;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Data set in the layout of VGPhraseCut_v0.
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Check this split only; repeatable. Default: all splits of the data set.
    #[arg(long = "split", value_name = "SPLIT")]
    splits: Vec<Split>,
    /// Number of problems of each kind to list.
    #[arg(long, value_name = "N", default_value_t = 3)]
    first: usize,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let data = if arguments.splits.is_empty() {
        PhraseCut::open(&arguments.folder)?
    } else {
        PhraseCut::open_splits(&arguments.folder, &arguments.splits)?
    };
    let bar = progress_bar(0, "pictures");
    let report = check(&data, &|_, all| {
        bar.set_length(all as u64);
        bar.inc(1);
    });
    bar.finish_and_clear();
    print_line(table(&report, arguments.first).trim_end())?;
    match report.unusable() {
        0 => Ok(()),
        1 => Err("1 phrase is unusable".into()),
        count => Err(format!("{count} phrases are unusable").into()),
    }
}

/// A table of the splits, a table of the problems by kind and split, and some examples of each kind.
fn table(report: &Report, first: usize) -> String {
    let mut text = String::from("split  pictures  phrases  unusable\n");
    for line in report.splits() {
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "{:<5}  {:>8}  {:>7}  {:>8}",
            line.split.name(),
            line.pictures,
            line.phrases,
            line.unusable
        );
    }
    let found: Vec<ProblemKind> = ProblemKind::ALL
        .into_iter()
        .filter(|kind| report.problems().iter().any(|p| p.kind == *kind))
        .collect();
    if found.is_empty() {
        text.push_str("\nno problems\n");
        return text;
    }
    let columns: Vec<Split> = Split::ALL
        .into_iter()
        .filter(|&split| {
            report.splits().iter().any(|line| line.split == split)
                || report.problems().iter().any(|p| p.split == split)
        })
        .collect();
    let width = found.iter().map(|kind| kind.name().len()).max();
    let width = width.unwrap_or(0).max("problem".len());
    let _ = write!(text, "\n{:<width$}", "problem");
    for split in &columns {
        let _ = write!(text, "  {:>6}", split.name());
    }
    text.push_str("  makes unusable\n");
    for &kind in &found {
        let _ = write!(text, "{:<width$}", kind.name());
        for &split in &columns {
            let _ = write!(text, "  {:>6}", report.count(kind, split));
        }
        let unusable = if kind.makes_unusable() { "yes" } else { "no" };
        let _ = writeln!(text, "  {unusable}");
    }
    for &kind in found.iter().filter(|_| first > 0) {
        let _ = writeln!(text, "\n{kind}");
        let problems = || report.problems().iter().filter(|p| p.kind == kind);
        for problem in problems().take(first) {
            let _ = writeln!(text, "  {}: {problem}", problem.split);
        }
        let more = problems().count().saturating_sub(first);
        if more > 0 {
            let _ = writeln!(text, "  and {more} more");
        }
    }
    text
}
