//! Checks of single values of a configuration. Each error names the field, the value and what was
//! expected.

use crate::error::{Result, TrainError};
use std::fmt::Display;

/// A number of single or double precision, displayed as it was given.
pub(crate) trait Number: Into<f64> + Copy + Display {}

impl<T: Into<f64> + Copy + Display> Number for T {}

/// More than any run needs of anything that is counted, and few enough to calculate with.
pub(crate) const MOST: usize = 1_000_000_000;

fn require(good: bool, field: &str, value: impl Display, expected: &str) -> Result<()> {
    if good {
        return Ok(());
    }
    Err(TrainError::field(
        field,
        format!("{value}, expected {expected}"),
    ))
}

/// Requires a value from 0 to 1.
pub(crate) fn share(field: &str, value: impl Number) -> Result<()> {
    require((0.0..=1.0).contains(&value.into()), field, value, "0 to 1")
}

/// Requires a value of at least 0 and less than 1.
pub(crate) fn below_one(field: &str, value: impl Number) -> Result<()> {
    let expected = "at least 0 and less than 1";
    require((0.0..1.0).contains(&value.into()), field, value, expected)
}

/// Requires a finite value above 0.
pub(crate) fn positive(field: &str, value: impl Number) -> Result<()> {
    let good = value.into() > 0.0 && value.into().is_finite();
    require(good, field, value, "more than 0")
}

/// Requires a learning rate above 0 and at most 1.
pub(crate) fn learning_rate(field: &str, value: impl Number) -> Result<()> {
    let good = value.into() > 0.0 && value.into() <= 1.0;
    require(good, field, value, "more than 0 and at most 1")
}

/// Requires a count within bounds.
pub(crate) fn count(field: &str, value: usize, least: usize, most: usize) -> Result<()> {
    require(value >= least, field, value, &format!("at least {least}"))?;
    require(value <= most, field, value, &format!("at most {most}"))
}

/// Requires a warm-up that ends before the run does.
pub(crate) fn warmup(warmup: usize, steps: usize) -> Result<()> {
    if warmup == 0 || warmup < steps {
        return Ok(());
    }
    let message = format!("{warmup}, expected fewer than the run's {steps} steps");
    Err(TrainError::field("schedule.warmup_steps", message))
}
