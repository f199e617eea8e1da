//! `clipseg data fetch`: the pictures of a data set from where they are published.

use crate::Failure;
use crate::output::{print_line, tell};
use clipseg::data::{Fetcher, Split, list_pictures};
use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use std::path::PathBuf;

/// How many failures are shown.
const SHOWN: usize = 10;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Folder with a picture list, such as VGPhraseCut_v0; pictures go into its `images`.
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Only the pictures of this split; may be given several times.
    #[arg(long = "split", value_name = "SPLIT")]
    splits: Vec<Split>,
    /// Only the first N of these pictures in the order of the list.
    #[arg(long, value_name = "N")]
    max: Option<usize>,
    /// How many pictures come at once.
    #[arg(long, value_name = "N", default_value_t = 4)]
    connections: usize,
    /// How often a picture that fails is tried again.
    #[arg(long, value_name = "N", default_value_t = 4)]
    retries: u32,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let mut pictures = list_pictures(&arguments.folder)?;
    if !arguments.splits.is_empty() {
        let parts = |split: &Split| split.parts();
        let wanted: Vec<Split> = arguments.splits.iter().flat_map(parts).copied().collect();
        pictures.retain(|picture| wanted.contains(&picture.split));
    }
    pictures.truncate(arguments.max.unwrap_or(usize::MAX));
    if pictures.is_empty() {
        return Err("the picture list has no such pictures".into());
    }
    let bar = ProgressBar::new(pictures.len() as u64);
    let template = "{bar:30} {pos}/{len} pictures, {msg}, {eta} left";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    let fetcher = Fetcher::new(&arguments.folder)
        .with_connections(arguments.connections)
        .with_retries(arguments.retries);
    let report = fetcher.fetch(&pictures, &|progress| {
        bar.set_message(HumanBytes(progress.bytes as u64).to_string());
        bar.inc(1);
    })?;
    bar.finish_and_clear();

    print_line(&format!(
        "{} of {} pictures are there: {} were, {} came ({})",
        report.kept + report.downloaded,
        pictures.len(),
        report.kept,
        report.downloaded,
        HumanBytes(report.bytes as u64)
    ))?;
    for problem in &report.other_size {
        print_line(&problem.to_string())?;
    }
    for path in &report.set_aside {
        print_line(&format!(
            "what lay in a picture's place and was none is now {}",
            path.display()
        ))?;
    }
    for failed in report.failed.iter().take(SHOWN) {
        tell(format_args!(
            "picture {} ({}): {}",
            failed.image_id, failed.url, failed.reason
        ));
    }
    let more = report.failed.len().saturating_sub(SHOWN);
    if more > 0 {
        tell(format_args!("and {more} more failed"));
    }
    if let Some(reason) = report.stopped {
        let untried = report.untried;
        let message = format!(
            "gave up: {reason}; {untried} pictures were not tried, the next call goes on from there"
        );
        return Err(message.into());
    }
    match report.failed.len() {
        0 => Ok(()),
        1 => Err("1 picture did not come".into()),
        failed => Err(format!("{failed} pictures did not come").into()),
    }
}
