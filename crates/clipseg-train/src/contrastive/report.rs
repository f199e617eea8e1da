//! The report of a pre-training run.

use super::config::PretrainConfig;
use super::outcome::PretrainOutcome;
use super::scores::ClipScores;
use crate::config::settings::Settings;
use crate::error::Result;
use crate::run::outcome::LossRange;
use std::fmt::Write;

impl std::fmt::Display for ClipScores {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} held-out pictures: text R@1 {:.3}, R@5 {:.3}; picture R@1 {:.3}, R@5 {:.3}",
            self.pictures, self.text_at_1, self.text_at_5, self.picture_at_1, self.picture_at_5
        )?;
        if let Some(names) = self.names {
            write!(
                f,
                "; {} objects: accuracy of names {names:.3}",
                self.objects
            )?;
        }
        if let Some(colours) = self.colours {
            write!(f, ", of colours {colours:.3}")?;
        }
        if let Some(names) = self.region_names {
            write!(f, "; {} boxes: accuracy of names {names:.3}", self.regions)?;
        }
        Ok(())
    }
}

impl ClipScores {
    /// Returns the scores as a table in Markdown.
    pub(crate) fn to_markdown(self) -> String {
        let mut text = String::from("| Task | Number | Score |\n|---|--:|--:|\n");
        let mut row = |what: &str, among: usize, score: f32| {
            let _ = writeln!(text, "| {what} | {among} | {score:.3} |");
        };
        row("text of a picture, R@1", self.pictures, self.text_at_1);
        row("text of a picture, R@5", self.pictures, self.text_at_5);
        row("picture of a text, R@1", self.pictures, self.picture_at_1);
        row("picture of a text, R@5", self.pictures, self.picture_at_5);
        if let Some(names) = self.names {
            row("name of an object, accuracy", self.objects, names);
        }
        if let Some(colours) = self.colours {
            row("colour of an object, accuracy", self.objects, colours);
        }
        if let Some(names) = self.region_names {
            row(
                "name of a box in an entire picture, accuracy",
                self.regions,
                names,
            );
        }
        text
    }
}

/// Returns the report of a finished run as Markdown.
pub(crate) fn page(
    config: &PretrainConfig,
    outcome: &PretrainOutcome,
    notes: &[String],
) -> Result<String> {
    let losses = outcome.losses();
    let LossRange { first, last } = LossRange::of(&losses);
    let regions = match config.data.regions {
        0 => String::new(),
        most => format!(", and up to {most} regions of each entire picture"),
    };
    let mut text = format!(
        "# Pre-training run\n\n- Steps: {} of {} captioned pictures each{regions}\n\
         - Loss: {first:.4} at the start, {last:.4} at the end (means over a tenth of the steps)\n",
        losses.len(),
        config.schedule.batch_size,
    );
    for note in notes {
        let _ = writeln!(text, "- {note}");
    }
    let scores = outcome.scores().map(ClipScores::to_markdown);
    let _ = write!(
        text,
        "\n## Scores after the last step\n\n{}\n\
         Held-out pictures are not used for training. Names and colours are classified zero-shot, by the \
         similarity to the embeddings of their texts.\n\n\
         {}## Settings\n\n```toml\n{}```\n",
        scores.unwrap_or_else(|| "None, because no picture is held out.\n".to_owned()),
        if cfg!(feature = "plots") {
            "![losses and scores](curves.png)\n\n"
        } else {
            ""
        },
        config.to_toml()?,
    );
    Ok(text)
}
