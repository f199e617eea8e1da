//! Checking JPEG files before they are decoded. References are to ITU-T T.81.
//!
//! The decoder has three defects. It silently fills missing or damaged parts with grey, so a truncated
//! photograph would become training data. It does not know the default tables that motion JPEG relies on.
//! And it mixes up the components of many sequential files with several scans. So this module parses
//! every file first and checks that it contains all coded blocks.

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

/// A file that contains all its blocks.
pub(crate) enum Checked<'a> {
    /// A file for the decoder, completed by default tables and an end marker if it lacks them.
    File(Cow<'a, [u8]>),
    /// A file whose pixels the decoder would mix up. The decoder may only read its headers.
    Scans(Scans<'a>),
}

/// A sequential JPEG with several scans.
pub(crate) struct Scans<'a>(&'a [u8]);

impl Scans<'_> {
    /// Decodes the picture.
    pub(crate) fn decode(&self) -> Result<RgbImage, Fault> {
        let mut walk = Walk::with_coefficients(self.0);
        walk.run()?;
        pixels::reconstruct(walk)
    }
}

/// Checks a file. Files that are not JPEGs, and pictures whose size is refused later, are accepted.
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
    let mut complete = header::START_OF_IMAGE.to_vec();
    if !walk.has_all_tables() {
        complete.extend(header::segment_of_tables(&standard_tables::STANDARD));
    }
    complete.extend(&bytes[header::START_OF_IMAGE.len()..]);
    if !walk.has_end() {
        complete.extend([0xff, header::END_OF_IMAGE]);
    }
    Ok(Checked::File(complete.into()))
}
