//! Reading masks from picture files.

use super::Mask;
use crate::error::{DataError, Result};
use crate::files;
use crate::pictures::{Turn, decode};
use image::DynamicImage;
use std::path::Path;

/// Reads a mask from a picture file. Pixels above half of the picture's largest value are inside.
///
/// Thereby masks with the values 0 and 1, 0 and 255, with 16 bits, with JPEG artefacts or with a background
/// of 1 give the same result. Colours are converted to grey (ITU-R BT.601, as in Pillow's mode `L`), and
/// transparent pixels are blended with black. The mask is rotated upright by its EXIF orientation, like a
/// photograph.
///
/// This is meant for masks from users. For predictions, PhraseCut's evaluator has another rule: every
/// pixel other than 0 is inside.
///
/// # Errors
///
/// Those of [`load_rgb`](crate::load_rgb), and [`DataError::EmptyMask`] if all pixels are 0.
pub fn load_mask(path: &Path) -> Result<Mask> {
    let bytes = files::read(path).map_err(DataError::io("read", path))?;
    let picture = decode(&bytes, path, Turn::Upright)?;
    let (width, height) = (picture.width(), picture.height());
    let values = greys(picture);
    let largest = values.iter().copied().max().unwrap_or(0);
    if largest == 0 {
        return Err(DataError::EmptyMask {
            path: path.to_owned(),
        });
    }
    let inside = values
        .iter()
        .map(|&value| u8::from(u32::from(value) * 2 > u32::from(largest)));
    Ok(Mask::from_vec(width, height, inside.collect()))
}

/// Grey values from 0 to 65,535, one per pixel.
fn greys(picture: DynamicImage) -> Vec<u16> {
    match picture {
        DynamicImage::ImageLuma8(grey) => grey
            .into_raw()
            .into_iter()
            .map(|value| u16::from(value) * 257)
            .collect(),
        DynamicImage::ImageLuma16(grey) => grey.into_raw(),
        other => {
            let on_black = |[red, green, blue, alpha]: [u64; 4]| {
                let grey = (19_595 * red + 38_470 * green + 7_471 * blue + 0x8000) >> 16;
                (grey * alpha / u64::from(u16::MAX)) as u16
            };
            let colours = other.into_rgba16();
            colours
                .pixels()
                .map(|pixel| on_black(pixel.0.map(u64::from)))
                .collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{ImageBuffer, Luma, LumaA, Rgb, Rgba};

    fn case(name: &str) -> Result<Mask> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/cases/masks");
        load_mask(&folder.join(name))
    }

    #[test]
    fn all_encodings_of_a_mask_give_the_same_pixels() {
        let expected = case("m255.png").unwrap();
        assert_eq!((expected.width(), expected.height()), (160, 120));
        assert_eq!(case("m1.png").unwrap(), expected);
        assert_eq!(case("m16-1.png").unwrap(), expected);
        for name in ["bg1.png", "q75.jpg", "m255.png"] {
            assert_eq!(case(name).unwrap().area(), 3_000, "{name}");
        }
        assert_eq!(case("white.png").unwrap().area(), 160 * 120);
    }

    /// Reads 3 pixels beside each other.
    fn read(picture: impl Into<DynamicImage>) -> Result<Vec<u8>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mask.png");
        picture.into().save(&path).unwrap();
        load_mask(&path).map(|mask| mask.to_vec())
    }

    fn grey8(values: [u8; 3]) -> ImageBuffer<Luma<u8>, Vec<u8>> {
        ImageBuffer::from_fn(3, 1, |x, _| Luma([values[x as usize]]))
    }

    #[test]
    fn half_of_the_largest_value_is_outside() {
        assert_eq!(read(grey8([128, 127, 255])).unwrap(), [1, 0, 1]);
        assert_eq!(read(grey8([0, 2, 1])).unwrap(), [0, 1, 0]);
        assert_eq!(read(grey8([1, 1, 1])).unwrap(), [1, 1, 1]);
        let deep = ImageBuffer::from_fn(3, 1, |x, _| Luma([[300u16, 600, 301][x as usize]]));
        assert_eq!(read(deep).unwrap(), [0, 1, 1]);
    }

    #[test]
    fn colours_and_transparency_are_converted_to_grey() {
        let colours = [[0u8, 0, 90], [200, 0, 0], [0, 200, 0]];
        let colours = ImageBuffer::from_fn(3, 1, |x, _| Rgb(colours[x as usize]));
        assert_eq!(read(colours).unwrap(), [0, 1, 1]);
        // All white, with the mask in the transparency.
        let alpha = [0u8, 255, 100];
        let white = ImageBuffer::from_fn(3, 1, |x, _| Rgba([255u8, 255, 255, alpha[x as usize]]));
        assert_eq!(read(white).unwrap(), [0, 1, 0]);
        let grey = ImageBuffer::from_fn(3, 1, |x, _| LumaA([255u8, alpha[x as usize]]));
        assert_eq!(read(grey).unwrap(), [0, 1, 0]);
    }

    #[test]
    fn a_mask_of_zeros_is_an_error() {
        let message = read(grey8([0; 3])).unwrap_err().to_string();
        let expected = "mask.png: the mask is empty, all its pixels are 0";
        assert!(message.ends_with(expected), "{message}");
    }
}
