//! Combinations of the masks of several prompts, such as `1 & !2 | 3`.

use crate::error::{ModelError, Result};
use crate::soft_mask::SoftMask;
use clipseg_data::Mask;
use std::fmt;
use std::str::FromStr;

/// How often parentheses and `!` may be nested.
const DEEPEST: usize = 100;

/// A combination of masks by prompt numbers, which count from 1.
///
/// | | on masks | on soft masks |
/// |---|---|---|
/// | `!1` | pixels that are not in mask 1 | 1 − p₁ |
/// | `1 & 2` | pixels in both masks | min(p₁, p₂) |
/// | `1 \| 2` | pixels in either mask | max(p₁, p₂) |
///
/// `!` binds most strongly and `|` least; parentheses group. The operations on probabilities are those of fuzzy sets
/// (Zadeh 1965). A threshold other than 0.5 does not commute with `!`, so the mask of a combination is computed from
/// the masks of the prompts.
///
/// # Example
///
/// ```
/// use clipseg_model::MaskExpression;
/// use clipseg_model::data::Mask;
///
/// let expression: MaskExpression = "1 & !2".parse()?;
/// let masks = [vec![1, 1, 0], vec![0, 1, 1]].map(|values| Mask::from_vec(3, 1, values));
/// assert_eq!(expression.combine(&masks)?.to_vec(), [1, 0, 0]);
///
/// let error = "1 & & 2".parse::<MaskExpression>().unwrap_err();
/// assert!(error.to_string().contains("column 5"));
/// # Ok::<(), clipseg_model::ModelError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MaskExpression {
    root: Node,
    /// The text as it was given, and each prompt number with its column.
    text: String,
    numbers: Vec<(usize, usize)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Node {
    /// The index of a prompt, counted from 0.
    Prompt(usize),
    Not(Box<Self>),
    /// A first operand, and all others.
    All(Box<Self>, Vec<Self>),
    /// A first operand, and all others.
    Any(Box<Self>, Vec<Self>),
}

impl FromStr for MaskExpression {
    type Err = ModelError;

    /// # Errors
    ///
    /// If the text is not an expression; the message names the column, counted from 1 in characters.
    fn from_str(text: &str) -> Result<Self> {
        let mut parser = Parser {
            text,
            letters: text.chars().collect(),
            at: 0,
            numbers: Vec::new(),
        };
        let root = parser.any(0)?;
        if parser.peek().is_some() {
            return Err(parser.fail(parser.at, "expected `&`, `|` or the end"));
        }
        Ok(Self {
            root,
            text: text.to_owned(),
            numbers: parser.numbers,
        })
    }
}

impl fmt::Display for MaskExpression {
    /// The expression with single spaces and no needless parentheses.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.root.write(f, 0)
    }
}

impl MaskExpression {
    /// The indices of the prompts in the expression, in ascending order, counted from 0.
    pub fn prompts(&self) -> Vec<usize> {
        let mut indices: Vec<usize> = self.numbers.iter().map(|(number, _)| number - 1).collect();
        indices.sort_unstable();
        indices.dedup();
        indices
    }

    /// Checks that every number is that of a prompt.
    ///
    /// # Errors
    ///
    /// For the first number above `prompts`; the message names its column.
    pub fn check(&self, prompts: usize) -> Result<()> {
        let mut numbers = self.numbers.iter();
        match numbers.find(|(number, _)| *number > prompts) {
            None => Ok(()),
            Some(&(number, column)) => {
                let message = format!("there is no prompt {number}, expected 1 to {prompts}");
                Err(fault(&self.text, column, &message))
            }
        }
    }

    /// Combines the masks of all prompts.
    ///
    /// # Errors
    ///
    /// If the masks differ in size, or a number is above their count.
    pub fn combine(&self, masks: &[Mask]) -> Result<Mask> {
        self.check(masks.len())?;
        self.root.mask(masks)
    }

    /// Combines the soft masks of all prompts.
    ///
    /// # Errors
    ///
    /// If the soft masks differ in size, or a number is above their count.
    pub fn combine_soft(&self, masks: &[SoftMask]) -> Result<SoftMask> {
        self.check(masks.len())?;
        self.root.soft(masks)
    }
}

impl Node {
    fn mask(&self, masks: &[Mask]) -> Result<Mask> {
        match self {
            Self::Prompt(index) => Ok(masks[*index].clone()),
            Self::Not(node) => Ok(node.mask(masks)?.complement()),
            Self::All(first, others) => {
                others.iter().try_fold(first.mask(masks)?, |mask, other| {
                    Ok(mask.intersection(&other.mask(masks)?)?)
                })
            }
            Self::Any(first, others) => {
                others.iter().try_fold(first.mask(masks)?, |mask, other| {
                    Ok(mask.union(&other.mask(masks)?)?)
                })
            }
        }
    }

    fn soft(&self, masks: &[SoftMask]) -> Result<SoftMask> {
        match self {
            Self::Prompt(index) => Ok(masks[*index].clone()),
            Self::Not(node) => Ok(node.soft(masks)?.complement()),
            Self::All(first, others) => {
                let mut soft = first.soft(masks)?;
                for other in others {
                    soft.minimum_with(&other.soft(masks)?)?;
                }
                Ok(soft)
            }
            Self::Any(first, others) => {
                let mut soft = first.soft(masks)?;
                for other in others {
                    soft.maximum_with(&other.soft(masks)?)?;
                }
                Ok(soft)
            }
        }
    }

    /// Writes the node, in parentheses if something around it binds more strongly: 1 within `&`, 2 within `!`.
    fn write(&self, f: &mut fmt::Formatter<'_>, around: u8) -> fmt::Result {
        let (first, others, sign, own) = match self {
            Self::Prompt(index) => return write!(f, "{}", index + 1),
            Self::Not(node) => {
                f.write_str("!")?;
                return node.write(f, 2);
            }
            Self::All(first, others) => (first, others, " & ", 1),
            Self::Any(first, others) => (first, others, " | ", 0),
        };
        let needs_parentheses = own < around;
        if needs_parentheses {
            f.write_str("(")?;
        }
        first.write(f, own)?;
        for node in others {
            f.write_str(sign)?;
            node.write(f, own)?;
        }
        f.write_str(if needs_parentheses { ")" } else { "" })
    }
}

fn fault(text: &str, column: usize, message: &str) -> ModelError {
    ModelError::Expression {
        text: text.to_owned(),
        column,
        message: message.to_owned(),
    }
}

/// Reads an expression from left to right.
struct Parser<'a> {
    text: &'a str,
    letters: Vec<char>,
    at: usize,
    numbers: Vec<(usize, usize)>,
}

impl Parser<'_> {
    /// The next character that is not a space.
    fn peek(&mut self) -> Option<char> {
        while self.letters.get(self.at).is_some_and(|c| c.is_whitespace()) {
            self.at += 1;
        }
        self.letters.get(self.at).copied()
    }

    fn fail(&self, at: usize, expected: &str) -> ModelError {
        let found = match self.letters.get(at) {
            Some(letter) => format!("{expected}, found `{letter}`"),
            None => format!("{expected}, found the end"),
        };
        fault(self.text, at + 1, &found)
    }

    fn any(&mut self, depth: usize) -> Result<Node> {
        self.operands('|', depth, Self::all, Node::Any)
    }

    fn all(&mut self, depth: usize) -> Result<Node> {
        self.operands('&', depth, Self::not, Node::All)
    }

    /// One operand or several with a sign between them.
    fn operands(
        &mut self,
        sign: char,
        depth: usize,
        operand: fn(&mut Self, usize) -> Result<Node>,
        node: fn(Box<Node>, Vec<Node>) -> Node,
    ) -> Result<Node> {
        let first = operand(self, depth)?;
        if self.peek() != Some(sign) {
            return Ok(first);
        }
        let mut others = Vec::new();
        while self.peek() == Some(sign) {
            self.at += 1;
            others.push(operand(self, depth)?);
        }
        Ok(node(Box::new(first), others))
    }

    fn not(&mut self, depth: usize) -> Result<Node> {
        const EXPECTED: &str = "expected the number of a prompt, `!` or `(`";
        let (letter, start) = (self.peek(), self.at);
        if depth > DEEPEST {
            let message = format!("more than {DEEPEST} parentheses and `!` within each other");
            return Err(fault(self.text, start + 1, &message));
        }
        match letter {
            Some('!') => {
                self.at += 1;
                Ok(Node::Not(Box::new(self.not(depth + 1)?)))
            }
            Some('(') => {
                self.at += 1;
                let node = self.any(depth + 1)?;
                if self.peek() != Some(')') {
                    return Err(self.fail(self.at, "expected `&`, `|` or `)`"));
                }
                self.at += 1;
                Ok(node)
            }
            Some('0'..='9') => {
                let digits = self.letters[start..].iter();
                let digits: String = digits.take_while(|c| c.is_ascii_digit()).collect();
                self.at += digits.len();
                match digits.parse::<usize>() {
                    Ok(number) if number > 0 => {
                        self.numbers.push((number, start + 1));
                        Ok(Node::Prompt(number - 1))
                    }
                    _ => {
                        let message = format!("there is no prompt {digits}, they count from 1");
                        Err(fault(self.text, start + 1, &message))
                    }
                }
            }
            _ => Err(self.fail(start, EXPECTED)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> MaskExpression {
        text.parse().unwrap()
    }

    /// The mask of a combination of the three masks that cover all eight cases: bit 2, 1 and 0 of the column.
    fn cases(text: &str) -> Vec<u8> {
        let bit = |shift: u8| Mask::from_vec(8, 1, (0..8).map(|at| at >> shift & 1).collect());
        parsed(text)
            .combine(&[bit(2), bit(1), bit(0)])
            .unwrap()
            .to_vec()
    }

    #[test]
    fn not_binds_more_strongly_than_and_and_or() {
        assert_eq!(cases("1"), [0, 0, 0, 0, 1, 1, 1, 1]);
        assert_eq!(cases("!1"), [1, 1, 1, 1, 0, 0, 0, 0]);
        assert_eq!(cases("1 & !2 | 3"), [0, 1, 0, 1, 1, 1, 0, 1]);
        assert_eq!(cases("1&(!2|3)"), [0, 0, 0, 0, 1, 1, 0, 1]);
        assert_eq!(cases("3 | 1 & 2"), [0, 1, 0, 1, 0, 1, 1, 1]);
        assert_eq!(cases("!(1 | 2) & !!3"), [0, 1, 0, 0, 0, 0, 0, 0]);
        assert_eq!(cases("1&2&3|!1&!2&!3"), [1, 0, 0, 0, 0, 0, 0, 1]);
    }

    #[test]
    fn soft_masks_are_combined_as_fuzzy_sets() {
        let soft =
            |values: [f32; 2]| SoftMask::from_probabilities(values.to_vec(), [2, 1]).unwrap();
        let masks = [soft([0.75, 0.25]), soft([0.5, 1.0])];
        let values = |text: &str| {
            parsed(text)
                .combine_soft(&masks)
                .unwrap()
                .probabilities()
                .to_vec()
        };
        assert_eq!(values("!1"), [0.25, 0.75]);
        assert_eq!(values("1 & 2"), [0.5, 0.25]);
        assert_eq!(values("1 | 2"), [0.75, 1.0]);
        assert_eq!(values("1 & !2"), [0.5, 0.0]);
        let other = SoftMask::from_probabilities(vec![0.5], [1, 1]).unwrap();
        assert!(
            parsed("1 & 2")
                .combine_soft(&[soft([0.5, 0.5]), other])
                .is_err()
        );
    }

    #[test]
    fn errors_point_at_the_column() {
        let message = |text: &str| text.parse::<MaskExpression>().unwrap_err().to_string();
        for (text, column, expected) in [
            (
                "",
                1,
                "expected the number of a prompt, `!` or `(`, found the end",
            ),
            ("1 &", 4, "found the end"),
            (
                "1 & & 2",
                5,
                "expected the number of a prompt, `!` or `(`, found `&`",
            ),
            ("1 2", 3, "expected `&`, `|` or the end, found `2`"),
            ("(1 | 2", 7, "expected `&`, `|` or `)`, found the end"),
            ("1)", 2, "found `)`"),
            ("1 && 2", 4, "found `&`"),
            ("ä & 1", 1, "found `ä`"),
            ("1 | 0", 5, "there is no prompt 0, they count from 1"),
            ("99999999999999999999", 1, "there is no prompt 9999"),
        ] {
            let message = message(text);
            let column = format!("the expression `{text}`, column {column}: ");
            assert!(
                message.starts_with(&column) && message.contains(expected),
                "{text}: {message}"
            );
        }
        assert!(message(&"(".repeat(100_000)).contains("column 102: more than 100 parentheses"));
        assert!(message(&"!".repeat(100_000)).contains("more than 100"));
        assert!("!!!((1))".parse::<MaskExpression>().is_ok());
    }

    #[test]
    fn numbers_are_those_of_prompts() {
        let expression = parsed("3 | 1 & !3");
        assert_eq!(expression.prompts(), [0, 2]);
        assert!(expression.check(3).is_ok());
        assert_eq!(
            expression.check(2).unwrap_err().to_string(),
            "the expression `3 | 1 & !3`, column 1: there is no prompt 3, expected 1 to 2"
        );
        assert!(expression.combine(&[Mask::new(1, 1)]).is_err());
        let sizes = [Mask::new(1, 1), Mask::new(2, 1)];
        assert!(parsed("1 & 2").combine(&sizes).is_err());
    }

    #[test]
    fn needless_parentheses_are_not_shown() {
        for (text, shown) in [
            ("((1))", "1"),
            ("1&( !2 |3)", "1 & (!2 | 3)"),
            ("(1&!2)|3", "1 & !2 | 3"),
            ("!(1&2)", "!(1 & 2)"),
            ("!!1", "!!1"),
            ("(1|2)|3", "1 | 2 | 3"),
        ] {
            assert_eq!(parsed(text).to_string(), shown);
            assert_eq!(cases(shown), cases(text));
        }
    }
}
