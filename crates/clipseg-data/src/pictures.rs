//! Decoding pictures.
//!
//! The published models were trained on pictures decoded by Pillow, so its conventions are followed: an
//! alpha channel is dropped and not blended.

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

/// Maximum memory of a decoder in bytes: enough for the largest picture with four channels.
const MOST_BYTES: u64 = 4 * MOST_PIXELS;
/// The supported formats. [`signatures`] recognizes others for error messages.
const READ: [ImageFormat; 4] = [
    ImageFormat::Png,
    ImageFormat::Jpeg,
    ImageFormat::WebP,
    ImageFormat::Bmp,
];

/// How the EXIF orientation of a picture is handled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// The picture is rotated upright.
    Upright,
    /// The orientation is ignored. The polygons of a data set refer to the pixels as stored.
    AsStored,
}

/// Reads a photograph as RGB with 8 bits per channel, rotated upright by its EXIF orientation.
///
/// Use [`load_stored_rgb`] for the pictures of a data set.
///
/// Besides the file itself, this needs 3 bytes of memory per pixel for a JPEG, 6 while it is rotated, and
/// up to 13 while a JPEG that is progressive or has several scans is decoded. A picture with 16 bits per
/// channel needs up to 16.
///
/// # Errors
///
/// If the file cannot be read, has an unsupported format, is damaged or truncated, or has more than 32,768
/// pixels per side or 179 megapixels; the size is checked before the picture is decoded.
/// [`DataError::NotAPicture`] says what kind of file was found instead.
pub fn load_rgb(path: &Path) -> Result<RgbImage> {
    let bytes = files::read(path).map_err(DataError::io("read", path))?;
    decode_rgb(&bytes, path)
}

/// Decodes a picture in memory as [`load_rgb`] does; `name` is used in messages.
///
/// # Errors
///
/// Those of [`load_rgb`].
pub fn decode_rgb(bytes: &[u8], name: &Path) -> Result<RgbImage> {
    Ok(decode(bytes, name, Turn::Upright)?.into_rgb8())
}

/// Reads a picture of a data set as RGB with 8 bits per channel, ignoring its EXIF orientation.
///
/// Polygons refer to the stored pixels, so the tools of PhraseCut and CLIPSeg ignore the orientation too.
/// All code in this workspace reads the pictures of a [`PhraseCut`](crate::PhraseCut) this way.
///
/// # Errors
///
/// Those of [`load_rgb`].
pub fn load_stored_rgb(path: &Path) -> Result<RgbImage> {
    let bytes = files::read(path).map_err(DataError::io("read", path))?;
    decode_stored_rgb(&bytes, path)
}

/// Decodes a picture in memory as [`load_stored_rgb`] does.
pub(crate) fn decode_stored_rgb(bytes: &[u8], name: &Path) -> Result<RgbImage> {
    Ok(decode(bytes, name, Turn::AsStored)?.into_rgb8())
}

/// Decodes a picture with its own channels and bit depth.
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

/// Converts an error of a decoder.
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

/// Checks that a WebP file is as long as its header says (RFC 9649, section 2.4). The decoder does not
/// always detect a truncated file.
fn check_length(bytes: &[u8], name: &Path) -> Result<()> {
    let announced = bytes.get(4..).and_then(|rest| rest.first_chunk().copied());
    let announced = 8 + announced.map_or(0, |length| u64::from(u32::from_le_bytes(length)));
    if announced <= bytes.len() as u64 {
        return Ok(());
    }
    Err(DataError::CutOff {
        path: name.to_owned(),
        detail: format!("it has {} of {announced} bytes", bytes.len()),
    })
}

/// Converts a fault of a JPEG file.
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
