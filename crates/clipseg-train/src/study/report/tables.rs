//! The tables of the report as Markdown.

use crate::error::Result;
use crate::study::phrase_scores::{SEEN, UNSEEN};
use crate::study::report::cells::{BOUNDARY, BOUNDARY_CHOSEN, Cell, IOU, IOU_CHOSEN, Value};
use crate::study::report::comparisons::Family;
use crate::study::report::costs::CellCost;
use crate::study::report::loaded::Loaded;
use clipseg_metrics::{Interval, Subset};
use std::fmt::Write;

/// A table with headings and rows.
struct Table {
    text: String,
}

impl Table {
    /// `columns` have a `>` before the name if they are aligned to the right.
    fn new(columns: &[&str]) -> Self {
        let names: Vec<&str> = columns
            .iter()
            .map(|name| name.trim_start_matches('>'))
            .collect();
        let rules = columns
            .iter()
            .map(|name| if name.starts_with('>') { "--:" } else { "---" });
        let rules: Vec<&str> = rules.collect();
        Self {
            text: format!("| {} |\n|{}|\n", names.join(" | "), rules.join("|")),
        }
    }

    fn row(&mut self, fields: &[String]) {
        let _ = writeln!(self.text, "| {} |", fields.join(" | "));
    }
}

/// A value with its interval.
fn shown(interval: Option<Interval>) -> String {
    interval.map_or_else(
        || "–".to_owned(),
        |interval| {
            format!(
                "{:.3} [{:.3}, {:.3}]",
                interval.estimate, interval.low, interval.high
            )
        },
    )
}

fn signed(interval: &Interval) -> String {
    format!(
        "{:+.3} [{:+.3}, {:+.3}]",
        interval.estimate, interval.low, interval.high
    )
}

fn probability(p_value: f64) -> String {
    if p_value < 0.001 {
        format!("{p_value:.1e}")
    } else {
        format!("{p_value:.3}")
    }
}

fn optional(value: Option<f64>, decimals: usize) -> String {
    value.map_or_else(|| "–".to_owned(), |value| format!("{value:.decimals$}"))
}

/// The first columns of a row: decoder, loss, alteration and number of seeds.
fn names(cell: &Cell<'_>) -> Vec<String> {
    let alteration = cell.alteration.map_or("–".to_owned(), |it| it.to_string());
    vec![
        cell.decoder.to_owned(),
        cell.loss.to_string(),
        alteration,
        cell.runs.len().to_string(),
    ]
}

const NAMES: [&str; 4] = ["Decoder", "Loss", "Alteration", ">Seeds"];

/// The mean IoU of every cell on seen and unseen phrases, at both thresholds.
pub(crate) fn scores(loaded: &Loaded, cells: &[Cell<'_>]) -> Result<String> {
    let columns = [
        ">Seen, at 0.5",
        ">Unseen, at 0.5",
        ">Threshold",
        ">Seen, chosen threshold",
        ">Unseen, chosen threshold",
        ">AP",
    ];
    let mut table = Table::new(&[&NAMES[..], &columns[..]].concat());
    for cell in cells {
        let mean = |value: fn(&crate::study::result::Scores) -> f64| {
            let sum: f64 = cell.runs.iter().map(|run| value(&run.scores)).sum();
            sum / cell.runs.len().max(1) as f64
        };
        let mut row = names(cell);
        for (subset, value) in [(SEEN, IOU), (UNSEEN, IOU)] {
            row.push(shown(loaded.interval(cell, subset, value)?));
        }
        row.push(format!("{:.2}", mean(|scores| scores.threshold)));
        for (subset, value) in [(SEEN, IOU_CHOSEN), (UNSEEN, IOU_CHOSEN)] {
            row.push(shown(loaded.interval(cell, subset, value)?));
        }
        row.push(format!("{:.3}", mean(|scores| scores.average_precision)));
        table.row(&row);
    }
    Ok(table.text)
}

/// The scores of the cells without an alteration on subsets, at the chosen threshold.
fn by_subset(
    loaded: &Loaded,
    cells: &[Cell<'_>],
    columns: &[(Subset, &str, Value)],
) -> Result<String> {
    let headings: Vec<String> = columns
        .iter()
        .map(|(subset, measure, _)| format!(">{measure}, `{}`", subset.name()))
        .collect();
    let headings: Vec<&str> = headings.iter().map(String::as_str).collect();
    let mut table = Table::new(&[&["Decoder", "Loss"][..], &headings[..]].concat());
    for cell in cells.iter().filter(|cell| cell.alteration.is_none()) {
        let mut row = vec![cell.decoder.to_owned(), cell.loss.to_string()];
        for (subset, _, value) in columns {
            row.push(shown(loaded.interval(cell, subset.name(), *value)?));
        }
        table.row(&row);
    }
    Ok(table.text)
}

/// IoU and boundary F by the size of the object, at the chosen threshold.
pub(crate) fn by_size(loaded: &Loaded, cells: &[Cell<'_>]) -> Result<String> {
    let sizes = [Subset::Small, Subset::Middle, Subset::Large];
    let columns = sizes.map(|size| {
        [
            (size, "IoU", IOU_CHOSEN),
            (size, "boundary F", BOUNDARY_CHOSEN),
        ]
    });
    by_subset(loaded, cells, columns.as_flattened())
}

/// Mean IoU by the kind of the phrase, at the chosen threshold, and boundary F of all phrases at both thresholds.
pub(crate) fn by_kind(loaded: &Loaded, cells: &[Cell<'_>]) -> Result<String> {
    let columns = [
        (Subset::Name, "IoU", IOU_CHOSEN),
        (Subset::Attribute, "IoU", IOU_CHOSEN),
        (Subset::Relation, "IoU", IOU_CHOSEN),
        (Subset::MultipleInstances, "IoU", IOU_CHOSEN),
        (Subset::All, "boundary F at 0.5", BOUNDARY),
        (Subset::All, "boundary F", BOUNDARY_CHOSEN),
    ];
    by_subset(loaded, cells, &columns)
}

/// The comparisons of a family.
pub(crate) fn family(family: &Family) -> String {
    let columns = [
        "Comparison",
        "Phrases",
        ">Difference of mean IoU",
        ">p",
        ">p, Holm",
    ];
    let mut table = Table::new(&columns);
    for row in &family.rows {
        table.row(&[
            row.what.clone(),
            row.subset.to_owned(),
            signed(&row.difference),
            probability(row.p_value),
            probability(row.adjusted),
        ]);
    }
    table.text
}

/// The cost of the decoders and their validation scores at equal steps and at equal time.
pub(crate) fn costs(costs: &[CellCost]) -> String {
    let columns = [
        "Decoder",
        "Loss",
        ">Parameters",
        ">Seconds a step",
        ">Seconds of training",
        ">Peak memory, MiB",
        ">Mean IoU at equal steps",
        ">Mean IoU at equal time",
    ];
    let mut table = Table::new(&columns);
    for cost in costs {
        let memory = cost
            .peak_memory
            .map(|bytes| bytes as f64 / f64::from(1 << 20));
        table.row(&[
            cost.decoder.clone(),
            cost.loss.clone(),
            cost.parameters.to_string(),
            optional(cost.seconds_per_step, 4),
            optional(cost.seconds, 1),
            optional(memory, 0),
            optional(cost.at_equal_steps, 3),
            optional(cost.at_equal_time, 3),
        ]);
    }
    table.text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_with_their_intervals() {
        let interval = Interval {
            estimate: 0.25,
            low: -0.125,
            high: 0.5,
            level: 0.95,
        };
        assert_eq!(shown(Some(interval)), "0.250 [-0.125, 0.500]");
        assert_eq!(shown(None), "–");
        assert_eq!(signed(&interval), "+0.250 [-0.125, +0.500]");
        assert_eq!(probability(0.000_1), "1.0e-4");
        assert_eq!(probability(0.031_4), "0.031");
        assert_eq!(optional(Some(1.25), 1), "1.2");
        let mut table = Table::new(&["A", ">B"]);
        table.row(&["x".into(), "1".into()]);
        assert_eq!(table.text, "| A | B |\n|---|--:|\n| x | 1 |\n");
    }
}
