//! `clipseg train`: a configuration in, a run folder out.

use crate::Failure;
use crate::output::{print_line, tell};
use clipseg::metrics::Loss;
use clipseg::train::{
    DecoderChoice, End, Progress, RunFolder, Start, StopFlag, TrainConfig, preset_text, run,
};
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
    /// The decoder: transformer, conv or deconv. Another one than that of the file or preset begins with
    /// its own defaults.
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
    #[arg(long, value_parser = clap::value_parser!(u64).range(..=i64::MAX as u64))]
    seed: Option<u64>,
    /// Any other field, such as `optimizer.weight_decay=0`; may be given several times, each field once.
    #[arg(long = "set", value_name = "FIELD=VALUE")]
    fields: Vec<String>,
    /// Folder of the run; made if there is none. Other files in it stay as they are. Default:
    /// runs/train, or the next one without a run.
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
    if arguments.print_config && arguments.out.is_some() && !arguments.resume {
        return Err("--out has no effect with --print-config, unless --resume takes the settings of its run".into());
    }
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
        print_line(text.trim_end_matches('\n'))?;
        return Ok(());
    }
    let stop = StopFlag::on_ctrl_c()?;
    let mut progress = Progress::new();
    let device = clipseg::device(&given.device)?;
    let start = if arguments.resume {
        Start::Resume
    } else {
        Start::New
    };
    let outcome = run(&given, &device, &out, start, &stop, &mut progress)?;
    let out = out.display();
    if outcome.training.end == End::Stopped {
        tell(format_args!(
            "stopped after step {} and saved; go on by `clipseg train --resume --out {out}`",
            outcome.training.losses().len()
        ));
        return Err(Failure::Stopped);
    }
    if let Some(table) = outcome.table {
        print_line(&table.to_string())?;
    }
    print_line(&format!("report: {out}/report.md, model: {out}/model"))?;
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
    let former = config.decoder.clone();
    config = config.with_overrides(&changes(arguments)?)?;
    let same = std::mem::discriminant(&former) == std::mem::discriminant(&config.decoder);
    if !same && former != DecoderChoice::default() {
        tell(format_args!(
            "the decoder is another one than that of the settings, whose fields of `decoder` \
             are not used"
        ));
    }
    Ok(config)
}

/// The fields that the command line changes, each as `field=value` with a value in TOML.
fn changes(arguments: &Arguments) -> Result<Vec<String>, Box<dyn Error>> {
    // A text in JSON is one in TOML.
    let text = |text: &str| serde_json::Value::from(text).to_string();
    let mut changes = Vec::new();
    let mut change = |field: &str, value: Option<String>| {
        changes.extend(value.map(|value| format!("{field}={value}")));
    };
    let folder = match &arguments.data {
        Some(folder) => Some(folder.to_str().ok_or_else(|| {
            let folder = folder.display();
            format!("--data {folder}: settings are written as TOML, which holds Unicode only")
        })?),
        None => None,
    };
    change("data.folder", folder.map(text));
    change("clip.checkpoint", arguments.clip.as_deref().map(text));
    change("decoder.kind", arguments.decoder.as_deref().map(text));
    let loss = arguments.loss.as_ref().map(Loss::to_string);
    change("loss", loss.as_deref().map(text));
    change("device", arguments.device.as_deref().map(text));
    let number = |number: &usize| number.to_string();
    change("schedule.steps", arguments.steps.as_ref().map(number));
    change("schedule.epochs", arguments.epochs.as_ref().map(number));
    change("schedule.batch_size", arguments.batch.as_ref().map(number));
    // TOML writes `nan` where Rust writes `NaN`.
    let rate = arguments
        .learning_rate
        .map(|rate| format!("{rate:?}").to_lowercase());
    change("schedule.learning_rate", rate);
    change("seed", arguments.seed.map(|seed| seed.to_string()));
    changes.extend(arguments.fields.iter().cloned());
    Ok(changes)
}
