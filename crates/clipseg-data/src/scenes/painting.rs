//! Painting a scene: textures, shading, shadows, light and noise.

use super::canvas::Canvas;
use super::coverage::index;
use super::drawings::Ink;
use super::ground::paint_ground;
use super::looks::{Size, Texture, Tone};
use super::placing::{Object, Scene};
use image::{Rgb, RgbImage};
use rand::{Rng, RngExt};
use rand_chacha::ChaCha8Rng;
use std::f32::consts::{PI, TAU};

/// Direction of the light and its effects.
struct Light {
    toward: [f32; 2],
    shadow: f32,
    relief: f32,
    exposure: Tone,
    slope: f32,
    vignette: f32,
    noise: f32,
}

impl Light {
    fn draw(random: &mut ChaCha8Rng) -> Self {
        // From above.
        let angle: f32 = random.random_range(-0.85 * PI..-0.15 * PI);
        let exposure: f32 = random.random_range(0.82..1.1);
        Self {
            toward: [angle.cos(), angle.sin()],
            shadow: random.random_range(0.1..0.45),
            relief: random.random_range(0.04..0.2),
            exposure: std::array::from_fn(|_| exposure * random.random_range(0.96..1.04)),
            slope: random.random_range(0.0..0.24),
            vignette: random.random_range(0.0..0.24),
            noise: random.random_range(1.0..7.0),
        }
    }

    /// Signed distance of a point from `centre` toward the light, in units of `reach`.
    fn height(&self, [x, y]: [f32; 2], centre: [f32; 2], reach: f32) -> f32 {
        ((x - centre[0]) * self.toward[0] + (y - centre[1]) * self.toward[1]) / reach
    }

    /// Converts the canvas to a picture in this light, with camera noise.
    fn expose(&self, random: &mut ChaCha8Rng, canvas: &Canvas) -> RgbImage {
        let half = canvas.side as f32 / 2.0;
        RgbImage::from_fn(canvas.side, canvas.side, |x, y| {
            let at = [x as f32, y as f32];
            let aside = ((at[0] - half).powi(2) + (at[1] - half).powi(2)) / (2.0 * half * half);
            let bright =
                1.0 + self.slope / 2.0 * self.height(at, [half; 2], half) - self.vignette * aside;
            let tone = canvas.pixels[y as usize * canvas.side as usize + x as usize];
            Rgb(std::array::from_fn(|channel| {
                // The sum of four bytes is nearly normal, with a standard deviation of 148.
                let bytes = random.next_u32().to_le_bytes().map(f32::from);
                let noise = self.noise * (bytes.iter().sum::<f32>() - 510.0) / 148.0;
                (tone[channel] * bright * self.exposure[channel] + noise).clamp(0.0, 255.0) as u8
            }))
        })
    }
}

/// Stripes or dots on an object.
struct Markings {
    texture: Texture,
    centre: [f32; 2],
    along: [f32; 2],
    period: f32,
}

impl Markings {
    fn draw(random: &mut ChaCha8Rng, object: &Object, unit: f32) -> Self {
        let angle: f32 = random.random_range(0.0..TAU);
        let large = if object.look.size == Size::Large {
            1.5
        } else {
            1.0
        };
        let period = unit * random.random_range(0.042..0.056) * large;
        Self {
            texture: object.look.texture,
            centre: object.centre,
            along: [angle.cos(), angle.sin()],
            period: period.max(3.0),
        }
    }

    /// Weight of the marking's tone at a point, antialiased over a pixel.
    fn at(&self, x: f32, y: f32) -> f32 {
        let [cos, sin] = self.along;
        let (x, y) = (x - self.centre[0], y - self.centre[1]);
        let (u, v) = (x * cos + y * sin, y * cos - x * sin);
        // Signed distance to the nearest line of a grid of this period.
        let off = |at: f32| at - self.period * (at / self.period).round();
        let (distance, reach) = match self.texture {
            Texture::Plain => return 0.0,
            Texture::Striped => (off(u).abs(), 0.24 * self.period),
            Texture::Dotted => (off(u).hypot(off(v)), 0.31 * self.period),
        };
        (reach - distance + 0.5).clamp(0.0, 1.0)
    }
}

/// Paints a scene.
pub(crate) fn paint(random: &mut ChaCha8Rng, scene: &Scene) -> RgbImage {
    let light = Light::draw(random);
    let mut canvas = paint_ground(random, scene.side);
    for object in &scene.objects {
        paint_object(random, &mut canvas, object, scene.unit, &light);
    }
    light.expose(random, &canvas)
}

fn paint_object(
    random: &mut ChaCha8Rng,
    canvas: &mut Canvas,
    object: &Object,
    unit: f32,
    light: &Light,
) {
    let far = 0.14 * object.radius;
    let shift = light.toward.map(|value| (-value * far).round() as i32);
    canvas.darken(&object.silhouette, shift, light.shadow);

    let jitter: Tone = std::array::from_fn(|_| random.random_range(-9.0..9.0));
    let bright = random.random_range(0.93..1.07);
    let markings = Markings::draw(random, object, unit);
    let colour = object.look.colour;
    for (ink, coverage) in &object.parts {
        canvas.blend(coverage, 1.0, |x, y| {
            let lit = 1.0 + light.relief * light.height([x, y], object.centre, object.radius);
            let tone = match ink {
                Ink::Body => {
                    let share = markings.at(x, y);
                    std::array::from_fn(|channel| {
                        let (body, marking) = (colour.body[channel], colour.marking[channel]);
                        body + (marking - body) * share
                    })
                }
                Ink::Accent => colour.accent,
                Ink::Detail => colour.detail,
                Ink::Tyre => [34.0, 34.0, 38.0],
                Ink::Steel => [176.0, 178.0, 184.0],
                Ink::Wood => [112.0, 82.0, 56.0],
                Ink::Cream => [238.0, 226.0, 200.0],
                Ink::Glass => [152.0, 192.0, 216.0],
            };
            std::array::from_fn(|channel| (tone[channel] + jitter[channel]) * bright * lit)
        });
    }
    rim(canvas, object);
}

/// Darkens the border pixels of a silhouette, so that it contrasts with similar surroundings.
fn rim(canvas: &mut Canvas, object: &Object) {
    let whole = &object.silhouette;
    let tone = object.look.colour.accent.map(|value| 0.55 * value);
    for [x, y] in whole.inside() {
        let beside = [[x - 1, y], [x + 1, y], [x, y - 1], [x, y + 1]];
        let open = beside.iter().map(|&[x, y]| whole.at(x, y)).min();
        let share = 0.6 * (255.0 - f32::from(open.unwrap_or(255))) / 255.0;
        if let Some(pixel) = index([x, y], canvas.side) {
            for (value, tone) in canvas.pixels[pixel].iter_mut().zip(tone) {
                *value += (tone - *value) * share;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenes::coverage::Coverage;
    use rand::SeedableRng;
    use tiny_skia::{FillRule, PathBuilder, Rect};

    const SIDE: u32 = 8;
    const GREY: Tone = [200.0, 100.0, 50.0];

    /// Light from straight above that changes nothing.
    fn light() -> Light {
        Light {
            toward: [0.0, -1.0],
            shadow: 0.0,
            relief: 0.0,
            exposure: [1.0; 3],
            slope: 0.0,
            vignette: 0.0,
            noise: 0.0,
        }
    }

    fn exposed(light: &Light) -> RgbImage {
        let canvas = Canvas::from_fn(SIDE, |_, _| GREY);
        light.expose(&mut ChaCha8Rng::seed_from_u64(1), &canvas)
    }

    #[test]
    fn neutral_light_keeps_all_tones() {
        assert!(exposed(&light()).pixels().all(|p| p.0 == [200, 100, 50]));
    }

    #[test]
    fn exposure_multiplies_each_channel() {
        let picture = exposed(&Light {
            exposure: [0.5, 1.5, 2.0],
            ..light()
        });
        assert!(picture.pixels().all(|p| p.0 == [100, 150, 100]));
    }

    #[test]
    fn a_vignette_darkens_the_corners_and_not_the_centre() {
        let picture = exposed(&Light {
            vignette: 0.2,
            ..light()
        });
        // The centre of the picture is the corner between the pixels 3 and 4.
        assert_eq!(picture.get_pixel(4, 4).0, [200, 100, 50]);
        // The squared distance is 1 at a corner and a half in the middle of an edge.
        assert_eq!(picture.get_pixel(0, 0).0, [160, 80, 40]);
        assert_eq!(picture.get_pixel(4, 0).0, [180, 90, 45]);
        assert_eq!(picture.get_pixel(0, 4).0, [180, 90, 45]);
    }

    #[test]
    fn the_side_toward_the_light_is_brighter() {
        let picture = exposed(&Light {
            slope: 0.2,
            ..light()
        });
        // Half of the slope at the edge, whose distance from the centre is 1.
        assert_eq!(picture.get_pixel(3, 0).0, [220, 110, 55]);
        assert_eq!(picture.get_pixel(3, 4).0, [200, 100, 50]);
        assert_eq!(picture.get_pixel(3, 6).0, [190, 95, 47]);
    }

    #[test]
    fn noise_has_the_given_standard_deviation() {
        let canvas = Canvas::from_fn(64, |_, _| [128.0; 3]);
        let noisy = Light {
            noise: 6.0,
            ..light()
        };
        let picture = noisy.expose(&mut ChaCha8Rng::seed_from_u64(1), &canvas);
        // Truncation lowers values by a half on average.
        let values: Vec<f64> = picture.iter().map(|&v| f64::from(v) + 0.5).collect();
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / values.len() as f64;
        assert!((mean - 128.0).abs() < 0.3, "{mean}");
        assert!((variance.sqrt() - 6.0).abs() < 0.3, "{}", variance.sqrt());
    }

    #[test]
    fn a_shadow_darkens_the_shifted_silhouette() {
        let mut canvas = Canvas::from_fn(SIDE, |_, _| GREY);
        let square = Rect::from_xywh(1.0, 2.0, 2.0, 2.0).unwrap();
        let square = Coverage::of(&PathBuilder::from_rect(square), FillRule::Winding);
        canvas.darken(&square, [3, 1], 0.25);
        for (index, tone) in canvas.pixels.iter().enumerate() {
            let (x, y) = (index as u32 % SIDE, index as u32 / SIDE);
            let left = if (4..6).contains(&x) && (3..5).contains(&y) {
                0.75
            } else {
                1.0
            };
            for (value, before) in tone.iter().zip(GREY) {
                assert!((value - before * left).abs() < 1e-3, "{x} {y}: {value}");
            }
        }
        // A pixel with half coverage is darkened by half as much.
        let half = Rect::from_xywh(0.0, 0.0, 0.5, 1.0).unwrap();
        let half = Coverage::of(&PathBuilder::from_rect(half), FillRule::Winding);
        canvas.darken(&half, [0, 0], 0.4);
        assert!(
            (canvas.pixels[0][0] - 160.0).abs() < 2.0,
            "{}",
            canvas.pixels[0][0]
        );
    }
}
