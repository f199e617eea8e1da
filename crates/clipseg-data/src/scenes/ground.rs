//! Backgrounds of several kinds, with clutter that is not an object.

use super::canvas::Canvas;
use super::coverage::Coverage;
use super::looks::{COLOURS, Tone};
use super::pick::pick;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use std::f32::consts::{PI, TAU};
use tiny_skia::{FillRule, LineCap, PathBuilder, Stroke};

#[derive(Debug, Clone, Copy)]
enum Ground {
    Mottled,
    Blotched,
    Planks,
    Tiles,
    Landscape,
}

const GROUNDS: [Ground; 5] = [
    Ground::Mottled,
    Ground::Blotched,
    Ground::Planks,
    Ground::Tiles,
    Ground::Landscape,
];

/// Smooth noise from −1 to 1 with a grid of `cell` pixels.
struct Hills {
    cell: [f32; 2],
    columns: usize,
    heights: Vec<f32>,
}

impl Hills {
    fn new(random: &mut ChaCha8Rng, side: u32, cell: [f32; 2]) -> Self {
        let [columns, rows] = cell.map(|cell| (side as f32 / cell) as usize + 2);
        let height = |_| random.random_range(-1.0..1.0);
        Self {
            cell,
            columns,
            heights: (0..columns * rows).map(height).collect(),
        }
    }

    fn at(&self, x: u32, y: u32) -> f32 {
        let (across, down) = (x as f32 / self.cell[0], y as f32 / self.cell[1]);
        let (column, row) = (across as usize, down as usize);
        let ease = |t: f32| t * t * (3.0 - 2.0 * t);
        let (s, t) = (ease(across.fract()), ease(down.fract()));
        let first = row * self.columns + column;
        let line = |first: usize| {
            let (left, right) = (self.heights[first], self.heights[first + 1]);
            left + (right - left) * s
        };
        let (above, below) = (line(first), line(first + self.columns));
        above + (below - above) * t
    }
}

/// A tone that is none of the colours of objects: dull, neither black nor white.
fn dull(random: &mut ChaCha8Rng) -> Tone {
    let hue: f32 = random.random_range(0.0..TAU);
    let (value, chroma) = (
        random.random_range(84.0..190.0),
        random.random_range(4.0..30.0),
    );
    [0.0, TAU / 3.0, 2.0 * TAU / 3.0].map(|channel| value + chroma * (hue - channel).cos())
}

fn mix(a: Tone, b: Tone, share: f32) -> Tone {
    std::array::from_fn(|channel| a[channel] + (b[channel] - a[channel]) * share)
}

/// Paints a background with clutter.
pub(crate) fn paint_ground(random: &mut ChaCha8Rng, side: u32) -> Canvas {
    let mut canvas = paint_kind(random, side);
    for _ in 0..random.random_range(1..=5) {
        blotch(random, &mut canvas);
    }
    for _ in 0..random.random_range(2..=8) {
        stroke(random, &mut canvas);
    }
    canvas
}

fn paint_kind(random: &mut ChaCha8Rng, side: u32) -> Canvas {
    let size = side as f32;
    let (first, second) = (dull(random), dull(random));
    let coarse = size * random.random_range(0.1..0.3);
    let hills = Hills::new(random, side, [coarse; 2]);
    let fine = Hills::new(random, side, [(0.02 * size).max(1.5); 2]);
    let grain = random.random_range(4.0..16.0);
    let shade = |tone: Tone, by: f32| tone.map(|value| value + by);
    // Tones of planks and tiles by index.
    let tones: [f32; 64] = std::array::from_fn(|_| random.random_range(-18.0..18.0));
    let width = size * random.random_range(0.09..0.2);
    let offset = random.random_range(0.0..width);
    match *pick(random, &GROUNDS) {
        Ground::Mottled => Canvas::from_fn(side, |x, y| {
            shade(first, 20.0 * hills.at(x, y) + grain * fine.at(x, y))
        }),
        Ground::Blotched => {
            let sharp = random.random_range(1.5..6.0);
            Canvas::from_fn(side, |x, y| {
                let share = (0.5 + sharp * hills.at(x, y)).clamp(0.0, 1.0);
                shade(mix(first, second, share), grain * fine.at(x, y))
            })
        }
        Ground::Planks => {
            let upright = random.random_bool(0.5);
            let long = [0.02, 0.3].map(|share| (share * size).max(1.5));
            let long = if upright { long } else { [long[1], long[0]] };
            let fibre = Hills::new(random, side, long);
            Canvas::from_fn(side, |x, y| {
                let at = offset + if upright { x } else { y } as f32;
                let seam = if at % width < 0.012 * size {
                    -34.0
                } else {
                    0.0
                };
                let tone = tones[(at / width) as usize % 64];
                shade(first, tone + seam + grain * fibre.at(x, y))
            })
        }
        Ground::Tiles => Canvas::from_fn(side, |x, y| {
            let [across, down] = [x, y].map(|at| at as f32 + offset);
            let grout = across % width < 0.015 * size || down % width < 0.015 * size;
            let number = (across / width) as usize * 7 + (down / width) as usize * 13;
            let tone = if grout {
                second
            } else {
                shade(first, tones[number % 64])
            };
            shade(tone, 0.6 * grain * fine.at(x, y))
        }),
        Ground::Landscape => {
            let horizon = size * random.random_range(0.25..0.7);
            let sky = mix(first, [150.0, 180.0, 210.0], 0.5);
            Canvas::from_fn(side, |x, y| {
                let edge = horizon + 0.06 * size * hills.at(x, side / 2);
                if (y as f32) < edge {
                    let haze = y as f32 / edge;
                    shade(sky, 34.0 * haze - 10.0 + 6.0 * hills.at(x, y))
                } else {
                    let near = (y as f32 - edge) / size;
                    shade(second, 1.4 * grain * fine.at(x, y) - 40.0 * near)
                }
            })
        }
    }
}

/// Any tone, including colours of objects, so that a colour alone does not identify an object.
fn clutter_tone(random: &mut ChaCha8Rng) -> Tone {
    if random.random_bool(0.45) {
        pick(random, &COLOURS).body
    } else {
        dull(random)
    }
}

fn somewhere(random: &mut ChaCha8Rng, side: f32) -> [f32; 2] {
    std::array::from_fn(|_| random.random_range(-0.05 * side..1.05 * side))
}

/// Paints a spot with an irregular shape.
fn blotch(random: &mut ChaCha8Rng, canvas: &mut Canvas) {
    let side = canvas.side() as f32;
    let [x, y] = somewhere(random, side);
    let radius = side * random.random_range(0.03..0.11);
    let (flat, turn): (f32, f32) = (random.random_range(0.35..0.8), random.random_range(0.0..PI));
    let corners: Vec<[f32; 2]> = (0..11)
        .map(|corner| {
            let angle = TAU * corner as f32 / 11.0;
            let reach = radius * random.random_range(0.45..1.35);
            let (across, down) = (reach * angle.cos(), flat * reach * angle.sin());
            let (sin, cos) = turn.sin_cos();
            [x + across * cos - down * sin, y + across * sin + down * cos]
        })
        .collect();
    let between = |index: usize| {
        let (a, b) = (corners[index % 11], corners[(index + 1) % 11]);
        [(a[0] + b[0]) / 2.0, (a[1] + b[1]) / 2.0]
    };
    let mut path = PathBuilder::new();
    let start = between(10);
    path.move_to(start[0], start[1]);
    for (index, corner) in corners.iter().enumerate() {
        let end = between(index);
        path.quad_to(corner[0], corner[1], end[0], end[1]);
    }
    let (tone, opacity) = (clutter_tone(random), random.random_range(0.25..0.6));
    if let Some(path) = path.finish() {
        let coverage = Coverage::of(&path, FillRule::Winding);
        canvas.blend(&coverage, opacity, |_, _| tone);
    }
}

/// Paints a curved line or several short ones.
fn stroke(random: &mut ChaCha8Rng, canvas: &mut Canvas) {
    let side = canvas.side() as f32;
    let mut path = PathBuilder::new();
    let [x, y] = somewhere(random, side);
    if random.random_bool(0.3) {
        let direction: f32 = random.random_range(0.0..TAU);
        let (sin, cos) = direction.sin_cos();
        let length = side * random.random_range(0.03..0.07);
        for _ in 0..random.random_range(3..8) {
            let [a, b]: [f32; 2] =
                std::array::from_fn(|_| random.random_range(-0.08 * side..0.08 * side));
            path.move_to(x + a, y + b);
            path.line_to(x + a + length * cos, y + b + length * sin);
        }
    } else {
        let [bend_x, bend_y] = somewhere(random, side);
        let [end_x, end_y] = somewhere(random, side);
        let reach = random.random_range(0.2..0.8);
        let toward = |from: f32, to: f32| from + (to - from) * reach;
        path.move_to(x, y);
        path.quad_to(
            toward(x, bend_x),
            toward(y, bend_y),
            toward(x, end_x),
            toward(y, end_y),
        );
    }
    let stroke = Stroke {
        width: side * random.random_range(0.006..0.022),
        line_cap: if random.random() {
            LineCap::Round
        } else {
            LineCap::Butt
        },
        ..Stroke::default()
    };
    let (tone, opacity) = (clutter_tone(random), random.random_range(0.3..0.8));
    if let Some(path) = path.finish().and_then(|path| path.stroke(&stroke, 1.0)) {
        let coverage = Coverage::of(&path, FillRule::Winding);
        canvas.blend(&coverage, opacity, |_, _| tone);
    }
}
