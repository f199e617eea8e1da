//! Pre-trains a small CLIP on captioned pictures, or on generated scenes if no data is given, and
//! scores it on held-out pictures.
//!
//! ```text
//! cargo run --example train_clip
//! cargo run --example train_clip -- --data photos --steps 5000
//! ```
//!
//! `photos/captions.tsv` has one line for each caption: the picture's file name, a tab, the text.

use clap::Parser;
use clipseg::arguments::PretrainArguments;
use clipseg::train::{End, PretrainConfig, Progress, Settings, StopFlag, pretrain};
use std::error::Error;

/// Keeps the memory of large tensors for the next ones.
#[global_allocator]
static ALLOCATOR: clipseg::Allocator = clipseg::Allocator;

/// Pre-train a small CLIP on captioned pictures or on generated scenes.
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    training: PretrainArguments,
}

fn main() -> Result<(), Box<dyn Error>> {
    let Arguments { training } = Arguments::parse();
    // A model that trains in minutes on a CPU.
    let small = PretrainConfig::default().with_overrides(&[
        "model.image_size=64",
        "model.vision_width=96",
        "model.vision_inner=192",
        "model.vision_layers=3",
        "model.text_layers=2",
        "schedule.steps=400",
        "schedule.batch_size=64",
        "validation.pictures=200",
        "validation.objects=200",
        "validation.every=100",
    ])?;
    let config = training.apply(small)?;
    let out = training.run.folder("runs/train_clip");
    let mut progress = Progress::of("captions");
    let device = clipseg::device(&config.device)?;
    let stop = StopFlag::on_ctrl_c()?;
    let outcome = pretrain(
        &config,
        &device,
        &out,
        training.run.start(),
        &stop,
        &mut progress,
    )?;
    match (outcome.end, outcome.scores()) {
        (End::Stopped, _) | (_, None) => println!("stopped; --resume continues the run"),
        (_, Some(scores)) => println!("{scores}\nrun folder: {}", out.display()),
    }
    Ok(())
}
