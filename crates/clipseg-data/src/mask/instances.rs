//! The connected parts of a mask as objects, each with its area, box and score.

use super::{BoundingBox, Mask};
use crate::error::{DataError, Result};
use imageproc::region_labelling::Connectivity;

/// A connected part of a mask. Its pixels are connected to their eight neighbours.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Instance {
    /// The smallest box around the part.
    pub bounding_box: BoundingBox,
    /// The pixels of the part within the box.
    pub shape: Mask,
    /// Number of pixels.
    pub area: usize,
    /// The mean probability of its pixels, from 0 to 1: Σ p / area.
    pub score: f64,
}

impl Instance {
    /// The outline in the coordinates of the mask, by [`Mask::to_outlines`].
    pub fn outline(&self) -> Vec<[u32; 2]> {
        let BoundingBox { x, y, .. } = self.bounding_box;
        // A connected part has one outline.
        let outlines = self.shape.to_outlines().into_iter().flatten();
        outlines
            .map(|[column, row]| [x + column, y + row])
            .collect()
    }
}

impl Mask {
    /// Splits the mask into its connected parts, the largest first; of equal areas, the one whose first pixel comes
    /// first row by row. `probabilities` has one value for each pixel, row by row.
    ///
    /// # Errors
    ///
    /// If there is not one probability for each pixel, or the mask has 2³² or more pixels.
    ///
    /// # Example
    ///
    /// ```
    /// let mask = clipseg_data::Mask::from_vec(4, 1, vec![1, 0, 1, 1]);
    /// let parts = mask.instances(&[0.5, 0.0, 0.75, 1.0])?;
    /// assert_eq!((parts.len(), parts[0].area, parts[0].score), (2, 2, 0.875));
    /// # Ok::<(), clipseg_data::DataError>(())
    /// ```
    pub fn instances(&self, probabilities: &[f32]) -> Result<Vec<Instance>> {
        let labels = self.components(Connectivity::Eight)?;
        if probabilities.len() != labels.len() {
            return Err(DataError::Input(format!(
                "{} probabilities for a mask of {}x{}, expected one for each pixel",
                probabilities.len(),
                self.width,
                self.height
            )));
        }
        let width = self.width as usize;
        let mut parts: Vec<Part> = Vec::new();
        for (at, (&label, &probability)) in labels.iter().zip(probabilities).enumerate() {
            if label == 0 {
                continue;
            }
            let index = label as usize - 1;
            if index >= parts.len() {
                parts.resize(index + 1, Part::default());
            }
            let part = &mut parts[index];
            let place = [(at % width) as u32, (at / width) as u32];
            part.label = label;
            part.add(place, probability);
        }
        parts.sort_by_key(|part| std::cmp::Reverse(part.area));
        let instances = parts.into_iter().map(|part| {
            let bounding_box = part.bounding_box();
            Instance {
                shape: shape(&labels, width, part.label, bounding_box),
                bounding_box,
                area: part.area,
                score: part.sum / part.area as f64,
            }
        });
        Ok(instances.collect())
    }
}

/// Counts of a part.
#[derive(Debug, Clone, Default)]
struct Part {
    label: u32,
    area: usize,
    sum: f64,
    /// First column and row.
    first: [u32; 2],
    /// Last column and row.
    last: [u32; 2],
}

impl Part {
    fn add(&mut self, place: [u32; 2], probability: f32) {
        if self.area == 0 {
            (self.first, self.last) = (place, place);
        }
        for (axis, value) in place.into_iter().enumerate() {
            self.first[axis] = self.first[axis].min(value);
            self.last[axis] = self.last[axis].max(value);
        }
        self.area += 1;
        self.sum += f64::from(probability);
    }

    fn bounding_box(&self) -> BoundingBox {
        BoundingBox {
            x: self.first[0],
            y: self.first[1],
            width: self.last[0] - self.first[0] + 1,
            height: self.last[1] - self.first[1] + 1,
        }
    }
}

/// The pixels of a label within a box.
fn shape(labels: &[u32], width: usize, label: u32, within: BoundingBox) -> Mask {
    let mut shape = Mask::new(within.width, within.height);
    for y in 0..within.height {
        let start = (within.y + y) as usize * width + within.x as usize;
        let row = &labels[start..start + within.width as usize];
        for (x, _) in (0..).zip(row).filter(|&(_, &here)| here == label) {
            shape.set(x, y);
        }
    }
    shape
}

#[cfg(test)]
mod tests {
    use super::super::tests::mask;
    use super::*;

    #[test]
    fn parts_have_areas_boxes_and_mean_probabilities() {
        let parts = mask(&["##..#", "#..#.", ".....", "..###"]);
        let probabilities: Vec<f32> = (0..20).map(|at| at as f32 / 32.0).collect();
        let found = parts.instances(&probabilities).unwrap();
        let figures = |instance: &Instance| {
            let BoundingBox {
                x,
                y,
                width,
                height,
            } = instance.bounding_box;
            ([x, y, width, height], instance.area, instance.score)
        };
        // Sums of the indices of their pixels: 0 + 1 + 5, 17 + 18 + 19, 4 + 8.
        assert_eq!(figures(&found[0]), ([0, 0, 2, 2], 3, 6.0 / 32.0 / 3.0));
        assert_eq!(figures(&found[1]), ([2, 3, 3, 1], 3, 54.0 / 32.0 / 3.0));
        assert_eq!(figures(&found[2]), ([3, 0, 2, 2], 2, 12.0 / 32.0 / 2.0));
        assert_eq!(found.len(), 3);
        assert_eq!(found[0].shape, mask(&["##", "#."]));
        assert_eq!(found[2].shape, mask(&[".#", "#."]));
        assert_eq!(found[1].outline(), [[2, 3], [5, 3], [5, 4], [2, 4]]);
    }

    #[test]
    fn a_part_within_the_box_of_another_is_not_in_its_shape() {
        let nested = mask(&["#####", "#...#", "#.#.#", "#...#", "#####"]);
        let found = nested.instances(&[0.5; 25]).unwrap();
        assert_eq!((found[0].area, found[0].shape.area()), (16, 16));
        assert_eq!(found[1].shape, mask(&["#"]));
    }

    #[test]
    fn sizes_are_checked() {
        assert!(Mask::new(4, 2).instances(&[0.5; 8]).unwrap().is_empty());
        assert!(Mask::new(0, 2).instances(&[]).unwrap().is_empty());
        assert_eq!(
            Mask::new(4, 2)
                .instances(&[0.5; 7])
                .unwrap_err()
                .to_string(),
            "7 probabilities for a mask of 4x2, expected one for each pixel"
        );
    }
}
