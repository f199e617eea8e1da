//! Checks of a training configuration: values out of range and settings without an effect.

use crate::config::decoder_choice::DecoderChoice;
use crate::config::train_config::TrainConfig;
use crate::config::values::{self, MOST};
use crate::error::{Result, TrainError};
use clipseg_data::Split;

/// More phrases in a batch or batches in a step than fit into any memory.
const MOST_AT_ONCE: usize = 1 << 16;
/// More scenes than fit on any disk.
const MOST_SCENES: usize = 1_000_000;
const MOST_EPOCHS: usize = 10_000;
/// Widths and sides for which a single step needs more memory than any machine has.
const WIDEST: usize = 1 << 14;
const LARGEST_SIDE: usize = 2_048;
const MOST_EXAMPLES: usize = 1_000;

impl TrainConfig {
    /// Checks that every value is in range and that every setting has an effect.
    ///
    /// # Errors
    ///
    /// [`TrainError::Config`] with the first invalid field.
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
        values::learning_rate("schedule.learning_rate", schedule.learning_rate)?;
        let last_rate = schedule.final_learning_rate;
        values::learning_rate("schedule.final_learning_rate", last_rate)?;
        values::positive("schedule.clip_norm", schedule.clip_norm.unwrap_or(1.0))?;
        values::share("augment.colour_jitter", augment.colour_jitter)?;
        values::share("augment.negatives", augment.negatives)?;
        optimizer.check()?;
        values::below_one("validation.threshold", validation.threshold)?;
        values::below_one("decoder.dropout", self.decoder.dropout())?;
        let [least, most] = augment.visual;
        if !(0.0 <= least && least <= most && most <= 1.0) {
            let message =
                format!("[{least}, {most}], expected two numbers from 0 to 1, the smaller first");
            return Err(TrainError::field("augment.visual", message));
        }
        if let Some(ratio) = schedule.warmup_ratio
            && !(ratio > 0.0 && ratio < 1.0)
        {
            let message = format!("{ratio}, expected more than 0 and less than 1");
            return Err(TrainError::field("schedule.warmup_ratio", message));
        }
        if schedule.epochs.is_none() {
            schedule.check_warmup(schedule.total_steps(|_| 0))?;
        }
        if let DecoderChoice::Deconv(choice) = &self.decoder
            && choice
                .extract_layers
                .as_ref()
                .is_some_and(|layers| layers.len() != 1)
        {
            let message = "expected one layer, because `deconv` uses one";
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
            values::count(field, value, least, most)?;
        }
        Ok(())
    }

    /// Refuses settings that would be ignored.
    fn check_effects(&self) -> Result<()> {
        let none = |field, message: &str| Err(TrainError::field(field, message));
        if self.schedule.steps.is_some() && self.schedule.epochs.is_some() {
            return none(
                "schedule.epochs",
                "steps are given too, expected one of the two",
            );
        }
        if self.schedule.warmup_ratio.is_some() && self.schedule.warmup_steps != 0 {
            return none(
                "schedule.warmup_ratio",
                "`schedule.warmup_steps` is given too, expected one of the two",
            );
        }
        let training = self.data.training;
        for (field, split, purpose) in [
            ("data.validation", self.data.validation, "validation"),
            ("data.test", self.data.test, "the final table"),
        ] {
            if overlap(training, split) {
                let message = format!(
                    "`{split}`, which shares phrases with `data.training` (`{training}`); expected \
                     another split, because {purpose} on phrases that were trained on shows nothing \
                     about new ones"
                );
                return none(field, &message);
            }
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
                "0 bytes, so `cache.folder` has no effect; expected more, or no `cache.folder`",
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
        self.check_clip()
    }
}

/// Whether two splits have phrases in common.
pub(crate) fn overlap(one: Split, other: Split) -> bool {
    one.parts().iter().any(|part| other.parts().contains(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_out_of_range_are_named() {
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
    fn a_warm_up_ends_before_the_run() {
        let message = |overrides: &[&str]| {
            let changed = TrainConfig::default().with_overrides(overrides);
            changed.map_err(|error| error.to_string())
        };
        assert_eq!(
            message(&["schedule.warmup_steps=7", "schedule.steps=7"]).unwrap_err(),
            "field `schedule.warmup_steps`: 7, expected fewer than the run's 7 steps"
        );
        message(&["schedule.warmup_steps=6", "schedule.steps=7"]).unwrap();
        message(&["schedule.warmup_steps=299"]).unwrap();
        assert!(
            message(&["schedule.warmup_steps=300"]).is_err(),
            "default steps"
        );
        // How many steps an epoch has is known only with the data.
        message(&["schedule.warmup_steps=300", "schedule.epochs=1"]).unwrap();
        message(&["schedule.warmup_ratio=0.5", "schedule.steps=1"]).unwrap();
        for ratio in ["0", "1", "nan", "-0.5"] {
            let error = message(&[&format!("schedule.warmup_ratio={ratio}")]).unwrap_err();
            assert!(
                error.starts_with("field `schedule.warmup_ratio`: "),
                "{error}"
            );
        }
    }

    #[test]
    fn validation_and_test_may_share_a_split() {
        let config = TrainConfig::default().with_overrides(&["data.test=val"]);
        assert_eq!(config.unwrap().data.test, Split::Val);
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
            (
                &["schedule.warmup_ratio=0.1", "schedule.warmup_steps=3"],
                "schedule.warmup_steps",
            ),
            (&["data.validation=train"], "data.validation"),
            (&["data.test=train"], "data.test"),
            (&["data.training=val"], "data.validation"),
            (&["data.training=miniv", "data.test=val_miniv"], "data.test"),
        ] {
            let found = message(overrides);
            assert!(found.starts_with(&format!("field `{field}`: ")), "{found}");
        }
    }
}
