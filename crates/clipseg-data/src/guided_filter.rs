//! The guided filter: smooths a plane of numbers along the edges of a picture.
//!
//! In each window of the picture, the output is a linear function of the picture's colours, fitted to the
//! plane by least squares (He, Sun and Tang 2013, "Guided Image Filtering", equations 9 to 21). The guide is
//! the colour picture, not its luminance, because objects often differ from their background in hue alone.
//!
//! The fast form (He and Sun 2015, arXiv:1505.00996) fits the functions on a reduced picture and applies them to
//! the full one. The picture is reduced by a quarter of the radius, so the windows of the fit have 9 to 15
//! pixels per side for every radius above 3. Box sums are running sums. The time is linear in the number of
//! pixels and does not grow with the radius.

use crate::error::{DataError, Result};
use crate::planes::check_plane;
use image::RgbImage;
use rayon::prelude::*;

/// The smallest regularization. Below it, rounding of the covariances would matter.
const SMALLEST_EPSILON: f32 = 1e-8;

/// Rows that one task computes. It does not depend on the number of threads, so neither does the result.
const BAND: usize = 128;

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
    let reduced = Reduced::new(guide, plane, step);
    let radius = (radius as f64 / step as f64).round() as usize;
    let fitted = box_means(
        reduced.size,
        radius,
        |at| moments(reduced.samples[at]),
        |means| fit(means, f64::from(epsilon)),
    );
    drop(reduced.samples);
    let functions = box_means(
        reduced.size,
        radius,
        |at| fitted[at].map(f64::from),
        |means| means.map(|mean| mean as f32),
    );
    Ok(apply(guide, &functions, reduced.size, step))
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
                for (sample, (pixels, values)) in samples.iter_mut().zip(blocks) {
                    for (pixel, &value) in pixels.iter().zip(values) {
                        for (sum, &level) in sample.iter_mut().zip(pixel) {
                            *sum += f32::from(level);
                        }
                        sample[3] += value;
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

/// The products whose means the fit needs: colours, their products with each other (red·red, red·green,
/// red·blue, green·green, green·blue, blue·blue) and with the plane's value, and that value.
fn moments(sample: [f32; 4]) -> [f64; 13] {
    let [r, g, b, p] = sample.map(f64::from);
    [
        r,
        g,
        b,
        r * r,
        r * g,
        r * b,
        g * g,
        g * b,
        b * b,
        r * p,
        g * p,
        b * p,
        p,
    ]
}

/// Fits the linear function of a window (equations 19 and 20 of He et al. 2013): the factors of red, green and
/// blue, and the constant.
fn fit(means: [f64; 13], epsilon: f64) -> [f32; 4] {
    let [r, g, b, rr, rg, rb, gg, gb, bb, rp, gp, bp, p] = means;
    // The covariance matrix of the colours, regularized; it is symmetric and positive definite.
    let (rr, gg, bb) = (
        rr - r * r + epsilon,
        gg - g * g + epsilon,
        bb - b * b + epsilon,
    );
    let (rg, rb, gb) = (rg - r * g, rb - r * b, gb - g * b);
    let covariance = [rp - r * p, gp - g * p, bp - b * p];
    // Its inverse is the adjugate divided by the determinant.
    let adjugate = [
        [gg * bb - gb * gb, rb * gb - rg * bb, rg * gb - rb * gg],
        [rb * gb - rg * bb, rr * bb - rb * rb, rg * rb - rr * gb],
        [rg * gb - rb * gg, rg * rb - rr * gb, rr * gg - rg * rg],
    ];
    let determinant = rr * adjugate[0][0] + rg * adjugate[0][1] + rb * adjugate[0][2];
    let factors = adjugate.map(|row| {
        let product: f64 = row.iter().zip(covariance).map(|(a, c)| a * c).sum();
        product / determinant
    });
    let constant = p - factors[0] * r - factors[1] * g - factors[2] * b;
    [factors[0], factors[1], factors[2], constant].map(|value| value as f32)
}

/// Means over square windows of `2 · radius + 1` pixels, clipped at the border. `value` returns the values of
/// a pixel by its index, and `finish` receives their means.
///
/// Sums of columns move down row by row, and a sum of these moves along each row. Sums are in double precision
/// and start anew in each band, so rounding errors do not add up.
fn box_means<const N: usize>(
    [width, height]: [usize; 2],
    radius: usize,
    value: impl Fn(usize) -> [f64; N] + Sync,
    finish: impl Fn([f64; N]) -> [f32; 4] + Sync,
) -> Vec<[f32; 4]> {
    let mut found = vec![[0f32; 4]; width * height];
    let bands = found.par_chunks_mut(width * BAND).enumerate();
    bands.for_each(|(band, rows)| {
        let start = band * BAND;
        let mut columns = vec![[0f64; N]; width];
        for y in start.saturating_sub(radius)..(start + radius).min(height) {
            for (x, column) in columns.iter_mut().enumerate() {
                add(column, &value(y * width + x));
            }
        }
        for (y, row) in (start..).zip(rows.chunks_exact_mut(width)) {
            if y + radius < height {
                for (x, column) in columns.iter_mut().enumerate() {
                    add(column, &value((y + radius) * width + x));
                }
            }
            if y > start && y > radius {
                for (x, column) in columns.iter_mut().enumerate() {
                    subtract(column, &value((y - radius - 1) * width + x));
                }
            }
            let count = (y + radius).min(height - 1) + 1 - y.saturating_sub(radius);
            let mut sum = [0f64; N];
            for column in &columns[..radius.min(width)] {
                add(&mut sum, column);
            }
            for (x, found) in row.iter_mut().enumerate() {
                if let Some(column) = columns.get(x + radius) {
                    add(&mut sum, column);
                }
                if x > radius {
                    subtract(&mut sum, &columns[x - radius - 1]);
                }
                let across = (x + radius).min(width - 1) + 1 - x.saturating_sub(radius);
                let weight = 1.0 / (count * across) as f64;
                *found = finish(sum.map(|sum| sum * weight));
            }
        }
    });
    found
}

fn add<const N: usize>(sum: &mut [f64; N], values: &[f64; N]) {
    for (sum, value) in sum.iter_mut().zip(values) {
        *sum += value;
    }
}

fn subtract<const N: usize>(sum: &mut [f64; N], values: &[f64; N]) {
    for (sum, value) in sum.iter_mut().zip(values) {
        *sum -= value;
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
                let [r, g, b] = pixel.map(|level| f32::from(level) / 255.0);
                *value = red * r + green * g + blue * b + constant;
            }
        },
    );
    filtered
}

fn mix(first: &[f32; 4], second: &[f32; 4], share: f32) -> [f32; 4] {
    std::array::from_fn(|i| first[i] + share * (second[i] - first[i]))
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
        let mean = |at: usize, of: &dyn Fn(usize) -> Vec<f64>| {
            let all: Vec<Vec<f64>> = window(at).map(of).collect();
            (0..all[0].len())
                .map(|i| all.iter().map(|values| values[i]).sum::<f64>() / all.len() as f64)
                .collect::<Vec<f64>>()
        };
        let functions: Vec<[f32; 4]> = (0..width * height)
            .map(|at| {
                let means = mean(at, &|at| moments(sample(at)).to_vec());
                fit(means.try_into().unwrap(), epsilon)
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
            let found = guided_filter(&guide, &plane, radius, 1e-7).unwrap();
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
