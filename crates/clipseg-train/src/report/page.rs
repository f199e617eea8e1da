//! The report of a run with its final table.

use crate::config::train_config::TrainConfig;
use crate::error::Result;
use crate::run::journal::Record;
use crate::run::outcome::{End, LossRange, TrainOutcome};
use clipseg_metrics::{Confusion, Tally};
use std::fmt::Write;

/// The scores of one kind of prediction on some phrases.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct TableRow {
    /// The phrases: `training`, `seen` or `unseen`.
    pub phrases: &'static str,
    /// The kind of prediction, such as `decoder` or `everything`.
    pub answer: &'static str,
    /// Number of phrases.
    pub count: usize,
    /// The accuracy over all pixels.
    pub accuracy: f64,
    /// The Dice coefficient over all pixels.
    pub dice: f64,
    /// The intersection over union over all pixels.
    pub iou: f64,
    /// The mean intersection over union of the phrases.
    pub mean_iou: f64,
}

/// The final table: the scores of the decoder and of trivial predictions.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Table {
    /// The rows, grouped by phrases.
    pub rows: Vec<TableRow>,
}

/// The kinds of predictions in the table.
pub(crate) const DECODER: &str = "decoder";
pub(crate) const SHUFFLED: &str = "decoder, text of another picture";
pub(crate) const EVERYTHING: &str = "everything";
pub(crate) const NOTHING: &str = "nothing";

impl Table {
    /// Adds the rows of some phrases: the decoder, the decoder prompted with phrases of other pictures, all
    /// pixels and no pixel. Adds nothing without phrases. The mean IoU is the mean of `phrase_iou`.
    pub(crate) fn add(
        &mut self,
        phrases: &'static str,
        decoder: &Tally,
        shuffled: Option<&Tally>,
        phrase_iou: fn(&Confusion) -> f64,
    ) {
        if decoder.is_empty() {
            return;
        }
        let everything = answered(decoder, |inside, outside| Confusion {
            true_positive: inside,
            false_positive: outside,
            ..Confusion::default()
        });
        let nothing = answered(decoder, |inside, outside| Confusion {
            false_negative: inside,
            true_negative: outside,
            ..Confusion::default()
        });
        let answers = [
            (DECODER, Some(decoder)),
            (SHUFFLED, shuffled),
            (EVERYTHING, Some(&everything)),
            (NOTHING, Some(&nothing)),
        ];
        for (answer, scores) in answers {
            let Some(scores) = scores else { continue };
            let pooled = scores.pooled();
            self.rows.push(TableRow {
                phrases,
                answer,
                count: scores.len(),
                accuracy: pooled.accuracy(),
                dice: pooled.dice(),
                iou: pooled.iou(),
                mean_iou: scores.mean(phrase_iou),
            });
        }
    }

    /// The row of some phrases and a kind of prediction.
    pub fn row(&self, phrases: &str, answer: &str) -> Option<&TableRow> {
        let wanted = |row: &&TableRow| row.phrases == phrases && row.answer == answer;
        self.rows.iter().find(wanted)
    }

    /// Returns the table as Markdown.
    pub fn to_markdown(&self) -> String {
        let mut text = String::from(
            "| Phrases | Number | Answer | Accuracy | Dice | IoU | Mean IoU |\n\
             |---|--:|---|--:|--:|--:|--:|\n",
        );
        for row in &self.rows {
            let _ = writeln!(
                text,
                "| {} | {} | {} | {:.3} | {:.3} | {:.3} | {:.3} |",
                row.phrases, row.count, row.answer, row.accuracy, row.dice, row.iou, row.mean_iou
            );
        }
        text
    }
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let width = self.rows.iter().map(|row| row.answer.len()).max();
        let width = width.unwrap_or(0).max("answer".len());
        write!(
            f,
            "{:<9}  {:>6}  {:<width$}  accuracy   Dice    IoU  mean IoU",
            "phrases", "number", "answer"
        )?;
        for row in &self.rows {
            write!(
                f,
                "\n{:<9}  {:>6}  {:<width$}  {:>8.3}  {:>5.3}  {:>5.3}  {:>8.3}",
                row.phrases, row.count, row.answer, row.accuracy, row.dice, row.iou, row.mean_iou
            )?;
        }
        Ok(())
    }
}

/// The counts of a prediction that is the same for every pixel, computed from the numbers of pixels inside
/// and outside the ground truth.
fn answered(truth: &Tally, answer: impl Fn(u64, u64) -> Confusion) -> Tally {
    let masks = truth.masks().iter();
    masks
        .map(|counts| {
            answer(
                counts.true_positive + counts.false_negative,
                counts.false_positive + counts.true_negative,
            )
        })
        .collect()
}

/// Returns the report as Markdown.
pub(crate) fn report(
    config: &TrainConfig,
    outcome: &TrainOutcome,
    table: &Table,
    left_out: &[String],
    notes: &[String],
) -> Result<String> {
    let LossRange { first, last } = outcome.loss_range();
    let best = outcome
        .records
        .iter()
        .rev()
        .find_map(|record| match record {
            Record::Validation {
                step, best: true, ..
            } => Some(*step),
            _ => None,
        });
    let best = best.map_or_else(
        || "the last one, because there was no validation".to_owned(),
        |step| format!("that after step {step}, chosen on the validation split"),
    );
    let end = match outcome.end {
        End::Finished => "all steps were done",
        End::NoImprovement => "ended early because validations brought no improvement",
        End::Stopped => "it was stopped",
    };
    let trained = match config.clip.unfreeze {
        Some(_) => "Decoder with its fine-tuned CLIP",
        None => "Decoder",
    };
    let mut text = format!(
        "# Training run\n\n\
         - Steps: {}; {end}\n\
         - Loss: {first:.4} at the start, {last:.4} at the end (means over a tenth of the steps)\n\
         - {trained} in `model/` and in the table: {best}\n",
        outcome.losses().len(),
    );
    for line in left_out {
        let _ = writeln!(text, "- {line}");
    }
    for note in notes {
        let _ = writeln!(text, "- {note}");
    }
    let _ = write!(
        text,
        "\n## Scores\n\n\
         Pixels count as inside if their probability is above {}. Accuracy, Dice and IoU are over all \
         pixels, the mean IoU is the mean over the phrases.\n\
         *Unseen* phrases have a held-out word, or a pair of attribute and name that no training phrase \
         has. *Text of another picture* prompts the same decoder with a phrase of another picture for \
         each mask, and shows what it scores without the right text.\n\n\
         {}\n\
         {}\
         ## Settings\n\n\
         ```toml\n{}```\n",
        config.validation.threshold,
        table.to_markdown(),
        if cfg!(feature = "plots") {
            "![losses and scores](curves.png)\n\n![examples](examples.png)\n\n"
        } else {
            ""
        },
        config.to_toml()?,
    );
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_the_trivial_predictions() {
        let counts = Confusion {
            true_positive: 2,
            false_positive: 1,
            false_negative: 0,
            true_negative: 5,
        };
        let tally = Tally::from_iter([counts]);
        let mut table = Table::default();
        table.add("seen", &tally, Some(&tally), Confusion::iou);
        table.add("unseen", &Tally::new(), None, Confusion::iou);
        let answers: Vec<&str> = table.rows.iter().map(|row| row.answer).collect();
        assert_eq!(answers, [DECODER, SHUFFLED, EVERYTHING, NOTHING]);
        assert_eq!(table.row("seen", EVERYTHING).unwrap().iou, 0.25);
        assert_eq!(table.row("seen", NOTHING).unwrap().accuracy, 0.75);
        let text = table.to_string();
        let widths: Vec<usize> = text.lines().map(str::len).collect();
        assert!(widths.windows(2).all(|pair| pair[0] == pair[1]), "{text}");
        assert!(
            table
                .to_markdown()
                .contains("| seen | 1 | decoder | 0.875 | 0.800 | 0.667 |")
        );
    }
}
