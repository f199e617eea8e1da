//! CLIP's text and vision encoders on Burn: tokenizer, preprocessing, weights.

#![deny(missing_docs)]
