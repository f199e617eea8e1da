//! Losses and measures of binary segmentation on Burn.

#![deny(missing_docs)]
