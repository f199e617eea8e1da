//! Checks of the configuration of a study.

use crate::config::decoder_choice::{DecoderChoice, SECTION};
use crate::config::train_config::{TrainConfig, ValidationConfig};
use crate::config::values;
use crate::error::{Result, TrainError};
use crate::study::alteration::Alteration;
use crate::study::config::StudyConfig;
use clipseg_metrics::Loss;
use std::collections::HashSet;

/// More runs than anybody can wait for.
const MOST_RUNS: usize = 100_000;
const MOST_SHEET_PHRASES: usize = 10_000;
const LONGEST_NAME: usize = 60;
/// File systems accept names of 255 bytes, and endings are added.
const LONGEST_RUN: usize = 200;

impl StudyConfig {
    /// Checks that every value is in range and that every setting has an effect.
    ///
    /// # Errors
    ///
    /// [`TrainError::Config`] with the first invalid field.
    pub fn validate(&self) -> Result<()> {
        self.check_lists()?;
        self.check_shared()?;
        for (name, decoder) in &self.decoders {
            self.check_decoder(name, decoder)?;
        }
        self.check_alterations()?;
        self.check_names()
    }

    fn check_lists(&self) -> Result<()> {
        let none = |field| Err(TrainError::field(field, "none, expected at least one"));
        if self.seeds.is_empty() {
            return none("seeds");
        }
        if self.losses.is_empty() {
            return none("losses");
        }
        if self.decoders.is_empty() {
            return none("decoders");
        }
        given_once("seeds", &self.seeds)?;
        given_once("losses", &texts(&self.losses))?;
        if let Some(index) = (self.seeds.iter()).position(|&seed| i64::try_from(seed).is_err()) {
            let message = format!("{}, expected at most {}", self.seeds[index], i64::MAX);
            return Err(TrainError::field(&format!("seeds[{index}]"), message));
        }
        values::count("sheet_phrases", self.sheet_phrases, 0, MOST_SHEET_PHRASES)
    }

    /// Checks the sections that all runs share.
    fn check_shared(&self) -> Result<()> {
        self.shared().validate()?;
        let none = |field, message: &str| Err(TrainError::field(field, message));
        if self.schedule.epochs.is_some() {
            let message = "the runs of a study have the same number of steps; expected \
                           `schedule.steps`";
            return none("schedule.epochs", message);
        }
        if self.validation.patience.is_some() {
            let message = "the runs of a study have the same number of steps, so none ends early; \
                           expected no patience";
            return none("validation.patience", message);
        }
        if let Some(unfreeze) = self.clip.unfreeze {
            let message = format!(
                "`{unfreeze}`, expected none, because the runs of a study share one frozen CLIP"
            );
            return none("clip.unfreeze", &message);
        }
        let default = ValidationConfig::default();
        if self.validation.threshold != default.threshold {
            let message = "has no effect, because a study scores each run at 0.5 and at the \
                           threshold that is best on the validation split";
            return none("validation.threshold", message);
        }
        if self.validation.best_by != default.best_by {
            let message = "has no effect, because a study scores the decoder after the last step";
            return none("validation.best_by", message);
        }
        if self.validation.examples != default.examples {
            let message = "has no effect in a study; `sheet_phrases` is the number of phrases for \
                           its contact sheets";
            return none("validation.examples", message);
        }
        if self.validation.test_phrases == 0 {
            return none("validation.test_phrases", "0, expected at least 1");
        }
        Ok(())
    }

    fn check_decoder(&self, name: &str, decoder: &DecoderChoice) -> Result<()> {
        let field = format!("decoders.{name}");
        let good = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if name.is_empty() || name.len() > LONGEST_NAME || !name.chars().all(good) {
            let message =
                format!("not a name, expected 1 to {LONGEST_NAME} letters, digits, `-` or `_`");
            return Err(TrainError::field(&field, message));
        }
        if matches!(decoder, DecoderChoice::Pretrained(_)) {
            let message = "true, but the decoders of a study start with random weights";
            return Err(TrainError::field(&format!("{field}.pretrained"), message));
        }
        let config = TrainConfig {
            decoder: decoder.clone(),
            ..self.shared()
        };
        config.validate().map_err(|error| match error {
            TrainError::Config {
                field: inner,
                message,
            } => match inner.strip_prefix(SECTION) {
                Some(inner) => TrainError::field(&format!("{field}.{inner}"), message),
                None => TrainError::Config {
                    field: inner,
                    message,
                },
            },
            other => other,
        })
    }

    fn check_alterations(&self) -> Result<()> {
        let fail = |field: &str, message: String| {
            Err(TrainError::field(&format!("alterations.{field}"), message))
        };
        let altered = &self.alterations;
        given_once("alterations.kinds", &altered.kinds)?;
        let needs_decoder = |kind: &&Alteration| **kind != Alteration::NoFeatures;
        let needing = altered.kinds.iter().find(needs_decoder);
        match (needing, &altered.decoder) {
            (None, Some(decoder)) => {
                let message = format!("`{decoder}` has no effect, because no kind uses it");
                return fail("decoder", message);
            }
            (Some(kind), None) => {
                return fail("decoder", format!("missing, but `{kind}` needs one"));
            }
            (Some(_), Some(decoder)) if !self.decoders.contains_key(decoder) => {
                let known: Vec<&str> = self.decoders.keys().map(String::as_str).collect();
                let message = format!(
                    "`{decoder}` is not a decoder of the study, expected one of {}",
                    known.join(", ")
                );
                return fail("decoder", message);
            }
            _ => {}
        }
        if altered.kinds.contains(&Alteration::NoFeatures)
            && self.altered_decoders(Alteration::NoFeatures).is_empty()
        {
            let message = "`no_features` needs a decoder that sees the pixels: one of kind `conv` \
                           with `picture_branch = true`";
            return fail("kinds", message.into());
        }
        let Some(losses) = &altered.losses else {
            return Ok(());
        };
        if altered.kinds.is_empty() {
            return fail("losses", "has no effect without `alterations.kinds`".into());
        }
        if losses.is_empty() {
            return fail("losses", "none, expected at least one".into());
        }
        given_once("alterations.losses", &texts(losses))?;
        match losses.iter().find(|loss| !self.losses.contains(loss)) {
            Some(loss) => {
                let message = format!(
                    "`{loss}` is not a loss of the study, so there is no run to compare with"
                );
                fail("losses", message)
            }
            None => Ok(()),
        }
    }

    /// Refuses names that are too long, two runs with the same name, and more runs than possible.
    fn check_names(&self) -> Result<()> {
        let runs = self.planned();
        values::count("runs", runs.len(), 1, MOST_RUNS)?;
        if let Some(run) = runs.iter().find(|run| run.name.len() > LONGEST_RUN) {
            let message = format!(
                "the run of `{}` would have a name of {} letters, expected a loss that is written with \
                 fewer digits, for a name of at most {LONGEST_RUN}",
                run.loss,
                run.name.len()
            );
            return Err(TrainError::field("losses", message));
        }
        let mut names = HashSet::new();
        // Some file systems do not distinguish the case of letters.
        let again = runs
            .iter()
            .find(|run| !names.insert(run.name.to_ascii_lowercase()));
        match again {
            Some(run) => {
                let message = format!(
                    "two runs have the name `{}`, in which special characters are replaced by `_`",
                    run.name
                );
                Err(TrainError::field("losses", message))
            }
            None => Ok(()),
        }
    }
}

fn texts(losses: &[Loss]) -> Vec<String> {
    losses.iter().map(Loss::to_string).collect()
}

/// Refuses a value that is given twice, because its runs would be the same.
fn given_once<T: PartialEq + std::fmt::Display>(field: &str, list: &[T]) -> Result<()> {
    let again = (1..list.len()).find(|&index| list[..index].contains(&list[index]));
    match again {
        Some(index) => {
            let message = format!("{} is given twice", list[index]);
            Err(TrainError::field(&format!("{field}[{index}]"), message))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::study::config::STUDY_PRESETS;

    const DECODERS: &str = "[decoders.small]\nreduce_dim = 8\n";

    fn message(text: &str) -> String {
        let read = StudyConfig::from_toml(text, "study.toml".as_ref());
        read.unwrap_err().to_string()
    }

    #[test]
    fn the_presets_are_valid_and_are_written_and_read_back() {
        use crate::config::settings::Settings;
        for (name, _) in STUDY_PRESETS {
            let study = StudyConfig::preset(name).unwrap();
            let text = Settings::to_toml(&study).unwrap();
            let read = StudyConfig::from_toml(&text, "x".as_ref()).unwrap();
            assert_eq!(read, study, "{text}");
            assert!(study.runs().unwrap().len() > 10);
        }
        let full = StudyConfig::preset("full").unwrap();
        assert!(full.seeds.len() >= 3);
        assert_eq!((full.decoders.len(), full.losses.len()), (8, 5));
        assert_eq!(full.alterations.kinds, Alteration::ALL);
        let error = StudyConfig::preset("small").unwrap_err().to_string();
        assert!(error.ends_with("expected one of full, quick"), "{error}");
    }

    #[test]
    fn a_bad_file_gives_an_error_with_the_field() {
        for (text, expected) in [
            ("", "field `decoders`: none, expected at least one"),
            ("seeds = []", "field `seeds`: none"),
            ("losses = []", "field `losses`: none"),
            ("seeds = [1, 2, 1]", "field `seeds[2]`: 1 is given twice"),
            (
                "losses = [\"bce\", \"1*bce\"]",
                "field `losses[1]`: bce is given twice",
            ),
            ("losses = [\"bze\"]", "field `losses[0]`: "),
            ("seeds = [-1]", "field `seeds[0]`: "),
            ("loss = \"bce\"", "unknown field `loss`"),
            ("sheet_phrases = 20000", "field `sheet_phrases`: 20000"),
            (
                "[decoders.tiny]\nkind = \"conv\"\nreduce_dim = 4",
                "field `decoders.tiny.reduce_dim`: has no effect on `conv`",
            ),
            (
                "[decoders.tiny]\nreduce_dim = 0",
                "field `decoders.tiny.reduce_dim`: 0, expected at least 1",
            ),
            (
                "[decoders.tiny]\npretrained = true",
                "field `decoders.tiny.pretrained`: true, but",
            ),
            (
                "[decoders.\"a/b\"]\nreduce_dim = 8",
                "field `decoders.a/b`: not a name",
            ),
            ("[decoders.tiny]\nkind = \"unet\"", "field `decoders.tiny"),
            (
                "[schedule]\nepochs = 2",
                "field `schedule.epochs`: the runs of a study have",
            ),
            (
                "[schedule]\nsteps = 0",
                "field `schedule.steps`: 0, expected at least 1",
            ),
            (
                "[schedule]\nstep = 3",
                "field `schedule.step`: unknown field",
            ),
            (
                "[validation]\npatience = 2",
                "field `validation.patience`: the runs of a study have",
            ),
            (
                "[clip]\nunfreeze = \"clip\"",
                "field `clip.unfreeze`: `clip`, expected none, because the runs of a study share one",
            ),
            (
                "[validation]\nthreshold = 0.3",
                "field `validation.threshold`: has no effect",
            ),
            (
                "[validation]\nbest_by = \"loss\"",
                "field `validation.best_by`: has no effect",
            ),
            (
                "[validation]\nexamples = 0",
                "field `validation.examples`: has no effect",
            ),
            (
                "[alterations]\nkinds = [\"no_textt\"]",
                "field `alterations.kinds[0]`: unknown variant",
            ),
            (
                "[alterations]\nkinds = [\"no_text\"]",
                "field `alterations.decoder`: missing, but `no_text` needs one",
            ),
            (
                "[alterations]\nkinds = [\"no_text\"]\ndecoder = \"big\"",
                "field `alterations.decoder`: `big` is not a decoder of the study, expected one of small",
            ),
            (
                "[alterations]\ndecoder = \"small\"",
                "field `alterations.decoder`: `small` has no effect",
            ),
            (
                "[alterations]\nkinds = [\"no_features\"]",
                "field `alterations.kinds`: `no_features` needs a decoder that sees the pixels",
            ),
            (
                "[alterations]\nlosses = [\"bce\"]",
                "field `alterations.losses`: has no effect without `alterations.kinds`",
            ),
            (
                "[alterations]\nkinds = [\"no_text\"]\ndecoder = \"small\"\nlosses = [\"focal\"]",
                "field `alterations.losses`: `focal` is not a loss of the study",
            ),
        ] {
            // Top-level fields must precede the first section.
            let text = if text.is_empty() {
                String::new()
            } else {
                format!("{text}\n{DECODERS}")
            };
            let found = message(&text);
            assert!(found.starts_with("study.toml"), "{found}");
            assert!(found.contains(expected), "{text}: {found}");
        }
    }

    #[test]
    fn two_runs_with_one_name_and_long_names_are_refused() {
        let text = "losses = [\"bce+2*dice\", \"bce+2_dice\"]";
        assert!(message(&format!("{text}\n{DECODERS}")).contains("losses[1]"));
        let text = "losses = [\"1e300*dice\"]";
        let found = message(&format!("{text}\n{DECODERS}"));
        assert!(
            found.contains("field `losses`: the run of `1000"),
            "{found}"
        );
        let text = "losses = [\"dice(smooth=2)\"]\n[decoders.a]\n[decoders.A]";
        assert!(message(text).contains("two runs have the name"));
    }
}
