//! Captioned pictures for training CLIP: entire pictures, crops around objects, and plain lists.

mod annotated;
mod batch;
mod colour_words;
mod held_out;
mod list;
mod options;
mod region;
mod sample;
mod source;
mod stream;
#[cfg(test)]
mod tests;
mod things;
mod window;

pub use batch::CaptionBatch;
pub use held_out::{BoxedName, HeldOut, LabelledPictures};
pub use options::CaptionOptions;
pub use region::CaptionedRegion;
pub use sample::Captioned;
pub use source::CAPTION_LIST;
pub use stream::Captions;
