//! `clipseg data scenes`: generated pictures into a new folder.

use crate::Failure;
use crate::output::print_line;
use clipseg::data::{ScenesConfig, generate_scenes_with};
use indicatif::{ProgressBar, ProgressStyle};
use std::path::PathBuf;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Folder to make; must not be there yet.
    #[arg(value_name = "OUT")]
    out: PathBuf,
    /// Number of pictures.
    #[arg(long, default_value_t = ScenesConfig::default().images)]
    images: usize,
    /// Decides everything.
    #[arg(long, default_value_t = ScenesConfig::default().seed)]
    seed: u64,
    /// Side of the pictures in pixels.
    #[arg(long, default_value_t = ScenesConfig::default().size)]
    size: u32,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let config = ScenesConfig {
        images: arguments.images,
        size: arguments.size,
        seed: arguments.seed,
    };
    let bar = ProgressBar::new(config.images as u64);
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} scenes, {eta} left") {
        bar.set_style(style);
    }
    let made = generate_scenes_with(&arguments.out, &config, || bar.inc(1));
    bar.finish_and_clear();
    made?;
    print_line(&format!(
        "{} scenes of {}x{} in {}",
        config.images,
        config.size,
        config.size,
        arguments.out.display()
    ))?;
    Ok(())
}
