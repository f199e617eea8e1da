//! Overlapping tiles along an axis, and their weights.

/// The shortest side of a tile in pixels, if the photograph is at least as long.
const SHORTEST: u32 = 32;

/// Tiles of equal length along an axis. Neighbours overlap by a quarter of their length, but for whole pixels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tiles {
    pub(super) starts: Vec<u32>,
    pub(super) length: u32,
    axis: u32,
}

impl Tiles {
    /// At most `count` tiles along an axis of a length in pixels.
    pub(super) fn new(axis: u32, count: u32) -> Self {
        let count = count.min(axis / SHORTEST).max(1);
        // `count` tiles cover `count - (count - 1) / 4` times their length.
        let mut length = (4 * u64::from(axis)).div_ceil(3 * u64::from(count) + 1) as u32;
        if count % 2 == 1 && (axis - length) % 2 == 1 {
            // The middle tile would not be in the middle, and the mirror image would have other tiles.
            length += 1;
        }
        let last = axis - length;
        let gaps = u64::from(count - 1).max(1);
        let before_middle = |index: u32| (u64::from(index) * u64::from(last) / gaps) as u32;
        let starts = (0..count).map(|index| {
            if 2 * index < count {
                before_middle(index)
            } else {
                last - before_middle(count - 1 - index)
            }
        });
        Self {
            starts: starts.collect(),
            length,
            axis,
        }
    }

    /// The weights of the positions within each tile. At each position of the axis, the weights of all tiles sum to 1.
    pub(super) fn weights(&self) -> Vec<Vec<f32>> {
        let mut weights: Vec<Vec<f32>> = (0..self.starts.len())
            .map(|tile| self.ramps(tile).collect())
            .collect();
        let mut sums = vec![0f32; self.axis as usize];
        for (&start, weights) in self.starts.iter().zip(&weights) {
            for (sum, weight) in sums[start as usize..].iter_mut().zip(weights) {
                *sum += weight;
            }
        }
        for (&start, weights) in self.starts.iter().zip(&mut weights) {
            for (weight, sum) in weights.iter_mut().zip(&sums[start as usize..]) {
                *weight /= sum;
            }
        }
        weights
    }

    /// The weights of a tile before they are divided by their sum: 1 inside, and above 0 near an edge that lies in
    /// another tile.
    fn ramps(&self, tile: usize) -> impl Iterator<Item = f32> {
        let start = self.starts[tile];
        let (first, last) = (start == 0, start + self.length == self.axis);
        let (length, ramp) = (self.length, self.length as f32 / 4.0);
        (0..length).map(move |position| {
            let before = if first { ramp } else { position as f32 + 0.5 };
            let behind = if last {
                ramp
            } else {
                (length - position) as f32 - 0.5
            };
            let way = (before.min(behind) / ramp).min(1.0);
            // The smoothstep polynomial: its slope is 0 at both ends.
            way * way * (3.0 - 2.0 * way)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_cover_an_axis_with_overlaps_of_a_quarter() {
        let tiles = Tiles::new(1024, 1);
        assert_eq!((tiles.starts, tiles.length), (vec![0], 1024));
        let tiles = Tiles::new(1000, 3);
        assert_eq!((tiles.starts, tiles.length), (vec![0, 300, 600], 400));
        for (axis, count) in [(1024, 2), (997, 5), (998, 5), (640, 7), (4000, 32)] {
            let tiles = Tiles::new(axis, count);
            assert_eq!(tiles.starts.len(), count as usize);
            assert_eq!(tiles.starts[0], 0);
            assert_eq!(tiles.starts[count as usize - 1] + tiles.length, axis);
            let mirrored = tiles.starts.iter().rev();
            let mirrored = mirrored.map(|start| axis - start - tiles.length);
            assert!(mirrored.eq(tiles.starts.iter().copied()), "{tiles:?}");
            for pair in tiles.starts.windows(2) {
                let overlap = pair[0] + tiles.length - pair[1];
                assert!(4 * overlap + 8 >= tiles.length, "{tiles:?}");
                assert!(3 * overlap <= tiles.length, "{tiles:?}");
            }
        }
    }

    #[test]
    fn tiles_of_small_photographs_are_fewer() {
        assert_eq!(Tiles::new(100, 8).starts.len(), 3);
        for axis in [1, 31, 40, 63] {
            let tiles = Tiles::new(axis, 8);
            assert_eq!((tiles.starts, tiles.length), (vec![0], axis));
        }
    }

    #[test]
    fn weights_sum_to_one_and_fall_towards_inner_edges() {
        for (axis, count) in [(1000, 3), (997, 5), (70, 2), (50, 1)] {
            let tiles = Tiles::new(axis, count);
            let weights = tiles.weights();
            let mut sums = vec![0f32; axis as usize];
            for (&start, weights) in tiles.starts.iter().zip(&weights) {
                assert_eq!(weights.len(), tiles.length as usize);
                assert!(weights.iter().all(|weight| *weight > 0.0));
                for (sum, weight) in sums[start as usize..].iter_mut().zip(weights) {
                    *sum += weight;
                }
            }
            assert!(sums.iter().all(|sum| (sum - 1.0).abs() < 1e-6));
        }
        let weights = Tiles::new(1000, 3).weights();
        assert_eq!((weights[0][0], weights[1][200]), (1.0, 1.0));
        assert!(weights[1][0] < 1e-3 && weights[0][399] < 1e-3);
        assert!((weights[1][50] - 0.5).abs() < 0.02);
    }
}
