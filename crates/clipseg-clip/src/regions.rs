//! Regions of pictures as weights over patches.

use crate::error::{ClipError, Result};
use burn::prelude::*;
use std::ops::Range;

/// Regions of a batch of pictures, each a bounding box whose embedding is the mean of its patches, as in
/// `RegionCLIP` (Zhong et al. 2022, arXiv:2112.09106). A patch counts by the part of its area that is in the
/// box.
///
/// They are in main memory, so that they can be prepared while the device computes.
#[derive(Debug, Clone, PartialEq)]
pub struct Regions {
    grid: [usize; 2],
    /// The number of regions of each picture.
    counts: Vec<usize>,
    /// The weights of the patches of each region, row by row, picture by picture.
    weights: Vec<f32>,
}

impl Regions {
    /// Computes the weights of boxes on a grid of patches (rows and columns).
    ///
    /// `boxes` are those of each picture: left, top, right and bottom edge as fractions of the picture's
    /// sides.
    ///
    /// # Errors
    ///
    /// [`ClipError::Input`] if a box has no area or is not within its picture, or the grid has no patch.
    pub fn new(boxes: &[Vec<[f32; 4]>], grid: [usize; 2]) -> Result<Self> {
        let [rows, columns] = grid;
        if rows == 0 || columns == 0 {
            return Err(ClipError::Input(format!(
                "regions on a grid of {rows}x{columns} patches, expected at least one patch"
            )));
        }
        let mut weights = Vec::with_capacity(boxes.iter().flatten().count() * rows * columns);
        for (picture, boxes) in boxes.iter().enumerate() {
            for (region, bounds) in boxes.iter().enumerate() {
                let [left, top, right, bottom] = *bounds;
                let within = |from: f32, to: f32| 0.0 <= from && from < to && to <= 1.0;
                if !within(left, right) || !within(top, bottom) {
                    return Err(ClipError::Input(format!(
                        "region {region} of picture {picture} is {bounds:?}, expected 0 <= left < right \
                         <= 1 and 0 <= top < bottom <= 1"
                    )));
                }
                let across = covered(left, right, columns);
                for share in covered(top, bottom, rows) {
                    weights.extend(across.iter().map(|other| share * other));
                }
            }
        }
        Ok(Self {
            grid,
            counts: boxes.iter().map(Vec::len).collect(),
            weights,
        })
    }

    /// Number of pictures, including those without regions.
    pub fn pictures(&self) -> usize {
        self.counts.len()
    }

    /// Number of regions of all pictures together.
    pub fn len(&self) -> usize {
        self.counts.iter().sum()
    }

    /// Whether no picture has a region.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The regions of a range of the pictures.
    ///
    /// # Panics
    ///
    /// If the range is not within the pictures.
    #[must_use]
    pub fn of_pictures(&self, pictures: Range<usize>) -> Self {
        let patches = self.grid[0] * self.grid[1];
        let before: usize = self.counts[..pictures.start].iter().sum();
        let counts = self.counts[pictures].to_vec();
        let count: usize = counts.iter().sum();
        Self {
            grid: self.grid,
            weights: self.weights[before * patches..(before + count) * patches].to_vec(),
            counts,
        }
    }

    /// Checks that these are regions of such pictures.
    pub(crate) fn check(&self, pictures: usize, grid: [usize; 2]) -> Result<()> {
        if self.is_empty() {
            return Err(ClipError::Input("no region, expected at least one".into()));
        }
        if self.pictures() != pictures || self.grid != grid {
            let [own, other] = [self.grid, grid].map(|[rows, columns]| format!("{rows}x{columns}"));
            return Err(ClipError::Input(format!(
                "regions of {} pictures of {own} patches, expected {pictures} pictures of {other} patches",
                self.pictures()
            )));
        }
        Ok(())
    }

    /// The mean of the patches of each region.
    ///
    /// # Shapes
    ///
    /// - patches: `[pictures, patches, width]`
    /// - output: `[regions, width]`, picture by picture
    pub(crate) fn pool(&self, patches: Tensor<3>) -> Tensor<2> {
        let [pictures, count, width] = patches.dims();
        // One matrix product for each picture, with rows of zeros up to the largest number of regions.
        let most = self.counts.iter().copied().max().unwrap_or(0);
        let mut weights = vec![0.0; pictures * most * count];
        let mut kept: Vec<i64> = Vec::with_capacity(self.len());
        let mut rest = self.weights.as_slice();
        for (picture, &regions) in self.counts.iter().enumerate() {
            let (own, after) = rest.split_at(regions * count);
            let start = picture * most;
            weights[start * count..][..own.len()].copy_from_slice(own);
            kept.extend((start..start + regions).map(|row| row as i64));
            rest = after;
        }
        let device = patches.device();
        let weights = TensorData::new(weights, [pictures, most, count]);
        let pooled = Tensor::<3>::from_data(weights, &device).matmul(patches);
        let pooled = pooled.reshape([pictures * most, width]);
        if kept.len() == pictures * most {
            return pooled;
        }
        let rows = TensorData::new(kept, [self.len()]);
        pooled.select(0, Tensor::<1, Int>::from_data(rows, &device))
    }
}

/// The parts of a segment from `from` to `to` that are in each of `cells` equal cells of the segment from 0
/// to 1. They sum to 1.
fn covered(from: f32, to: f32, cells: usize) -> Vec<f32> {
    let (start, end) = (from * cells as f32, to * cells as f32);
    let parts = (0..cells).map(|cell| {
        let cell = cell as f32;
        (end.min(cell + 1.0) - start.max(cell)).max(0.0)
    });
    let parts: Vec<f32> = parts.collect();
    let sum: f32 = parts.iter().sum();
    if sum > 0.0 {
        parts.into_iter().map(|part| part / sum).collect()
    } else {
        // The segment is so short that rounding leaves no length of it.
        let own = (start as usize).min(cells - 1);
        (0..cells)
            .map(|cell| f32::from(u8::from(cell == own)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Distribution;

    #[test]
    fn a_patch_counts_by_its_part_in_the_box() {
        // Of 2 x 4 cells, the box covers half of the second column, the entire third column, and the upper
        // row completely, half of the lower row.
        let regions = Regions::new(&[vec![[0.375, 0.0, 0.75, 0.75]]], [2, 4]).unwrap();
        let area = 1.5 * 1.5;
        let expected = [0.0, 0.5, 1.0, 0.0, 0.0, 0.25, 0.5, 0.0].map(|part| part / area);
        for (weight, expected) in regions.weights.iter().zip(expected) {
            assert!((weight - expected).abs() < 1e-6, "{:?}", regions.weights);
        }
        // A box within one patch is that patch.
        let regions = Regions::new(&[vec![[0.3, 0.6, 0.31, 0.7]]], [2, 4]).unwrap();
        assert_eq!(regions.weights, [0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0]);
        let tiny = [0.7, 0.7, 0.7 + f32::EPSILON, 0.7 + f32::EPSILON];
        let regions = Regions::new(&[vec![tiny]], [3, 3]).unwrap();
        assert_eq!(regions.weights.iter().sum::<f32>(), 1.0);
    }

    #[test]
    fn regions_keep_their_order_and_pictures() {
        let device = Device::flex();
        let [left, right] = [[0.0, 0.0, 0.5, 1.0], [0.5, 0.0, 1.0, 1.0]];
        let boxes = [vec![left, right], vec![], vec![right]];
        let regions = Regions::new(&boxes, [1, 2]).unwrap();
        let patches = [
            [[1.0, 2.0], [3.0, 4.0]],
            [[5.0, 6.0], [7.0, 8.0]],
            [[9.0, 10.0], [11.0, 12.0]],
        ];
        let patches = Tensor::<3>::from_floats(patches, &device);
        let pooled = |regions: &Regions, patches: Tensor<3>| -> Vec<f32> {
            regions.pool(patches).into_data().try_to_vec().unwrap()
        };
        let all = pooled(&regions, patches.clone());
        assert_eq!(all, [1.0, 2.0, 3.0, 4.0, 11.0, 12.0]);
        let last = regions.of_pictures(1..3);
        assert_eq!((last.pictures(), last.len()), (2, 1));
        assert_eq!(pooled(&last, patches.slice(s![1..3, .., ..])), [11.0, 12.0]);
        assert!(regions.of_pictures(1..2).is_empty());
    }

    #[test]
    fn an_entire_picture_is_the_mean_of_all_patches() {
        let device = Device::flex();
        for grid in [[1, 1], [1, 6], [5, 7], [16, 16], [33, 2]] {
            let shape = [3, grid[0] * grid[1], 4];
            let patches = Tensor::<3>::random(shape, Distribution::Default, &device);
            let boxes = vec![vec![[0.0, 0.0, 1.0, 1.0]]; 3];
            let pooled = Regions::new(&boxes, grid).unwrap().pool(patches.clone());
            let mean = patches.mean_dim(1).squeeze_dim::<2>(1);
            let worst: f32 = (pooled - mean).abs().max().into_scalar();
            assert!(worst < 1e-6, "{grid:?}: {worst}");
        }
    }

    #[test]
    fn the_weights_of_a_region_sum_to_one() {
        let edges = [0.0, 0.01, 0.3, 0.499, 0.5, 0.77, 1.0];
        for (place, &left) in edges.iter().enumerate() {
            for &right in &edges[place + 1..] {
                let boxes = [vec![[left, 1.0 - right, right, 1.0 - left]]];
                let sum: f32 = Regions::new(&boxes, [7, 16]).unwrap().weights.iter().sum();
                assert!((sum - 1.0).abs() < 1e-5, "{left} to {right}: {sum}");
            }
        }
    }

    #[test]
    fn invalid_boxes_are_errors() {
        let message = |bounds: [f32; 4]| {
            let boxes = [vec![], vec![[0.0, 0.0, 1.0, 1.0], bounds]];
            let error = Regions::new(&boxes, [2, 2]).unwrap_err();
            error.to_string()
        };
        assert_eq!(
            message([0.5, 0.0, 0.5, 1.0]),
            "region 1 of picture 1 is [0.5, 0.0, 0.5, 1.0], expected 0 <= left < right <= 1 and \
             0 <= top < bottom <= 1"
        );
        for bounds in [
            [-0.1, 0.0, 1.0, 1.0],
            [0.0, 0.0, 1.0, 1.1],
            [0.0, f32::NAN, 1.0, 1.0],
        ] {
            assert!(message(bounds).starts_with("region 1 of picture 1"));
        }
        let error = Regions::new(&[], [0, 2]).unwrap_err().to_string();
        assert!(error.contains("a grid of 0x2 patches"), "{error}");
    }
}
