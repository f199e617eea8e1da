//! The progress bar of every command.

use indicatif::{ProgressBar, ProgressStyle};

/// A bar over `length` items, such as `photographs`; shown on a terminal only. Its message stands in
/// front.
pub(crate) fn progress_bar(length: usize, items: &str) -> ProgressBar {
    let bar = ProgressBar::new(length as u64);
    let template = format!("{{msg}} {{bar:30}} {{pos}}/{{len}} {items}, {{eta}} left");
    if let Ok(style) = ProgressStyle::with_template(&template) {
        bar.set_style(style);
    }
    bar
}
