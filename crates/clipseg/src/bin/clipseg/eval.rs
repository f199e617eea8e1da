//! `clipseg eval`: predictions or a model and a data set in, PhraseCut's figures out.

use crate::Failure;
use crate::eval_model::{ModelArguments, ModelFigures, bar};
use crate::output::Output;
use clipseg::data::{PhraseCut, Split, UnseenPairs};
use clipseg::metrics::{
    Bootstrap, CommonTasks, Comparison, Interval, PhraseCutEvaluator, PictureFigure, Share, Subset,
    SubsetScores,
};
use clipseg::train::{PredictionFolder, WordRanks, evaluate_phrasecut};
use serde_json::{Value, json};
use std::error::Error;
use std::path::{Path, PathBuf};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Folder in the layout of VGPhraseCut_v0.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// train, val, test or miniv.
    #[arg(long, value_name = "NAME", value_parser = split)]
    split: Split,
    /// Folder of predictions: for each phrase a PNG, named by its task id, of the picture's size, inside
    /// where it is not black.
    #[arg(long, value_name = "DIR", required_unless_present = "model")]
    predictions: Option<PathBuf>,
    #[command(flatten)]
    model: ModelArguments,
    /// Predictions of another run, to test whether the difference could be chance.
    #[arg(long, value_name = "DIR")]
    against: Option<PathBuf>,
    /// Write a row for each phrase.
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// Write all figures.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    #[command(flatten)]
    output: Output,
    /// Decides which pictures are drawn for the intervals.
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

pub(crate) fn split(name: &str) -> Result<Split, String> {
    Split::ALL
        .into_iter()
        .find(|split| split.name() == name)
        .ok_or_else(|| format!("expected one of {}", Split::ALL.map(Split::name).join(", ")))
}

const FIGURES: [(&str, PictureFigure); 3] = [
    ("mean_iou", PictureFigure::MeanIou),
    ("cumulative_iou", PictureFigure::CumulativeIou),
    ("precision_at_0.5", PictureFigure::PrecisionAt(0.5)),
];

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let output = arguments.output;
    let files: Vec<&PathBuf> = arguments.csv.iter().chain(&arguments.json).collect();
    if output.overwrite && files.is_empty() && arguments.model.save_masks.is_none() {
        return Err("--overwrite has no effect: no --csv, --json or --save-masks is given".into());
    }
    for file in files {
        output.check(file)?;
    }
    let data = PhraseCut::open(&arguments.data)?;
    let ranks = WordRanks::open(&arguments.data)?;
    if ranks.is_none() {
        let folder = arguments.data.display();
        eprintln!("clipseg: {folder} has no name_att_rel_count.json: no subsets by frequency");
    }
    let score = |folder: &Path| score(&data, arguments.split, ranks.as_ref(), folder);
    let (evaluator, figures) = match &arguments.predictions {
        Some(folder) => (score(folder)?, None),
        None => {
            let (evaluator, figures) =
                arguments
                    .model
                    .score(&data, arguments.split, ranks.as_ref(), output)?;
            (evaluator, Some(figures))
        }
    };
    let unseen = unseen(&data, arguments.split, &evaluator)?;
    let bootstrap = Bootstrap {
        seed: arguments.seed,
        ..Bootstrap::default()
    };
    let intervals = intervals(&bootstrap, &evaluator)?;
    let comparisons = match &arguments.against {
        None => Vec::new(),
        Some(folder) => compare(&bootstrap, &score(folder)?, &evaluator)?,
    };
    let subsets: Vec<SubsetScores> = evaluator
        .all_scores()
        .into_iter()
        .filter(|scores| scores.count + scores.missing > 0)
        .collect();

    if let Some(path) = &arguments.csv {
        let rows = csv_rows(&data, arguments.split, &evaluator)?;
        output.write(path, &rows)?;
    }
    if let Some(path) = &arguments.json {
        let report = json!({
            "split": arguments.split.name(),
            "predictions": arguments.predictions,
            "model": figures.as_ref().map(ModelFigures::to_json),
            "unseen_pairs": unseen.as_ref().map(|apart| object(apart.iter().map(|(name, scores)| {
                (*name, json!(scores))
            }))),
            "against": arguments.against,
            "subsets": subsets,
            "intervals": object(intervals.iter().map(|(name, interval)| (*name, json!(interval)))),
            "differences": object(comparisons.iter().map(|(name, both)| (*name, json!(both)))),
        });
        output.write(path, format!("{report:#}\n").as_bytes())?;
    }
    println!("{}", table(&subsets));
    for (name, scores) in unseen.iter().flatten() {
        println!(
            "phrases of {name} pairs of attribute and name: {}, mean IoU {:.4}, cum IoU {:.4}",
            scores.count, scores.mean_iou, scores.cumulative_iou
        );
    }
    for line in figures.iter().flat_map(ModelFigures::lines) {
        println!("{line}");
    }
    for line in summary(&evaluator, &intervals, &comparisons) {
        println!("{line}");
    }
    Ok(())
}

fn score(
    data: &PhraseCut,
    split: Split,
    ranks: Option<&WordRanks>,
    folder: &Path,
) -> Result<PhraseCutEvaluator, Box<dyn Error>> {
    let predictions = PredictionFolder::open(folder)?;
    let tasks = data.phrases(split).iter();
    let unknown = predictions.unknown(tasks.map(|phrase| phrase.task_id.as_str()));
    if let Some(first) = unknown.first() {
        let (folder, count) = (folder.display(), unknown.len());
        eprintln!(
            "clipseg: {folder}: {count} files are of no phrase of {split}, such as {first}.png"
        );
    }
    let bar = bar(data.phrases(split).len(), "scoring");
    let evaluator = evaluate_phrasecut(data, split, ranks, |task| {
        let mask = predictions.load(task);
        bar.inc(1);
        mask
    });
    bar.finish_and_clear();
    let evaluator = evaluator?;
    if evaluator.scores(Subset::All).count == 0 {
        let folder = folder.display();
        return Err(
            format!("{folder} holds no prediction for {split}, expected <task_id>.png").into(),
        );
    }
    Ok(evaluator)
}

/// The scores of seen and of unseen phrases, where the data set marks pairs as unseen.
fn unseen(
    data: &PhraseCut,
    split: Split,
    evaluator: &PhraseCutEvaluator,
) -> Result<Option<Named<SubsetScores>>, Box<dyn Error>> {
    let Some(pairs) = UnseenPairs::open(data.root())? else {
        return Ok(None);
    };
    let scores = [("seen", false), ("unseen", true)].map(|(name, wanted)| {
        let both = data.phrases(split).iter().zip(evaluator.tasks());
        let kept = both.filter(|(phrase, _)| pairs.is_unseen(&phrase.phrase_structure) == wanted);
        let evaluator: PhraseCutEvaluator = kept.map(|(_, task)| task.clone()).collect();
        (name, evaluator.scores(Subset::All))
    });
    Ok(Some(scores.into()))
}

type Named<T> = Vec<(&'static str, T)>;

fn intervals(
    bootstrap: &Bootstrap,
    evaluator: &PhraseCutEvaluator,
) -> Result<Named<Interval>, Box<dyn Error>> {
    let mut intervals = Vec::new();
    for (name, figure) in FIGURES {
        let pictures: Vec<Share> = evaluator
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
        return Err("the two runs have no phrase in common that both have predictions for".into());
    }
    let left_out = common.only_first + common.only_second;
    if left_out > 0 {
        eprintln!(
            "clipseg: {left_out} phrases are left out of the comparison: {} have a prediction in \
             --against only, {} have none there",
            common.only_first, common.only_second
        );
    }
    let mut comparisons = Vec::new();
    for (name, figure) in FIGURES {
        let [a, b] = [&common.first, &common.second].map(|run| run.by_picture(Subset::All, figure));
        comparisons.push((name, bootstrap.compare(&a, &b)?));
    }
    Ok(comparisons)
}

fn object(pairs: impl Iterator<Item = (&'static str, Value)>) -> Value {
    let pairs = pairs.map(|(name, value)| (name.to_owned(), value));
    Value::Object(pairs.collect())
}

/// A line for each subset, with four digits as in the official evaluator.
fn table(subsets: &[SubsetScores]) -> String {
    let mut lines = vec![
        "subset       phrases  missing  mean IoU  cum IoU   Pr@.5   Pr@.6   Pr@.7   Pr@.8   Pr@.9"
            .to_owned(),
    ];
    for scores in subsets {
        let SubsetScores { subset, .. } = scores;
        let precision = scores.precision_at.map(|share| format!("  {share:.4}"));
        lines.push(format!(
            "{subset:<12} {:>7}  {:>7}    {:.4}   {:.4}{}",
            scores.count,
            scores.missing,
            scores.mean_iou,
            scores.cumulative_iou,
            precision.concat()
        ));
    }
    lines.join("\n")
}

fn summary(
    evaluator: &PhraseCutEvaluator,
    intervals: &[(&'static str, Interval)],
    comparisons: &[(&'static str, Comparison)],
) -> Vec<String> {
    let all = evaluator.scores(Subset::All);
    let mut lines = Vec::new();
    if all.missing > 0 {
        lines.push(format!(
            "{} phrases have no prediction; with 0 for them the mean IoU is {:.4}",
            all.missing, all.mean_iou_of_all
        ));
    }
    let words = |name: &str| match name {
        "mean_iou" => "mean IoU",
        "cumulative_iou" => "cum IoU",
        _ => "Pr@.5",
    };
    for (name, interval) in intervals {
        lines.push(format!(
            "{:<8} {:.4}, {:.0} % interval over pictures {:.4} to {:.4}",
            words(name),
            interval.estimate,
            100.0 * interval.level,
            interval.low,
            interval.high
        ));
    }
    for (name, comparison) in comparisons {
        let difference = comparison.difference;
        lines.push(format!(
            "{:<8} {:+.4} against the other run, {:.0} % interval {:+.4} to {:+.4}, p = {:.4}",
            words(name),
            difference.estimate,
            100.0 * difference.level,
            difference.low,
            difference.high,
            comparison.p_value
        ));
    }
    lines
}

/// A row for each phrase, in the order of the file.
fn csv_rows(
    data: &PhraseCut,
    split: Split,
    evaluator: &PhraseCutEvaluator,
) -> Result<Vec<u8>, Box<dyn Error>> {
    let mut rows = csv::Writer::from_writer(Vec::new());
    rows.write_record([
        "task_id",
        "image_id",
        "phrase",
        "predicted",
        "intersection",
        "union",
        "iou",
        "subsets",
    ])?;
    for (phrase, score) in data.phrases(split).iter().zip(evaluator.tasks()) {
        let subsets: Vec<&str> = score.subsets.iter().map(|subset| subset.name()).collect();
        rows.write_record([
            phrase.task_id.as_str(),
            &phrase.image_id.to_string(),
            &phrase.phrase,
            &score.predicted.to_string(),
            &score.intersection.to_string(),
            &score.union.to_string(),
            &score.iou().to_string(),
            &subsets.join(" "),
        ])?;
    }
    Ok(rows.into_inner()?)
}
