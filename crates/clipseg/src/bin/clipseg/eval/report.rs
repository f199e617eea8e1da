//! The PhraseCut figures of `clipseg eval` as a table, as JSON and as CSV rows.

use super::model::ChosenThreshold;
use super::split::records;
use clipseg::data::{PhraseCut, ProblemKind, Split};
use clipseg::metrics::{Comparison, Interval, PhraseCutEvaluator, Subset, SubsetScores};
use clipseg::train::Exception;
use serde_json::{Value, json};
use std::error::Error;
use std::path::Path;

/// Values by name, in the order in which they are printed.
pub(crate) type Named<T> = Vec<(&'static str, T)>;

/// All figures of a run.
pub(crate) struct Figures {
    pub(crate) subsets: Vec<SubsetScores>,
    pub(crate) unseen: Option<Named<SubsetScores>>,
    pub(crate) intervals: Named<Interval>,
    pub(crate) comparisons: Named<Comparison>,
    pub(crate) threshold: Option<ChosenThreshold>,
    pub(crate) exceptions: Vec<Exception>,
}

/// The JSON report. `sources` are the folders of the predictions and of the predictions compared with.
pub(crate) fn json_report(
    split: Split,
    sources: [Option<&Path>; 2],
    model: Option<&str>,
    figures: &Figures,
) -> Value {
    // File names need not be UTF-8.
    let [predictions, against] =
        sources.map(|folder| folder.map(|folder| folder.display().to_string()));
    let threshold = figures.threshold.as_ref();
    json!({
        "protocol": "phrasecut",
        "split": split.name(),
        "predictions": predictions,
        "model": model,
        "threshold": threshold.map(|chosen| chosen.threshold),
        "threshold_chosen_on": threshold.and_then(|chosen| chosen.on).map(Split::name),
        "exceptions": figures.exceptions,
        "unseen_pairs": figures.unseen.as_ref().map(|apart| {
            object(apart.iter().map(|(name, scores)| (*name, json!(scores))))
        }),
        "against": against,
        "subsets": figures.subsets,
        "intervals": object(figures.intervals.iter().map(|(name, one)| (*name, json!(one)))),
        "differences": object(figures.comparisons.iter().map(|(name, one)| (*name, json!(one)))),
    })
}

fn object(pairs: impl Iterator<Item = (&'static str, Value)>) -> Value {
    Value::Object(
        pairs
            .map(|(name, value)| (name.to_owned(), value))
            .collect(),
    )
}

/// One line for each subset, with four decimals as in the official evaluator.
pub(crate) fn table(subsets: &[SubsetScores]) -> String {
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

/// The lines below the table.
pub(crate) fn summary(figures: &Figures) -> Vec<String> {
    let mut lines = Vec::new();
    for (name, scores) in figures.unseen.iter().flatten() {
        if scores.count == 0 {
            lines.push(format!("{name} pairs of attribute and name: no phrases"));
            continue;
        }
        lines.push(format!(
            "{name} pairs of attribute and name: {} phrases, mean IoU {:.4}, cum IoU {:.4}",
            scores.count, scores.mean_iou, scores.cumulative_iou
        ));
    }
    lines.extend(figures.threshold.as_ref().map(ToString::to_string));
    let all = figures
        .subsets
        .iter()
        .find(|scores| scores.subset == Subset::All);
    if let Some(all) = all.filter(|all| all.missing > 0) {
        let many = if all.missing == 1 { " has" } else { "s have" };
        lines.push(format!(
            "{} phrase{many} no prediction; with IoU 0 for these, the mean IoU is {:.4}",
            all.missing, all.mean_iou_of_all
        ));
    }
    let words = |name: &str| match name {
        "mean_iou" => "mean IoU",
        "cumulative_iou" => "cum IoU",
        _ => "Pr@.5",
    };
    for (name, interval) in &figures.intervals {
        lines.push(format!(
            "{:<8} {:.4}, {:.0} % confidence interval over pictures {:.4} to {:.4}",
            words(name),
            interval.estimate,
            100.0 * interval.level,
            interval.low,
            interval.high
        ));
    }
    for (name, comparison) in &figures.comparisons {
        let difference = comparison.difference;
        lines.push(format!(
            "{:<8} {:+.4} against the other run, {:.0} % confidence interval {:+.4} to {:+.4}, p = {:.4}",
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

/// One row for each phrase: usable phrases in file order, then the others.
pub(crate) fn csv_rows(
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
        "problem",
    ])?;
    for ((phrase, problem), score) in records(data, split).zip(evaluator.tasks()) {
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
            problem.map_or("", ProblemKind::name),
        ])?;
    }
    Ok(rows.into_inner()?)
}
