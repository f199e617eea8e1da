//! Connected components of masks: filling holes and removing small parts.

use super::Mask;
use crate::error::{DataError, Result};
use image::Luma;
use imageproc::region_labelling::{Connectivity, connected_components};

impl Mask {
    /// Fills the holes: pixels outside that are not connected to the border of the picture. Pixels outside
    /// are connected to their four neighbours, so a diagonal line of pixels inside closes a hole.
    ///
    /// # Errors
    ///
    /// If the mask has 2³² or more pixels.
    pub fn fill_holes(&self) -> Result<Self> {
        let (width, height) = (self.width as usize, self.height as usize);
        let labels = self.complement().components(Connectivity::Four)?;
        let mut is_open = vec![false; areas(&labels).len()];
        for (at, &label) in labels.iter().enumerate() {
            let (x, y) = (at % width, at / width);
            is_open[label as usize] |= x == 0 || y == 0 || x + 1 == width || y + 1 == height;
        }
        let inside = |&label: &u32| u8::from(label == 0 || !is_open[label as usize]);
        let values = labels.iter().map(inside).collect();
        Ok(Self::from_vec(self.width, self.height, values))
    }

    /// Removes the connected components with fewer than `area` pixels. Pixels inside are connected to their
    /// eight neighbours.
    ///
    /// # Errors
    ///
    /// If the mask has 2³² or more pixels.
    pub fn without_small_components(&self, area: usize) -> Result<Self> {
        let labels = self.components(Connectivity::Eight)?;
        let areas = areas(&labels);
        let inside = |&label: &u32| u8::from(label != 0 && areas[label as usize] >= area);
        let values = labels.iter().map(inside).collect();
        Ok(Self::from_vec(self.width, self.height, values))
    }

    /// The number of each pixel's component, counted from 1 and row by row; 0 outside.
    pub(super) fn components(&self, connectivity: Connectivity) -> Result<Vec<u32>> {
        if u64::from(self.width) * u64::from(self.height) > u64::from(u32::MAX) {
            return Err(DataError::Input(format!(
                "a mask of {}x{} is too large to find its components, expected less than 2^32 pixels",
                self.width, self.height
            )));
        }
        let picture = self.to_gray_image();
        Ok(connected_components(&picture, connectivity, Luma([0])).into_raw())
    }
}

/// The number of pixels with each label.
fn areas(labels: &[u32]) -> Vec<usize> {
    let highest = labels.iter().copied().max().unwrap_or(0);
    let mut areas = vec![0; highest as usize + 1];
    for &label in labels {
        areas[label as usize] += 1;
    }
    areas
}

#[cfg(test)]
mod tests {
    use super::super::tests::mask;
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn holes_are_filled_and_bays_are_not() {
        let shapes = mask(&[
            ".####..###.",
            ".#..#..#...",
            ".#..#..###.",
            ".####......",
            "....#......",
        ]);
        let filled = mask(&[
            ".####..###.",
            ".####..#...",
            ".####..###.",
            ".####......",
            "....#......",
        ]);
        assert_eq!(shapes.fill_holes().unwrap(), filled);
        // A ring of diagonal steps closes its hole; a hole at the border is open.
        let ring = mask(&[".#.", "#.#", ".#."]);
        assert_eq!(ring.fill_holes().unwrap(), mask(&[".#.", "###", ".#."]));
        let open = mask(&["#.#", "###"]);
        assert_eq!(open.fill_holes().unwrap(), open);
        // An island in a hole.
        let nested = mask(&["#####", "#...#", "#.#.#", "#...#", "#####"]);
        assert_eq!(nested.fill_holes().unwrap().area(), 25);
    }

    #[test]
    fn small_components_are_removed() {
        let parts = mask(&["##..#..", "#....#.", ".......", "#......"]);
        // Of 3, 2 (diagonal) and 1 pixels.
        let without = |area| parts.without_small_components(area).unwrap();
        assert_eq!((without(0), without(1)), (parts.clone(), parts.clone()));
        assert_eq!(
            without(2),
            mask(&["##..#..", "#....#.", ".......", "......."])
        );
        assert_eq!(
            without(3),
            mask(&["##.....", "#......", ".......", "......."])
        );
        assert_eq!(without(4), Mask::new(7, 4));
        assert_eq!(without(usize::MAX), Mask::new(7, 4));
    }

    #[test]
    fn masks_of_size_zero_are_accepted_and_huge_ones_refused() {
        for (width, height) in [(0, 0), (0, 3), (3, 0)] {
            let none = Mask::new(width, height);
            assert_eq!(none.fill_holes().unwrap(), none);
            assert_eq!(none.without_small_components(3).unwrap(), none);
        }
        // A mask of no columns in memory, but of that many pixels by its size.
        let huge = Mask {
            width: 1 << 16,
            height: 1 << 16,
            words: Vec::new(),
        };
        let message = huge.components(Connectivity::Four).unwrap_err().to_string();
        assert!(message.contains("65536x65536 is too large"), "{message}");
    }

    /// The pixels that are reached from the border by steps to four neighbours outside.
    fn open(mask: &Mask) -> Vec<bool> {
        let (width, height) = (mask.width() as usize, mask.height() as usize);
        let is_border = |at: usize| {
            let (x, y) = (at % width, at / width);
            x == 0 || y == 0 || x + 1 == width || y + 1 == height
        };
        let outside: Vec<bool> = mask.pixels().map(|inside| !inside).collect();
        let mut open: Vec<bool> = (0..outside.len())
            .map(|at| outside[at] && is_border(at))
            .collect();
        // As many rounds as a path can have pixels.
        for _ in 0..open.len() {
            for at in 0..open.len() {
                let x = at % width;
                let near = [
                    (x > 0).then(|| at - 1),
                    (x + 1 < width).then(|| at + 1),
                    at.checked_sub(width),
                    (at + width < open.len()).then(|| at + width),
                ];
                open[at] |= outside[at] && near.into_iter().flatten().any(|near| open[near]);
            }
        }
        open
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn exactly_the_pixels_that_the_border_does_not_reach_are_filled(
            (width, values) in (1u32..14).prop_flat_map(|width| {
                (Just(width), prop::collection::vec(0u8..2, 11 * width as usize))
            })
        ) {
            let mask = Mask::from_vec(width, 11, values);
            let filled = mask.fill_holes().unwrap();
            let expected: Vec<bool> = open(&mask).into_iter().map(|open| !open).collect();
            prop_assert_eq!(filled.pixels().collect::<Vec<_>>(), expected);
            prop_assert_eq!(filled.fill_holes().unwrap(), filled);
        }

        #[test]
        fn removing_small_components_twice_changes_nothing_more(
            values in prop::collection::vec(0u8..2, 12 * 9), area in 0usize..12,
        ) {
            let mask = Mask::from_vec(12, 9, values);
            let once = mask.without_small_components(area).unwrap();
            prop_assert_eq!(once.difference(&mask).unwrap().area(), 0);
            prop_assert_eq!(&once.without_small_components(area).unwrap(), &once);
            let removed = mask.difference(&once).unwrap();
            prop_assert_eq!(removed.without_small_components(area.max(1)).unwrap().area(), 0);
        }
    }
}
