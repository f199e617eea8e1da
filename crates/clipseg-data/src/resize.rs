//! Resizing pictures and planes of numbers.
//!
//! Only this file uses the resizing crate, with the two pixel types that are needed: its untyped entry
//! point would compile every algorithm for every pixel type.

use crate::error::{DataError, Result};
use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::{F32, U8x3};
use fast_image_resize::{FilterType, ResizeAlg, ResizeOptions, Resizer};
use image::RgbImage;

/// Interpolation filter, with Pillow's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Filter {
    /// Nearest pixel, without antialiasing.
    Nearest,
    /// Triangle filter.
    #[default]
    Bilinear,
    /// Keys' cubic filter with a = −0.5.
    Bicubic,
    /// Sinc filter windowed over six pixels.
    Lanczos,
}

/// Resizes a picture to `width` × `height` pixels, both at least 1, like Pillow: with antialiasing where it
/// shrinks.
pub fn resize_rgb(picture: &RgbImage, width: u32, height: u32, filter: Filter) -> RgbImage {
    let algorithm = match filter {
        Filter::Nearest => ResizeAlg::Nearest,
        Filter::Bilinear => ResizeAlg::Convolution(FilterType::Bilinear),
        Filter::Bicubic => ResizeAlg::Convolution(FilterType::CatmullRom),
        Filter::Lanczos => ResizeAlg::Convolution(FilterType::Lanczos3),
    };
    // Both passes round to 8 bits, so their order matters. Pillow 13 resizes vertically first if the height
    // shrinks by more than twice as many pixels as the width; earlier versions always resized
    // horizontally first.
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
    let (from_width, from_height) = picture.dimensions();
    if (from_width, from_height) == (width, height) {
        return picture.clone();
    }
    let mut target = RgbImage::new(width, height);
    let resized = TypedImageRef::<U8x3>::from_buffer(from_width, from_height, picture.as_raw())
        .map_err(|error| error.to_string())
        .and_then(|source| {
            let mut into = TypedImage::<U8x3>::from_buffer(width, height, &mut target)
                .map_err(|error| error.to_string())?;
            let options = ResizeOptions::new().resize_alg(algorithm);
            Resizer::new()
                .resize_typed(&source, &mut into, &options)
                .map_err(|error| error.to_string())
        });
    match resized {
        Ok(()) => target,
        Err(error) => unreachable!("the buffers have the sizes of the pictures: {error}"),
    }
}

/// Resizes a plane of numbers bilinearly: like PyTorch's `interpolate` without aligned corners where it
/// grows, with antialiasing where it shrinks. Values are stored row by row; sizes are `[width, height]`.
///
/// # Errors
///
/// [`DataError::Input`] if the number of values is not `from[0] · from[1]`, or a size is 0.
pub fn resize_plane(values: &[f32], from: [u32; 2], to: [u32; 2]) -> Result<Vec<f32>> {
    let fail = |error: &dyn std::fmt::Display| {
        DataError::Input(format!(
            "cannot resize {} values of {}x{} to {}x{}: {error}",
            values.len(),
            from[0],
            from[1],
            to[0],
            to[1]
        ))
    };
    if values.len() != from[0] as usize * from[1] as usize || [from, to].concat().contains(&0) {
        return Err(fail(&"the sizes do not fit"));
    }
    let pixels: Vec<F32> = values.iter().map(|&value| F32::new(value)).collect();
    let source = TypedImageRef::new(from[0], from[1], &pixels).map_err(|error| fail(&error))?;
    let mut target = TypedImage::<F32>::new(to[0], to[1]);
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear));
    Resizer::new()
        .resize_typed(&source, &mut target, &options)
        .map_err(|error| fail(&error))?;
    Ok(target.pixels().iter().map(|pixel| pixel.0).collect())
}

/// Resizes like PyTorch's bilinear `interpolate` with aligned corners: the centres of the outermost pixels
/// are kept, and there is no antialiasing. Returns unrounded levels from 0 to 255, `[height, width, 3]`.
///
/// CLIPSeg's own code resizes pictures this way in training and evaluation (Lüddecke and Ecker 2022,
/// arXiv:2112.10003, `datasets/phrasecut.py`).
pub(crate) fn resize_align_corners(picture: &RgbImage, width: u32, height: u32) -> Vec<f32> {
    let (from_width, from_height) = picture.dimensions();
    let columns = corner_weights(from_width, width);
    let rows = corner_weights(from_height, height);
    let mut resized = Vec::with_capacity(3 * width as usize * height as usize);
    let channels = |x: u32, y: u32| picture.get_pixel(x, y).0.map(f32::from);
    for &(top, bottom, down) in &rows {
        for &(left, right, across) in &columns {
            let corners = [(left, top), (right, top), (left, bottom), (right, bottom)];
            let [a, b, c, d] = corners.map(|(x, y)| channels(x, y));
            for channel in 0..3 {
                // The order of additions in PyTorch.
                let above = (1.0 - across) * a[channel] + across * b[channel];
                let below = (1.0 - across) * c[channel] + across * d[channel];
                resized.push((1.0 - down) * above + down * below);
            }
        }
    }
    resized
}

/// For each new position, the two old positions around it and the weight of the second.
fn corner_weights(from: u32, to: u32) -> Vec<(u32, u32, f32)> {
    let scale = if to > 1 {
        (from.max(1) - 1) as f32 / (to - 1) as f32
    } else {
        0.0
    };
    (0..to)
        .map(|index| {
            let at = scale * index as f32;
            let first = (at as u32).min(from.max(1) - 1);
            (first, (first + 1).min(from.max(1) - 1), at - first as f32)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn planes_are_enlarged_as_in_pytorch() {
        // torch.nn.functional.interpolate([[0, 1], [2, 3]], size=(2, 4), mode="bilinear")
        let grown = resize_plane(&[0.0, 1.0, 2.0, 3.0], [2, 2], [4, 2]).unwrap();
        assert_eq!(grown, [0.0, 0.25, 0.75, 1.0, 2.0, 2.25, 2.75, 3.0]);
    }

    #[test]
    fn sizes_that_do_not_fit_are_errors() {
        for (values, from, to) in [
            (5, [2, 2], [4, 4]),
            (4, [2, 2], [0, 4]),
            (0, [0, 2], [4, 4]),
        ] {
            let error = resize_plane(&vec![0.0; values], from, to).unwrap_err();
            assert!(error.to_string().starts_with("cannot resize "), "{error}");
        }
    }

    #[test]
    fn corners_are_aligned_as_in_pytorch() {
        // torch.nn.functional.interpolate(x, size=(3, 5), mode="bilinear", align_corners=True) for
        // x = [[0, 90, 30], [60, 240, 120]]: outer pixels are kept, every second one is half way.
        let grey = [[0, 90, 30], [60, 240, 120]];
        let picture = RgbImage::from_fn(3, 2, |x, y| image::Rgb([grey[y as usize][x as usize]; 3]));
        let resized = resize_align_corners(&picture, 5, 3);
        let expected = [
            [0.0, 45.0, 90.0, 60.0, 30.0],
            [30.0, 97.5, 165.0, 120.0, 75.0],
            [60.0, 150.0, 240.0, 180.0, 120.0],
        ];
        let red: Vec<f32> = resized.iter().step_by(3).copied().collect();
        assert_eq!(red, expected.as_flattened());
        // Shrinking samples single points, without antialiasing.
        let shrunk = resize_align_corners(&picture, 2, 1);
        assert_eq!(shrunk, [0.0, 0.0, 0.0, 30.0, 30.0, 30.0]);
    }
}
