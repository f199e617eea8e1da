//! What can be wrong with predictions and truths.

/// Why something could not be scored.
#[derive(Debug, thiserror::Error, PartialEq)]
#[non_exhaustive]
pub enum MetricsError {
    /// Predictions and truths differ in size.
    #[error("{item}: the prediction is {found:?}, the truth is {expected:?}")]
    Shape {
        /// Which item.
        item: String,
        /// Size of the prediction.
        found: Vec<usize>,
        /// Size of the truth.
        expected: Vec<usize>,
    },
    /// A mask has another number of pixels than its sides say.
    #[error("{item}: the {what} has {found} values, expected {width}x{height}")]
    Pixels {
        /// Which item.
        item: String,
        /// `prediction` or `truth`.
        what: &'static str,
        /// Number of values.
        found: usize,
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
    },
    /// A mask holds something else than zeros and ones.
    #[error("{item}: the {what} holds {value} at pixel {pixel}, expected 0 or 1")]
    NotBinary {
        /// Which item.
        item: String,
        /// `prediction` or `truth`.
        what: &'static str,
        /// The first other value.
        value: f32,
        /// Its index, row by row.
        pixel: usize,
    },
    /// A prediction is not a number.
    #[error("{item}: the prediction is not a number at pixel {pixel}")]
    NotANumber {
        /// Which item.
        item: String,
        /// Index of the first such pixel, row by row.
        pixel: usize,
    },
    /// The text of a loss cannot be read.
    #[error("loss `{text}`, character {position}: {message}")]
    Loss {
        /// The whole text.
        text: String,
        /// Where it stops making sense, in characters from 1.
        position: usize,
        /// What was found and what was expected.
        message: String,
    },
    /// Two runs cannot be compared.
    #[error(
        "the first run has {first} pictures and the second {second}, expected the same pictures"
    )]
    Unpaired {
        /// Pictures of the first run.
        first: usize,
        /// Pictures of the second run.
        second: usize,
    },
    /// An option has a value that cannot be used.
    #[error("{field}: {message}")]
    Option {
        /// The option.
        field: &'static str,
        /// What was found and what was expected.
        message: String,
    },
    /// A tensor could not be read back from its device.
    #[error("cannot read a tensor from its device: {0}")]
    Device(String),
}

/// The result of this crate's functions.
pub type Result<T, E = MetricsError> = std::result::Result<T, E>;
