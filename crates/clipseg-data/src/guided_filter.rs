//! The guided filter: smooths a plane of numbers along the edges of a picture.
//!
//! In each window of the picture, the output is a linear function of the picture's colours, fitted to the
//! plane by least squares (He, Sun and Tang 2013, "Guided Image Filtering", equations 9 to 21). The guide is
//! the colour picture, not its luminance, because objects often differ from their background in hue alone.
//!
//! The fast form (He and Sun 2015, arXiv:1505.00996) fits the functions on a reduced picture and applies them to
//! the full one. The picture is reduced by a quarter of the radius, so the windows of the fit have 9 to 15
//! pixels per side for every radius above 3. Box sums are running sums, so the time is linear in the number of
//! pixels and does not depend on the radius.
//!
//! Rows are computed one after the other in bands, and only the rows of a window are kept. Numbers of one kind lie
//! next to each other, so that the compiler uses vector instructions.

use crate::error::{DataError, Result};
use crate::planes::check_plane;
use image::RgbImage;
use rayon::prelude::*;

/// The smallest regularization. Below it, rounding of the covariances would matter.
const SMALLEST_EPSILON: f32 = 1e-8;

/// Rows that one task computes. It does not depend on the number of threads, so neither does the result.
const BAND: usize = 128;

/// Columns that are computed together.
const TILE: usize = 64;

/// The products whose means the fit needs, as indices of planes: red, green, blue, the plane to filter, and a plane
/// of ones.
const PRODUCTS: [[usize; 2]; 13] = [
    [0, 4],
    [1, 4],
    [2, 4],
    [0, 0],
    [0, 1],
    [0, 2],
    [1, 1],
    [1, 2],
    [2, 2],
    [0, 3],
    [1, 3],
    [2, 3],
    [3, 4],
];

/// Filters a plane with a picture as guide.
///
/// - `radius`: half the side of the windows in pixels, at least 1.
/// - `epsilon`: the regularization for levels from 0 to 1, at least 1e-8. Within a window, colours whose
///   variance is well below `epsilon` count as flat, and the plane is averaged there.
///
/// The output can exceed the range of the plane slightly. It is the same for any number of threads. Windows
/// are clipped at the border of the picture.
///
/// # Shapes
///
/// - plane and output: `[height, width]` of the guide
///
/// # Errors
///
/// If the plane has another number of values than the guide has pixels, the guide has no pixels, a value is
/// NaN or infinite, or the radius or epsilon is too small or not finite.
pub fn guided_filter(
    guide: &RgbImage,
    plane: &[f32],
    radius: u32,
    epsilon: f32,
) -> Result<Vec<f32>> {
    check_plane(guide, plane)?;
    if radius == 0 {
        return Err(DataError::Input(
            "the radius of the guided filter is 0, expected at least 1 pixel".into(),
        ));
    }
    if !epsilon.is_finite() || epsilon < SMALLEST_EPSILON {
        return Err(DataError::Input(format!(
            "the epsilon of the guided filter is {epsilon}, expected a number of at least {SMALLEST_EPSILON}"
        )));
    }
    // A window larger than the picture is the entire picture.
    let radius = radius.min(guide.width().max(guide.height())) as usize;
    let step = (radius / 4).max(1);
    let size = [guide.width() as usize, guide.height() as usize];
    if step == 1 {
        let (pixels, _) = guide.as_raw().as_chunks::<3>();
        let of_row = |y: usize| y * size[0]..(y + 1) * size[0];
        return Ok(averaged_fits(
            size,
            radius,
            epsilon,
            |y, [reds, greens, blues, values]| {
                let row = pixels[of_row(y)].iter().zip(&plane[of_row(y)]);
                let targets = reds.iter_mut().zip(greens).zip(blues).zip(values);
                for (([r, g, b], &value), (((red, green), blue), target)) in row.zip(targets) {
                    *red = f64::from(*r) / 255.0;
                    *green = f64::from(*g) / 255.0;
                    *blue = f64::from(*b) / 255.0;
                    *target = f64::from(value);
                }
            },
            |y, functions, filtered| apply_row(&pixels[of_row(y)], functions, filtered),
        ));
    }
    let reduced = Reduced::new(guide, plane, step);
    let radius = (radius as f64 / step as f64).round() as usize;
    let functions = averaged_fits(
        reduced.size,
        radius,
        epsilon,
        |y, [reds, greens, blues, values]| {
            let samples = &reduced.samples[y * reduced.size[0]..][..reduced.size[0]];
            let targets = reds.iter_mut().zip(greens).zip(blues).zip(values);
            for ([r, g, b, value], (((red, green), blue), target)) in samples.iter().zip(targets) {
                *red = f64::from(*r);
                *green = f64::from(*g);
                *blue = f64::from(*b);
                *target = f64::from(*value);
            }
        },
        |_, [reds, greens, blues, constants], averaged| {
            let functions = reds.iter().zip(greens).zip(blues).zip(constants);
            for (function, (((&red, &green), &blue), &constant)) in
                averaged.iter_mut().zip(functions)
            {
                *function = [red, green, blue, constant];
            }
        },
    );
    Ok(apply(guide, &functions, reduced.size, step))
}

/// Applies a linear function to each pixel of a row.
fn apply_row(
    pixels: &[[u8; 3]],
    [reds, greens, blues, constants]: &[Vec<f32>; 4],
    filtered: &mut [f32],
) {
    let functions = reds.iter().zip(greens).zip(blues).zip(constants);
    for ((value, [r, g, b]), (((red, green), blue), constant)) in
        filtered.iter_mut().zip(pixels).zip(functions)
    {
        let sum = red * f32::from(*r) + green * f32::from(*g) + blue * f32::from(*b);
        *value = sum / 255.0 + constant;
    }
}

/// The guide and the plane, reduced by the mean over square blocks.
struct Reduced {
    /// Width and height.
    size: [usize; 2],
    /// Red, green and blue from 0 to 1, and the plane's value.
    samples: Vec<[f32; 4]>,
}

impl Reduced {
    fn new(guide: &RgbImage, plane: &[f32], step: usize) -> Self {
        let (width, height) = (guide.width() as usize, guide.height() as usize);
        let size = [width.div_ceil(step), height.div_ceil(step)];
        let mut samples = vec![[0f32; 4]; size[0] * size[1]];
        let (pixels, _) = guide.as_raw().as_chunks::<3>();
        let rows = samples.par_chunks_mut(size[0]).enumerate();
        rows.for_each(|(row, samples)| {
            let lines = row * step..((row + 1) * step).min(height);
            for y in lines.clone() {
                let (pixels, values) =
                    (&pixels[y * width..][..width], &plane[y * width..][..width]);
                let blocks = pixels.chunks(step).zip(values.chunks(step));
                for ([red, green, blue, mean], (pixels, values)) in samples.iter_mut().zip(blocks) {
                    let mut levels = [0u32; 3];
                    for [r, g, b] in pixels {
                        levels[0] += u32::from(*r);
                        levels[1] += u32::from(*g);
                        levels[2] += u32::from(*b);
                    }
                    *red += levels[0] as f32;
                    *green += levels[1] as f32;
                    *blue += levels[2] as f32;
                    for value in values {
                        *mean += value;
                    }
                }
            }
            for (column, sample) in samples.iter_mut().enumerate() {
                let columns = step.min(width - column * step);
                let count = (columns * lines.len()) as f32;
                let levels = 255.0 * count;
                for (value, divisor) in sample.iter_mut().zip([levels, levels, levels, count]) {
                    *value /= divisor;
                }
            }
        });
        Self { size, samples }
    }
}

/// Fits the linear functions of some windows by the means of the products (equations 19 and 20 of He et al. 2013):
/// the factors of red, green and blue, and the constant.
///
/// Written out without arrays, because the compiler makes vector instructions of it only so.
fn fit(means: &[[f64; TILE]; PRODUCTS.len()], epsilon: f64) -> [[f32; TILE]; 4] {
    let mut fitted = [[0f32; TILE]; 4];
    for i in 0..TILE {
        let (r, g, b, p) = (means[0][i], means[1][i], means[2][i], means[12][i]);
        // The covariance matrix of the colours, regularized; it is symmetric and positive definite.
        let rr = means[3][i] - r * r + epsilon;
        let rg = means[4][i] - r * g;
        let rb = means[5][i] - r * b;
        let gg = means[6][i] - g * g + epsilon;
        let gb = means[7][i] - g * b;
        let bb = means[8][i] - b * b + epsilon;
        // The covariances with the plane.
        let (rp, gp, bp) = (
            means[9][i] - r * p,
            means[10][i] - g * p,
            means[11][i] - b * p,
        );
        // The inverse is the adjugate divided by the determinant; it is symmetric too.
        let rr_adjugate = gg * bb - gb * gb;
        let rg_adjugate = rb * gb - rg * bb;
        let rb_adjugate = rg * gb - rb * gg;
        let gg_adjugate = rr * bb - rb * rb;
        let gb_adjugate = rg * rb - rr * gb;
        let bb_adjugate = rr * gg - rg * rg;
        let scale = 1.0 / (rr * rr_adjugate + rg * rg_adjugate + rb * rb_adjugate);
        let red = (rr_adjugate * rp + rg_adjugate * gp + rb_adjugate * bp) * scale;
        let green = (rg_adjugate * rp + gg_adjugate * gp + gb_adjugate * bp) * scale;
        let blue = (rb_adjugate * rp + gb_adjugate * gp + bb_adjugate * bp) * scale;
        fitted[0][i] = red as f32;
        fitted[1][i] = green as f32;
        fitted[2][i] = blue as f32;
        fitted[3][i] = (p - red * r - green * g - blue * b) as f32;
    }
    fitted
}

/// Fits a function in the window of `2 · radius + 1` pixels around each pixel, and averages the functions over the
/// same windows. Windows are clipped at the border.
///
/// `source` fills a row of red, green, blue and the plane to filter. `finish` receives the averaged functions of a
/// row, as factors of red, green and blue and the constant, and fills its results.
fn averaged_fits<T: Clone + Default + Send>(
    [width, height]: [usize; 2],
    radius: usize,
    epsilon: f32,
    source: impl Fn(usize, &mut [Vec<f64>; 4]) + Sync,
    finish: impl Fn(usize, &[Vec<f32>; 4], &mut [T]) + Sync,
) -> Vec<T> {
    let mut results = vec![T::default(); width * height];
    let windows = Windows {
        width,
        height,
        radius,
    };
    let bands = results.par_chunks_mut(width * BAND).enumerate();
    bands.for_each(|(band, results)| {
        let start = band * BAND;
        let end = (start + BAND).min(height);
        // Functions are averaged over rows above and below the band too.
        let (first, last) = (start.saturating_sub(radius), (end + radius).min(height));
        let mut row = Samples::new(width);
        let mut sums = Columns::new(windows);
        for y in first.saturating_sub(radius)..(first + radius).min(height) {
            row.load(y, &source);
            sums.add_products(&row, 1.0);
        }
        let mut fitted: Vec<[Vec<f32>; 4]> = vec![planes(width); 2 * radius + 2];
        let place = |y: usize| y % (2 * radius + 2);
        let mut fitted_sums = Columns::new(windows);
        let mut averaged = planes(width);
        let mut next = start;
        for y in first..last {
            if y + radius < height {
                row.load(y + radius, &source);
                sums.add_products(&row, 1.0);
            }
            if y > first && y > radius {
                row.load(y - radius - 1, &source);
                sums.add_products(&row, -1.0);
            }
            let functions = &mut fitted[place(y)];
            sums.means(y, |means: &[[f64; TILE]; PRODUCTS.len()], tile| {
                let found = fit(means, epsilon.into());
                for (plane, found) in functions.iter_mut().zip(found) {
                    plane[tile.clone()].copy_from_slice(&found[..tile.len()]);
                }
            });
            fitted_sums.add(functions, 1.0);
            while next < end && (next + radius <= y || y + 1 == height) {
                if next > start && next > radius {
                    fitted_sums.add(&fitted[place(next - radius - 1)], -1.0);
                }
                fitted_sums.means(next, |means: &[[f64; TILE]; 4], tile| {
                    for (plane, means) in averaged.iter_mut().zip(means) {
                        for (value, mean) in plane[tile.clone()].iter_mut().zip(means) {
                            *value = *mean as f32;
                        }
                    }
                });
                let results = &mut results[(next - start) * width..][..width];
                finish(next, &averaged, results);
                next += 1;
            }
        }
    });
    results
}

fn planes(width: usize) -> [Vec<f32>; 4] {
    std::array::from_fn(|_| vec![0.0; width])
}

/// A row of red, green, blue, the plane to filter, and ones.
struct Samples {
    values: [Vec<f64>; 4],
    ones: Vec<f64>,
}

impl Samples {
    fn new(width: usize) -> Self {
        Self {
            values: std::array::from_fn(|_| vec![0.0; width]),
            ones: vec![1.0; width],
        }
    }

    fn load(&mut self, y: usize, source: impl Fn(usize, &mut [Vec<f64>; 4])) {
        source(y, &mut self.values);
    }

    fn plane(&self, index: usize) -> &[f64] {
        self.values.get(index).unwrap_or(&self.ones)
    }
}

/// The size of a picture and of the windows in it.
#[derive(Clone, Copy)]
struct Windows {
    width: usize,
    height: usize,
    radius: usize,
}

impl Windows {
    /// The number of pixels of a clipped window along one axis.
    fn count(self, at: usize, side: usize) -> usize {
        (at + self.radius).min(side - 1) + 1 - at.saturating_sub(self.radius)
    }
}

/// Sums of several numbers over the rows of a window, for each column. Sums are in double precision and start anew in
/// each band, so rounding errors do not add up.
struct Columns<const N: usize> {
    windows: Windows,
    /// With zeros on both sides, so that windows at the border are sums like all others.
    sums: [Vec<f64>; N],
    /// The inverse number of columns of the window around each column.
    weights: Vec<f64>,
}

impl<const N: usize> Columns<N> {
    fn new(windows: Windows) -> Self {
        let Windows { width, radius, .. } = windows;
        let weight = |x| 1.0 / windows.count(x, width) as f64;
        Self {
            windows,
            sums: std::array::from_fn(|_| vec![0.0; width + 2 * radius + 1]),
            weights: (0..width).map(weight).collect(),
        }
    }

    /// The sums of one number without the zeros.
    fn inner(&mut self, index: usize) -> &mut [f64] {
        let Windows { width, radius, .. } = self.windows;
        &mut self.sums[index][radius + 1..][..width]
    }

    /// Passes the means over the windows in row `y` to `each`, tile by tile, with the columns of the tile.
    fn means(&self, y: usize, mut each: impl FnMut(&[[f64; TILE]; N], std::ops::Range<usize>)) {
        let Windows {
            width,
            height,
            radius,
        } = self.windows;
        let weight = 1.0 / self.windows.count(y, height) as f64;
        let mut running = self
            .sums
            .each_ref()
            .map(|sums| sums[radius + 1..][..radius.min(width)].iter().sum::<f64>());
        let mut means = [[0f64; TILE]; N];
        for start in (0..width).step_by(TILE) {
            let tile = start..(start + TILE).min(width);
            let weights = &self.weights[tile.clone()];
            for ((sums, means), running) in self.sums.iter().zip(&mut means).zip(&mut running) {
                let entering = &sums[start + 2 * radius + 1..][..tile.len()];
                let leaving = &sums[start..][..tile.len()];
                let mut sum = *running;
                let columns = entering.iter().zip(leaving).zip(weights);
                for (mean, ((entering, leaving), across)) in means.iter_mut().zip(columns) {
                    sum += entering - leaving;
                    *mean = sum * (across * weight);
                }
                *running = sum;
            }
            each(&means, tile);
        }
    }
}

impl Columns<{ PRODUCTS.len() }> {
    /// Adds the products of a row, or subtracts them with the sign −1.
    fn add_products(&mut self, row: &Samples, sign: f64) {
        for (index, [a, b]) in PRODUCTS.into_iter().enumerate() {
            let factors = row.plane(a).iter().zip(row.plane(b));
            for (sum, (a, b)) in self.inner(index).iter_mut().zip(factors) {
                *sum += sign * a * b;
            }
        }
    }
}

impl Columns<4> {
    /// Adds a row, or subtracts it with the sign −1.
    fn add(&mut self, row: &[Vec<f32>; 4], sign: f64) {
        for (index, values) in row.iter().enumerate() {
            for (sum, &value) in self.inner(index).iter_mut().zip(values) {
                *sum += sign * f64::from(value);
            }
        }
    }
}

/// Enlarges the linear functions bilinearly and applies them to the guide's pixels.
fn apply(guide: &RgbImage, functions: &[[f32; 4]], size: [usize; 2], step: usize) -> Vec<f32> {
    let (width, height) = (guide.width() as usize, guide.height() as usize);
    let columns: Vec<_> = (0..width).map(|x| between(x, step, size[0])).collect();
    let (pixels, _) = guide.as_raw().as_chunks::<3>();
    let mut filtered = vec![0f32; width * height];
    let rows = filtered.par_chunks_mut(width).enumerate();
    rows.for_each_init(
        || vec![[0f32; 4]; size[0]],
        |line, (y, row)| {
            let (above, below, down) = between(y, step, size[1]);
            let [above, below] = [above, below].map(|row| &functions[row * size[0]..][..size[0]]);
            for ((mixed, above), below) in line.iter_mut().zip(above).zip(below) {
                *mixed = mix(above, below, down);
            }
            let pixels = &pixels[y * width..][..width];
            for ((value, pixel), &(left, right, across)) in row.iter_mut().zip(pixels).zip(&columns)
            {
                let [red, green, blue, constant] = mix(&line[left], &line[right], across);
                let [r, g, b] = pixel;
                let sum = red * f32::from(*r) + green * f32::from(*g) + blue * f32::from(*b);
                *value = sum / 255.0 + constant;
            }
        },
    );
    filtered
}

#[inline(always)]
fn mix(first: &[f32; 4], second: &[f32; 4], share: f32) -> [f32; 4] {
    let [a, b, c, d] = first;
    let [e, f, g, h] = second;
    [
        a + share * (e - a),
        b + share * (f - b),
        c + share * (g - c),
        d + share * (h - d),
    ]
}

/// The blocks before and after the centre of a pixel, and the weight of the second.
fn between(index: usize, step: usize, blocks: usize) -> (usize, usize, f32) {
    let at = ((index as f32 + 0.5) / step as f32 - 0.5).clamp(0.0, (blocks - 1) as f32);
    let first = at as usize;
    (first, (first + 1).min(blocks - 1), at - first as f32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::Rgb;
    use proptest::prelude::*;

    /// The filter by its definition, without running sums: every window is fitted by itself.
    fn by_definition(guide: &RgbImage, plane: &[f32], radius: usize, epsilon: f64) -> Vec<f32> {
        let (width, height) = (guide.width() as usize, guide.height() as usize);
        let window = |at: usize| {
            let (x, y) = (at % width, at / width);
            let columns = x.saturating_sub(radius)..(x + radius + 1).min(width);
            let rows = y.saturating_sub(radius)..(y + radius + 1).min(height);
            rows.flat_map(move |y| columns.clone().map(move |x| y * width + x))
        };
        let sample = |at: usize| {
            let [r, g, b] = guide.as_raw().as_chunks::<3>().0[at].map(|v| f32::from(v) / 255.0);
            [r, g, b, plane[at]]
        };
        let moments = |[r, g, b, p]: [f32; 4]| {
            let planes = [r, g, b, p, 1.0].map(f64::from);
            PRODUCTS.map(|[a, b]| planes[a] * planes[b])
        };
        let mean = |at: usize, of: &dyn Fn(usize) -> Vec<f64>| {
            let all: Vec<Vec<f64>> = window(at).map(of).collect();
            (0..all[0].len())
                .map(|i| all.iter().map(|values| values[i]).sum::<f64>() / all.len() as f64)
                .collect::<Vec<f64>>()
        };
        let functions: Vec<[f32; 4]> = (0..width * height)
            .map(|at| {
                let means = mean(at, &|at| moments(sample(at)).to_vec());
                let means = std::array::from_fn(|k| [means[k]; TILE]);
                fit(&means, epsilon).map(|values| values[0])
            })
            .collect();
        (0..width * height)
            .map(|at| {
                let means = mean(at, &|at| functions[at].map(f64::from).to_vec());
                let [r, g, b, _] = sample(at).map(f64::from);
                (means[0] * r + means[1] * g + means[2] * b + means[3]) as f32
            })
            .collect()
    }

    fn furthest(a: &[f32], b: &[f32]) -> f32 {
        assert_eq!(a.len(), b.len());
        let pairs = a.iter().zip(b).map(|(a, b)| (a - b).abs());
        pairs.fold(
            0.0,
            |most, difference| if difference > most { difference } else { most },
        )
    }

    /// A picture of random levels, and a random plane of its size.
    fn scene(sides: std::ops::Range<u32>) -> impl Strategy<Value = (RgbImage, Vec<f32>)> {
        (sides.clone(), sides).prop_flat_map(|(width, height)| {
            let pixels = (width * height) as usize;
            (
                prop::collection::vec(any::<u8>(), 3 * pixels)
                    .prop_map(move |raw| RgbImage::from_raw(width, height, raw).unwrap()),
                prop::collection::vec(0f32..=1.0, pixels),
            )
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn small_radii_follow_the_definition(
            (guide, plane) in scene(1..14), radius in 1u32..8, epsilon in prop_oneof![Just(1e-4f32), Just(0.1)],
        ) {
            let found = guided_filter(&guide, &plane, radius, epsilon).unwrap();
            // Radii are limited to the picture's longer side.
            let radius = radius.min(guide.width().max(guide.height())) as usize;
            let expected = by_definition(&guide, &plane, radius, f64::from(epsilon));
            prop_assert!(furthest(&found, &expected) < 1e-4, "{}", furthest(&found, &expected));
        }

        // A linear function of the colours is reproduced by every window, reduced or not.
        #[test]
        fn a_linear_function_of_the_guide_is_kept_at_any_radius(
            (guide, _) in scene(20..60), radius in 1u32..100,
        ) {
            let linear = |pixel: &Rgb<u8>| {
                let [r, g, b] = pixel.0.map(|level| f32::from(level) / 255.0);
                0.5 * r - 0.25 * g + 0.125 * b + 0.25
            };
            let plane: Vec<f32> = guide.pixels().map(linear).collect();
            let found = guided_filter(&guide, &plane, radius, 1e-8).unwrap();
            prop_assert!(furthest(&found, &plane) < 1e-3, "{}", furthest(&found, &plane));
        }

        #[test]
        fn a_constant_is_kept((guide, _) in scene(1..40), radius in 1u32..3000, value in 0f32..=1.0) {
            let plane = vec![value; (guide.width() * guide.height()) as usize];
            let found = guided_filter(&guide, &plane, radius, 1e-4).unwrap();
            prop_assert!(furthest(&found, &plane) < 1e-4);
        }
    }

    /// Red on green of the same luminance, with the edge between columns 29 and 30, and a blurred mask of the
    /// red part.
    fn blurred_edge() -> (RgbImage, Vec<f32>) {
        let guide = RgbImage::from_fn(60, 40, |x, _| {
            Rgb(if x < 30 { [200, 20, 20] } else { [20, 112, 20] })
        });
        let ramp = |x: f32| ((36.0 - x) / 12.0).clamp(0.0, 1.0);
        let plane = (0..60 * 40)
            .map(|at| ramp((at % 60) as f32 + 0.5))
            .collect();
        (guide, plane)
    }

    #[test]
    fn a_blurred_mask_is_sharp_at_an_edge_of_colour_alone() {
        let (guide, plane) = blurred_edge();
        assert!((plane[20 * 60 + 29] - plane[20 * 60 + 30]) < 0.1);
        for radius in [6, 16, 20] {
            let found = guided_filter(&guide, &plane, radius, 1e-4).unwrap();
            let (inside, outside) = (found[20 * 60 + 29], found[20 * 60 + 30]);
            assert!(
                inside > 0.7 && outside < 0.3,
                "radius {radius}: {inside} {outside}"
            );
        }
    }

    #[test]
    fn flat_colours_average_the_plane() {
        // With no edge to follow, the filter is the box mean applied twice.
        let guide = RgbImage::from_pixel(9, 1, Rgb([77, 77, 77]));
        let mut plane = vec![0.0; 9];
        plane[4] = 9.0;
        let found = guided_filter(&guide, &plane, 1, 0.01).unwrap();
        let expected = [0.0, 0.0, 1.0, 2.0, 3.0, 2.0, 1.0, 0.0, 0.0];
        assert!(furthest(&found, &expected) < 1e-5, "{found:?}");
    }

    #[test]
    fn the_number_of_threads_does_not_matter() {
        let guide = RgbImage::from_fn(70, 300, |x, y| {
            Rgb([(x * y) as u8, (x + y) as u8, (x * 3) as u8])
        });
        let plane: Vec<f32> = (0..70 * 300).map(|at| (at % 97) as f32 / 97.0).collect();
        let of = |threads| {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap();
            pool.install(|| guided_filter(&guide, &plane, 9, 1e-3).unwrap())
        };
        assert_eq!(of(1), of(3));
    }

    #[test]
    fn invalid_arguments_are_errors() {
        let guide = RgbImage::new(3, 2);
        let plane = [0.5; 6];
        for (radius, epsilon, expected) in [
            (0, 0.1, "the radius of the guided filter is 0"),
            (1, 0.0, "the epsilon of the guided filter is 0"),
            (1, -1.0, "the epsilon of the guided filter is -1"),
            (1, f32::NAN, "the epsilon of the guided filter is NaN"),
            (1, f32::INFINITY, "the epsilon of the guided filter is inf"),
        ] {
            let error = guided_filter(&guide, &plane, radius, epsilon).unwrap_err();
            assert!(error.to_string().starts_with(expected), "{error}");
        }
        assert!(guided_filter(&guide, &[0.5; 5], 1, 0.1).is_err());
        assert!(guided_filter(&guide, &[f32::NAN; 6], u32::MAX, 0.1).is_err());
        assert_eq!(
            guided_filter(&guide, &plane, u32::MAX, 0.1).unwrap().len(),
            6
        );
    }
}
