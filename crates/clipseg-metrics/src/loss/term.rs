//! The terms of a loss: names, parameters and defaults.

use super::functions::{DiceReduction, bce_with_logits, dice_loss, focal_loss, tversky_loss};
use burn::prelude::*;
use std::fmt::{self, Display, Formatter};

/// A loss function with its parameters.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Term {
    Bce {
        pos_weight: f64,
    },
    Dice {
        smooth: f64,
        reduction: DiceReduction,
    },
    Focal {
        alpha: f64,
        gamma: f64,
    },
    Tversky {
        alpha: f64,
        beta: f64,
        smooth: f64,
    },
}

impl Term {
    pub(super) const BCE: Self = Self::Bce { pos_weight: 1.0 };
    pub(super) const DICE: Self = Self::Dice {
        smooth: 1.0,
        reduction: DiceReduction::Batch,
    };
    const DICE_IMAGE: Self = Self::Dice {
        smooth: 1.0,
        reduction: DiceReduction::Image,
    };
    const FOCAL: Self = Self::Focal {
        alpha: 0.25,
        gamma: 2.0,
    };
    const TVERSKY: Self = Self::Tversky {
        alpha: 0.3,
        beta: 0.7,
        smooth: 1.0,
    };
    /// All terms with their default parameters.
    pub(super) const ALL: [Self; 5] = [
        Self::BCE,
        Self::DICE,
        Self::DICE_IMAGE,
        Self::FOCAL,
        Self::TVERSKY,
    ];

    /// The name in a loss's text.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Bce { .. } => "bce",
            Self::Dice {
                reduction: DiceReduction::Batch,
                ..
            } => "dice",
            Self::Dice {
                reduction: DiceReduction::Image,
                ..
            } => "dice_image",
            Self::Focal { .. } => "focal",
            Self::Tversky { .. } => "tversky",
        }
    }

    /// The name, value and valid range of each parameter.
    pub(super) fn parameters(&mut self) -> Vec<(&'static str, &mut f64, Range)> {
        match self {
            Self::Bce { pos_weight } => vec![("pos_weight", pos_weight, Range::Positive)],
            Self::Dice { smooth, .. } => vec![("smooth", smooth, Range::Positive)],
            Self::Focal { alpha, gamma } => vec![
                ("alpha", alpha, Range::UnitInterval),
                ("gamma", gamma, Range::NotNegative),
            ],
            Self::Tversky {
                alpha,
                beta,
                smooth,
            } => vec![
                ("alpha", alpha, Range::NotNegative),
                ("beta", beta, Range::NotNegative),
                ("smooth", smooth, Range::Positive),
            ],
        }
    }

    pub(super) fn forward(self, logits: Tensor<3>, targets: Tensor<3>) -> Tensor<1> {
        match self {
            Self::Bce { pos_weight } => {
                let pos_weight = (pos_weight != 1.0).then_some(pos_weight);
                bce_with_logits(logits, targets, pos_weight)
            }
            Self::Dice { smooth, reduction } => dice_loss(logits, targets, smooth, reduction),
            Self::Focal { alpha, gamma } => focal_loss(logits, targets, alpha, gamma),
            Self::Tversky {
                alpha,
                beta,
                smooth,
            } => tversky_loss(logits, targets, alpha, beta, smooth),
        }
    }
}

/// The valid range of a parameter or weight.
#[derive(Debug, Clone, Copy)]
pub(super) enum Range {
    /// Greater than 0. Smoothing terms are positive, because 0 / 0 would result for an empty mask.
    Positive,
    /// 0 or greater.
    NotNegative,
    /// From 0 to 1.
    UnitInterval,
}

impl Range {
    /// Checks a value; the error is what was expected.
    pub(super) fn check(self, value: f64) -> Result<(), &'static str> {
        if !value.is_finite() {
            return Err("a finite number");
        }
        let (holds, expected) = match self {
            Self::Positive => (value > 0.0, "more than 0"),
            Self::NotNegative => (value >= 0.0, "at least 0"),
            Self::UnitInterval => ((0.0..=1.0).contains(&value), "from 0 to 1"),
        };
        if holds { Ok(()) } else { Err(expected) }
    }
}

impl Display for Term {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        let (mut own, mut default) = (*self, *self);
        for known in Self::ALL {
            if known.name() == self.name() {
                default = known;
            }
        }
        let pairs = own.parameters().into_iter().zip(default.parameters());
        let changed: Vec<String> = pairs
            .filter(|((_, own, _), (_, default, _))| own != default)
            .map(|((name, own, _), _)| format!("{name}={own}"))
            .collect();
        if changed.is_empty() {
            return Ok(());
        }
        write!(f, "({})", changed.join(","))
    }
}
