//! The error type of this crate.

/// An error while scoring predictions or parsing a loss.
#[derive(Debug, thiserror::Error, PartialEq)]
#[non_exhaustive]
pub enum MetricsError {
    /// The shapes of a prediction and its ground truth differ.
    #[error("{item}: the prediction has shape {found:?}, the ground truth {expected:?}")]
    Shape {
        /// The name of the mask or batch.
        item: String,
        /// Shape of the prediction.
        found: Vec<usize>,
        /// Shape of the ground truth.
        expected: Vec<usize>,
    },
    /// The number of values of a mask is not its width times its height, or its size is not the task's.
    #[error("{item}: the {what} has {found} values, expected {width}x{height}")]
    Pixels {
        /// The name of the mask.
        item: String,
        /// `prediction` or `ground truth`.
        what: &'static str,
        /// Number of values.
        found: usize,
        /// Expected width in pixels.
        width: u32,
        /// Expected height in pixels.
        height: u32,
    },
    /// A value of a mask is neither 0 nor 1.
    #[error("{item}: the {what} is {value} at pixel {pixel}, expected 0 or 1")]
    NotBinary {
        /// The name of the mask.
        item: String,
        /// `prediction` or `ground truth`.
        what: &'static str,
        /// The first invalid value.
        value: f32,
        /// Its index in row-major order.
        pixel: usize,
    },
    /// A logit is NaN or infinite.
    #[error("{item}: the prediction is {value} at pixel {pixel}, expected a finite number")]
    NotFinite {
        /// The name of the mask.
        item: String,
        /// The first invalid value.
        value: f32,
        /// Its index in row-major order.
        pixel: usize,
    },
    /// A value is not a probability.
    #[error(
        "{item}: the prediction is {value} at pixel {pixel}, expected a probability from 0 to 1{}",
        hint(*value)
    )]
    NotAProbability {
        /// The name of the mask.
        item: String,
        /// The first invalid value.
        value: f32,
        /// Its index in row-major order.
        pixel: usize,
    },
    /// The text of a loss is invalid.
    #[error("loss `{text}`, character {position}: {message}")]
    Loss {
        /// The text.
        text: String,
        /// Position of the error in characters, counted from 1.
        position: usize,
        /// What was found and what was expected.
        message: String,
    },
    /// Two runs have different pictures or tasks.
    #[error(
        "{only_first} {what} are only in the first run and {only_second} only in the second, such as \
         {example}; expected the same {what} in both"
    )]
    Unpaired {
        /// `pictures` or `tasks`.
        what: &'static str,
        /// Number of ids that are only in the first run.
        only_first: usize,
        /// Number of ids that are only in the second run.
        only_second: usize,
        /// One of these ids.
        example: String,
    },
    /// The picture or the ground truth of a task differs between two runs.
    #[error("task {task_id}: the picture or the ground truth differs between the two runs")]
    DifferentTruth {
        /// Id of the task.
        task_id: String,
    },
    /// The value of an option is invalid.
    #[error("{field}: {message}")]
    Option {
        /// The option.
        field: &'static str,
        /// What was found and what was expected.
        message: String,
    },
    /// A tensor could not be read from its device.
    #[error("cannot read a tensor from its device: {0}")]
    Device(String),
}

/// A hint for finite values that are not probabilities, which usually are logits.
fn hint(value: f32) -> &'static str {
    if value.is_finite() {
        "; these look like logits"
    } else {
        ""
    }
}

/// The result type of this crate.
pub type Result<T, E = MetricsError> = std::result::Result<T, E>;
