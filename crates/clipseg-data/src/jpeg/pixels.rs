//! From coefficients to pixels (A.3), for the files that the decoder mixes up.

use super::blocks::ZIGZAG;
use super::header::{BLOCK, Frame};
use super::walk::{Plane, Walk};
use super::{Fault, FaultKind};
use image::{Rgb, RgbImage};

/// Samples in a row of a block.
const SIDE: usize = 8;

/// The picture of a walk that kept its coefficients.
pub(super) fn reconstruct(walk: Walk<'_>) -> Result<RgbImage, Fault> {
    let unsupported = |message: String| Fault::new(FaultKind::Unsupported, 0, message);
    let Some(frame) = walk.frame() else {
        return Err(unsupported("a JPEG without a frame".to_owned()));
    };
    let count = frame.components.len();
    if ![1, 3].contains(&count) {
        return Err(unsupported(format!(
            "a JPEG of several scans with {count} components, which is not read"
        )));
    }
    let mut components = Vec::with_capacity(count);
    for (place, plane) in walk.planes.iter().enumerate() {
        components.push(component(frame, place, plane)?);
    }
    let (width, height) = (frame.width as u32, frame.height as u32);
    let is_rgb = walk.is_rgb();
    Ok(RgbImage::from_fn(width, height, |x, y| {
        let at = y as usize * frame.width + x as usize;
        let values = match &components[..] {
            [first, second, third] => [first[at], second[at], third[at]],
            others => return Rgb([others[0][at].round() as u8; 3]),
        };
        Rgb(if is_rgb {
            values.map(|value| value.round() as u8)
        } else {
            to_rgb(values)
        })
    }))
}

/// ITU-T T.871, section 7. The conversion to bytes saturates.
fn to_rgb([brightness, blue, red]: [f32; 3]) -> [u8; 3] {
    let (blue, red) = (blue - 128.0, red - 128.0);
    [
        brightness + 1.402 * red,
        brightness - 0.344_136 * blue - 0.714_136 * red,
        brightness + 1.772 * blue,
    ]
    .map(|value| value.round() as u8)
}

/// A component at the picture's size, row by row.
fn component(frame: &Frame, place: usize, plane: &Plane) -> Result<Vec<f32>, Fault> {
    let Some(quantization) = plane.quantization else {
        let message = format!("component {} has no quantization table", place + 1);
        return Err(Fault::new(FaultKind::Damaged, 0, message));
    };
    let mut steps = [0.0; BLOCK];
    for (&at, step) in ZIGZAG.iter().zip(quantization) {
        steps[usize::from(at)] = f32::from(step);
    }
    let waves = waves();
    let [columns, _] = frame.padded_blocks(place);
    let [width, height] = frame.samples(place);
    let mut samples = vec![0.0; width * height];
    for (index, block) in plane.blocks.iter().enumerate() {
        let (left, top) = (index % columns * SIDE, index / columns * SIDE);
        if left >= width || top >= height {
            continue;
        }
        let values = inverse_transform(block, &steps, &waves);
        let count = SIDE.min(width - left);
        for (row, values) in values.chunks_exact(SIDE).enumerate().take(height - top) {
            let start = (top + row) * width + left;
            // Stored samples are whole.
            for (sample, value) in samples[start..start + count].iter_mut().zip(values) {
                *sample = (value + 128.0).round().clamp(0.0, 255.0);
            }
        }
    }
    let factors = &frame.components[place];
    let [across, down] = frame.finest();
    let resolutions = [[factors.horizontal, across], [factors.vertical, down]];
    let smooth = resolutions
        .iter()
        .all(|&[own, finest]| own == finest || 2 * own == finest);
    let [along, downward] = resolutions.map(|resolution| Stretch { resolution, smooth });
    let rows = along.apply(&samples, [width, height], frame.width);
    // Columns are stretched as rows of the transposed plane.
    let turned = transpose(&rows, [frame.width, height]);
    let turned = downward.apply(&turned, [height, frame.width], frame.height);
    Ok(transpose(&turned, [frame.height, frame.width]))
}

/// For each wave and each sample the value of the wave there (A.3.3).
fn waves() -> [[f32; SIDE]; SIDE] {
    std::array::from_fn(|wave| {
        std::array::from_fn(|sample| {
            let angle = (2 * sample + 1) as f64 * wave as f64 * std::f64::consts::PI / 16.0;
            let scale = if wave == 0 {
                0.5 * std::f64::consts::FRAC_1_SQRT_2
            } else {
                0.5
            };
            (scale * angle.cos()) as f32
        })
    })
}

fn inverse_transform(
    block: &[i16; BLOCK],
    steps: &[f32; BLOCK],
    waves: &[[f32; SIDE]; SIDE],
) -> [f32; BLOCK] {
    // First every row of coefficients across, then every column down.
    let mut across = [0.0; BLOCK];
    for (row, coefficients) in block.chunks_exact(SIDE).enumerate() {
        for (wave, &coefficient) in coefficients.iter().enumerate() {
            let strength = f32::from(coefficient) * steps[SIDE * row + wave];
            for (sum, value) in across[SIDE * row..].iter_mut().zip(&waves[wave]) {
                *sum += strength * value;
            }
        }
    }
    let mut samples = [0.0; BLOCK];
    for (row, samples) in samples.chunks_exact_mut(SIDE).enumerate() {
        for (wave, coefficients) in across.chunks_exact(SIDE).enumerate() {
            for (sample, coefficient) in samples.iter_mut().zip(coefficients) {
                *sample += coefficient * waves[wave][row];
            }
        }
    }
    samples
}

/// How the rows of a plane become as long as the picture's.
///
/// Where no direction has more than twice as many samples, these lie a quarter beside the stored ones
/// and are interpolated, as `libjpeg-turbo` does; otherwise the nearest is taken.
struct Stretch {
    /// The component's and the finest.
    resolution: [usize; 2],
    smooth: bool,
}

impl Stretch {
    fn apply(&self, samples: &[f32], [width, height]: [usize; 2], to: usize) -> Vec<f32> {
        let [own, finest] = self.resolution;
        let interpolates = self.smooth && 2 * own == finest;
        let mut stretched = Vec::with_capacity(to * height);
        for row in samples.chunks_exact(width.max(1)) {
            let last = width - 1;
            stretched.extend((0..to).map(|x| {
                let near = (x * own / finest).min(last);
                if !interpolates {
                    return row[near];
                }
                let beside = if x % 2 == 0 {
                    near.saturating_sub(1)
                } else {
                    (near + 1).min(last)
                };
                0.75 * row[near] + 0.25 * row[beside]
            }));
        }
        stretched
    }
}

fn transpose(samples: &[f32], [width, height]: [usize; 2]) -> Vec<f32> {
    (0..width * height)
        .map(|index| samples[index % height * width + index / height])
        .collect()
}
