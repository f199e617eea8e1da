//! What can be wrong with a JPEG file.

use std::fmt;

/// A fault of a file and its position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    /// Position in bytes, counted from 0.
    pub(crate) offset: usize,
    pub(crate) kind: FaultKind,
    pub(crate) message: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FaultKind {
    /// The file is truncated.
    CutOff,
    /// The content is invalid.
    Damaged,
    /// The file uses an unsupported part of the standard.
    Unsupported,
}

impl Fault {
    pub(super) fn new(kind: FaultKind, offset: usize, message: impl fmt::Display) -> Self {
        Self {
            offset,
            kind,
            message: message.to_string(),
        }
    }
}
