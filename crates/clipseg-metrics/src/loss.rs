//! A loss with a text form, for configuration files and command lines.

mod functions;
mod parser;
mod term;

pub use functions::{DiceReduction, bce_with_logits, dice_loss, focal_loss, tversky_loss};

use crate::error::MetricsError;
use burn::prelude::*;
use serde::{Deserialize, Serialize};
use std::fmt::{self, Display, Formatter};
use std::str::FromStr;
use term::Term;

/// A training loss: a weighted sum of loss functions.
///
/// Its text form is a list of terms separated by `+`, such as `bce`, `0.5*bce + dice` or
/// `focal(gamma=1) + 2*tversky`. A term has an optional weight with `*`, a name, and optional parameters
/// in parentheses. The default weight is 1. Whitespace is ignored.
///
/// | Name | Loss | Parameters and defaults |
/// |---|---|---|
/// | `bce` | [`bce_with_logits`] | `pos_weight=1` |
/// | `dice` | [`dice_loss`] over the batch | `smooth=1` |
/// | `dice_image` | [`dice_loss`] for each picture | `smooth=1` |
/// | `focal` | [`focal_loss`] | `alpha=0.25, gamma=2` |
/// | `tversky` | [`tversky_loss`] | `alpha=0.3, beta=0.7, smooth=1` |
///
/// [`Display`] and serde write the text form.
///
/// ```
/// use clipseg_metrics::Loss;
///
/// let loss: Loss = "0.5 * bce(pos_weight=3) + dice(smooth=1)".parse()?;
/// assert_eq!(loss.to_string(), "0.5*bce(pos_weight=3)+dice");
///
/// let error = "bce+dise".parse::<Loss>().unwrap_err().to_string();
/// assert!(error.starts_with("loss `bce+dise`, character 5: `dise` is not a loss"));
/// # Ok::<(), clipseg_metrics::MetricsError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Loss {
    terms: Vec<(f64, Term)>,
}

impl Loss {
    /// Binary cross-entropy, `bce`.
    pub fn bce() -> Self {
        Self::from_term(Term::BCE)
    }

    /// The Dice loss over the batch, `dice`.
    pub fn dice() -> Self {
        Self::from_term(Term::DICE)
    }

    fn from_term(term: Term) -> Self {
        Self {
            terms: vec![(1.0, term)],
        }
    }

    /// Computes the loss of a batch.
    ///
    /// # Shapes
    ///
    /// - logits, targets: `[batch, height, width]`; targets are zeros and ones
    /// - output: `[1]`
    ///
    /// # Panics
    ///
    /// If the shapes differ.
    pub fn forward(&self, logits: Tensor<3>, targets: Tensor<3>) -> Tensor<1> {
        let mut sum: Option<Tensor<1>> = None;
        for (weight, term) in &self.terms {
            let loss = term.forward(logits.clone(), targets.clone());
            let loss = if *weight == 1.0 {
                loss
            } else {
                loss.mul_scalar(*weight)
            };
            sum = Some(match sum {
                None => loss,
                Some(sum) => sum + loss,
            });
        }
        sum.unwrap_or_else(|| Tensor::zeros([1], &logits.device()))
    }
}

impl Display for Loss {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (index, (weight, term)) in self.terms.iter().enumerate() {
            if index > 0 {
                f.write_str("+")?;
            }
            if *weight != 1.0 {
                write!(f, "{weight}*")?;
            }
            write!(f, "{term}")?;
        }
        Ok(())
    }
}

impl FromStr for Loss {
    type Err = MetricsError;

    fn from_str(text: &str) -> Result<Self, MetricsError> {
        let terms = parser::parse(text)?;
        Ok(Self { terms })
    }
}

impl TryFrom<String> for Loss {
    type Error = MetricsError;

    fn try_from(text: String) -> Result<Self, MetricsError> {
        text.parse()
    }
}

impl From<Loss> for String {
    fn from(loss: Loss) -> Self {
        loss.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Parts of a text. About a tenth of their random combinations are valid losses.
    const PIECES: &[&str] = &[
        "bce",
        "dice",
        "+",
        "+dice",
        "+2*bce",
        "focal(gamma=1)",
        "0.5*",
        "(smooth=2)",
        " ",
        "é",
        "(pos_weight=3)",
        ",",
        "1e-3*tversky",
        "()",
    ];

    fn parse(text: &str) -> Loss {
        text.parse().unwrap()
    }

    #[test]
    fn texts_are_parsed_and_printed() {
        assert_eq!(parse("bce"), Loss::bce());
        assert_eq!(parse(" dice "), Loss::dice());
        for (text, printed) in [
            ("0.5*bce+dice", "0.5*bce+dice"),
            (" 1.0 * bce ( pos_weight = 3 ) ", "bce(pos_weight=3)"),
            (
                "focal(alpha=0.25, gamma=1)+2*tversky",
                "focal(gamma=1)+2*tversky",
            ),
            (
                "1e+2*dice_image(smooth=1e-6)+bce",
                "100*dice_image(smooth=0.000001)+bce",
            ),
            ("tversky(beta=0.5,alpha=.5)", "tversky(alpha=0.5,beta=0.5)"),
        ] {
            assert_eq!(parse(text).to_string(), printed);
            assert_eq!(parse(printed), parse(text));
        }
        let json = serde_json::to_string(&parse("0.5*bce+dice")).unwrap();
        assert_eq!(json, "\"0.5*bce+dice\"");
        assert_eq!(
            serde_json::from_str::<Loss>(&json).unwrap(),
            parse("0.5*bce+dice")
        );
    }

    #[test]
    fn errors_have_the_position() {
        let known = "expected one of bce, dice, dice_image, focal, tversky";
        for (text, message) in [
            (
                "",
                "character 1: found the end of the text, expected a weight or the name of a loss",
            ),
            (
                "bce+",
                "character 5: found the end of the text, expected a weight or the name of a loss",
            ),
            (
                "bce dice",
                "character 5: found `d`, expected `+` or the end of the text",
            ),
            (
                "0.5 bce",
                "character 5: found `b`, expected `*` after the weight",
            ),
            ("ü+bce", &format!("character 1: `ü` is not a loss, {known}")),
            (
                "bce + Dice",
                &format!("character 7: `Dice` is not a loss, {known}"),
            ),
            (
                "0*bce",
                "character 1: the weight is 0, expected more than 0",
            ),
            (
                "bce+-1*dice",
                "character 5: the weight is -1, expected more than 0",
            ),
            (
                "1e999*bce",
                "character 1: the weight is 1e999, expected a finite number",
            ),
            ("0.5.1*bce", "character 1: `0.5.1` is not a number"),
            (
                "bce(",
                "character 5: found the end of the text, expected a parameter of bce: pos_weight",
            ),
            (
                "bce()",
                "character 5: found `)`, expected a parameter of bce: pos_weight",
            ),
            (
                "bce(smooth=1)",
                "character 5: `smooth` is not a parameter of bce, expected one of pos_weight",
            ),
            ("dice(smooth 1)", "character 13: found `1`, expected `=`"),
            (
                "dice(smooth=)",
                "character 13: found `)`, expected a number",
            ),
            (
                "dice(smooth=nan)",
                "character 13: smooth is nan, expected a finite number",
            ),
            (
                "dice(smooth=0)",
                "character 13: smooth is 0, expected more than 0",
            ),
            (
                "focal(alpha=2)",
                "character 13: alpha is 2, expected from 0 to 1",
            ),
            (
                "focal(gamma=-1)",
                "character 13: gamma is -1, expected at least 0",
            ),
            (
                "focal(gamma=1 alpha=1)",
                "character 15: found `a`, expected `,` or `)`",
            ),
            (
                "focal(gamma=1,gamma=2)",
                "character 15: `gamma` is given twice",
            ),
        ] {
            let error = text.parse::<Loss>().unwrap_err().to_string();
            assert_eq!(error, format!("loss `{text}`, {message}"));
        }
    }

    #[test]
    fn sums_are_weighted() {
        let device = Device::flex();
        let logits = Tensor::<3>::from_data([[[2.0, -1.0], [0.5, -3.0]]], &device);
        let masks = Tensor::<3>::from_data([[[1.0, 0.0], [0.0, 1.0]]], &device);
        let value = |text: &str| {
            let loss = parse(text).forward(logits.clone(), masks.clone());
            loss.into_scalar::<f32>()
        };
        let sum = 0.5 * value("bce") + value("dice") + 2.0 * value("focal(gamma=1)");
        let found = value("0.5*bce + dice + 2*focal(gamma=1)");
        approx::assert_relative_eq!(found, sum, max_relative = 1e-6);
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_or_an_error(text in "[-+*().,=a-z_ 0-9é]{0,30}") {
            if let Ok(loss) = text.parse::<Loss>() {
                prop_assert_eq!(parse(&loss.to_string()), loss);
            }
        }

        #[test]
        fn combinations_of_valid_parts_are_parsed_or_an_error(
            pieces in prop::collection::vec(prop::sample::select(PIECES), 1..9),
        ) {
            let text = pieces.concat();
            match text.parse::<Loss>() {
                Ok(loss) => prop_assert_eq!(parse(&loss.to_string()), loss),
                Err(error) => {
                    let start = format!("loss `{text}`, character ");
                    prop_assert!(error.to_string().starts_with(&start), "{error}");
                }
            }
        }

        #[test]
        fn printed_losses_are_parsed(weight in 1e-9f64..1e9, gamma in 0f64..9.0, alpha in 0f64..=1.0) {
            let text = format!("{weight}*focal(gamma={gamma},alpha={alpha})+dice");
            prop_assert_eq!(parse(&parse(&text).to_string()), parse(&text));
        }
    }
}
