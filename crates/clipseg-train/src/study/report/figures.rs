//! The curves of the report: learning, thresholds and reliability.

use crate::error::Result;
use crate::study::folder::StudyFolder;
use crate::study::report::cells::Cell;
use crate::study::report::loaded::{Loaded, ScoredRun};
use crate::study::report::panels::{Line, Panel, draw_panels};
use crate::study::shown::png;
use clipseg_metrics::sweep_thresholds;
use image::DynamicImage;
use std::fmt::Write;

/// Draws the curves and returns the part of the report that shows them.
pub(crate) fn write_figures(
    loaded: &Loaded,
    cells: &[Cell<'_>],
    folder: &StudyFolder,
) -> Result<String> {
    let plain: Vec<&Cell<'_>> = cells
        .iter()
        .filter(|cell| cell.alteration.is_none())
        .collect();
    let mut text = String::from("## Curves\n\nAll curves are means over the seeds.\n\n");
    for (name, title, panels) in [
        (
            "learning",
            "Mean IoU of each validation at its best threshold, by step",
            by_loss(loaded, &plain),
        ),
        (
            "thresholds",
            "Mean IoU of the test phrases at each threshold",
            by_decoder(loaded, &plain),
        ),
        (
            "reliability",
            "Fraction of the test pixels inside the ground truth, by the predicted probability; the grey line is \
             perfect calibration",
            reliability(loaded, &plain),
        ),
    ] {
        let file = format!("{name}.png");
        let path = folder.figure(&file);
        let picture = draw_panels(&panels, &path)?;
        folder.write(&path, &png(&DynamicImage::from(picture), &path)?)?;
        let _ = write!(text, "{title}:\n\n![{name}](figures/{file})\n\n");
    }
    Ok(text)
}

/// The mean over the runs of a cell of a curve with the same points in all of them; shorter curves are left out of the
/// points that they lack.
fn mean_curve(cell: &Cell<'_>, points: impl Fn(&ScoredRun) -> Vec<(f64, f64)>) -> Vec<(f64, f64)> {
    let curves: Vec<Vec<(f64, f64)>> = cell.runs.iter().map(|run| points(run)).collect();
    let longest = curves.iter().map(Vec::len).max().unwrap_or(0);
    (0..longest)
        .map(|index| {
            let here: Vec<(f64, f64)> = curves
                .iter()
                .filter_map(|curve| curve.get(index).copied())
                .collect();
            let count = here.len() as f64;
            let sum = |value: fn(&(f64, f64)) -> f64| here.iter().map(value).sum::<f64>() / count;
            (sum(|point| point.0), sum(|point| point.1))
        })
        .collect()
}

/// A panel for each loss, with a learning curve for each decoder.
fn by_loss(loaded: &Loaded, cells: &[&Cell<'_>]) -> Vec<Panel> {
    let learning = |run: &ScoredRun| {
        let curve = run.result.curve.iter();
        curve
            .map(|point| (point.step as f64, point.mean_iou_at_best))
            .collect()
    };
    let panels = loaded.study.losses.iter().map(|loss| Panel {
        title: format!("loss {loss}"),
        axes: ["step", "mean IoU"],
        lines: cells
            .iter()
            .filter(|cell| cell.loss == loss)
            .map(|cell| Line {
                name: cell.decoder.to_owned(),
                points: mean_curve(cell, learning),
            })
            .collect(),
        diagonal: false,
    });
    panels.collect()
}

/// A panel for each decoder, with a threshold curve for each loss.
fn by_decoder(loaded: &Loaded, cells: &[&Cell<'_>]) -> Vec<Panel> {
    let sweep = |run: &ScoredRun| {
        let thresholds = sweep_thresholds().into_iter();
        thresholds
            .zip(run.scores.test_sweep.iter().copied())
            .collect()
    };
    let panels = loaded.study.decoders.keys().map(|decoder| Panel {
        title: decoder.clone(),
        axes: ["threshold", "mean IoU"],
        lines: cells
            .iter()
            .filter(|cell| cell.decoder == decoder)
            .map(|cell| Line {
                name: cell.loss.to_string(),
                points: mean_curve(cell, sweep),
            })
            .collect(),
        diagonal: false,
    });
    panels.collect()
}

/// A panel for each loss, with the reliability of each decoder.
fn reliability(loaded: &Loaded, cells: &[&Cell<'_>]) -> Vec<Panel> {
    let panels = loaded.study.losses.iter().map(|loss| Panel {
        title: format!("loss {loss}"),
        axes: ["predicted probability", "fraction inside"],
        lines: cells
            .iter()
            .filter(|cell| cell.loss == loss)
            .map(|cell| Line {
                name: cell.decoder.to_owned(),
                points: reliable(cell),
            })
            .collect(),
        diagonal: true,
    });
    panels.collect()
}

/// The reliability over the pixels of all runs of a cell; bins without pixels are left out.
fn reliable(cell: &Cell<'_>) -> Vec<(f64, f64)> {
    let bins = cell.runs.iter().map(|run| run.scores.reliability.len());
    (0..bins.max().unwrap_or(0))
        .filter_map(|index| {
            let (mut pixels, mut predicted, mut observed) = (0.0, 0.0, 0.0);
            for run in &cell.runs {
                if let Some(bin) = run.scores.reliability.get(index) {
                    let count = bin.pixels as f64;
                    pixels += count;
                    predicted += count * bin.predicted;
                    observed += count * bin.observed;
                }
            }
            (pixels > 0.0).then(|| (predicted / pixels, observed / pixels))
        })
        .collect()
}
