//! Trains CLIPSeg's decoder on PhraseCut, or on generated scenes where there is no data.
//!
//! ```text
//! cargo run --release --example train_phrasecut
//! cargo run --release --example train_phrasecut -- --data VGPhraseCut_v0 --clip clip-vit-base-patch16
//! ```

use clap::Parser;
use clipseg::metrics::Loss;
use clipseg::train::{End, Progress, RunFolder, Start, StopFlag, TrainConfig, run};
use std::error::Error;
use std::path::{Path, PathBuf};

#[derive(Parser)]
#[command(about = "Train CLIPSeg's decoder on PhraseCut or on generated scenes")]
struct Arguments {
    /// Folder in the layout of VGPhraseCut_v0; scenes are generated if there is none.
    #[arg(long)]
    data: Option<PathBuf>,
    /// CLIP or CLIPSeg checkpoint, a folder or its id on the hub; a small CLIP with random weights
    /// if there is none.
    #[arg(long)]
    clip: Option<String>,
    /// The decoder: transformer, conv or deconv.
    #[arg(long, default_value = "transformer")]
    decoder: String,
    /// What to minimise: bce, dice, focal, tversky or a sum such as 0.5*bce+dice.
    #[arg(long)]
    loss: Option<Loss>,
    /// Steps of the optimizer.
    #[arg(long)]
    steps: Option<usize>,
    /// Phrases in a step.
    #[arg(long, default_value_t = 16)]
    batch: usize,
    /// cpu, ndarray, wgpu, vulkan or cuda.
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Decides the order of the data and all random weights.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Any other field of the configuration, such as schedule.learning_rate=5e-4.
    #[arg(long = "set", value_name = "FIELD=VALUE")]
    fields: Vec<String>,
    /// Folder of the run. Default: `runs/train_phrasecut`, or the next one without a run.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Go on with the run in the folder.
    #[arg(long)]
    resume: bool,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let mut config = TrainConfig::preset("quick")?;
    config.data.folder = arguments.data;
    config.clip.checkpoint = arguments.clip;
    config.device = arguments.device;
    config.seed = arguments.seed;
    config.schedule.batch_size = arguments.batch;
    config.schedule.steps = arguments.steps.or(config.schedule.steps);
    config.loss = arguments.loss.unwrap_or(config.loss);
    let config = config
        .with_overrides(&[format!("decoder.kind={}", arguments.decoder)])?
        .with_overrides(&arguments.fields)?;

    let stop = StopFlag::on_ctrl_c()?;
    let default = Path::new("runs/train_phrasecut");
    let out = match arguments.out {
        Some(out) => out,
        None if arguments.resume => default.to_owned(),
        None => RunFolder::unused(default),
    };
    let device = clipseg::device(&config.device)?;
    let start = if arguments.resume {
        Start::Resume
    } else {
        Start::New
    };
    let mut progress = Progress::new();
    let outcome = run(&config, &device, &out, start, &stop, &mut progress)?;
    match (outcome.training.end, outcome.table) {
        (End::Stopped, _) | (_, None) => println!("stopped; --resume goes on"),
        (_, Some(table)) => {
            println!("{table}");
            println!("run folder: {}", out.display());
            println!("try: clipseg segment PHOTO --model {}/model", out.display());
        }
    }
    Ok(())
}
