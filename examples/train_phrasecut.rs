//! Trains CLIPSeg's decoder on PhraseCut, or on generated scenes if no data set is given.
//!
//! ```text
//! cargo run --example train_phrasecut
//! cargo run --example train_phrasecut -- --data VGPhraseCut_v0 --clip openai/clip-vit-base-patch16
//! ```

use clap::Parser;
use clipseg::arguments::TrainArguments;
use clipseg::train::{End, Progress, StopFlag, TrainConfig, run};
use std::error::Error;

/// Keeps the memory of large tensors for the next ones.
#[global_allocator]
static ALLOCATOR: clipseg::Allocator = clipseg::Allocator;

/// Train CLIPSeg's decoder on PhraseCut or on generated scenes.
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    training: TrainArguments,
}

fn main() -> Result<(), Box<dyn Error>> {
    let Arguments { training } = Arguments::parse();
    let config = training.apply(TrainConfig::preset("quick")?)?;
    let out = training.run.folder("runs/train_phrasecut");
    let device = clipseg::device(&config.device)?;
    let stop = StopFlag::on_ctrl_c()?;
    let start = training.run.start();
    let outcome = run(&config, &device, &out, start, &stop, &mut Progress::new())?;
    match (outcome.training.end, outcome.table) {
        (End::Stopped, _) | (_, None) => println!("stopped; --resume continues the run"),
        (_, Some(table)) => {
            println!("{table}");
            println!("run folder: {}", out.display());
            println!("try: clipseg segment PHOTO --model {}/model", out.display());
        }
    }
    Ok(())
}
