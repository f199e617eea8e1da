//! What can be wrong with a JPEG file.

use std::fmt;

/// What is wrong with a file, and where it was found out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    /// The byte, counted from 0.
    pub(crate) offset: usize,
    pub(crate) kind: FaultKind,
    pub(crate) message: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FaultKind {
    /// The file ends before the picture does.
    CutOff,
    /// Its content cannot be what was written.
    Damaged,
    /// It uses a part of the standard that is not read.
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
