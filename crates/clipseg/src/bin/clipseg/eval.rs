//! `clipseg eval`: scores predictions or a model on a data set.

mod clipseg_protocol;
mod model;
mod report;
mod split;

use crate::Failure;
use crate::output::{Output, place, print_line, tell};
use crate::progress::progress_bar;
use clipseg::data::{PhraseCut, Split, UnseenPairs};
use clipseg::metrics::{
    Bootstrap, CommonTasks, Comparison, Interval, PhraseCutEvaluator, PictureMetric, Ratio, Subset,
    SubsetScores,
};
use clipseg::train::{PhraseCutEvaluation, PredictionFolder, WordRanks, evaluate_phrasecut};
use model::{ChosenThreshold, ModelArguments};
use report::{Figures, Named, csv_rows, json_report, summary, table};
use split::{open, records};
use std::error::Error;
use std::path::{Path, PathBuf};

pub(crate) const EXAMPLE: &str = "\
Example:
  clipseg eval --data VGPhraseCut_v0 --split test --model runs/paper/model --save-masks masks
  clipseg eval --data VGPhraseCut_v0 --split test --predictions masks --csv rows.csv";

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Data set in the layout of VGPhraseCut_v0.
    #[arg(long, value_name = "DIR")]
    pub(crate) data: PathBuf,
    /// Split: train, val, test, miniv, or `val_miniv` for val and miniv together.
    #[arg(long, value_name = "NAME")]
    pub(crate) split: Split,
    /// Evaluation protocol. phrasecut: PhraseCut's official evaluator, at the pictures' own sizes.
    /// clipseg: the CLIPSeg paper's, at the model's input size and 49 thresholds.
    #[arg(long, value_name = "NAME", default_value = "phrasecut")]
    protocol: Protocol,
    /// Folder of predictions: `<task_id>.png` for each phrase, of the picture's size, black outside the
    /// mask.
    #[arg(long, value_name = "DIR", required_unless_present = "model")]
    predictions: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) model: ModelArguments,
    /// Predictions of another run to compare with: differences, confidence intervals and p-values.
    #[arg(long, value_name = "DIR")]
    against: Option<PathBuf>,
    /// Write a CSV file with one row for each phrase.
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// Write all figures as JSON.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) output: Output,
    /// Random seed of the bootstrap. Default: 0.
    #[arg(long)]
    seed: Option<u64>,
}

/// The rules by which predictions are compared with the ground truth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Protocol {
    #[value(name = "phrasecut")]
    PhraseCut,
    #[value(name = "clipseg")]
    ClipSeg,
}

const FIGURES: [(&str, PictureMetric); 3] = [
    ("mean_iou", PictureMetric::MeanIou),
    ("cumulative_iou", PictureMetric::CumulativeIou),
    ("precision_at_0.5", PictureMetric::PrecisionAt(0.5)),
];

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    check(arguments)?;
    let data = open(&arguments.data, arguments.split)?;
    match arguments.protocol {
        Protocol::PhraseCut => run_phrasecut(arguments, &data),
        Protocol::ClipSeg => clipseg_protocol::run(
            &data,
            arguments.split,
            &arguments.model,
            arguments.json.as_deref(),
            arguments.output,
        ),
    }
}

/// Refuses flags without effect and files that must not be replaced, before anything is read.
fn check(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let Arguments {
        model,
        output,
        csv,
        json,
        ..
    } = arguments;
    model.check()?;
    let by_clipseg = arguments.protocol == Protocol::ClipSeg;
    let sweeps = "scores at 49 thresholds";
    for (given, flag, why) in [
        (
            arguments.predictions.is_some(),
            "--predictions",
            "needs the probabilities of a --model",
        ),
        (
            arguments.against.is_some(),
            "--against",
            "does not compare runs",
        ),
        (csv.is_some(), "--csv", sweeps),
        (arguments.seed.is_some(), "--seed", "uses no random numbers"),
        (model.threshold.is_some(), "--threshold", sweeps),
        (model.choose_on.is_some(), "--choose-on", sweeps),
        (model.save_masks.is_some(), "--save-masks", sweeps),
    ] {
        if by_clipseg && given {
            return Err(format!("{flag} has no effect: --protocol clipseg {why}").into());
        }
    }
    if let (true, Some(flag)) = (by_clipseg, model.look.given()) {
        let message = format!(
            "{flag} is not possible: --protocol clipseg scores a decoder at the model's input size"
        );
        return Err(message.into());
    }
    if model.threshold.is_some() && model.choose_on.is_some() {
        return Err("--choose-on has no effect with --threshold".into());
    }
    let files: Vec<&PathBuf> = csv.iter().chain(json).collect();
    if output.overwrite && files.is_empty() && model.save_masks.is_none() {
        return Err("--overwrite has no effect without --csv, --json or --save-masks".into());
    }
    for file in files {
        output.check_with_folder(file)?;
    }
    let places = [csv, json].map(|file| file.as_deref().and_then(place));
    if places[0].is_some() && places[0] == places[1] {
        return Err("--csv and --json name the same file".into());
    }
    Ok(())
}

fn run_phrasecut(arguments: &Arguments, data: &PhraseCut) -> Result<(), Failure> {
    let split = arguments.split;
    let ranks = WordRanks::open(&arguments.data)?;
    if ranks.is_none() {
        let folder = arguments.data.display();
        tell(format_args!(
            "{folder} has no name_att_rel_count.json, so subsets by word frequency are left out"
        ));
    }
    let score = |folder: &Path| score(data, split, ranks.as_ref(), folder);
    let (evaluation, threshold): (PhraseCutEvaluation, Option<ChosenThreshold>) =
        match &arguments.predictions {
            Some(folder) => (score(folder)?, None),
            None => {
                let model = &arguments.model;
                let (evaluation, threshold) =
                    model.score(data, split, ranks.as_ref(), arguments.output)?;
                (evaluation, Some(threshold))
            }
        };
    let PhraseCutEvaluation {
        evaluator,
        exceptions,
        ..
    } = &evaluation;
    for exception in exceptions {
        tell(format_args!("{split}: {exception}"));
    }
    if evaluator.scores(Subset::All).count == 0 {
        return Err(format!("no phrase of {split} has a prediction").into());
    }
    let bootstrap = Bootstrap {
        seed: arguments.seed.unwrap_or(0),
        ..Bootstrap::default()
    };
    let comparisons = match &arguments.against {
        None => Vec::new(),
        Some(folder) => {
            let other = score(folder)?;
            for exception in &other.exceptions {
                if !exceptions.contains(exception) {
                    tell(format_args!("{}: {exception}", folder.display()));
                }
            }
            compare(&bootstrap, &other.evaluator, evaluator)?
        }
    };
    let subsets = evaluator.all_scores().into_iter();
    let figures = Figures {
        subsets: subsets
            .filter(|scores| scores.count + scores.missing > 0)
            .collect(),
        unseen: unseen(data, split, evaluator)?,
        intervals: intervals(&bootstrap, evaluator)?,
        comparisons,
        threshold,
        exceptions: exceptions.clone(),
    };

    if let Some(path) = &arguments.csv {
        arguments
            .output
            .write(path, &csv_rows(data, split, evaluator)?)?;
    }
    if let Some(path) = &arguments.json {
        let sources = [&arguments.predictions, &arguments.against];
        let sources = sources.map(|folder| folder.as_deref());
        let mut report = json_report(split, sources, arguments.model.model.as_deref(), &figures);
        if arguments.model.look.given().is_some() {
            report["look"] = arguments.model.look.json();
        }
        arguments
            .output
            .write(path, format!("{report:#}\n").as_bytes())?;
    }
    print_line(&table(&figures.subsets))?;
    for line in summary(&figures) {
        print_line(&line)?;
    }
    Ok(())
}

fn score(
    data: &PhraseCut,
    split: Split,
    ranks: Option<&WordRanks>,
    folder: &Path,
) -> Result<PhraseCutEvaluation, Box<dyn Error>> {
    let predictions = PredictionFolder::open(folder)?;
    let task_ids = records(data, split).map(|(phrase, _)| phrase.task_id.as_str());
    let unknown = predictions.unknown(task_ids);
    let shown = folder.display();
    let others = predictions.ignored();
    if let Some(first) = others.first() {
        let (count, first) = (others.len(), first.display());
        tell(format_args!(
            "{shown}: ignored {count} entries that are not named <task_id>.png, such as {first}"
        ));
    }
    if unknown.len() == predictions.len() {
        return Err(
            format!("{shown} contains no prediction for {split}, expected <task_id>.png").into(),
        );
    }
    if let Some(first) = unknown.first() {
        let count = unknown.len();
        tell(format_args!(
            "{shown}: ignored {count} files whose task id is not in {split}, such as {first}.png"
        ));
    }
    let bar = progress_bar(records(data, split).count(), "phrases").with_message("scoring");
    let evaluation = evaluate_phrasecut(data, split, ranks, |task| {
        let mask = predictions.load(task, data);
        bar.inc(1);
        mask
    });
    bar.finish_and_clear();
    let shaded = predictions.shaded();
    if shaded > 0 {
        tell(format_args!(
            "{shown}: {shaded} predictions have more than two grey levels; every level but black counts \
             as mask, as in the official evaluator"
        ));
    }
    Ok(evaluation?)
}

/// Scores of seen and of unseen phrases, if the data set lists unseen pairs.
fn unseen(
    data: &PhraseCut,
    split: Split,
    evaluator: &PhraseCutEvaluator,
) -> Result<Option<Named<SubsetScores>>, Box<dyn Error>> {
    let Some(pairs) = UnseenPairs::open(data.root())? else {
        return Ok(None);
    };
    let scores = [("seen", false), ("unseen", true)].map(|(name, wanted)| {
        let both = records(data, split).zip(evaluator.tasks());
        let kept =
            both.filter(|((phrase, _), _)| pairs.is_unseen(&phrase.phrase_structure) == wanted);
        let evaluator: PhraseCutEvaluator = kept.map(|(_, task)| task.clone()).collect();
        (name, evaluator.scores(Subset::All))
    });
    Ok(Some(scores.into()))
}

fn intervals(
    bootstrap: &Bootstrap,
    evaluator: &PhraseCutEvaluator,
) -> Result<Named<Interval>, Box<dyn Error>> {
    let mut intervals = Vec::new();
    for (name, figure) in FIGURES {
        let pictures: Vec<Ratio> = evaluator
            .by_picture(Subset::All, figure)
            .into_values()
            .collect();
        intervals.push((name, bootstrap.interval(&pictures)?));
    }
    Ok(intervals)
}

/// Compares two runs on the phrases for which both have predictions.
fn compare(
    bootstrap: &Bootstrap,
    first: &PhraseCutEvaluator,
    second: &PhraseCutEvaluator,
) -> Result<Named<Comparison>, Box<dyn Error>> {
    let common = CommonTasks::new(first, second)?;
    if common.first.tasks().is_empty() {
        return Err("there is no phrase for which both runs have a prediction".into());
    }
    let left_out = common.only_first + common.only_second;
    if left_out > 0 {
        tell(format_args!(
            "{left_out} phrases are left out of the comparison: {} have a prediction in \
             --against only, {} have none there",
            common.only_first, common.only_second
        ));
    }
    let mut comparisons = Vec::new();
    for (name, figure) in FIGURES {
        let [a, b] = [&common.first, &common.second].map(|run| run.by_picture(Subset::All, figure));
        comparisons.push((name, bootstrap.compare(&a, &b)?));
    }
    Ok(comparisons)
}
