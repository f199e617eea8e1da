//! PAMR: pixel-adaptive mask refinement (Araslanov and Roth 2020, arXiv:2005.08104).
//!
//! Each value becomes the weighted mean of its neighbours, several times. Neighbours of a similar colour have
//! large weights, so values spread within regions and stop at edges. As in the paper's code (`models/mods/pamr.py`
//! of visinf/1-stage-wseg), a pixel itself is not one of its neighbours, and the picture is replicated beyond its
//! border. The dilations 8 and 16 and ten rounds are those that segmentation with CLIP alone uses (Hajimiri et
//! al. 2024, arXiv:2404.08181).

use crate::error::{DataError, Result};
use crate::planes::check_plane;
use image::RgbImage;
use rayon::prelude::*;

/// Distances in pixels from a pixel to its neighbours, along rows and columns.
const DILATIONS: [i32; 2] = [8, 16];
/// The largest distance along a row.
const REACH: usize = 16;
/// Number of neighbours: eight at each dilation.
const NEIGHBOURS: usize = 16;
/// The most pixels of a picture: their weights take 2 GiB.
const MOST_PIXELS: usize = 1 << 25;

/// Refines a plane along the edges of a picture.
///
/// Values stay within the range of the plane, up to rounding. The weights take 64 bytes per pixel.
///
/// # Shapes
///
/// - plane and output: `[height, width]` of the guide
///
/// # Errors
///
/// If the plane has another number of values than the guide has pixels, the guide has no pixels or more than
/// 2²⁵ (33 megapixels), a value is NaN or infinite, or the number of rounds is 0.
pub fn pamr(guide: &RgbImage, plane: &[f32], rounds: u32) -> Result<Vec<f32>> {
    check_plane(guide, plane)?;
    if rounds == 0 {
        return Err(DataError::Input(
            "the number of PAMR's rounds is 0, expected at least 1".into(),
        ));
    }
    if plane.len() > MOST_PIXELS {
        return Err(DataError::Input(format!(
            "PAMR of a picture of {}x{} needs too much memory, expected at most {MOST_PIXELS} pixels; the guided \
             filter has no such limit",
            guide.width(),
            guide.height()
        )));
    }
    let weights = weights(guide);
    let width = guide.width() as usize;
    let mut plane = plane.to_vec();
    let mut next = vec![0f32; plane.len()];
    for _ in 0..rounds {
        let rows = next
            .par_chunks_mut(width)
            .zip(weights.par_chunks(NEIGHBOURS * width));
        rows.enumerate().for_each_init(
            || vec![0f32; width + 2 * REACH],
            |padded, (y, (row, weights))| weighted_means(&plane, y, weights, padded, row),
        );
        std::mem::swap(&mut plane, &mut next);
    }
    Ok(plane)
}

/// Steps to the neighbours at a dilation, in rows and columns.
fn steps(dilation: i32) -> [[i32; 2]; 8] {
    let d = dilation;
    [
        [-d, -d],
        [-d, 0],
        [-d, d],
        [0, -d],
        [0, d],
        [d, -d],
        [d, 0],
        [d, d],
    ]
}

/// A step from an index, limited to `0..side`.
fn moved(index: usize, step: i32, side: usize) -> usize {
    index.saturating_add_signed(step as isize).min(side - 1)
}

/// The weights of each pixel's neighbours, `[height, NEIGHBOURS, width]`; those of a pixel add up to 1.
fn weights(guide: &RgbImage) -> Vec<f32> {
    let (width, height) = (guide.width() as usize, guide.height() as usize);
    let (pixels, _) = guide.as_raw().as_chunks::<3>();
    let level = |x: usize, y: usize| pixels[y * width + x].map(|level| f32::from(level) / 255.0);
    let mut weights = vec![0f32; width * height * NEIGHBOURS];
    let rows = weights.par_chunks_mut(NEIGHBOURS * width).enumerate();
    rows.for_each(|(y, row)| {
        for x in 0..width {
            let mut near = [[0f32; 3]; NEIGHBOURS];
            let all = DILATIONS.into_iter().flat_map(steps);
            for (near, [down, across]) in near.iter_mut().zip(all) {
                *near = level(moved(x, across, width), moved(y, down, height));
            }
            let weights = softmax(similarities(level(x, y), &near));
            for (index, weight) in weights.into_iter().enumerate() {
                row[index * width + x] = weight;
            }
        }
    });
    weights
}

/// For each neighbour, the negative difference of its colour, relative to a tenth of the standard deviation in the
/// neighbourhood, averaged over the channels.
fn similarities(centre: [f32; 3], near: &[[f32; 3]; NEIGHBOURS]) -> [f32; NEIGHBOURS] {
    let mut similarities = [0f32; NEIGHBOURS];
    for channel in 0..3 {
        let centre = centre[channel];
        let levels = || near.iter().map(|near| near[channel]);
        // The deviation covers three by three pixels at each dilation, so the centre counts twice.
        let count = (NEIGHBOURS + DILATIONS.len()) as f32;
        let mean = (levels().sum::<f32>() + 2.0 * centre) / count;
        let square = |level: f32| (level - mean) * (level - mean);
        let squares = levels().map(square).sum::<f32>() + 2.0 * square(centre);
        let scale = 1e-8 + 0.1 * (squares / (count - 1.0)).sqrt();
        for (similarity, level) in similarities.iter_mut().zip(levels()) {
            *similarity -= (centre - level).abs() / scale;
        }
    }
    similarities.map(|sum| sum / 3.0)
}

fn softmax(values: [f32; NEIGHBOURS]) -> [f32; NEIGHBOURS] {
    let largest = values.into_iter().fold(f32::NEG_INFINITY, f32::max);
    let powers = values.map(|value| (value - largest).exp());
    let sum: f32 = powers.iter().sum();
    powers.map(|power| power / sum)
}

/// Computes one row of weighted means. `padded` is a buffer for a row with `REACH` values on each side.
fn weighted_means(plane: &[f32], y: usize, weights: &[f32], padded: &mut [f32], row: &mut [f32]) {
    let width = row.len();
    let height = plane.len() / width;
    row.fill(0.0);
    for down in [-DILATIONS[1], -DILATIONS[0], 0, DILATIONS[0], DILATIONS[1]] {
        let from = &plane[moved(y, down, height) * width..][..width];
        padded[..REACH].fill(from[0]);
        padded[REACH..REACH + width].copy_from_slice(from);
        padded[REACH + width..].fill(from[width - 1]);
        let neighbours = DILATIONS
            .into_iter()
            .flat_map(steps)
            .zip(weights.chunks_exact(width));
        for ([_, across], weights) in neighbours.filter(|([rows, _], _)| *rows == down) {
            let values = &padded[moved(REACH, across, padded.len())..][..width];
            for ((sum, weight), value) in row.iter_mut().zip(weights).zip(values) {
                *sum += weight * value;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::Rgb;

    #[test]
    fn equal_colours_give_the_mean_of_the_neighbours() {
        let guide = RgbImage::from_pixel(40, 40, Rgb([9, 90, 200]));
        let mut plane = vec![0.0; 40 * 40];
        plane[20 * 40 + 20] = 1.0;
        let found = pamr(&guide, &plane, 1).unwrap();
        for (at, &value) in found.iter().enumerate() {
            let (x, y) = ((at % 40) as i32 - 20, (at / 40) as i32 - 20);
            let is_near = [8, 16]
                .iter()
                .any(|&d| (x, y) != (0, 0) && [-d, 0, d].contains(&x) && [-d, 0, d].contains(&y));
            let expected = if is_near { 1.0 / 16.0 } else { 0.0 };
            assert!((value - expected).abs() < 1e-6, "{x} {y}: {value}");
        }
    }

    #[test]
    fn values_do_not_cross_an_edge() {
        let guide = RgbImage::from_fn(64, 32, |x, _| {
            Rgb(if x < 32 { [250, 0, 0] } else { [0, 0, 250] })
        });
        let plane: Vec<f32> = (0..64 * 32)
            .map(|at| if at % 64 < 26 { 1.0 } else { 0.0 })
            .collect();
        let found = pamr(&guide, &plane, 10).unwrap();
        let row = &found[16 * 64..][..64];
        assert!(row[..32].iter().all(|&value| value > 0.5), "{row:?}");
        assert!(row[32..].iter().all(|&value| value < 0.2), "{row:?}");
    }

    #[test]
    fn single_pixels_and_constants_are_kept() {
        for (width, height) in [(1, 1), (1, 9), (40, 3)] {
            let guide = RgbImage::from_fn(width, height, |x, y| Rgb([x as u8, y as u8, 7]));
            let plane = vec![0.7; (width * height) as usize];
            let found = pamr(&guide, &plane, 3).unwrap();
            assert!(found.iter().all(|value| (value - 0.7).abs() < 1e-6));
        }
    }

    #[test]
    fn invalid_arguments_are_errors() {
        let guide = RgbImage::new(3, 2);
        let message = |plane: &[f32], rounds| pamr(&guide, plane, rounds).unwrap_err().to_string();
        assert_eq!(
            message(&[0.0; 6], 0),
            "the number of PAMR's rounds is 0, expected at least 1"
        );
        assert_eq!(
            message(&[0.0; 7], 1),
            "7 values for a picture of 3x2, expected one for each pixel"
        );
        assert_eq!(
            message(&[f32::NAN; 6], 1),
            "6 of 6 values are NaN or infinite"
        );
        let none = pamr(&RgbImage::new(0, 4), &[], 1).unwrap_err();
        assert_eq!(none.to_string(), "a picture of 0x4 has no pixels");
    }
}
