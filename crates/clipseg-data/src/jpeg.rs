//! What the JPEG decoder does not look after.
//!
//! It fills what is missing or damaged with grey and does not say so, which is how a photograph whose
//! download broke off would become training data. It does not know the tables that motion JPEG leaves
//! out. And it mixes the components of many sequential files of several scans up. So every file is walked through before it is decoded: all its coded blocks have to be
//! there. References are to ITU-T T.81.

use std::borrow::Cow;

mod bits;
mod blocks;
mod codes;
mod fault;
mod header;
mod pixels;
mod standard_tables;
#[cfg(test)]
mod tests;
mod walk;

pub(crate) use fault::{Fault, FaultKind};
use image::RgbImage;
use walk::Walk;

/// A file whose blocks are all there.
pub(crate) enum Checked<'a> {
    /// What the decoder reads right: the file, with what it leaves out put in.
    File(Cow<'a, [u8]>),
    /// A file that the decoder would read wrong. Only its headers are for the decoder.
    Scans(Scans<'a>),
}

/// A sequential picture in several scans.
pub(crate) struct Scans<'a>(&'a [u8]);

impl Scans<'_> {
    /// The picture.
    pub(crate) fn decode(&self) -> Result<RgbImage, Fault> {
        let mut walk = Walk::with_coefficients(self.0);
        walk.run()?;
        pixels::reconstruct(walk)
    }
}

/// Walks through a file. What is no JPEG passes, as does one of a size that is refused anyway.
pub(crate) fn check(bytes: &[u8]) -> Result<Checked<'_>, Fault> {
    if !bytes.starts_with(&header::START_OF_IMAGE) {
        return Ok(Checked::File(bytes.into()));
    }
    let mut walk = Walk::new(bytes);
    walk.run()?;
    if walk.is_mixed_up_by_the_decoder() {
        return Ok(Checked::Scans(Scans(bytes)));
    }
    if walk.has_all_tables() && walk.has_end() {
        return Ok(Checked::File(bytes.into()));
    }
    let mut whole = header::START_OF_IMAGE.to_vec();
    if !walk.has_all_tables() {
        whole.extend(header::segment_of_tables(&standard_tables::STANDARD));
    }
    whole.extend(&bytes[header::START_OF_IMAGE.len()..]);
    if !walk.has_end() {
        whole.extend([0xff, header::END_OF_IMAGE]);
    }
    Ok(Checked::File(whole.into()))
}
