//! `clipseg train`: trains a decoder on a CLIP, which is frozen or fine-tuned, and writes a run folder.

use crate::Failure;
use crate::output::{print_line, tell};
use clipseg::arguments::TrainArguments;
use clipseg::train::{
    DecoderChoice, End, Progress, RunFolder, StopFlag, TrainConfig, preset_text, run,
};
use std::error::Error;
use std::path::{Path, PathBuf};

pub(crate) const EXAMPLE: &str = "\
Example:
  clipseg train --preset paper --data VGPhraseCut_v0 --clip openai/clip-vit-base-patch16 \\
      --device cuda --out runs/paper
  clipseg train --resume --out runs/paper
  clipseg train --preset quick --unfreeze vision-last-1 --out runs/fine-tuned";

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Configuration file in TOML. Fields that it leaves out have their defaults.
    #[arg(long, value_name = "FILE", conflicts_with = "preset")]
    config: Option<PathBuf>,
    /// Preset configuration: paper, student or quick.
    #[arg(long, value_name = "NAME")]
    preset: Option<String>,
    #[command(flatten)]
    training: TrainArguments,
    /// Print the configuration and exit. A preset without changes is printed with its comments.
    #[arg(long)]
    print_config: bool,
}

pub(crate) fn run_training(arguments: &Arguments) -> Result<(), Failure> {
    let flags = &arguments.training.run;
    if arguments.print_config && flags.out.is_some() && !flags.resume {
        return Err(
            "--out has no effect with --print-config, unless --resume reads that run's configuration"
                .into(),
        );
    }
    let out = flags.folder("runs/train");
    let config = configuration(arguments, &out)?;
    if arguments.print_config {
        let text = match &arguments.preset {
            Some(preset) if config == TrainConfig::preset(preset)? => preset_text(preset)?.into(),
            _ => config.to_toml()?,
        };
        print_line(text.trim_end_matches('\n'))?;
        return Ok(());
    }
    let stop = StopFlag::on_ctrl_c()?;
    let mut progress = Progress::new();
    let device = clipseg::device(&config.device)?;
    let outcome = run(&config, &device, &out, flags.start(), &stop, &mut progress)?;
    let out = out.display();
    if outcome.training.end == End::Stopped {
        tell(format_args!(
            "stopped and saved after step {}; continue with `clipseg train --resume --out {out}`",
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

/// The configuration of the file or preset, or of the run to resume, with the flags applied.
fn configuration(arguments: &Arguments, out: &Path) -> Result<TrainConfig, Box<dyn Error>> {
    let base = match (&arguments.config, &arguments.preset) {
        (Some(path), _) => TrainConfig::from_file(path)?,
        (None, Some(preset)) => TrainConfig::preset(preset)?,
        (None, None) if arguments.training.run.resume => {
            RunFolder::config_of(out)?.unwrap_or_default()
        }
        (None, None) => TrainConfig::default(),
    };
    let config = arguments.training.apply(base.clone())?;
    let kind = std::mem::discriminant::<DecoderChoice>;
    if kind(&base.decoder) != kind(&config.decoder) && base.decoder != DecoderChoice::default() {
        tell(
            "--decoder differs from the configured kind, so the configured fields of `decoder` are \
             not used",
        );
    }
    Ok(config)
}
