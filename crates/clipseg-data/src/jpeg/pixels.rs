//! Computing pixels from coefficients (A.3), for the files that the decoder mixes up.

use super::blocks::ZIGZAG;
use super::codes::Plane;
use super::fault::{Fault, FaultKind};
use super::header::{BLOCK, Frame};
use super::walk::Walk;
use image::{Rgb, RgbImage};

/// Number of samples in a row of a block.
const SIDE: usize = 8;

/// Computes the picture of a file that was parsed with its coefficients.
pub(super) fn reconstruct(walk: Walk<'_>) -> Result<RgbImage, Fault> {
    let unsupported = |message: String| Fault::new(FaultKind::Unsupported, 0, message);
    let Some(frame) = walk.frame() else {
        return Err(unsupported("a JPEG without a frame".to_owned()));
    };
    let count = frame.components.len();
    if ![1, 3].contains(&count) {
        return Err(unsupported(format!(
            "a JPEG of several scans with {count} components, which is not supported"
        )));
    }
    let mut components = Vec::with_capacity(count);
    for (place, plane) in walk.planes.iter().enumerate() {
        components.push(Component::new(frame, place, plane)?);
    }
    let (width, height) = (frame.width as u32, frame.height as u32);
    let is_rgb = walk.is_rgb();
    Ok(RgbImage::from_fn(width, height, |x, y| {
        let values = match &components[..] {
            [first, second, third] => [first, second, third].map(|one| one.value(x, y)),
            others => [others[0].value(x, y); 3],
        };
        Rgb(if is_rgb || count == 1 {
            values.map(|value| value.round() as u8)
        } else {
            to_rgb(values)
        })
    }))
}

/// Converts YCbCr to RGB (ITU-T T.871, section 7). The conversion to bytes saturates.
fn to_rgb([brightness, blue, red]: [f32; 3]) -> [u8; 3] {
    let (blue, red) = (blue - 128.0, red - 128.0);
    [
        brightness + 1.402 * red,
        brightness - 0.344_136 * blue - 0.714_136 * red,
        brightness + 1.772 * blue,
    ]
    .map(|value| value.round() as u8)
}

/// The samples of a component, and the mapping from pixels to samples.
struct Component {
    samples: Vec<u8>,
    width: usize,
    columns: Vec<[usize; 2]>,
    rows: Vec<[usize; 2]>,
}

impl Component {
    fn new(frame: &Frame, place: usize, plane: &Plane) -> Result<Self, Fault> {
        let Some(quantization) = plane.quantization else {
            let message = format!("component {} has no quantization table", place + 1);
            return Err(Fault::new(FaultKind::Damaged, 0, message));
        };
        let mut steps = [0.0; BLOCK];
        for (&at, step) in ZIGZAG.iter().zip(quantization) {
            steps[usize::from(at)] = f32::from(step);
        }
        let waves = waves();
        let [blocks, _] = frame.padded_blocks(place);
        let [width, height] = frame.samples(place);
        let mut samples = vec![0; width * height];
        for (index, block) in plane.blocks.iter().enumerate() {
            let (left, top) = (index % blocks * SIDE, index / blocks * SIDE);
            if left >= width || top >= height {
                continue;
            }
            let values = inverse_transform(block, &steps, &waves);
            let count = SIDE.min(width - left);
            for (row, values) in values.chunks_exact(SIDE).enumerate().take(height - top) {
                let start = (top + row) * width + left;
                for (sample, value) in samples[start..start + count].iter_mut().zip(values) {
                    *sample = (value + 128.0).round() as u8;
                }
            }
        }
        let factors = &frame.components[place];
        let [across, down] = frame.finest();
        let [horizontal, vertical] = [[factors.horizontal, across], [factors.vertical, down]];
        let smooth = [horizontal, vertical]
            .iter()
            .all(|&[own, finest]| own == finest || 2 * own == finest);
        Ok(Self {
            samples,
            width,
            columns: places(horizontal, smooth, width, frame.width),
            rows: places(vertical, smooth, height, frame.height),
        })
    }

    /// The value at a pixel.
    fn value(&self, x: u32, y: u32) -> f32 {
        let [near, beside] = self.columns[x as usize];
        let [row, next] = self.rows[y as usize].map(|row| {
            let row = &self.samples[row * self.width..][..self.width];
            mix(f32::from(row[near]), f32::from(row[beside]))
        });
        mix(row, next)
    }
}

fn mix(near: f32, beside: f32) -> f32 {
    0.75 * near + 0.25 * beside
}

/// For each pixel of a row or a column, the index of the nearest sample and of the next nearest one.
///
/// If neither direction has more than twice as many pixels as samples (`smooth`), pixels are interpolated
/// between the two, as in `libjpeg-turbo`; otherwise only the nearest is used. `resolution` contains the
/// sampling factor of the component and the largest one.
fn places(resolution: [usize; 2], smooth: bool, samples: usize, pixels: usize) -> Vec<[usize; 2]> {
    let [own, finest] = resolution;
    let last = samples.saturating_sub(1);
    (0..pixels)
        .map(|pixel| {
            let near = (pixel * own / finest).min(last);
            let beside = match (smooth && 2 * own == finest, pixel % 2) {
                (false, _) => near,
                (true, 0) => near.saturating_sub(1),
                (true, _) => (near + 1).min(last),
            };
            [near, beside]
        })
        .collect()
}

/// The basis functions of the inverse DCT: for each frequency its value at each sample (A.3.3).
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
