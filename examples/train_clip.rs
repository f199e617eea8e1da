//! Trains a small CLIP from nothing on captioned pictures, or on generated scenes where there is no
//! data, and scores it on pictures that it has not seen.
//!
//! ```text
//! cargo run --release --example train_clip
//! cargo run --release --example train_clip -- --data photos --steps 5000
//! ```
//!
//! `photos/captions.tsv` has a line for each caption: the picture's name, a tab, the text.

use clap::Parser;
use clipseg::train::{
    End, PretrainConfig, Progress, RunFolder, Settings, Start, StopFlag, pretrain,
};
use std::error::Error;
use std::path::{Path, PathBuf};

#[derive(Parser)]
#[command(about = "Train a small CLIP on captioned pictures or on generated scenes")]
struct Arguments {
    /// Folders with a list captions.tsv or in the layout of VGPhraseCut_v0.
    #[arg(long, num_args = 1..)]
    data: Vec<PathBuf>,
    /// Steps of the optimizer.
    #[arg(long, default_value_t = 400)]
    steps: usize,
    /// Pictures and texts in a step.
    #[arg(long, default_value_t = 64)]
    batch: usize,
    /// cpu, ndarray, wgpu, vulkan or cuda.
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Decides everything random.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Any other field of the configuration, such as `model.image_size=128`.
    #[arg(long = "set", value_name = "FIELD=VALUE")]
    fields: Vec<String>,
    /// Folder of the run. Default: `runs/train_clip`, or the next one without a run.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Go on with the run in the folder.
    #[arg(long)]
    resume: bool,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    // Small enough for minutes on a processor.
    let mut config = PretrainConfig::default().with_overrides(&[
        "model.image_size=64",
        "model.vision_width=96",
        "model.vision_inner=192",
        "model.vision_layers=3",
        "model.text_layers=2",
        "validation.pictures=200",
        "validation.objects=200",
        "validation.every=100",
    ])?;
    config.data.folders = arguments.data;
    config.device = arguments.device;
    config.seed = arguments.seed;
    config.schedule.steps = Some(arguments.steps);
    config.schedule.batch_size = arguments.batch;
    let config = config.with_overrides(&arguments.fields)?;

    let stop = StopFlag::on_ctrl_c()?;
    let default = Path::new("runs/train_clip");
    let out = match arguments.out {
        Some(out) => out,
        None if arguments.resume => default.to_owned(),
        None => RunFolder::unused(default),
    };
    let mut progress = Progress::of("captions");
    let device = clipseg::device(&config.device)?;
    let start = if arguments.resume {
        Start::Resume
    } else {
        Start::New
    };
    let outcome = pretrain(&config, &device, &out, start, &stop, &mut progress)?;
    match (outcome.end, outcome.scores()) {
        (End::Stopped, _) | (_, None) => println!("stopped; --resume goes on"),
        (_, Some(scores)) => {
            println!("{scores}");
            println!("run folder: {}", out.display());
            println!(
                "try: clipseg train --clip {}/model --set data.size={}",
                out.display(),
                config.model.image_size
            );
        }
    }
    Ok(())
}
