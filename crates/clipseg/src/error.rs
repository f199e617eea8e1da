//! Errors of choosing a device.

/// Why a device could not be used. Every message starts with the name as it was given.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// The name is not known.
    #[error("device `{name}`: unknown; known are {known}")]
    Unknown {
        /// The name as given.
        name: String,
        /// The known names, separated by commas.
        known: String,
    },
    /// The text after the colon is not a number.
    #[error("device `{name}`: `{index}` after the colon is not a number, as in `cuda:1`")]
    Index {
        /// The name as given.
        name: String,
        /// The text after the colon.
        index: String,
    },
    /// A number was given for the CPU.
    #[error("device `{name}`: the CPU is one device and takes no number")]
    NotNumbered {
        /// The name as given.
        name: String,
    },
    /// The Cargo feature of the device was not compiled in.
    #[error("device `{name}`: not compiled in; build with `--features {feature}`")]
    NotCompiled {
        /// The name as given.
        name: String,
        /// The Cargo feature that it needs.
        feature: &'static str,
    },
    /// The machine has no such device, or its driver does not work.
    #[error("device `{name}`: does not answer: {message}")]
    NoAnswer {
        /// The name as given.
        name: String,
        /// What the driver reported.
        message: String,
    },
}
