//! `clipseg compare`: trains and compares many decoders and losses, and draws a report.

use crate::Failure;
use crate::output::{print_line, tell};
use clipseg::arguments::StudyArguments;
use clipseg::train::{
    End, Progress, RunFolder, STUDY_PRESETS, Settings, StopFlag, StudyConfig, run_study,
    write_study_report,
};
use std::error::Error;
use std::path::{Path, PathBuf};

pub(crate) const EXAMPLE: &str = "\
Example:
  clipseg compare --quick --out runs/study
  clipseg compare --resume --out runs/study
  clipseg compare --report --out runs/study
  clipseg compare --grid grid.toml --data VGPhraseCut_v0 --clip openai/clip-vit-base-patch16 --device cuda";

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Configuration of the study in TOML: decoders, losses, seeds, alterations and what the runs share. Default: the
    /// preset full, which takes hours.
    #[arg(long, value_name = "FILE", conflicts_with = "quick")]
    grid: Option<PathBuf>,
    /// A small study, which takes minutes.
    #[arg(long)]
    quick: bool,
    /// Draw the report of the study in --out again from its result files, without training.
    #[arg(
        long,
        requires = "out",
        conflicts_with_all = [
            "grid", "quick", "print_config", "data", "clip", "device", "steps", "batch", "fields", "resume", "jobs",
        ]
    )]
    report: bool,
    #[command(flatten)]
    study: StudyArguments,
    /// Print the configuration and exit. A preset without changes is printed with its comments.
    #[arg(long)]
    print_config: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let flags = &arguments.study;
    let out = flags.folder("runs/compare");
    if arguments.report {
        return report(&out);
    }
    if arguments.print_config && flags.out.is_some() && !flags.resume {
        return Err(
            "--out has no effect with --print-config, unless --resume reads that study's configuration"
                .into(),
        );
    }
    if arguments.print_config && flags.jobs.is_some() {
        return Err("--jobs has no effect with --print-config".into());
    }
    let study = configuration(arguments, &out)?;
    if arguments.print_config {
        let text = match preset_of(&study) {
            Some(text) => text.to_owned(),
            None => study.to_toml()?,
        };
        print_line(text.trim_end_matches('\n'))?;
        return Ok(());
    }
    let stop = StopFlag::on_ctrl_c()?;
    let mut progress = Progress::new();
    let device = clipseg::device(&study.device)?;
    let jobs = flags.jobs.unwrap_or(1);
    let outcome = run_study(
        &study,
        &device,
        &out,
        flags.start(),
        jobs,
        &stop,
        &mut progress,
    )?;
    if outcome.end == End::Stopped {
        tell(format_args!(
            "stopped after {} finished runs; continue with `clipseg compare --resume --out {}`",
            outcome.results.len(),
            out.display()
        ));
        return Err(Failure::Stopped);
    }
    report(&out)
}

fn report(out: &Path) -> Result<(), Failure> {
    let report = write_study_report(out)?;
    print_line(&format!("report: {}", report.display()))?;
    Ok(())
}

/// The configuration of the file or preset, or of the study to resume, with the flags applied.
fn configuration(arguments: &Arguments, out: &Path) -> Result<StudyConfig, Box<dyn Error>> {
    let stored = if arguments.study.resume {
        RunFolder::config_of(out)?
    } else {
        None
    };
    let base = match (&arguments.grid, stored) {
        (Some(path), _) => StudyConfig::from_file(path)?,
        (None, _) if arguments.quick => StudyConfig::preset("quick")?,
        (None, Some(stored)) => stored,
        (None, None) => StudyConfig::preset("full")?,
    };
    Ok(arguments.study.apply(base)?)
}

/// The commented text of a preset, if this is one.
fn preset_of(study: &StudyConfig) -> Option<&'static str> {
    let is_same = |name: &str| StudyConfig::preset(name).is_ok_and(|preset| preset == *study);
    let found = STUDY_PRESETS.iter().find(|(name, _)| is_same(name));
    found.map(|(_, text)| *text)
}
