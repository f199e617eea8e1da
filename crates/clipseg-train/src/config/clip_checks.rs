//! Checks of the section `clip` of a training configuration.

use crate::config::train_config::TrainConfig;
use crate::config::values;
use crate::error::{Result, TrainError};
use clipseg_clip::{Precision, TunedPart};
use clipseg_model::ClipSegConfig;

/// Learning rate of a CLIP that is fine-tuned, where none is given.
const DEFAULT_RATE: f64 = 1e-5;

impl TrainConfig {
    /// The learning rate of CLIP as a fraction of the decoder's, at every step.
    pub(crate) fn clip_rate_share(&self) -> f64 {
        self.clip.learning_rate.unwrap_or(DEFAULT_RATE) / self.schedule.learning_rate
    }

    /// The weights of CLIP that are trained; `None` if CLIP is frozen.
    ///
    /// # Errors
    ///
    /// If the decoder does not read so many blocks of the vision tower.
    pub(crate) fn tuned_part(&self, model: &ClipSegConfig) -> Result<Option<TunedPart>> {
        let part = self.clip.unfreeze;
        let part = part.map(|unfreeze| unfreeze.part(model, self.augment.visual[1] > 0.0));
        part.transpose()
    }

    /// Checks the values of the section `clip`, and that each has an effect.
    pub(crate) fn check_clip(&self) -> Result<()> {
        let clip = &self.clip;
        if clip
            .checkpoint
            .as_ref()
            .is_some_and(|name| name.trim().is_empty())
        {
            let message = "empty, expected a folder or an id on the Hugging Face hub";
            return Err(TrainError::field("clip.checkpoint", message));
        }
        if let Some(rate) = clip.learning_rate {
            values::learning_rate("clip.learning_rate", rate)?;
        }
        let Some(unfreeze) = clip.unfreeze else {
            if clip.learning_rate.is_some() {
                let message = "has no effect without `clip.unfreeze`, because CLIP is frozen";
                return Err(TrainError::field("clip.learning_rate", message));
            }
            return Ok(());
        };
        if clip.data_type != Precision::F32 {
            let message = format!(
                "{}, expected f32, because `clip.unfreeze` (`{unfreeze}`) trains CLIP in single precision",
                clip.data_type
            );
            return Err(TrainError::field("clip.data_type", message));
        }
        if self.cache.folder.is_some() {
            let message = format!(
                "has no effect with `clip.unfreeze` (`{unfreeze}`), because the hidden states change in \
                 every step and are not cached"
            );
            return Err(TrainError::field("cache.folder", message));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_do_not_fit_together_are_named() {
        let message = |overrides: &[&str]| {
            let changed = TrainConfig::default().with_overrides(overrides);
            changed.unwrap_err().to_string()
        };
        for (overrides, expected) in [
            (
                &["clip.learning_rate=1e-5"][..],
                "field `clip.learning_rate`: has no effect without `clip.unfreeze`",
            ),
            (
                &["clip.unfreeze=clip", "clip.learning_rate=0"],
                "field `clip.learning_rate`: 0, expected more than 0 and at most 1",
            ),
            (
                &["clip.unfreeze=clip", "clip.learning_rate=nan"],
                "field `clip.learning_rate`: NaN",
            ),
            (
                &["clip.unfreeze=vision-last-0"],
                "field `clip.unfreeze`: `vision-last-0`, expected at least one block",
            ),
            (
                &["clip.unfreeze=text"],
                "field `clip.unfreeze`: `text`, expected `clip`",
            ),
            (
                &["clip.unfreeze=clip", "cache.folder=here"],
                "field `cache.folder`: has no effect with `clip.unfreeze` (`clip`)",
            ),
            (
                &["clip.unfreeze=vision-last-1", "clip.data_type=f16"],
                "field `clip.data_type`: f16, expected f32",
            ),
            (&["clip.checkpoint= "], "field `clip.checkpoint`: empty"),
        ] {
            let found = message(overrides);
            assert!(found.starts_with(expected), "{found}");
        }
    }

    #[test]
    fn the_rate_of_clip_has_the_shape_of_the_decoders() {
        let overrides = ["clip.unfreeze=clip", "schedule.learning_rate=2e-3"];
        let config = TrainConfig::default().with_overrides(&overrides).unwrap();
        assert!((config.clip_rate_share() - 5e-3).abs() < 1e-12);
        let config = config.with_overrides(&["clip.learning_rate=1e-4"]).unwrap();
        let rates = |step| {
            let decoder = config.schedule.learning_rate_at(step, 100);
            [decoder, decoder * config.clip_rate_share()]
        };
        assert!((rates(0)[1] - 1e-4).abs() < 1e-12);
        // From 2e-3 to 1e-4 the decoder's rate falls to a twentieth, and so does that of CLIP.
        assert!((rates(99)[1] - 5e-6).abs() < 1e-12);
    }
}
