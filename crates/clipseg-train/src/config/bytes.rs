//! Numbers of bytes with units.

use serde::{Deserialize, Serialize};
use std::str::FromStr;

/// A number of bytes, written as `"512 MiB"`, `"2 GB"` or a plain number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "String")]
pub struct ByteSize(pub u64);

const UNITS: [(&str, u64); 9] = [
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
];

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected bytes, such as \"512 MiB\" or 0")]
enum Written {
    Number(u64),
    Text(String),
}

impl TryFrom<Written> for ByteSize {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        match written {
            Written::Number(bytes) => Ok(Self(bytes)),
            Written::Text(text) => text.parse(),
        }
    }
}

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let fail = || format!("`{text}` is not a number of bytes, expected such as \"512 MiB\"");
        let text_end = text.trim();
        let split = text_end
            .find(|c: char| !(c.is_ascii_digit() || c == '.'))
            .unwrap_or(text_end.len());
        let (number, unit) = text_end.split_at(split);
        let whole: Option<u64> = number.parse().ok();
        let number: f64 = number.parse().map_err(|_| fail())?;
        let unit = match unit.trim() {
            "" => "B",
            unit => unit,
        };
        let (_, factor) = UNITS
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(unit))
            .ok_or_else(fail)?;
        // Integers are exact, so that a written number is read back unchanged.
        let exact = whole.and_then(|whole| whole.checked_mul(*factor));
        Ok(Self(
            exact.unwrap_or((number * *factor as f64).round() as u64),
        ))
    }
}

impl std::fmt::Display for ByteSize {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let whole = UNITS[1..5]
            .iter()
            .rev()
            .find(|(_, factor)| self.0 != 0 && self.0.is_multiple_of(*factor));
        match whole {
            Some((unit, factor)) => write!(f, "{} {unit}", self.0 / factor),
            None => write!(f, "{} B", self.0),
        }
    }
}

impl From<ByteSize> for String {
    fn from(size: ByteSize) -> Self {
        size.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_written_number_is_read_back() {
        for (text, bytes) in [
            ("512 MiB", 512 << 20),
            ("2 GiB", 2 << 30),
            ("0 B", 0),
            ("1500 B", 1_500),
            ("1234567890123456789 B", 1_234_567_890_123_456_789),
            ("18446744073709551615 B", u64::MAX),
        ] {
            assert_eq!(text.parse(), Ok(ByteSize(bytes)));
            assert_eq!(ByteSize(bytes).to_string(), text);
        }
        assert_eq!("1.5GB".parse(), Ok(ByteSize(1_500_000_000)));
        assert_eq!("12".parse(), Ok(ByteSize(12)));
        assert_eq!("9e9 TB".parse::<ByteSize>().ok(), None);
        assert_eq!("99999999999999999999 TB".parse(), Ok(ByteSize(u64::MAX)));
        for odd in ["-1", "NaN", "inf GB", "", " ", "1.2.3", "MiB", "1 PB"] {
            assert!(odd.parse::<ByteSize>().is_err(), "{odd}");
        }
        assert_eq!(
            "many".parse::<ByteSize>().unwrap_err(),
            "`many` is not a number of bytes, expected such as \"512 MiB\""
        );
    }
}
