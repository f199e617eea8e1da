//! A loss as a text, for configurations and command lines.

use crate::error::MetricsError;
use crate::losses::{DiceReduction, bce_with_logits, dice_loss, focal_loss, tversky_loss};
use burn::prelude::*;
use serde::{Deserialize, Serialize};
use std::fmt::{self, Display, Formatter};
use std::str::FromStr;

/// What training minimises: a sum of losses, each with a weight.
///
/// Written as terms with `+` between them: `bce`, `0.5*bce + dice`, `focal(gamma=1) + 2*tversky`.
/// Spaces do not count. A term is a weight and `*` (1 if left out), a name, and in brackets the
/// parameters that are not to have their default:
///
/// | Name | Loss | Parameters and defaults |
/// |---|---|---|
/// | `bce` | [`bce_with_logits`] | `pos_weight=1` |
/// | `dice` | [`dice_loss`] over the whole batch | `smooth=1` |
/// | `dice_image` | [`dice_loss`] of each picture | `smooth=1` |
/// | `focal` | [`focal_loss`] | `alpha=0.25, gamma=2` |
/// | `tversky` | [`tversky_loss`] | `alpha=0.3, beta=0.7, smooth=1` |
///
/// It is printed and serialized as such a text.
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

#[derive(Debug, Clone, Copy, PartialEq)]
enum Term {
    Bce { pos_weight: f64 },
    Dice { smooth: f64, of: DiceReduction },
    Focal { alpha: f64, gamma: f64 },
    Tversky { alpha: f64, beta: f64, smooth: f64 },
}

impl Loss {
    /// Binary cross-entropy.
    pub fn bce() -> Self {
        Self::one(Term::BCE)
    }

    /// The Dice loss over the whole batch.
    pub fn dice() -> Self {
        Self::one(Term::DICE)
    }

    fn one(term: Term) -> Self {
        Self {
            terms: vec![(1.0, term)],
        }
    }

    /// The loss of a batch.
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

impl Term {
    const BCE: Self = Self::Bce { pos_weight: 1.0 };
    const DICE: Self = Self::Dice {
        smooth: 1.0,
        of: DiceReduction::Batch,
    };
    const DICE_IMAGE: Self = Self::Dice {
        smooth: 1.0,
        of: DiceReduction::Image,
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
    const ALL: [Self; 5] = [
        Self::BCE,
        Self::DICE,
        Self::DICE_IMAGE,
        Self::FOCAL,
        Self::TVERSKY,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Bce { .. } => "bce",
            Self::Dice {
                of: DiceReduction::Batch,
                ..
            } => "dice",
            Self::Dice {
                of: DiceReduction::Image,
                ..
            } => "dice_image",
            Self::Focal { .. } => "focal",
            Self::Tversky { .. } => "tversky",
        }
    }

    /// The parameters by name, each with what it may be.
    fn parameters(&mut self) -> Vec<(&'static str, &mut f64, Range)> {
        match self {
            Self::Bce { pos_weight } => vec![("pos_weight", pos_weight, Range::Positive)],
            Self::Dice { smooth, .. } => vec![("smooth", smooth, Range::Positive)],
            Self::Focal { alpha, gamma } => vec![
                ("alpha", alpha, Range::Share),
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

    fn forward(self, logits: Tensor<3>, targets: Tensor<3>) -> Tensor<1> {
        match self {
            Self::Bce { pos_weight } => {
                let pos_weight = (pos_weight != 1.0).then_some(pos_weight);
                bce_with_logits(logits, targets, pos_weight)
            }
            Self::Dice { smooth, of } => dice_loss(logits, targets, smooth, of),
            Self::Focal { alpha, gamma } => focal_loss(logits, targets, alpha, gamma),
            Self::Tversky {
                alpha,
                beta,
                smooth,
            } => tversky_loss(logits, targets, alpha, beta, smooth),
        }
    }
}

/// What a number may be. Smoothing terms must not be 0, or an empty mask would divide by it.
#[derive(Debug, Clone, Copy)]
enum Range {
    Positive,
    NotNegative,
    Share,
}

impl Range {
    fn check(self, value: f64) -> Result<(), &'static str> {
        if !value.is_finite() {
            return Err("a finite number");
        }
        let (holds, expected) = match self {
            Self::Positive => (value > 0.0, "more than 0"),
            Self::NotNegative => (value >= 0.0, "at least 0"),
            Self::Share => ((0.0..=1.0).contains(&value), "from 0 to 1"),
        };
        if holds { Ok(()) } else { Err(expected) }
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

impl FromStr for Loss {
    type Err = MetricsError;

    fn from_str(text: &str) -> Result<Self, MetricsError> {
        let mut parser = Parser { text, at: 0 };
        let mut terms = Vec::new();
        loop {
            terms.push(parser.term()?);
            if parser.rest().is_empty() {
                return Ok(Self { terms });
            }
            parser.expect('+', "`+` or the end")?;
        }
    }
}

/// A text and how far it has been read, in bytes.
struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Parser<'a> {
    /// What is left, without spaces in front.
    fn rest(&mut self) -> &'a str {
        let rest = &self.text[self.at..];
        let trimmed = rest.trim_start();
        self.at += rest.len() - trimmed.len();
        trimmed
    }

    fn fail<T>(&self, at: usize, message: String) -> Result<T, MetricsError> {
        Err(MetricsError::Loss {
            text: self.text.to_owned(),
            position: self.text[..at].chars().count() + 1,
            message,
        })
    }

    /// What stands here, for messages.
    fn here(&mut self) -> String {
        match self.rest().chars().next() {
            None => "the end".into(),
            Some(letter) => format!("`{letter}`"),
        }
    }

    fn found<T>(&mut self, expected: &str) -> Result<T, MetricsError> {
        let here = self.here();
        self.fail(self.at, format!("{here}, expected {expected}"))
    }

    fn take(&mut self, letter: char) -> bool {
        let there = self.rest().starts_with(letter);
        if there {
            self.at += letter.len_utf8();
        }
        there
    }

    fn expect(&mut self, letter: char, expected: &str) -> Result<(), MetricsError> {
        if self.take(letter) {
            Ok(())
        } else {
            self.found(expected)
        }
    }

    /// Letters, digits and underscores from here on.
    fn word(&mut self) -> &'a str {
        let rest = self.rest();
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_');
        let word = &rest[..end.unwrap_or(rest.len())];
        self.at += word.len();
        word
    }

    /// A number in `range`; a sign belongs to it at its start and after its `e`.
    fn number(&mut self, what: &str, range: Range) -> Result<f64, MetricsError> {
        let rest = self.rest();
        let start = self.at;
        let mut before = 'e';
        let end = rest.find(|letter: char| {
            let sign = matches!(letter, '+' | '-') && matches!(before, 'e' | 'E');
            before = letter;
            !(sign || letter.is_alphanumeric() || letter == '.')
        });
        let number = &rest[..end.unwrap_or(rest.len())];
        if number.is_empty() {
            return self.found("a number");
        }
        let Ok(value) = number.parse::<f64>() else {
            return self.fail(start, format!("`{number}` is not a number"));
        };
        if let Err(expected) = range.check(value) {
            return self.fail(start, format!("{what} is {number}, expected {expected}"));
        }
        self.at += number.len();
        Ok(value)
    }

    /// `[number "*"] name ["(" name "=" number {"," name "=" number} ")"]`
    fn term(&mut self) -> Result<(f64, Term), MetricsError> {
        let mut weight = 1.0;
        let begins_number = |c: char| c.is_ascii_digit() || matches!(c, '.' | '-' | '+');
        if self.rest().starts_with(begins_number) {
            weight = self.number("the weight", Range::Positive)?;
            self.expect('*', "`*` after the weight")?;
        }
        self.rest();
        let start = self.at;
        let name = self.word();
        if name.is_empty() {
            return self.found("a weight or the name of a loss");
        }
        let Some(mut term) = Term::ALL.into_iter().find(|term| term.name() == name) else {
            let known = Term::ALL.map(Term::name).join(", ");
            return self.fail(
                start,
                format!("`{name}` is not a loss, expected one of {known}"),
            );
        };
        if self.take('(') {
            let mut given = Vec::new();
            loop {
                given.push(self.parameter(&mut term, &given)?);
                if self.take(')') {
                    break;
                }
                self.expect(',', "`,` or `)`")?;
            }
        }
        Ok((weight, term))
    }

    fn parameter(
        &mut self,
        term: &mut Term,
        given: &[&'static str],
    ) -> Result<&'static str, MetricsError> {
        self.rest();
        let start = self.at;
        let name = self.word();
        let loss = term.name();
        let mut known = Vec::new();
        for (parameter, value, range) in term.parameters() {
            if parameter != name {
                known.push(parameter);
                continue;
            }
            if given.contains(&parameter) {
                return self.fail(start, format!("`{name}` is given twice"));
            }
            self.expect('=', "`=`")?;
            *value = self.number(name, range)?;
            return Ok(parameter);
        }
        let known = known.join(", ");
        if name.is_empty() {
            return self.found(&format!("a parameter of {loss}: {known}"));
        }
        self.fail(
            start,
            format!("`{name}` is not a parameter of {loss}, expected one of {known}"),
        )
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

    /// Put together at random, every tenth or so makes a loss.
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
    fn texts_are_read_and_written() {
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
    fn mistakes_are_pointed_at() {
        let known = "expected one of bce, dice, dice_image, focal, tversky";
        for (text, message) in [
            (
                "",
                "character 1: the end, expected a weight or the name of a loss",
            ),
            (
                "bce+",
                "character 5: the end, expected a weight or the name of a loss",
            ),
            ("bce dice", "character 5: `d`, expected `+` or the end"),
            ("0.5 bce", "character 5: `b`, expected `*` after the weight"),
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
                "character 5: the end, expected a parameter of bce: pos_weight",
            ),
            (
                "bce()",
                "character 5: `)`, expected a parameter of bce: pos_weight",
            ),
            (
                "bce(smooth=1)",
                "character 5: `smooth` is not a parameter of bce, expected one of pos_weight",
            ),
            ("dice(smooth 1)", "character 13: `1`, expected `=`"),
            ("dice(smooth=)", "character 13: `)`, expected a number"),
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
                "character 15: `a`, expected `,` or `)`",
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
        fn any_text_is_read_or_refused(text in "[-+*().,=a-z_ 0-9é]{0,30}") {
            if let Ok(loss) = text.parse::<Loss>() {
                prop_assert_eq!(parse(&loss.to_string()), loss);
            }
        }

        #[test]
        fn what_looks_like_a_loss_is_read_as_it_stands_or_refused(
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
        fn what_is_written_is_read(weight in 1e-9f64..1e9, gamma in 0f64..9.0, alpha in 0f64..=1.0) {
            let text = format!("{weight}*focal(gamma={gamma},alpha={alpha})+dice");
            prop_assert_eq!(parse(&parse(&text).to_string()), parse(&text));
        }
    }
}
