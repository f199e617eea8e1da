//! The runs that a study consists of, with their names and their order.

use crate::config::train_config::TrainConfig;
use crate::error::Result;
use crate::study::alteration::Alteration;
use crate::study::config::StudyConfig;
use clipseg_metrics::Loss;

/// One run of a study.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct PlannedRun {
    /// The name: `<decoder>.<loss>.s<seed>`, with the alteration before the seed if there is one. Characters of a
    /// loss that file names cannot contain are replaced by `_`.
    pub name: String,
    /// The name of the decoder in the configuration.
    pub decoder: String,
    /// The training loss.
    pub loss: Loss,
    /// The deliberate change, if there is one.
    pub alteration: Option<Alteration>,
    /// The random seed.
    pub seed: u64,
}

impl PlannedRun {
    fn new(decoder: &str, loss: &Loss, alteration: Option<Alteration>, seed: u64) -> Self {
        let mut name = format!("{decoder}.{}", file_name_of(&loss.to_string()));
        if let Some(alteration) = alteration {
            name += &format!(".{alteration}");
        }
        name += &format!(".s{seed}");
        Self {
            name,
            decoder: decoder.to_owned(),
            loss: loss.clone(),
            alteration,
            seed,
        }
    }

    /// The configuration of this run.
    pub(crate) fn train_config(&self, study: &StudyConfig) -> TrainConfig {
        let decoder = study.decoders.get(&self.decoder).cloned();
        TrainConfig {
            seed: self.seed,
            loss: self.loss.clone(),
            decoder: decoder.unwrap_or_default(),
            ..study.shared()
        }
    }
}

/// A text with only the characters that every file system accepts in a name.
fn file_name_of(text: &str) -> String {
    let kept = |c: char| c.is_ascii_alphanumeric() || "+-=.,_".contains(c);
    text.chars()
        .map(|c| if kept(c) { c } else { '_' })
        .collect()
}

impl StudyConfig {
    /// The runs in their order: for each seed every decoder (in the order of the names) with every loss, then the
    /// alterations. So a study that is stopped early has compared all decoders and losses with the first seeds.
    ///
    /// # Errors
    ///
    /// As [`validate`](Self::validate).
    pub fn runs(&self) -> Result<Vec<PlannedRun>> {
        self.validate()?;
        Ok(self.planned())
    }

    /// The runs of a configuration that may be invalid.
    pub(crate) fn planned(&self) -> Vec<PlannedRun> {
        let mut runs = Vec::new();
        for &seed in &self.seeds {
            for decoder in self.decoders.keys() {
                for loss in &self.losses {
                    runs.push(PlannedRun::new(decoder, loss, None, seed));
                }
            }
            for &alteration in &self.alterations.kinds {
                for decoder in self.altered_decoders(alteration) {
                    for loss in self.altered_losses() {
                        runs.push(PlannedRun::new(decoder, loss, Some(alteration), seed));
                    }
                }
            }
        }
        runs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn study(text: &str) -> StudyConfig {
        StudyConfig::from_toml(text, "study.toml".as_ref()).unwrap()
    }

    const TEXT: &str = r#"
        seeds = [3, 0]
        losses = ["bce", "0.5*bce(pos_weight=3)+dice"]
        [decoders.wide]
        reduce_dim = 128
        [decoders.conv]
        kind = "conv"
        picture_branch = true
        [alterations]
        kinds = ["sigmoid_twice", "no_features"]
        decoder = "wide"
    "#;

    #[test]
    fn names_and_order_are_fixed() {
        let runs = study(TEXT).runs().unwrap();
        let names: Vec<&str> = runs.iter().map(|run| run.name.as_str()).collect();
        let of_seed = |seed: u64| {
            [
                format!("conv.bce.s{seed}"),
                format!("conv.0.5_bce_pos_weight=3_+dice.s{seed}"),
                format!("wide.bce.s{seed}"),
                format!("wide.0.5_bce_pos_weight=3_+dice.s{seed}"),
                format!("wide.bce.sigmoid_twice.s{seed}"),
                format!("conv.bce.no_features.s{seed}"),
            ]
        };
        let expected = [of_seed(3), of_seed(0)].concat();
        assert_eq!(names, expected);
    }

    #[test]
    fn a_run_has_its_own_decoder_loss_and_seed_and_shares_the_rest() {
        let study = study(&format!("{TEXT}\n[schedule]\nsteps = 7\n"));
        let runs = study.runs().unwrap();
        let config = runs[1].train_config(&study);
        assert_eq!(config.seed, 3);
        assert_eq!(config.loss.to_string(), "0.5*bce(pos_weight=3)+dice");
        assert_eq!(config.decoder, study.decoders["conv"]);
        assert_eq!(config.schedule.steps, Some(7));
        assert_eq!(config.clip.checkpoint.as_deref(), Some("scenes"));
        assert_eq!(config.validation.examples, 0);
    }
}
