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
    /// A logit is infinite or not a number.
    #[error("{item}: the prediction is {value} at pixel {pixel}, expected a finite number")]
    NotFinite {
        /// Which item.
        item: String,
        /// The first such value.
        value: f32,
        /// Its index, row by row.
        pixel: usize,
    },
    /// A probability is not one.
    #[error(
        "{item}: the prediction is {value} at pixel {pixel}, expected a probability from 0 to 1{}",
        hint(*value)
    )]
    NotAProbability {
        /// Which item.
        item: String,
        /// The first such value.
        value: f32,
        /// Its index, row by row.
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
    /// Two runs cannot be compared, because they are about different things.
    #[error(
        "{only_first} {what} are in the first run only and {only_second} in the second only, such \
         as {example}; expected the same {what}"
    )]
    Unpaired {
        /// `pictures` or `tasks`.
        what: &'static str,
        /// How many the first run has and the second has not.
        only_first: usize,
        /// How many the second run has and the first has not.
        only_second: usize,
        /// The id of one of them.
        example: String,
    },
    /// Two runs have a task in common, but not what is to be found.
    #[error("task {task_id}: the two runs have different truths")]
    OtherTruth {
        /// The task.
        task_id: String,
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

/// Most often a number that is no probability is a logit.
fn hint(value: f32) -> &'static str {
    if value.is_finite() {
        "; these look like logits"
    } else {
        ""
    }
}

/// The result of this crate's functions.
pub type Result<T, E = MetricsError> = std::result::Result<T, E>;
