//! Training and evaluation of text-prompted segmentation on Burn.

#![deny(missing_docs)]
