//! Dilation and erosion of masks.

use super::{Mask, WORD, bits, fill};

impl Mask {
    /// Dilates the mask with a square of `2 · radius + 1` pixels: a pixel is inside if any pixel at most
    /// `radius` columns and `radius` rows away is inside.
    #[must_use]
    pub fn dilate(&self, radius: u8) -> Self {
        let reach = u32::from(radius);
        let mut wide = Self::new(self.width, self.height);
        for (row, words) in self.rows().zip(wide.rows_mut()) {
            for (first, last) in runs(bits(row, 0, self.width)) {
                let end = last.saturating_add(reach).min(self.width - 1);
                fill(words, first.saturating_sub(reach), end);
            }
        }
        let mut grown = Self::new(self.width, self.height);
        for (y, words) in (0u32..).zip(grown.rows_mut()) {
            let end = self.height.min(y.saturating_add(reach).saturating_add(1));
            for near in y.saturating_sub(reach)..end {
                for (word, &other) in words.iter_mut().zip(wide.row(near)) {
                    *word |= other;
                }
            }
        }
        grown
    }

    /// Erodes the mask with a square of `2 · radius + 1` pixels: a pixel stays inside if all pixels of the
    /// picture at most `radius` columns and `radius` rows away are inside. The border of the picture does
    /// not erode the mask.
    #[must_use]
    pub fn erode(&self, radius: u8) -> Self {
        self.complement().dilate(radius).complement()
    }

    /// The pixels that are outside.
    #[must_use]
    pub fn complement(&self) -> Self {
        let mut inverse = self.clone();
        let beyond = self.width % WORD;
        for words in inverse.rows_mut() {
            for word in words.iter_mut() {
                *word = !*word;
            }
            if let (1.., Some(last)) = (beyond, words.last_mut()) {
                *last &= u64::MAX >> (WORD - beyond);
            }
        }
        inverse
    }
}

/// The first and last column of each run of pixels inside.
fn runs(pixels: impl Iterator<Item = bool>) -> impl Iterator<Item = (u32, u32)> {
    let mut places = (0u32..).zip(pixels);
    std::iter::from_fn(move || {
        let (first, _) = places.find(|&(_, inside)| inside)?;
        let more = places.by_ref().take_while(|&(_, inside)| inside).count();
        Some((first, first + more as u32))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Whether any pixel of the picture in the square around a pixel equals `inside`.
    fn near(mask: &Mask, x: u32, y: u32, radius: u8, inside: bool) -> bool {
        let reach = |at: u32, side: u32| {
            at.saturating_sub(u32::from(radius))..(at + u32::from(radius) + 1).min(side)
        };
        reach(y, mask.height())
            .any(|y| reach(x, mask.width()).any(|x| mask.contains(x, y) == inside))
    }

    fn follow_the_definition(mask: &Mask, radius: u8) {
        let (grown, shrunk) = (mask.dilate(radius), mask.erode(radius));
        for y in 0..mask.height() {
            for x in 0..mask.width() {
                assert_eq!(
                    grown.contains(x, y),
                    near(mask, x, y, radius, true),
                    "{x} {y} grown by {radius}"
                );
                assert_eq!(
                    shrunk.contains(x, y),
                    !near(mask, x, y, radius, false),
                    "{x} {y} shrunk by {radius}"
                );
            }
        }
    }

    proptest! {
        #[test]
        fn dilation_and_erosion_follow_their_definition(
            (width, values) in (1u32..140).prop_flat_map(|width| {
                let pixel = (0u8..12).prop_map(|value| u8::from(value == 0));
                (Just(width), prop::collection::vec(pixel, 9 * width as usize))
            }),
            radius in prop_oneof![0u8..6, 60u8..70, any::<u8>()],
            inverted in any::<bool>(),
        ) {
            let mask = Mask::from_vec(width, 9, values);
            follow_the_definition(&if inverted { mask.complement() } else { mask }, radius);
        }
    }

    #[test]
    fn the_largest_radius_is_supported() {
        let mut dot = Mask::new(600, 520);
        dot.fill_runs(258, [(300, 300)]);
        for radius in [254, 255] {
            let side = 2 * usize::from(radius) + 1;
            let grown = dot.dilate(radius);
            assert_eq!(grown.area(), side * side);
            let edge = 300 - u32::from(radius);
            assert!(grown.contains(edge, 258) && !grown.contains(edge - 1, 258));
            assert_eq!(grown.erode(radius), dot);
        }
        assert_eq!(Mask::new(600, 520).dilate(255).area(), 0);
    }

    #[test]
    fn masks_of_size_zero_are_accepted() {
        for (width, height) in [(0, 0), (0, 3), (3, 0)] {
            let none = Mask::new(width, height);
            assert_eq!((none.dilate(255), none.erode(255)), (none.clone(), none));
        }
    }
}
