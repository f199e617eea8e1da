//! `clipseg pretrain`: captions in, a CLIP out.

use crate::Failure;
use crate::output::{print_line, tell};
use clipseg::train::{
    End, PretrainConfig, Progress, RunFolder, Settings, Start, StopFlag, pretrain,
};
use std::error::Error;
use std::path::{Path, PathBuf};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// File with the settings, in TOML; what it leaves out has its default.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Folders with a list captions.tsv (picture, tab, text) or in the layout of VGPhraseCut_v0;
    /// scenes are generated if there is none.
    #[arg(long, value_name = "FOLDER", num_args = 1..)]
    data: Vec<PathBuf>,
    /// CLIP checkpoint to go on from: a folder, or its id on the hub. Without it a new one is made.
    #[arg(long, value_name = "FOLDER-OR-ID")]
    clip: Option<String>,
    /// cpu, ndarray, wgpu, vulkan or cuda; cuda:1 for the second card.
    #[arg(long)]
    device: Option<String>,
    /// Steps of the optimizer.
    #[arg(long)]
    steps: Option<usize>,
    /// As many steps as fit into so many minutes, instead of steps.
    #[arg(long, conflicts_with = "steps")]
    minutes: Option<f64>,
    /// Pictures and texts that are told apart in a step.
    #[arg(long)]
    batch: Option<usize>,
    /// Learning rate after the warm-up.
    #[arg(long)]
    learning_rate: Option<f64>,
    /// Decides the order of the data and everything random.
    #[arg(long)]
    seed: Option<u64>,
    /// Any other field, such as `model.vision_layers=4`; may be given several times.
    #[arg(long = "set", value_name = "FIELD=VALUE")]
    fields: Vec<String>,
    /// Folder of the run; made if there is none. Default: runs/pretrain, or the next one without a run.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Go on with the run in the folder, or start it if there is none.
    #[arg(long)]
    resume: bool,
    /// Print the settings and stop.
    #[arg(long)]
    print_config: bool,
}

pub(crate) fn run_pretraining(arguments: &Arguments) -> Result<(), Failure> {
    let default = Path::new("runs/pretrain");
    let out = match &arguments.out {
        Some(out) => out.clone(),
        None if arguments.resume => default.to_owned(),
        None => RunFolder::unused(default),
    };
    let given = given(arguments, &out)?;
    if arguments.print_config {
        print_line(given.to_toml()?.trim_end_matches('\n'))?;
        return Ok(());
    }
    let stop = StopFlag::on_ctrl_c()?;
    let mut progress = Progress::of("captions");
    let device = clipseg::device(&given.device)?;
    let start = if arguments.resume {
        Start::Resume
    } else {
        Start::New
    };
    let outcome = pretrain(&given, &device, &out, start, &stop, &mut progress)?;
    let scores = outcome.scores();
    let out = out.display();
    if outcome.end == End::Stopped {
        tell(format_args!(
            "stopped after step {} and saved; go on by `clipseg pretrain --resume --out {out}`",
            outcome.losses().len()
        ));
        return Err(Failure::Stopped);
    }
    if let Some(scores) = scores {
        print_line(&scores.to_string())?;
    }
    print_line(&format!("report: {out}/report.md, model: {out}/model"))?;
    print_line(&format!(
        "train a decoder on it: clipseg train --clip {out}/model --set data.size={}",
        given.model.image_size
    ))?;
    Ok(())
}

/// The settings of a file, or of the run that goes on, with what the command line changes.
fn given(arguments: &Arguments, out: &Path) -> Result<PretrainConfig, Box<dyn Error>> {
    let mut config = match &arguments.config {
        Some(path) => PretrainConfig::from_file(path)?,
        None if arguments.resume => RunFolder::config_of(out)?.unwrap_or_default(),
        None => PretrainConfig::default(),
    };
    if !arguments.data.is_empty() {
        config.data.folders.clone_from(&arguments.data);
    }
    if let Some(checkpoint) = &arguments.clip {
        config.clip.checkpoint = Some(checkpoint.clone());
    }
    if let Some(device) = &arguments.device {
        config.device.clone_from(device);
    }
    if let Some(steps) = arguments.steps {
        (config.schedule.steps, config.schedule.minutes) = (Some(steps), None);
    }
    if let Some(minutes) = arguments.minutes {
        (config.schedule.steps, config.schedule.minutes) = (None, Some(minutes));
    }
    if let Some(batch) = arguments.batch {
        config.schedule.batch_size = batch;
    }
    if let Some(rate) = arguments.learning_rate {
        config.schedule.learning_rate = rate;
    }
    if let Some(seed) = arguments.seed {
        config.seed = seed;
    }
    Ok(config.with_overrides(&arguments.fields)?)
}
