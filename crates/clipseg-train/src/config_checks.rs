//! Numbers of a configuration that training cannot use.

use crate::config::{DecoderKind, TrainConfig};
use crate::error::{Result, TrainError};

impl TrainConfig {
    /// Checks every number.
    ///
    /// # Errors
    ///
    /// [`TrainError::Config`] with the first that training cannot use.
    pub fn validate(&self) -> Result<()> {
        let Self {
            schedule,
            validation,
            augment,
            optimizer,
            ..
        } = self;
        for (field, value) in [
            ("data.scenes", self.data.scenes),
            ("data.limit", self.data.limit.unwrap_or(1)),
            ("decoder.reduce_dim", self.decoder.reduce_dim),
            ("schedule.steps", schedule.steps.unwrap_or(1)),
            ("schedule.epochs", schedule.epochs.unwrap_or(1)),
            ("schedule.batch_size", schedule.batch_size),
            ("schedule.accumulation", schedule.accumulation),
            ("validation.every", validation.every),
            ("validation.phrases", validation.phrases),
            ("validation.patience", validation.patience.unwrap_or(1)),
            ("checkpoints.every", self.checkpoints.every),
        ] {
            if value == 0 {
                return Err(TrainError::field(field, "0, expected at least 1"));
            }
        }
        if schedule.steps.is_some() && schedule.epochs.is_some() {
            return Err(TrainError::field(
                "schedule.epochs",
                "steps are given too, expected one of the two",
            ));
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
            ("augment.visual", augment.visual),
            ("validation.threshold", validation.threshold),
            ("optimizer.weight_decay", optimizer.weight_decay),
        ] {
            if !(0.0..=1.0).contains(&share) {
                let message = format!("{share}, expected 0 to 1");
                return Err(TrainError::field(field, message));
            }
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
        let layers = self.decoder.extract_layers.as_ref().map(Vec::len);
        if self.decoder.kind == DecoderKind::Deconv && layers.is_some_and(|layers| layers != 1) {
            let message = "expected one layer, which is what `deconv` takes";
            return Err(TrainError::field("decoder.extract_layers", message));
        }
        if let Some(index) = self.data.held_out.iter().position(|w| w.trim().is_empty()) {
            let field = format!("data.held_out[{index}]");
            return Err(TrainError::field(&field, "empty, expected a word"));
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
}
