//! Reading pictures as Pillow does.
//!
//! Models were trained on pictures that Pillow decoded, so its conventions are kept: transparency is
//! dropped and not blended.

use crate::error::{DataError, Result};
use image::{DynamicImage, ImageDecoder, ImageReader, Limits, RgbImage};
use std::io::Cursor;
use std::path::Path;

/// Longest side of a picture that is decoded.
const LONGEST_SIDE: u32 = 32_768;
/// Most pixels of a picture that is decoded: where Pillow speaks of a decompression bomb.
const MOST_PIXELS: u64 = 178_956_970;
/// Most bytes that a decoder may take; enough for that many pixels of four channels.
const MOST_BYTES: u64 = 4 * MOST_PIXELS;

/// Reads a picture as three channels of eight bits, turned upright by its EXIF orientation.
///
/// # Errors
///
/// If the file cannot be read, is not a picture of a known format, or has more than 32,768 pixels a
/// side or 179 megapixels; that is found out before anything is decoded.
pub fn load_rgb(path: &Path) -> Result<RgbImage> {
    let bytes = std::fs::read(path).map_err(DataError::io("read", path))?;
    decode_rgb(&bytes, path)
}

/// Decodes a picture in memory as [`load_rgb`] does; `name` is for messages.
///
/// # Errors
///
/// As [`load_rgb`].
pub fn decode_rgb(bytes: &[u8], name: &Path) -> Result<RgbImage> {
    let fail = |source| DataError::Picture {
        path: name.to_owned(),
        source,
    };
    let mut reader = ImageReader::new(Cursor::new(bytes))
        .with_guessed_format()
        .map_err(DataError::io("read", name))?;
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
    // Broken metadata does not make the pixels unreadable.
    let orientation = decoder.orientation().ok();
    let mut picture = DynamicImage::from_decoder(decoder).map_err(fail)?;
    if let Some(orientation) = orientation {
        picture.apply_orientation(orientation);
    }
    Ok(picture.into_rgb8())
}

/// Whether a picture of so many pixels is refused.
pub(crate) fn is_too_large(width: u32, height: u32) -> bool {
    width.max(height) > LONGEST_SIDE || u64::from(width) * u64::from(height) > MOST_PIXELS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_picture_is_an_error() {
        let message = |bytes: &[u8]| {
            decode_rgb(bytes, Path::new("cat.jpg"))
                .unwrap_err()
                .to_string()
        };
        assert!(message(b"").starts_with("cat.jpg: not a readable picture"));
        assert!(message(b"just text").starts_with("cat.jpg: not a readable picture"));
        let missing = load_rgb(Path::new("no/such/cat.jpg"))
            .unwrap_err()
            .to_string();
        assert!(
            missing.starts_with("cannot read no/such/cat.jpg"),
            "{missing}"
        );
    }

    /// A whole PNG file that says it is of this size and holds next to nothing.
    fn bomb(width: u32, height: u32) -> Vec<u8> {
        let mut bytes = Vec::new();
        let small = DynamicImage::new_luma8(1, 1);
        small
            .write_to(&mut Cursor::new(&mut bytes), image::ImageFormat::Png)
            .unwrap();
        // The header chunk: its length, its name, then both sides; a checksum over name and fields.
        bytes[16..20].copy_from_slice(&width.to_be_bytes());
        bytes[20..24].copy_from_slice(&height.to_be_bytes());
        let checksum = crc32(&bytes[12..29]);
        bytes[29..33].copy_from_slice(&checksum.to_be_bytes());
        bytes
    }

    fn crc32(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(u32::MAX, |crc, &byte| {
            (0..8).fold(crc ^ u32::from(byte), |crc, _| {
                if crc & 1 == 1 {
                    (crc >> 1) ^ 0xedb8_8320
                } else {
                    crc >> 1
                }
            })
        })
    }

    #[test]
    fn a_picture_beyond_the_limits_is_refused_before_it_is_decoded() {
        for (width, height) in [(40_000, 2), (30_000, 30_000)] {
            let error = decode_rgb(&bomb(width, height), Path::new("bomb.png")).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!(
                    "bomb.png: a picture of {width}x{height} is too large, expected at most 32768 \
                     pixels a side and 179 megapixels"
                )
            );
        }
    }

    #[test]
    fn a_photograph_is_turned_upright() {
        // Brighter to the right; with orientation 6 the camera was turned, and right is down.
        let wide = RgbImage::from_fn(32, 16, |x, _| image::Rgb([8 * x as u8; 3]));
        // The smallest EXIF block: little-endian, one field, 0x0112, a short of value 6.
        let exif: [u8; 26] = [
            b'I', b'I', 42, 0, 8, 0, 0, 0, 1, 0, 0x12, 0x01, 3, 0, 1, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0,
            0,
        ];
        let mut bytes = Vec::new();
        let mut encoder = image::codecs::jpeg::JpegEncoder::new_with_quality(&mut bytes, 100);
        image::ImageEncoder::set_exif_metadata(&mut encoder, exif.to_vec()).unwrap();
        encoder.encode_image(&wide).unwrap();
        let upright = decode_rgb(&bytes, Path::new("turned.jpg")).unwrap();
        assert_eq!(upright.dimensions(), (16, 32));
        let [top, bottom] = [0, 31].map(|y| upright.get_pixel(8, y).0[0]);
        assert!(top < 20 && bottom > 230, "{top} above {bottom}");
    }

    #[test]
    fn sixteen_bits_are_read_as_eight() {
        let deep = image::ImageBuffer::from_fn(2, 1, |x, _| image::Luma([x as u16 * u16::MAX]));
        let mut bytes = Vec::new();
        DynamicImage::ImageLuma16(deep)
            .write_to(&mut Cursor::new(&mut bytes), image::ImageFormat::Png)
            .unwrap();
        let picture = decode_rgb(&bytes, Path::new("deep.png")).unwrap();
        assert_eq!(picture.as_raw(), &[0, 0, 0, 255, 255, 255]);
    }
}
