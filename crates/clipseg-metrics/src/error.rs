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
    /// A truth holds something else than zeros and ones.
    #[error("{item}: the truth holds {value}, expected 0 or 1")]
    NotBinary {
        /// Which item.
        item: String,
        /// The first other value.
        value: f32,
    },
    /// A prediction is not a number.
    #[error("{item}: the prediction is not a number at pixel {pixel}")]
    NotANumber {
        /// Which item.
        item: String,
        /// Index of the first such pixel, row by row.
        pixel: usize,
    },
    /// A loss's name is unknown.
    #[error("`{0}` is not a loss; known are bce and dice")]
    UnknownLoss(String),
    /// A tensor could not be read back from its device.
    #[error("cannot read a tensor from its device: {0}")]
    Device(String),
}

/// The result of this crate's functions.
pub type Result<T, E = MetricsError> = std::result::Result<T, E>;
