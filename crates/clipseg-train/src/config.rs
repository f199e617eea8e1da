//! What a training run is made of.

use crate::error::{Result, TrainError};
use clipseg_metrics::Loss;
use serde::{Deserialize, Serialize};

/// How a decoder is trained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainConfig {
    /// Steps of the optimizer. Default: 300.
    pub steps: usize,
    /// Phrases in a step. Default: 16.
    pub batch_size: usize,
    /// What is minimised. Default: BCE.
    pub loss: Loss,
    /// The optimizer.
    pub optimizer: AdamWOptions,
    /// Learning rate of the first step. Default: 1e-3, as in the paper.
    pub learning_rate: f64,
    /// Learning rate of the last step, reached on a cosine. Default: 1e-4, as in the paper.
    pub final_learning_rate: f64,
    /// Steps over which the rate rises to the first one before the cosine begins. Default: 0, as in
    /// the paper.
    pub warmup_steps: usize,
    /// Decides the order of the data and the decoder's first weights. Default: 0.
    pub seed: u64,
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            steps: 300,
            batch_size: 16,
            loss: Loss::bce(),
            optimizer: AdamWOptions::default(),
            learning_rate: 1e-3,
            final_learning_rate: 1e-4,
            warmup_steps: 0,
            seed: 0,
        }
    }
}

/// AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101), with PyTorch's defaults, not Burn's.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdamWOptions {
    /// Share of the weights taken off in each step, times the learning rate. Default: 0.01.
    pub weight_decay: f32,
    /// Memory of the mean of the gradients. Default: 0.9.
    pub beta_1: f32,
    /// Memory of the mean of their squares. Default: 0.999.
    pub beta_2: f32,
    /// Added to the root of the squares. Default: 1e-8.
    pub epsilon: f32,
}

impl Default for AdamWOptions {
    fn default() -> Self {
        Self {
            weight_decay: 1e-2,
            beta_1: 0.9,
            beta_2: 0.999,
            epsilon: 1e-8,
        }
    }
}

impl TrainConfig {
    /// Checks every number.
    ///
    /// # Errors
    ///
    /// [`TrainError::Config`] with the first that training cannot use.
    pub fn validate(&self) -> Result<()> {
        let fail = |field, message: String| Err(TrainError::Config { field, message });
        for (field, value) in [("steps", self.steps), ("batch_size", self.batch_size)] {
            if value == 0 {
                return fail(field, "0, expected at least 1".into());
            }
        }
        for (field, rate) in [
            ("learning_rate", self.learning_rate),
            ("final_learning_rate", self.final_learning_rate),
        ] {
            if !(rate > 0.0 && rate <= 1.0) {
                return fail(field, format!("{rate}, expected more than 0 and at most 1"));
            }
        }
        Ok(())
    }

    /// The learning rate of a step counted from 0: a straight rise over the warm-up, then a cosine
    /// from the first rate to the last.
    pub fn learning_rate_at(&self, step: usize) -> f64 {
        if step < self.warmup_steps {
            return self.learning_rate * (step + 1) as f64 / self.warmup_steps as f64;
        }
        let length = self.steps.saturating_sub(1 + self.warmup_steps).max(1) as f64;
        let progress = ((step - self.warmup_steps) as f64 / length).min(1.0);
        let cosine = 0.5 * (1.0 + (std::f64::consts::PI * progress).cos());
        self.final_learning_rate + (self.learning_rate - self.final_learning_rate) * cosine
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_falls_from_the_first_to_the_last() {
        let config = TrainConfig {
            steps: 11,
            ..TrainConfig::default()
        };
        let rates: Vec<f64> = (0..11).map(|step| config.learning_rate_at(step)).collect();
        assert!(
            (rates[0] - 1e-3).abs() < 1e-12 && (rates[10] - 1e-4).abs() < 1e-12,
            "{rates:?}"
        );
        assert!((rates[5] - 5.5e-4).abs() < 1e-12, "{rates:?}");
        assert!(rates.windows(2).all(|pair| pair[1] < pair[0]), "{rates:?}");
    }

    #[test]
    fn a_warm_up_rises_first() {
        let config = TrainConfig {
            steps: 20,
            warmup_steps: 4,
            ..TrainConfig::default()
        };
        let rates: Vec<f64> = (0..6).map(|step| config.learning_rate_at(step)).collect();
        assert_eq!(rates[..5], [2.5e-4, 5e-4, 7.5e-4, 1e-3, 1e-3]);
        assert!(rates[5] < 1e-3 && (config.learning_rate_at(19) - 1e-4).abs() < 1e-12);
    }

    #[test]
    fn bad_numbers_are_named() {
        let message = |change: fn(&mut TrainConfig)| {
            let mut config = TrainConfig::default();
            change(&mut config);
            config.validate().unwrap_err().to_string()
        };
        assert_eq!(
            message(|c| c.steps = 0),
            "field `steps`: 0, expected at least 1"
        );
        assert!(message(|c| c.learning_rate = f64::NAN).contains("field `learning_rate`: NaN"));
    }
}
