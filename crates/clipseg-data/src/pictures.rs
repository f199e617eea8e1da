//! Reading pictures and resizing them, as Pillow does both.
//!
//! Models were trained on pictures that Pillow decoded and resized, so its conventions are kept:
//! transparency is dropped and not blended, and shrinking antialiases. This file alone names the
//! resizing crate.

use crate::error::{DataError, Result};
use fast_image_resize::{FilterType, ResizeAlg, ResizeOptions, Resizer};
use image::{DynamicImage, ImageDecoder, ImageReader, Limits, RgbImage};
use std::io::Cursor;
use std::path::Path;

/// Longest side of a picture that is decoded.
const LONGEST_SIDE: u32 = 32_768;
/// Most bytes that decoding one picture may take.
const MOST_BYTES: u64 = 1 << 30;

/// How pixels are interpolated, under Pillow's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Filter {
    /// The nearest pixel, without antialiasing.
    Nearest,
    /// A triangle.
    #[default]
    Bilinear,
    /// Keys' cubic with a = −0.5.
    Bicubic,
    /// A windowed sinc over six pixels.
    Lanczos,
}

/// Reads a picture as three channels of eight bits, turned upright by its EXIF orientation.
///
/// # Errors
///
/// If the file cannot be read, is not a picture of a known format, or is larger than 32,768 pixels
/// a side or 1 GiB decoded.
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
    limits.max_image_width = Some(LONGEST_SIDE);
    limits.max_image_height = Some(LONGEST_SIDE);
    limits.max_alloc = Some(MOST_BYTES);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(fail)?;
    // Broken metadata does not make the pixels unreadable.
    let orientation = decoder.orientation().ok();
    let mut picture = DynamicImage::from_decoder(decoder).map_err(fail)?;
    if let Some(orientation) = orientation {
        picture.apply_orientation(orientation);
    }
    Ok(picture.into_rgb8())
}

/// Resizes to exactly `width` × `height` pixels, of which there must be at least one.
pub fn resize_rgb(picture: &RgbImage, width: u32, height: u32, filter: Filter) -> RgbImage {
    let algorithm = match filter {
        Filter::Nearest => ResizeAlg::Nearest,
        Filter::Bilinear => ResizeAlg::Convolution(FilterType::Bilinear),
        Filter::Bicubic => ResizeAlg::Convolution(FilterType::CatmullRom),
        Filter::Lanczos => ResizeAlg::Convolution(FilterType::Lanczos3),
    };
    // Both passes round to eight bits, so their order shows. Pillow 13 shrinks columns first where the
    // height shrinks by more than twice what the width does; earlier versions always did rows first.
    let (from_width, from_height) = picture.dimensions();
    let [width_loss, height_loss] = [(from_width, width), (from_height, height)]
        .map(|(from, to)| i64::from(from) - i64::from(to));
    let between = if height_loss > 0 && height_loss > 2 * width_loss {
        resize_once(picture, from_width, height, algorithm)
    } else {
        resize_once(picture, width, from_height, algorithm)
    };
    resize_once(&between, width, height, algorithm)
}

fn resize_once(picture: &RgbImage, width: u32, height: u32, algorithm: ResizeAlg) -> RgbImage {
    if picture.dimensions() == (width, height) {
        return picture.clone();
    }
    let options = ResizeOptions::new().resize_alg(algorithm);
    let mut target = DynamicImage::ImageRgb8(RgbImage::new(width, height));
    let source = DynamicImage::ImageRgb8(picture.clone());
    match Resizer::new().resize(&source, &mut target, &options) {
        Ok(()) => target.into_rgb8(),
        Err(error) => unreachable!("both pictures have three channels of eight bits: {error}"),
    }
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

    #[test]
    fn a_picture_beyond_the_limits_is_an_error() {
        let mut bytes = Vec::new();
        let wide = DynamicImage::new_luma8(40_000, 2);
        wide.write_to(&mut Cursor::new(&mut bytes), image::ImageFormat::Png)
            .unwrap();
        assert!(decode_rgb(&bytes, Path::new("wide.png")).is_err());
    }
}
