//! Reading pictures as Pillow does.
//!
//! Models were trained on pictures that Pillow decoded, so its conventions are kept: transparency is
//! dropped and not blended.

use crate::error::{DataError, Result};
use crate::files;
use crate::jpeg::{self, Checked, Fault, FaultKind};
use crate::limits::{MOST_PIXELS, is_too_large};
use image::error::ImageError;
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits, RgbImage};
use std::io::{Cursor, ErrorKind};
use std::path::Path;

mod orientation;
mod signatures;
#[cfg(test)]
mod tests;

/// Most bytes that a decoder may take; enough for that many pixels of four channels.
const MOST_BYTES: u64 = 4 * MOST_PIXELS;
/// The formats that are read. [`signatures`] names the others.
const READ: [ImageFormat; 4] = [
    ImageFormat::Png,
    ImageFormat::Jpeg,
    ImageFormat::WebP,
    ImageFormat::Bmp,
];

/// What becomes of the orientation that a camera noted in a picture's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// The picture is turned upright, as people see it.
    Upright,
    /// The pixels stay where they are stored, which is what a data set's coordinates refer to.
    AsStored,
}

/// Reads a photograph as three channels of eight bits, turned upright by its EXIF orientation.
///
/// Pictures of a data set are read by [`load_stored_rgb`] instead.
///
/// Besides the file, this takes three bytes a pixel for a JPEG, six while it is turned, and up to 13
/// while it is decoded if it is progressive or has several scans; up to 16 for a picture of 16 bits.
///
/// # Errors
///
/// If the file cannot be read, is not a picture of a known format, is damaged or cut off, or has more
/// than 32,768 pixels a side or 179 megapixels; the size is found out before anything is decoded.
/// [`DataError::NotAPicture`] says what a file is that is no picture.
pub fn load_rgb(path: &Path) -> Result<RgbImage> {
    let bytes = files::read(path).map_err(DataError::io("read", path))?;
    decode_rgb(&bytes, path)
}

/// Decodes a picture in memory as [`load_rgb`] does; `name` is for messages.
///
/// # Errors
///
/// As [`load_rgb`].
pub fn decode_rgb(bytes: &[u8], name: &Path) -> Result<RgbImage> {
    Ok(decode(bytes, name, Turn::Upright)?.into_rgb8())
}

/// Reads a picture of a data set as three channels of eight bits, its pixels where they are stored.
///
/// Polygons refer to the stored pixels: PhraseCut's tools and CLIPSeg's own ignore the EXIF
/// orientation, which would turn a picture against its polygons. Everything in this workspace that
/// reads pictures of a [`PhraseCut`](crate::PhraseCut) reads them so.
///
/// # Errors
///
/// As [`load_rgb`].
pub fn load_stored_rgb(path: &Path) -> Result<RgbImage> {
    let bytes = files::read(path).map_err(DataError::io("read", path))?;
    decode_stored_rgb(&bytes, path)
}

/// Decodes a picture in memory as [`load_stored_rgb`] does.
pub(crate) fn decode_stored_rgb(bytes: &[u8], name: &Path) -> Result<RgbImage> {
    Ok(decode(bytes, name, Turn::AsStored)?.into_rgb8())
}

/// Decodes a picture with the channels and the depth that it has.
pub(crate) fn decode(bytes: &[u8], name: &Path, turn: Turn) -> Result<DynamicImage> {
    let fail = |error| explain(error, name);
    let Some(format) = image::guess_format(bytes)
        .ok()
        .filter(|format| READ.contains(format))
    else {
        return Err(DataError::NotAPicture {
            path: name.to_owned(),
            found: signatures::describe(bytes),
        });
    };
    let checked = match format {
        ImageFormat::Jpeg => jpeg::check(bytes).map_err(|fault| refuse(fault, name))?,
        ImageFormat::WebP => {
            check_length(bytes, name)?;
            Checked::File(bytes.into())
        }
        _ => Checked::File(bytes.into()),
    };
    let coded = match &checked {
        Checked::File(bytes) => bytes,
        Checked::Scans(_) => bytes,
    };
    let mut reader = ImageReader::with_format(Cursor::new(coded), format);
    let mut limits = Limits::default();
    limits.max_alloc = Some(MOST_BYTES);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(fail)?;
    let (width, height) = decoder.dimensions();
    if is_too_large(width, height) {
        return Err(DataError::TooLarge {
            path: name.to_owned(),
            width,
            height,
        });
    }
    if width == 0 || height == 0 {
        return Err(DataError::Damaged {
            path: name.to_owned(),
            offset: 0,
            message: format!("a picture of {width}x{height} has no pixels"),
        });
    }
    let orientation = match turn {
        Turn::Upright => orientation::of(&mut decoder),
        Turn::AsStored => Orientation::NoTransforms,
    };
    let mut picture = match &checked {
        Checked::File(_) => DynamicImage::from_decoder(decoder).map_err(fail)?,
        Checked::Scans(scans) => scans.decode().map_err(|fault| refuse(fault, name))?.into(),
    };
    picture.apply_orientation(orientation);
    Ok(picture)
}

/// What a decoder's error means for a file.
fn explain(source: ImageError, name: &Path) -> DataError {
    let path = name.to_owned();
    match source {
        ImageError::IoError(error) if error.kind() == ErrorKind::UnexpectedEof => {
            DataError::CutOff {
                path,
                detail: error.to_string(),
            }
        }
        source => DataError::Picture { path, source },
    }
}

/// Whether as much of a WebP file is there as its header announces (RFC 9649, 2.4). Its decoder does not
/// always notice.
fn check_length(bytes: &[u8], name: &Path) -> Result<()> {
    let announced = bytes.get(4..).and_then(|rest| rest.first_chunk().copied());
    let announced = 8 + announced.map_or(0, |length| u64::from(u32::from_le_bytes(length)));
    if announced <= bytes.len() as u64 {
        return Ok(());
    }
    Err(DataError::CutOff {
        path: name.to_owned(),
        detail: format!("{} of {announced} bytes are there", bytes.len()),
    })
}

/// What a JPEG's fault means for a file.
fn refuse(fault: Fault, name: &Path) -> DataError {
    let path = name.to_owned();
    let Fault {
        offset,
        kind,
        message,
    } = fault;
    match kind {
        FaultKind::CutOff => DataError::CutOff {
            path,
            detail: format!("at byte {offset}, {message}"),
        },
        FaultKind::Damaged | FaultKind::Unsupported => DataError::Damaged {
            path,
            offset,
            message,
        },
    }
}
