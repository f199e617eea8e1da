//! What a pre-training run leaves for people: curves and a page.

use super::config::PretrainConfig;
use super::engine::PretrainOutcome;
use super::records::PretrainRecord;
use super::scores::ClipScores;
use crate::config::settings::Settings;
use crate::error::Result;
use crate::report::curves::{
    BLUE_GREY, Curve, DARK_BLUE, GREEN, ORANGE, PURPLE, Points, smoothed, write_panels,
};
use crate::run::folder::RunFolder;
use std::fmt::Write;

/// Draws losses above and scores below.
pub(crate) fn write_pretrain_curves(folder: &RunFolder, records: &[PretrainRecord]) -> Result<()> {
    write_panels(folder, &panels(records))
}

fn panels(records: &[PretrainRecord]) -> [Vec<Curve>; 2] {
    let mut losses: Points = Vec::new();
    let [mut texts, mut pictures, mut names, mut colours]: [Points; 4] = Default::default();
    for record in records {
        match *record {
            PretrainRecord::Step { step, loss, .. } => losses.push((step as f64, f64::from(loss))),
            PretrainRecord::Validation { step, scores } => {
                let at = |value: f32| (step as f64, f64::from(value));
                texts.push(at(scores.text_at_1));
                pictures.push(at(scores.picture_at_1));
                names.extend(scores.names.map(at));
                colours.extend(scores.colours.map(at));
            }
        }
    }
    let smooth = smoothed(&losses);
    [
        vec![
            Curve::new("loss of each step", BLUE_GREY, losses),
            Curve::new("smoothed", DARK_BLUE, smooth),
        ],
        vec![
            Curve::new("text found", GREEN, texts),
            Curve::new("picture found", PURPLE, pictures),
            Curve::new("names", ORANGE, names),
            Curve::new("colours", DARK_BLUE, colours),
        ],
    ]
}

impl std::fmt::Display for ClipScores {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "among {} held-out pictures, text found first {:.3}, in five {:.3}; picture {:.3}, {:.3}",
            self.pictures, self.text_at_1, self.text_at_5, self.picture_at_1, self.picture_at_5
        )?;
        if let Some(names) = self.names {
            write!(f, "; of {} objects, name {names:.3}", self.objects)?;
        }
        if let Some(colours) = self.colours {
            write!(f, ", colour {colours:.3}")?;
        }
        Ok(())
    }
}

impl ClipScores {
    /// The scores as a table in Markdown.
    pub(crate) fn to_markdown(self) -> String {
        let mut text = String::from("| What | Among | Score |\n|---|--:|--:|\n");
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
        text
    }
}

/// The page of a finished run.
pub(crate) fn page(
    config: &PretrainConfig,
    outcome: &PretrainOutcome,
    notes: &[String],
) -> Result<String> {
    let losses = outcome.losses();
    let tenth = (losses.len() / 10).max(1).min(losses.len());
    let mean = |losses: &[f32]| losses.iter().sum::<f32>() / losses.len().max(1) as f32;
    let mut text = format!(
        "# Pre-training run\n\n- Steps: {} of {} captions each\n\
         - Loss: {:.4} at the start, {:.4} at the end (means over a tenth of the steps)\n",
        losses.len(),
        config.schedule.batch_size,
        mean(&losses[..tenth]),
        mean(&losses[losses.len() - tenth..]),
    );
    for note in notes {
        let _ = writeln!(text, "- {note}");
    }
    let scores = outcome.scores().map(ClipScores::to_markdown);
    let _ = write!(
        text,
        "\n## Scores after the last step\n\n{}\n\
         Held-out pictures are none of those that were learnt from. Names and colours are told apart \
         by the score of their texts, without training for it.\n\n\
         ![losses and scores](curves.png)\n\n## Settings\n\n```toml\n{}```\n",
        scores.unwrap_or_else(|| "None: nothing was held out.\n".to_owned()),
        config.to_toml()?,
    );
    Ok(text)
}
