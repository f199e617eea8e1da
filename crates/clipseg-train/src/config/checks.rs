//! Numbers of a configuration that training cannot use, and settings that have no effect.

use crate::config::decoder_choice::DecoderChoice;
use crate::config::train_config::TrainConfig;
use crate::error::{Result, TrainError};

/// More of anything that is counted than any run needs, and few enough to calculate with.
const MOST: usize = 1_000_000_000;
/// More phrases in a batch, batches in a step or scenes than fit into any memory or disk.
const MOST_AT_ONCE: usize = 1 << 16;
const MOST_SCENES: usize = 1_000_000;
const MOST_EPOCHS: usize = 10_000;
/// Sides and widths for which a single step takes more than any machine has.
const WIDEST: usize = 1 << 14;
const LARGEST_SIDE: usize = 2_048;
const MOST_EXAMPLES: usize = 1_000;

impl TrainConfig {
    /// Checks every number, and that every setting has an effect.
    ///
    /// # Errors
    ///
    /// [`TrainError::Config`] with the first field that training cannot use.
    pub fn validate(&self) -> Result<()> {
        self.check_counts()?;
        self.check_effects()?;
        let Self {
            schedule,
            validation,
            augment,
            optimizer,
            ..
        } = self;
        if i64::try_from(self.seed).is_err() {
            let message = format!("{}, expected at most {}", self.seed, i64::MAX);
            return Err(TrainError::field("seed", message));
        }
        for (field, rate) in [
            ("schedule.learning_rate", schedule.learning_rate),
            ("schedule.final_learning_rate", schedule.final_learning_rate),
        ] {
            if !(rate > 0.0 && rate <= 1.0) {
                let message = format!("{rate}, expected more than 0 and at most 1");
                return Err(TrainError::field(field, message));
            }
        }
        if let Some(norm) = schedule.clip_norm
            && !(norm > 0.0 && norm.is_finite())
        {
            let message = format!("{norm}, expected more than 0");
            return Err(TrainError::field("schedule.clip_norm", message));
        }
        for (field, share) in [
            ("augment.colour_jitter", augment.colour_jitter),
            ("augment.negatives", augment.negatives),
            ("optimizer.weight_decay", optimizer.weight_decay),
        ] {
            if !(0.0..=1.0).contains(&share) {
                let message = format!("{share}, expected 0 to 1");
                return Err(TrainError::field(field, message));
            }
        }
        if !(0.0..1.0).contains(&validation.threshold) {
            let message = format!(
                "{}, expected at least 0 and less than 1",
                validation.threshold
            );
            return Err(TrainError::field("validation.threshold", message));
        }
        let [least, most] = augment.visual;
        if !(0.0 <= least && least <= most && most <= 1.0) {
            let message =
                format!("[{least}, {most}], expected two numbers from 0 to 1, the smaller first");
            return Err(TrainError::field("augment.visual", message));
        }
        for (field, beta) in [
            ("optimizer.beta_1", optimizer.beta_1),
            ("optimizer.beta_2", optimizer.beta_2),
        ] {
            if !(0.0..1.0).contains(&beta) {
                let message = format!("{beta}, expected at least 0 and less than 1");
                return Err(TrainError::field(field, message));
            }
        }
        if !(optimizer.epsilon > 0.0 && optimizer.epsilon.is_finite()) {
            let message = format!("{}, expected more than 0", optimizer.epsilon);
            return Err(TrainError::field("optimizer.epsilon", message));
        }
        let dropout = self.decoder.dropout();
        if !(0.0..1.0).contains(&dropout) {
            let message = format!("{dropout}, expected at least 0 and less than 1");
            return Err(TrainError::field("decoder.dropout", message));
        }
        if let DecoderChoice::Deconv(choice) = &self.decoder
            && choice
                .extract_layers
                .as_ref()
                .is_some_and(|layers| layers.len() != 1)
        {
            let message = "expected one layer, which is what `deconv` takes";
            return Err(TrainError::field("decoder.extract_layers", message));
        }
        if let Some(index) = self.data.held_out.iter().position(|w| w.trim().is_empty()) {
            let field = format!("data.held_out[{index}]");
            return Err(TrainError::field(&field, "empty, expected a word"));
        }
        Ok(())
    }

    fn check_counts(&self) -> Result<()> {
        let Self {
            data,
            schedule,
            validation,
            ..
        } = self;
        let (reduce_dim, intermediate) = match &self.decoder {
            DecoderChoice::Transformer(choice) => {
                (choice.reduce_dim, choice.intermediate_size.unwrap_or(1))
            }
            DecoderChoice::Deconv(choice) => (choice.reduce_dim, 1),
            DecoderChoice::Conv(_) | DecoderChoice::Pretrained(_) => (1, 1),
        };
        let side = data.size.unwrap_or(1) as usize;
        for (field, value, least, most) in [
            ("data.scenes", data.scenes.unwrap_or(1), 1, MOST_SCENES),
            ("data.limit", data.limit.unwrap_or(1), 1, MOST),
            ("data.size", side, 1, LARGEST_SIDE),
            ("decoder.reduce_dim", reduce_dim, 1, WIDEST),
            ("decoder.intermediate_size", intermediate, 1, WIDEST),
            ("schedule.steps", schedule.steps.unwrap_or(1), 1, MOST),
            (
                "schedule.epochs",
                schedule.epochs.unwrap_or(1),
                1,
                MOST_EPOCHS,
            ),
            ("schedule.batch_size", schedule.batch_size, 1, MOST_AT_ONCE),
            (
                "schedule.accumulation",
                schedule.accumulation,
                1,
                MOST_AT_ONCE,
            ),
            ("schedule.warmup_steps", schedule.warmup_steps, 0, MOST),
            ("validation.every", validation.every, 1, MOST),
            ("validation.phrases", validation.phrases, 1, MOST),
            (
                "validation.patience",
                validation.patience.unwrap_or(1),
                1,
                MOST,
            ),
            ("validation.examples", validation.examples, 0, MOST_EXAMPLES),
            ("validation.test_phrases", validation.test_phrases, 0, MOST),
            ("checkpoints.every", self.checkpoints.every, 1, MOST),
        ] {
            if value < least {
                let message = format!("{value}, expected at least {least}");
                return Err(TrainError::field(field, message));
            }
            if value > most {
                let message = format!("{value}, expected at most {most}");
                return Err(TrainError::field(field, message));
            }
        }
        Ok(())
    }

    /// Settings that would be read and then ignored.
    fn check_effects(&self) -> Result<()> {
        let none = |field, message: &str| Err(TrainError::field(field, message));
        if self.schedule.steps.is_some() && self.schedule.epochs.is_some() {
            return none(
                "schedule.epochs",
                "steps are given too, expected one of the two",
            );
        }
        if self.data.folder.is_some() && self.data.scenes.is_some() {
            return none(
                "data.scenes",
                "has no effect, because `data.folder` is given and no scenes are generated",
            );
        }
        if self.augment.negative_rule.is_some() && self.augment.negatives == 0.0 {
            return none(
                "augment.negative_rule",
                "has no effect, because `augment.negatives` is 0 and no phrase is replaced",
            );
        }
        if self.cache.folder_limit.is_some() && self.cache.folder.is_none() {
            return none("cache.folder_limit", "has no effect without `cache.folder`");
        }
        if self.cache.folder_limit.is_some_and(|limit| limit.0 == 0) {
            return none(
                "cache.folder_limit",
                "0 bytes, so `cache.folder` would have no effect; expected more, or neither",
            );
        }
        for (field, path) in [
            ("data.folder", &self.data.folder),
            ("cache.folder", &self.cache.folder),
        ] {
            if path
                .as_ref()
                .is_some_and(|path| path.as_os_str().is_empty())
            {
                return none(field, "empty, expected a folder");
            }
        }
        if self
            .clip
            .checkpoint
            .as_ref()
            .is_some_and(|name| name.trim().is_empty())
        {
            return none(
                "clip.checkpoint",
                "empty, expected a folder or an id on the hub",
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_numbers_are_named() {
        let message = |change: fn(&mut TrainConfig)| {
            let mut config = TrainConfig::default();
            change(&mut config);
            config.validate().unwrap_err().to_string()
        };
        assert_eq!(
            message(|c| c.schedule.steps = Some(0)),
            "field `schedule.steps`: 0, expected at least 1"
        );
        assert_eq!(
            message(|c| (c.schedule.steps, c.schedule.epochs) = (Some(1), Some(1))),
            "field `schedule.epochs`: steps are given too, expected one of the two"
        );
        assert!(
            message(|c| c.schedule.learning_rate = f64::NAN)
                .contains("field `schedule.learning_rate`: NaN")
        );
        assert!(message(|c| c.augment.negatives = 1.5).contains("expected 0 to 1"));
        assert!(message(|c| c.optimizer.beta_2 = 1.0).contains("optimizer.beta_2"));
        assert!(message(|c| c.schedule.clip_norm = Some(-1.0)).contains("schedule.clip_norm"));
        assert!(message(|c| c.data.held_out = vec![" ".into()]).contains("data.held_out[0]"));
        TrainConfig::default().validate().unwrap();
    }

    #[test]
    fn settings_without_an_effect_are_named() {
        let message = |overrides: &[&str]| {
            let error = TrainConfig::default()
                .with_overrides(overrides)
                .unwrap_err();
            error.to_string()
        };
        for (overrides, field) in [
            (&["data.folder=here", "data.scenes=5"][..], "data.scenes"),
            (&["augment.negative_rule=any"], "augment.negative_rule"),
            (&["cache.folder_limit=1 GiB"], "cache.folder_limit"),
            (
                &["cache.folder=x", "cache.folder_limit=0"],
                "cache.folder_limit",
            ),
            (&["cache.folder="], "cache.folder"),
            (&["validation.threshold=1"], "validation.threshold"),
            (&["validation.threshold=nan"], "validation.threshold"),
            (&["data.folder="], "data.folder"),
        ] {
            let found = message(overrides);
            assert!(found.starts_with(&format!("field `{field}`: ")), "{found}");
        }
    }
}
