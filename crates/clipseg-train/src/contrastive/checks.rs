//! Checks of a pre-training configuration.

use super::config::PretrainConfig;
use super::shape::ClipShape;
use crate::config::settings::Settings;
use crate::config::values;
use crate::error::{Result, TrainError};
use std::path::Path;

impl Settings for PretrainConfig {
    const EXCLUSIVE: &'static [[&'static str; 2]] = &[["schedule.steps", "schedule.minutes"]];

    fn way_on(&self, field: &str, model: &Path) -> String {
        match field {
            "schedule.steps" | "schedule.minutes" => format!(
                ". The learning rate of every step depends on the number of steps; to train the CLIP \
                 further, start a new run from it: `--clip {}` with another --out",
                model.display()
            ),
            _ => String::new(),
        }
    }

    fn check(&self) -> Result<()> {
        let Self {
            schedule,
            optimizer,
            data,
            augment,
            model,
            ..
        } = self;
        for (field, value) in [
            ("data.per_picture", data.per_picture),
            ("data.phrases", data.phrases),
            ("schedule.steps", schedule.steps.unwrap_or(1)),
            ("schedule.batch_size", schedule.batch_size),
            ("schedule.piece", schedule.piece.unwrap_or(1)),
            ("schedule.read_every", schedule.read_every),
            ("validation.every", self.validation.every),
            ("validation.pictures", self.validation.pictures),
            ("checkpoints.every", self.checkpoints.every),
        ] {
            values::count(field, value, 1, usize::MAX)?;
        }
        if schedule.steps.is_some() && schedule.minutes.is_some() {
            let message = "steps are given too, expected one of the two";
            return Err(TrainError::field("schedule.minutes", message));
        }
        if schedule.batch_size < 2 {
            let message =
                "1, expected at least 2: a pair is contrasted with the others of its batch";
            return Err(TrainError::field("schedule.batch_size", message));
        }
        if !schedule.batch_size.is_multiple_of(data.per_picture) {
            let message = format!(
                "{}, expected a multiple of `data.per_picture`, which is {}",
                schedule.batch_size, data.per_picture
            );
            return Err(TrainError::field("schedule.batch_size", message));
        }
        values::learning_rate("schedule.learning_rate", schedule.learning_rate)?;
        let last_rate = schedule.final_learning_rate;
        values::learning_rate("schedule.final_learning_rate", last_rate)?;
        for (field, share) in [
            ("data.crops", data.crops),
            ("data.templates", data.templates),
            ("augment.flip", augment.flip),
            ("augment.colour_jitter", augment.colour_jitter),
        ] {
            values::share(field, share)?;
        }
        if data.regions > 0 && data.crops >= 1.0 {
            let message = format!(
                "{}, expected 0: regions belong to entire pictures, and `data.crops` is 1",
                data.regions
            );
            return Err(TrainError::field("data.regions", message));
        }
        optimizer.check()?;
        values::positive("augment.crop", augment.crop)?;
        values::share("augment.crop", augment.crop)?;
        values::positive("schedule.clip_norm", schedule.clip_norm.unwrap_or(1.0))?;
        values::positive("schedule.minutes", schedule.minutes.unwrap_or(1.0))?;
        if let Some(steps) = schedule.total_steps() {
            values::warmup(schedule.warmup(Some(steps)), steps)?;
        }
        if self.clip.checkpoint.is_some() && *model != ClipShape::default() {
            let message = "has no effect, because `clip.checkpoint` names a CLIP";
            return Err(TrainError::field("model", message));
        }
        // The vocabulary changes nothing that is checked here; the path is only for messages.
        let shape = model.to_config(model.vocabulary, 0, 1);
        shape
            .validate(Path::new("model"))
            .map_err(|error| TrainError::field("model", error))?;
        let side = model.image_size;
        if !side.is_multiple_of(model.patch_size.max(1)) || !(32..=4_096).contains(&side) {
            let message = format!(
                "{side}, expected 32 to 4096 and a multiple of the patch size, {}",
                model.patch_size
            );
            return Err(TrainError::field("model.image_size", message));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_about_other_steps_says_how_to_train_further() {
        let config = PretrainConfig::default();
        let way = |field| config.way_on(field, Path::new("run/model"));
        assert!(way("schedule.steps").contains("`--clip run/model` with another --out"));
        assert_eq!(way("schedule.steps"), way("schedule.minutes"));
        assert_eq!(way("seed"), "");
    }

    #[test]
    fn a_written_configuration_is_read_back_and_the_defaults_are_valid() {
        let config = PretrainConfig::default();
        config.check().unwrap();
        let text = config.to_toml().unwrap();
        let read = PretrainConfig::from_toml(&text, Path::new("x")).unwrap();
        assert_eq!(read, config, "{text}");
        assert_eq!(
            PretrainConfig::from_toml("", Path::new("x")).unwrap(),
            config
        );
        // A field alone does not bring other defaults into its section.
        let one = PretrainConfig::from_toml("[optimizer]\nbeta_1 = 0.8", Path::new("x")).unwrap();
        assert!(!one.optimizer.decay_biases_and_norms && one.optimizer.beta_2 == 0.98);
    }

    #[test]
    fn bad_fields_are_named() {
        let message = |field: &str| {
            let error = PretrainConfig::default().with_overrides(&[field]);
            error.unwrap_err().to_string()
        };
        assert_eq!(
            message("schedule.batch_size=6"),
            "field `schedule.batch_size`: 6, expected a multiple of `data.per_picture`, which is 4"
        );
        assert!(message("schedule.steps=0").starts_with("field `schedule.steps`: 0"));
        assert!(message("data.crops=2").starts_with("field `data.crops`: 2"));
        let both = ["data.regions=5", "data.crops=1"];
        let error = PretrainConfig::default().with_overrides(&both).unwrap_err();
        assert_eq!(
            error.to_string(),
            "field `data.regions`: 5, expected 0: regions belong to entire pictures, and `data.crops` is 1"
        );
        assert!(message("augment.crop=1.5").starts_with("field `augment.crop`: 1.5"));
        assert!(message("optimizer.beta_2=1").starts_with("field `optimizer.beta_2`"));
        assert!(message("schedule.clip_norm=-1").starts_with("field `schedule.clip_norm`"));
        assert!(message("model.image_size=100").starts_with("field `model.image_size`: 100"));
        assert!(message("model.text_heads=5").contains("5 heads do not divide the width 128"));
        assert!(message("schedule.minutes=0").starts_with("field `schedule.minutes`: 0"));
        assert!(message("schedule.epochs=1").contains("unknown field"));
        let steps = message("schedule.warmup_steps=2000");
        assert!(
            steps.ends_with("2000, expected fewer than the run's 2000 steps"),
            "{steps}"
        );
        let text = "[schedule]\nsteps = 1\nminutes = 1.0";
        let error = PretrainConfig::from_toml(text, Path::new("x")).unwrap_err();
        assert!(error.to_string().contains("steps are given too"), "{error}");
        let both = ["schedule.steps=3", "schedule.minutes=2"];
        let error = PretrainConfig::default().with_overrides(&both).unwrap_err();
        assert!(
            error.to_string().contains("`schedule.steps` is given too"),
            "{error}"
        );
        let changed = PretrainConfig::default()
            .with_overrides(&both[..1])
            .unwrap();
        let changed = changed.with_overrides(&both[1..]).unwrap();
        assert_eq!(
            (changed.schedule.steps, changed.schedule.minutes),
            (None, Some(2.0))
        );
        let both = ["clip.checkpoint=x", "model.text_layers=2"];
        let error = PretrainConfig::default().with_overrides(&both).unwrap_err();
        assert_eq!(
            error.to_string(),
            "field `model`: has no effect, because `clip.checkpoint` names a CLIP"
        );
    }
}
