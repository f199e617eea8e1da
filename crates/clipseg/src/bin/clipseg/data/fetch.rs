//! `clipseg data fetch`: downloads the pictures of a data set.

use crate::Failure;
use crate::output::{print_line, tell};
use crate::progress::progress_bar;
use clipseg::data::{Fetcher, Split, list_pictures};
use indicatif::HumanBytes;
use std::path::PathBuf;

/// Number of failures to list.
const SHOWN: usize = 10;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Data set with a picture list, such as VGPhraseCut_v0. Pictures are stored in its folder `images`.
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Download the pictures of this split only; repeatable.
    #[arg(long = "split", value_name = "SPLIT")]
    splits: Vec<Split>,
    /// Download the first N of these pictures only, in the order of the list.
    #[arg(long, value_name = "N")]
    max: Option<usize>,
    /// Number of parallel downloads.
    #[arg(long, value_name = "N", default_value_t = 4)]
    connections: usize,
    /// Number of retries of a failed download.
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
        return Err("the picture list has no picture of these splits".into());
    }
    let bar = progress_bar(pictures.len(), "pictures");
    let fetcher = Fetcher::new(&arguments.folder)
        .with_connections(arguments.connections)
        .with_retries(arguments.retries);
    let report = fetcher.fetch(&pictures, &|progress| {
        bar.set_message(HumanBytes(progress.bytes as u64).to_string());
        bar.inc(1);
    })?;
    bar.finish_and_clear();

    print_line(&format!(
        "{} of {} pictures are complete: {} existed, {} were downloaded ({})",
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
            "a file that is not a picture was moved to {}",
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
        tell(format_args!("and {more} more failures"));
    }
    if let Some(reason) = report.stopped {
        let untried = report.untried;
        let message = format!(
            "stopped: {reason}; {untried} pictures were not tried; run the command again to continue"
        );
        return Err(message.into());
    }
    match report.failed.len() {
        0 => Ok(()),
        1 => Err("1 picture could not be downloaded".into()),
        failed => Err(format!("{failed} pictures could not be downloaded").into()),
    }
}
