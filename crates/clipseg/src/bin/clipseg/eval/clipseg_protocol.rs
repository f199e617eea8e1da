//! `clipseg eval --protocol clipseg`: the CLIPSeg paper's protocol.

use super::model::ModelArguments;
use super::split::records;
use crate::Failure;
use crate::output::{Output, print_line, tell};
use crate::progress::progress_bar;
use clipseg::data::{PhraseCut, Split};
use clipseg::metrics::{BestThreshold, SweepDefinition, SweepScores, sweep_thresholds};
use clipseg::train::{ClipSegEvaluation, score_model_by_clipseg};
use serde_json::json;
use std::path::Path;

/// Indices of the thresholds that the paper's code reports on PhraseCut.
const REPORTED: [usize; 2] = [14, 24];

/// Scores a model on a split, prints the figures, and writes them to `json` if given.
pub(crate) fn run(
    data: &PhraseCut,
    split: Split,
    model: &ModelArguments,
    json: Option<&Path>,
    output: Output,
) -> Result<(), Failure> {
    let (name, segmenter) = model.load()?;
    let bar = progress_bar(records(data, split).count(), "phrases").with_message("scoring");
    let scored = score_model_by_clipseg(&segmenter, data, split, || bar.inc(1));
    bar.finish_and_clear();
    let scored: ClipSegEvaluation = scored?;
    for exception in &scored.exceptions {
        tell(format_args!("{split}: {exception}"));
    }
    let figures = [SweepDefinition::ClipSeg, SweepDefinition::Plain]
        .map(|definition| scored.scores(definition));
    let (side, samples) = (scored.side, scored.sweeps.len());
    if let Some(path) = json {
        let report = json!({
            "protocol": "clipseg",
            "split": split.name(),
            "model": name,
            "side": side,
            "samples": samples,
            "exceptions": scored.exceptions,
            "thresholds": sweep_thresholds().as_slice(),
            "figures": figures,
        });
        output.write(path, format!("{report:#}\n").as_bytes())?;
    }
    print_line(&format!("{samples} phrases of {split} at {side}x{side}"))?;
    for scores in &figures {
        for line in lines(scores) {
            print_line(&line)?;
        }
    }
    Ok(())
}

/// The figures by one definition, as a table.
fn lines(scores: &SweepScores) -> Vec<String> {
    let name = match scores.definition {
        SweepDefinition::ClipSeg => "CLIPSeg's definition, as in the paper",
        SweepDefinition::Plain => "plain definition, without the added ones of CLIPSeg's",
    };
    let mut lines = vec![
        format!("{name}: AP {:.4}", scores.average_precision),
        "             threshold    mIoU  IoU_FG  IoU_BIN".to_owned(),
    ];
    let index_of = |best: BestThreshold| {
        let thresholds = sweep_thresholds();
        thresholds.iter().position(|&t| t == best.threshold)
    };
    let rows = REPORTED.map(|index| ("", Some(index))).into_iter().chain([
        ("best mIoU", index_of(scores.best_mean_iou())),
        ("best IoU_FG", index_of(scores.best_iou_fg())),
        ("best IoU_BIN", index_of(scores.best_iou_bin())),
    ]);
    for (what, index) in rows {
        let Some(index) = index else { continue };
        lines.push(format!(
            "{what:<12}      {:.2}  {:.4}  {:.4}   {:.4}",
            sweep_thresholds()[index],
            scores.mean_iou[index],
            scores.iou_fg[index],
            scores.iou_bin[index]
        ));
    }
    lines
}
