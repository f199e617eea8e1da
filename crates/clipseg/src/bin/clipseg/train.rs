//! `clipseg train`: a configuration in, a run folder out.

use crate::Failure;
use crate::output::check_unused;
use clipseg::metrics::Loss;
use clipseg::train::{End, Progress, RunFolder, StopFlag, TrainConfig, preset_text, run};
use std::error::Error;
use std::path::{Path, PathBuf};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// File with the settings, in TOML; what it leaves out has its default.
    #[arg(long, value_name = "FILE", conflicts_with = "preset")]
    config: Option<PathBuf>,
    /// Settings by name: paper, student or quick.
    #[arg(long, value_name = "NAME")]
    preset: Option<String>,
    /// Folder in the layout of VGPhraseCut_v0.
    #[arg(long, value_name = "FOLDER")]
    data: Option<PathBuf>,
    /// CLIP or CLIPSeg checkpoint: a folder, or its id on the hub.
    #[arg(long, value_name = "FOLDER-OR-ID")]
    clip: Option<String>,
    /// The decoder: transformer, conv or deconv.
    #[arg(long, value_name = "KIND")]
    decoder: Option<String>,
    /// What to minimise: bce, dice, focal, tversky or a sum such as 0.5*bce+dice.
    #[arg(long)]
    loss: Option<Loss>,
    /// cpu, ndarray, wgpu, vulkan or cuda; cuda:1 for the second card.
    #[arg(long)]
    device: Option<String>,
    /// Steps of the optimizer.
    #[arg(long)]
    steps: Option<usize>,
    /// Passes over the data, instead of steps.
    #[arg(long, conflicts_with = "steps")]
    epochs: Option<usize>,
    /// Phrases in a batch.
    #[arg(long)]
    batch: Option<usize>,
    /// Learning rate after the warm-up.
    #[arg(long)]
    learning_rate: Option<f64>,
    /// Decides the order of the data and everything random.
    #[arg(long)]
    seed: Option<u64>,
    /// Any other field, such as `optimizer.weight_decay=0`; may be given several times.
    #[arg(long = "set", value_name = "FIELD=VALUE")]
    fields: Vec<String>,
    /// Folder of the run; made if there is none. Default: runs/train, or the next one without a run.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Go on with the run in the folder, or start it if there is none.
    #[arg(long)]
    resume: bool,
    /// Print the settings and stop; of a preset alone, with its comments.
    #[arg(long)]
    print_config: bool,
}

pub(crate) fn run_training(arguments: &Arguments) -> Result<(), Failure> {
    let default = Path::new("runs/train");
    let out = match &arguments.out {
        Some(out) => out.clone(),
        None if arguments.resume => default.to_owned(),
        None => RunFolder::unused(default),
    };
    let given = given(arguments, &out)?;
    if arguments.print_config {
        let text = match &arguments.preset {
            Some(preset) if given == TrainConfig::preset(preset)? => preset_text(preset)?.into(),
            _ => given.to_toml()?,
        };
        print!("{text}");
        return Ok(());
    }
    if RunFolder::config_of::<TrainConfig>(&out)?.is_none() {
        // What a run leaves that was killed before it wrote its settings.
        check_unused(&out, &[".lock", "checkpoints", "examples"])?;
    }
    let stop = StopFlag::on_ctrl_c()?;
    let mut progress = Progress::new();
    let outcome = run(&given, &out, arguments.resume, &stop, &mut progress)?;
    let out = out.display();
    if outcome.training.end == End::Stopped {
        eprintln!(
            "clipseg: stopped after step {} and saved; go on by `clipseg train --resume --out {out}`",
            outcome.training.losses().len()
        );
        return Err(Failure::Stopped);
    }
    if let Some(table) = outcome.table {
        println!("{table}");
    }
    println!("report: {out}/report.md, model: {out}/model");
    Ok(())
}

/// The settings of a file or preset, or of the run that goes on, with what the command line changes.
fn given(arguments: &Arguments, out: &Path) -> Result<TrainConfig, Box<dyn Error>> {
    let mut config = match (&arguments.config, &arguments.preset) {
        (Some(path), _) => TrainConfig::from_file(path)?,
        (None, Some(preset)) => TrainConfig::preset(preset)?,
        (None, None) if arguments.resume => RunFolder::config_of(out)?.unwrap_or_default(),
        (None, None) => TrainConfig::default(),
    };
    if let Some(folder) = &arguments.data {
        config.data.folder = Some(folder.clone());
    }
    if let Some(checkpoint) = &arguments.clip {
        config.clip.checkpoint = Some(checkpoint.clone());
    }
    if let Some(loss) = &arguments.loss {
        config.loss = loss.clone();
    }
    if let Some(device) = &arguments.device {
        config.device.clone_from(device);
    }
    if let Some(steps) = arguments.steps {
        (config.schedule.steps, config.schedule.epochs) = (Some(steps), None);
    }
    if let Some(epochs) = arguments.epochs {
        (config.schedule.steps, config.schedule.epochs) = (None, Some(epochs));
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
    if let Some(kind) = &arguments.decoder {
        config = config.with_overrides(&[format!("decoder.kind={kind}")])?;
    }
    Ok(config.with_overrides(&arguments.fields)?)
}
