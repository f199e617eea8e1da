//! `clipseg pretrain`: trains a CLIP on captions and writes a run folder.

use crate::Failure;
use crate::output::{print_line, tell};
use clipseg::arguments::PretrainArguments;
use clipseg::train::{End, PretrainConfig, Progress, RunFolder, Settings, StopFlag, pretrain};
use std::error::Error;
use std::path::{Path, PathBuf};

pub(crate) const EXAMPLE: &str = "\
Example:
  clipseg pretrain --data photos --minutes 60 --out runs/clip
  clipseg pretrain --set data.regions=5 --set data.crops=0 --out runs/with-regions
  clipseg train --clip runs/clip/model --out runs/on-clip";

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Configuration file in TOML. Fields that it leaves out have their defaults.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    training: PretrainArguments,
    /// Print the configuration and exit.
    #[arg(long)]
    print_config: bool,
}

pub(crate) fn run_pretraining(arguments: &Arguments) -> Result<(), Failure> {
    let flags = &arguments.training.run;
    if arguments.print_config && flags.out.is_some() && !flags.resume {
        return Err(
            "--out has no effect with --print-config, unless --resume reads that run's configuration"
                .into(),
        );
    }
    let out = flags.folder("runs/pretrain");
    let config = configuration(arguments, &out)?;
    if arguments.print_config {
        print_line(config.to_toml()?.trim_end_matches('\n'))?;
        return Ok(());
    }
    let stop = StopFlag::on_ctrl_c()?;
    let mut progress = Progress::of("captions");
    let device = clipseg::device(&config.device)?;
    let outcome = pretrain(&config, &device, &out, flags.start(), &stop, &mut progress)?;
    let out = out.display();
    if outcome.end == End::Stopped {
        tell(format_args!(
            "stopped and saved after step {}; continue with `clipseg pretrain --resume --out {out}`",
            outcome.losses().len()
        ));
        return Err(Failure::Stopped);
    }
    if let Some(scores) = outcome.scores() {
        print_line(&scores.to_string())?;
    }
    print_line(&format!("report: {out}/report.md, model: {out}/model"))?;
    print_line(&format!(
        "train a decoder on it: clipseg train --clip {out}/model"
    ))?;
    Ok(())
}

/// The configuration of the file, or of the run to resume, with the flags applied.
fn configuration(arguments: &Arguments, out: &Path) -> Result<PretrainConfig, Box<dyn Error>> {
    let base = match &arguments.config {
        Some(path) => PretrainConfig::from_file(path)?,
        None if arguments.training.run.resume => RunFolder::config_of(out)?.unwrap_or_default(),
        None => PretrainConfig::default(),
    };
    Ok(arguments.training.apply(base)?)
}
