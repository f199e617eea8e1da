//! Blends the soft masks of several views into one.

use super::plan::{Area, ViewPlan};
use crate::error::Result;
use crate::soft_mask::SoftMask;

/// The weighted sum of the masks of views.
#[derive(Debug)]
pub(crate) struct Blend {
    width: usize,
    size: [u32; 2],
    sum: Vec<f32>,
}

impl Blend {
    /// An empty sum for a photograph of `[width, height]` pixels.
    pub(crate) fn new(size: [u32; 2]) -> Self {
        let [width, height] = size.map(|side| side as usize);
        Self {
            width,
            size,
            sum: vec![0.0; width * height],
        }
    }

    /// Adds the mask of an area. The weight of a pixel is the product of those of its column and its row. A mirrored
    /// mask is that of the mirrored area, and is mirrored back.
    pub(crate) fn add(&mut self, mask: &SoftMask, area: Area, weights: &Weights, mirrored: bool) {
        let (left, top) = (area.left as usize, area.top as usize);
        let columns = weights.columns.len();
        let rows = mask.probabilities().chunks_exact(columns);
        for ((y, row), &down) in rows.enumerate().zip(&weights.rows) {
            let from = (top + y) * self.width + left;
            let target = self.sum[from..from + columns].iter_mut();
            let add = |((sum, across), value): ((&mut f32, &f32), &f32)| {
                *sum += across * down * value;
            };
            if mirrored {
                target
                    .zip(&weights.columns)
                    .zip(row.iter().rev())
                    .for_each(add);
            } else {
                target.zip(&weights.columns).zip(row).for_each(add);
            }
        }
    }

    /// The blended mask.
    ///
    /// # Errors
    ///
    /// If a weight or a probability was NaN.
    pub(crate) fn finish(mut self) -> Result<SoftMask> {
        // Weights sum to 1 up to rounding.
        self.sum
            .iter_mut()
            .for_each(|value| *value = value.min(1.0));
        SoftMask::from_probabilities(self.sum, self.size)
    }
}

/// The weights of the columns and of the rows of a view.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Weights {
    columns: Vec<f32>,
    rows: Vec<f32>,
}

impl ViewPlan {
    /// The areas of all views of the photograph, or of its mirror image, with their weights. Those of both together
    /// sum to 1 at each pixel.
    pub(super) fn weighted_areas(&self) -> Vec<(Area, Weights)> {
        let share = match (self.flip, &self.tiles) {
            (false, None) => 1.0,
            (true, None) | (false, Some(_)) => 0.5,
            (true, Some(_)) => 0.25,
        };
        let [width, height] = self.size;
        let whole = Area {
            left: 0,
            top: 0,
            width,
            height,
        };
        let mut views = vec![(
            whole,
            Weights {
                columns: vec![share; width as usize],
                rows: vec![1.0; height as usize],
            },
        )];
        if let Some([columns, rows]) = &self.tiles {
            let (across, down) = (columns.weights(), rows.weights());
            let weights = down.iter().flat_map(|rows| {
                across.iter().map(move |columns| Weights {
                    columns: columns.iter().map(|weight| share * weight).collect(),
                    rows: rows.clone(),
                })
            });
            views.extend(self.areas().into_iter().zip(weights));
        }
        views
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_are_weighted_and_mirrored_back() {
        let mask = SoftMask::from_probabilities(vec![0.0, 0.5, 1.0, 0.25, 0.5, 0.75], [3, 2]);
        let mask = mask.unwrap();
        let area = Area {
            left: 1,
            top: 0,
            width: 3,
            height: 2,
        };
        let weights = Weights {
            columns: vec![0.5, 0.5, 0.25],
            rows: vec![1.0, 0.5],
        };
        let mut blend = Blend::new([4, 2]);
        blend.add(&mask, area, &weights, false);
        let blended = blend.finish().unwrap();
        let expected = [0.0, 0.0, 0.25, 0.25, 0.0, 0.0625, 0.125, 0.09375];
        assert_eq!(blended.probabilities(), expected);
        let mut blend = Blend::new([4, 2]);
        blend.add(&mask, area, &weights, true);
        let blended = blend.finish().unwrap();
        let expected = [0.0, 0.5, 0.25, 0.0, 0.0, 0.1875, 0.125, 0.03125];
        assert_eq!(blended.probabilities(), expected);
    }
}
