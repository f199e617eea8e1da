//! Segment pictures by text, and train models that do.

#![deny(missing_docs)]
