//! One training step: what it learns from, its gradients, the optimizer and the learning rate.

pub(crate) mod gradients;
pub(crate) mod input;
#[cfg(feature = "burn-train")]
pub(crate) mod learner;
pub(crate) mod mixing;
pub(crate) mod optimizer;
pub(crate) mod randomness;
pub(crate) mod schedule;
pub(crate) mod stepper;
pub(crate) mod trainer;
