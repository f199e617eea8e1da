//! Planes of numbers: channels of pixels, and one value for each pixel of a picture.

use crate::error::{DataError, Result};
use image::RgbImage;

/// Writes the three channels of pixels as planes one after the other.
///
/// `value` gives the value of a level in a channel (0, 1 or 2 for red, green and blue).
///
/// # Shapes
///
/// - pixels: `[height, width, 3]`
/// - planes: `[3, height, width]`
///
/// # Panics
///
/// If `planes` has another length than `pixels`.
pub fn write_planes<T: Copy, U>(pixels: &[T], planes: &mut [U], value: impl Fn(usize, T) -> U) {
    assert_eq!(pixels.len(), planes.len(), "one value for each level");
    let (pixels, _) = pixels.as_chunks::<3>();
    for (channel, plane) in planes.chunks_exact_mut(pixels.len().max(1)).enumerate() {
        for (target, levels) in plane.iter_mut().zip(pixels) {
            *target = value(channel, levels[channel]);
        }
    }
}

/// Checks that a plane has one finite value for each pixel of a picture, and that there are pixels.
pub(crate) fn check_plane(picture: &RgbImage, plane: &[f32]) -> Result<()> {
    let (width, height) = picture.dimensions();
    if width == 0 || height == 0 {
        return Err(DataError::Input(format!(
            "a picture of {width}x{height} has no pixels"
        )));
    }
    if plane.len() != width as usize * height as usize {
        return Err(DataError::Input(format!(
            "{} values for a picture of {width}x{height}, expected one for each pixel",
            plane.len()
        )));
    }
    match plane.iter().filter(|value| !value.is_finite()).count() {
        0 => Ok(()),
        count => Err(DataError::Input(format!(
            "{count} of {} values are NaN or infinite",
            plane.len()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn planes_follow_each_other() {
        let mut planes = [0.0; 6];
        let value = |channel, level: u8| f32::from(level) + 100.0 * channel as f32;
        write_planes(&[1, 2, 3, 4, 5, 6], &mut planes, value);
        assert_eq!(planes, [1.0, 4.0, 102.0, 105.0, 203.0, 206.0]);
        write_planes(&[0u8; 0], &mut [], value);
    }
}
