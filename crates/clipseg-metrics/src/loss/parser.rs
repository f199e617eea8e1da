//! The parser of a loss's text.

use super::term::{Range, Term};
use crate::error::MetricsError;

/// Parses terms and their weights, separated by `+`.
///
/// # Errors
///
/// If the text is invalid; the message has the position.
pub(super) fn parse(text: &str) -> Result<Vec<(f64, Term)>, MetricsError> {
    let mut parser = Parser { text, at: 0 };
    let mut terms = Vec::new();
    loop {
        terms.push(parser.term()?);
        if parser.rest().is_empty() {
            return Ok(terms);
        }
        parser.expect('+', "`+` or the end of the text")?;
    }
}

/// A text and the byte index of the next character.
struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Parser<'a> {
    /// The remaining text. Skips leading whitespace.
    fn rest(&mut self) -> &'a str {
        let rest = &self.text[self.at..];
        let trimmed = rest.trim_start();
        self.at += rest.len() - trimmed.len();
        trimmed
    }

    /// The error at a byte index.
    fn fail<T>(&self, at: usize, message: String) -> Result<T, MetricsError> {
        Err(MetricsError::Loss {
            text: self.text.to_owned(),
            position: self.text[..at].chars().count() + 1,
            message,
        })
    }

    /// The next character, for messages.
    fn next(&mut self) -> String {
        match self.rest().chars().next() {
            None => "the end of the text".into(),
            Some(character) => format!("`{character}`"),
        }
    }

    /// The error that the next character is not the expected one.
    fn unexpected<T>(&mut self, expected: &str) -> Result<T, MetricsError> {
        let next = self.next();
        self.fail(self.at, format!("found {next}, expected {expected}"))
    }

    /// Skips the character if it is next, and returns whether it was.
    fn take(&mut self, character: char) -> bool {
        let is_next = self.rest().starts_with(character);
        if is_next {
            self.at += character.len_utf8();
        }
        is_next
    }

    /// Skips the character or fails.
    fn expect(&mut self, character: char, expected: &str) -> Result<(), MetricsError> {
        if self.take(character) {
            Ok(())
        } else {
            self.unexpected(expected)
        }
    }

    /// The letters, digits and underscores that come next.
    fn word(&mut self) -> &'a str {
        let rest = self.rest();
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_');
        let word = &rest[..end.unwrap_or(rest.len())];
        self.at += word.len();
        word
    }

    /// A number in `range`. A sign is part of the number at its start and after an `e`.
    fn number(&mut self, what: &str, range: Range) -> Result<f64, MetricsError> {
        let rest = self.rest();
        let start = self.at;
        let mut before = 'e';
        let end = rest.find(|character: char| {
            let sign = matches!(character, '+' | '-') && matches!(before, 'e' | 'E');
            before = character;
            !(sign || character.is_alphanumeric() || character == '.')
        });
        let number = &rest[..end.unwrap_or(rest.len())];
        if number.is_empty() {
            return self.unexpected("a number");
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
            return self.unexpected("a weight or the name of a loss");
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

    /// `name "=" number`, for a parameter that was not given before. Returns its name.
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
            return self.unexpected(&format!("a parameter of {loss}: {known}"));
        }
        self.fail(
            start,
            format!("`{name}` is not a parameter of {loss}, expected one of {known}"),
        )
    }
}
