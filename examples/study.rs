//! Compares decoders and losses: every decoder is trained with every loss and every seed, and a report with
//! confidence intervals, paired tests and curves is drawn.
//!
//! ```text
//! cargo run --example study
//! cargo run --example study -- --data VGPhraseCut_v0 --clip openai/clip-vit-base-patch16 --steps 20000
//! ```

use clap::Parser;
use clipseg::arguments::StudyArguments;
use clipseg::train::{End, Progress, StopFlag, StudyConfig, run_study, write_study_report};
use std::error::Error;

/// Keeps the memory of large tensors for the next ones.
#[global_allocator]
static ALLOCATOR: clipseg::Allocator = clipseg::Allocator;

/// Compare decoders and losses on PhraseCut or on generated scenes.
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    study: StudyArguments,
}

fn main() -> Result<(), Box<dyn Error>> {
    let Arguments { study: flags } = Arguments::parse();
    let study = flags.apply(StudyConfig::preset("quick")?)?;
    let out = flags.folder("runs/study");
    let device = clipseg::device(&study.device)?;
    let stop = StopFlag::on_ctrl_c()?;
    let (start, jobs) = (flags.start(), flags.jobs.unwrap_or(1));
    let mut progress = Progress::new();
    let outcome = run_study(&study, &device, &out, start, jobs, &stop, &mut progress)?;
    if outcome.end == End::Stopped {
        println!("stopped; --resume continues the study");
        return Ok(());
    }
    println!("report: {}", write_study_report(&out)?.display());
    Ok(())
}
