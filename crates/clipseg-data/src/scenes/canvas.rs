//! The canvas on which a scene is painted.

use super::coverage::{Coverage, index};
use super::looks::Tone;

/// A square canvas with channels from 0 to 255.
pub(crate) struct Canvas {
    pub(super) side: u32,
    pub(super) pixels: Vec<Tone>,
}

impl Canvas {
    pub(crate) fn from_fn(side: u32, tone: impl Fn(u32, u32) -> Tone) -> Self {
        let all = (0..side).flat_map(|y| (0..side).map(move |x| (x, y)));
        Self {
            side,
            pixels: all.map(|(x, y)| tone(x, y)).collect(),
        }
    }

    pub(crate) fn side(&self) -> u32 {
        self.side
    }

    /// Paints the covered pixels, clipped to the canvas.
    pub(crate) fn blend(
        &mut self,
        coverage: &Coverage,
        opacity: f32,
        tone: impl Fn(f32, f32) -> Tone,
    ) {
        for ([x, y], share) in coverage.pixels() {
            if let Some(pixel) = index([x, y], self.side) {
                let share = opacity * f32::from(share) / 255.0;
                let tone = tone(x as f32 + 0.5, y as f32 + 0.5);
                for (value, tone) in self.pixels[pixel].iter_mut().zip(tone) {
                    *value += (tone - *value) * share;
                }
            }
        }
    }

    pub(super) fn darken(&mut self, coverage: &Coverage, [right, down]: [i32; 2], by: f32) {
        for ([x, y], share) in coverage.pixels() {
            if let Some(pixel) = index([x + right, y + down], self.side) {
                let left = 1.0 - by * f32::from(share) / 255.0;
                self.pixels[pixel] = self.pixels[pixel].map(|value| value * left);
            }
        }
    }
}
