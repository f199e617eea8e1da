//! `clipseg data scenes`: generates a data set of scenes.

use crate::Failure;
use crate::output::print_line;
use crate::progress::progress_bar;
use clipseg::data::{ScenesConfig, generate_scenes_with};
use std::path::PathBuf;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Folder to create; it must not exist.
    #[arg(value_name = "OUT")]
    out: PathBuf,
    /// Number of pictures.
    #[arg(long, default_value_t = ScenesConfig::default().images)]
    images: usize,
    /// Random seed; on one platform the same seed gives the same bytes.
    #[arg(long, default_value_t = ScenesConfig::default().seed)]
    seed: u64,
    /// Width and height of the pictures in pixels.
    #[arg(long, default_value_t = ScenesConfig::default().size)]
    size: u32,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let config = ScenesConfig {
        images: arguments.images,
        size: arguments.size,
        seed: arguments.seed,
    };
    let bar = progress_bar(config.images, "scenes");
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
