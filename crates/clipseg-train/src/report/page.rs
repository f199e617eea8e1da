//! The final table of a run, and the page that it stands on.

use crate::config::train_config::TrainConfig;
use crate::error::Result;
use crate::run::journal::Record;
use crate::run::outcome::{End, TrainOutcome};
use clipseg_metrics::{Confusion, Tally};
use std::fmt::Write;

/// How well some answers were on some phrases.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct TableRow {
    /// Which phrases.
    pub phrases: &'static str,
    /// Who answered.
    pub answer: &'static str,
    /// Number of phrases.
    pub count: usize,
    /// Of all pixels together.
    pub accuracy: f64,
    /// Of all pixels together.
    pub dice: f64,
    /// Of all pixels together.
    pub iou: f64,
    /// The mean over phrases.
    pub mean_iou: f64,
}

/// The final table: the decoder beside answers that take no skill.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Table {
    /// The rows, phrases of one kind next to each other.
    pub rows: Vec<TableRow>,
}

/// The answers in the table.
pub(crate) const DECODER: &str = "decoder";
pub(crate) const SHUFFLED: &str = "decoder, text of another picture";
pub(crate) const EVERYTHING: &str = "everything";
pub(crate) const NOTHING: &str = "nothing";

impl Table {
    /// Adds the rows of some phrases, if there is any: the decoder, the decoder asked with the text
    /// of other pictures, everything, nothing. `phrase_iou` is what the mean IoU is the mean of.
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

    /// The row of some phrases and an answer.
    pub fn row(&self, phrases: &str, answer: &str) -> Option<&TableRow> {
        let wanted = |row: &&TableRow| row.phrases == phrases && row.answer == answer;
        self.rows.iter().find(wanted)
    }

    /// The table in Markdown.
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

/// The counts of an answer that is the same for every pixel, given how many are inside and outside.
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

/// The page.
pub(crate) fn report(
    config: &TrainConfig,
    outcome: &TrainOutcome,
    table: &Table,
    left_out: &[String],
    notes: &[String],
) -> Result<String> {
    let (first, last) = outcome.first_and_last_loss();
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
        || "the last one: there was no validation".to_owned(),
        |step| format!("after step {step}, by the validation split"),
    );
    let end = match outcome.end {
        End::Finished => "all steps were done",
        End::NoImprovement => "validations brought no improvement any more",
        End::Stopped => "it was stopped",
    };
    let mut text = format!(
        "# Training run\n\n\
         - Steps: {}; {end}\n\
         - Loss: {first:.4} at the start, {last:.4} at the end (means over a tenth of the steps)\n\
         - Decoder in `model/` and in the table: {best}\n",
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
         Pixels count as inside where their probability is above {}. Accuracy, Dice and IoU are of \
         all pixels together, the mean IoU is over phrases.\n\
         *Unseen* phrases have a held-out word, or an attribute that never stands with its name in \
         training. *Text of another picture* asks the same decoder for each mask with a phrase of \
         another picture: what it scores without knowing what is looked for.\n\n\
         {}\n\
         ![losses and scores](curves.png)\n\n\
         ![examples](examples.png)\n\n\
         ## Settings\n\n\
         ```toml\n{}```\n",
        config.validation.threshold,
        table.to_markdown(),
        config.to_toml()?,
    );
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_the_trivial_answers() {
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
