//! Outlines of masks along the borders of pixels.
//!
//! Such an outline has only horizontal and vertical edges at integer coordinates, so COCO's rule and any rule that
//! takes the centres of pixels fill it to exactly the mask. In COCO and YOLO a polygon cannot be a hole. Therefore an
//! outline goes from the outside to each hole and back on the same vertical line, which encloses nothing.

use crate::mask::Mask;
use std::collections::HashMap;

/// A step along the border of a pixel, with the pixel inside on the right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Heading {
    East,
    South,
    West,
    North,
}

impl Heading {
    fn left(self) -> Self {
        match self {
            Self::East => Self::North,
            Self::South => Self::East,
            Self::West => Self::South,
            Self::North => Self::West,
        }
    }

    fn right(self) -> Self {
        self.left().left().left()
    }

    fn step(self, [x, y]: [u32; 2]) -> [u32; 2] {
        match self {
            Self::East => [x + 1, y],
            Self::South => [x, y + 1],
            Self::West => [x - 1, y],
            Self::North => [x, y - 1],
        }
    }

    /// The pixels ahead of a corner, on the left and on the right. A pixel beyond the border has a coordinate that
    /// wraps around.
    fn ahead(self, [x, y]: [u32; 2]) -> [[u32; 2]; 2] {
        let (west, north) = (x.wrapping_sub(1), y.wrapping_sub(1));
        match self {
            Self::East => [[x, north], [x, y]],
            Self::South => [[x, y], [west, y]],
            Self::West => [[west, y], [west, north]],
            Self::North => [[west, north], [x, north]],
        }
    }
}

/// A closed walk around a connected part, or around a hole in it.
struct Walk {
    /// One step after the other: where it starts and where it heads.
    steps: Vec<([u32; 2], Heading)>,
}

impl Mask {
    /// Returns the outline of each connected part along the borders of its pixels, as the corners `[x, y]` in pixels.
    ///
    /// Integers are corners of pixels: the first pixel is from 0 to 1. Pixels are connected to their eight
    /// neighbours. An outline with holes is one closed line too, which goes to each hole and back on a vertical line.
    /// [`CocoSegmentation::to_mask`](crate::CocoSegmentation::to_mask) restores exactly this mask, and so do
    /// COCO's tools.
    ///
    /// ```
    /// let bar = clipseg_data::Mask::from_vec(4, 1, vec![0, 1, 1, 0]);
    /// assert_eq!(bar.to_outlines(), [[[1, 0], [3, 0], [3, 1], [1, 1]]]);
    /// ```
    pub fn to_outlines(&self) -> Vec<Vec<[u32; 2]>> {
        let mut walked = Self::new(self.width(), self.height());
        let (mut outer, mut holes) = (Vec::new(), Vec::new());
        // The walks to continue with at the start of an eastward step.
        let mut bridges: HashMap<[u32; 2], Vec<(usize, usize)>> = HashMap::new();
        for y in 0..self.height() {
            for x in 0..self.width() {
                let is_top = self.contains(x, y) && !self.contains(x, y.wrapping_sub(1));
                if !is_top || walked.contains(x, y) {
                    continue;
                }
                let walk = self.walk([x, y], &mut walked);
                match walk.top_of_hole() {
                    None => outer.push(walk),
                    Some(entry) => {
                        let ([x, mut y], _) = walk.steps[entry];
                        while self.contains(x, y.wrapping_sub(1)) {
                            y -= 1;
                        }
                        bridges
                            .entry([x, y])
                            .or_default()
                            .push((holes.len(), entry));
                        holes.push(walk);
                    }
                }
            }
        }
        outer
            .iter()
            .map(|walk| corners(&joined(walk, &holes, &bridges)))
            .collect()
    }

    /// Walks around a part or a hole, from the top left corner of a pixel below an outside pixel.
    fn walk(&self, start: [u32; 2], walked: &mut Self) -> Walk {
        let inside = |[x, y]: [u32; 2]| self.contains(x, y);
        let (mut at, mut heading) = (start, Heading::East);
        let mut steps = Vec::new();
        loop {
            if heading == Heading::East {
                walked.set(at[0], at[1]);
            }
            steps.push((at, heading));
            at = heading.step(at);
            let [left, right] = heading.ahead(at);
            // Two pixels that share a corner only are connected, so the walk turns to the other one.
            if inside(left) {
                heading = heading.left();
            } else if !inside(right) {
                heading = heading.right();
            }
            if at == start && heading == Heading::East {
                return Walk { steps };
            }
        }
    }
}

impl Walk {
    /// Where to enter a hole from above: the index of the step that follows its highest westward step. `None` for a
    /// walk around a part.
    fn top_of_hole(&self) -> Option<usize> {
        let mut area = 0i64;
        let mut top: Option<(u32, usize)> = None;
        for (index, &([_, y], heading)) in self.steps.iter().enumerate() {
            match heading {
                Heading::East => area -= i64::from(y),
                Heading::West => {
                    area += i64::from(y);
                    if top.is_none_or(|(highest, _)| y < highest) {
                        top = Some((y, index));
                    }
                }
                _ => {}
            }
        }
        // A part is on the right of the walk around it, and so is what encloses a hole.
        (area < 0).then(|| top.map_or(0, |(_, index)| (index + 1) % self.steps.len()))
    }
}

/// The corners of a walk with all holes that it leads to, one step after the other.
fn joined(
    outer: &Walk,
    holes: &[Walk],
    bridges: &HashMap<[u32; 2], Vec<(usize, usize)>>,
) -> Vec<[u32; 2]> {
    /// A walk of which some steps are left.
    struct Frame<'a> {
        walk: &'a Walk,
        start: usize,
        done: usize,
        /// How many of the holes at the next step are done.
        holes: usize,
    }
    let mut line = Vec::new();
    let frame = |walk, start| Frame {
        walk,
        start,
        done: 0,
        holes: 0,
    };
    // A stack, because holes can lead to further holes any number of times.
    let mut stack = vec![frame(outer, 0)];
    while let Some(top) = stack.last_mut() {
        let count = top.walk.steps.len();
        let (at, heading) = top.walk.steps[(top.start + top.done) % count];
        line.push(at);
        if top.done == count {
            stack.pop();
            continue;
        }
        let next = match heading {
            Heading::East => bridges.get(&at).and_then(|here| here.get(top.holes)),
            _ => None,
        };
        match next {
            Some(&(hole, entry)) => {
                top.holes += 1;
                stack.push(frame(&holes[hole], entry));
            }
            None => {
                top.done += 1;
                top.holes = 0;
            }
        }
    }
    line
}

/// Keeps the points where the direction changes; the last point is the first one again.
fn corners(line: &[[u32; 2]]) -> Vec<[u32; 2]> {
    let direction = |from: [u32; 2], to: [u32; 2]| [0, 1].map(|axis| to[axis].cmp(&from[axis]));
    let points = &line[..line.len() - 1];
    let mut kept: Vec<[u32; 2]> = Vec::new();
    for (index, &point) in points.iter().enumerate() {
        let before = points[(index + points.len() - 1) % points.len()];
        let after = line[index + 1];
        // At a bridge, the same point occurs twice in a row.
        if before != point && direction(before, point) == direction(point, after) {
            continue;
        }
        if kept.last() != Some(&point) {
            kept.push(point);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coco::segmentation::CocoSegmentation;
    use crate::mask::tests::mask;
    use proptest::prelude::*;

    fn filled(mask: &Mask) -> Mask {
        let polygons = CocoSegmentation::polygons(mask);
        polygons.to_mask(mask.width(), mask.height()).unwrap()
    }

    #[test]
    fn a_step_has_six_corners() {
        let step = mask(&["....", ".#..", ".##.", "...."]);
        let expected = [[1, 1], [2, 1], [2, 2], [3, 2], [3, 3], [1, 3]];
        assert_eq!(step.to_outlines(), [expected]);
    }

    #[test]
    fn parts_that_touch_at_a_corner_are_one_line() {
        let pair = mask(&["#.", ".#"]);
        let expected = [
            [0, 0],
            [1, 0],
            [1, 1],
            [2, 1],
            [2, 2],
            [1, 2],
            [1, 1],
            [0, 1],
        ];
        assert_eq!(pair.to_outlines(), [expected]);
        assert_eq!(filled(&pair), pair);
        assert_eq!(mask(&["#.#"]).to_outlines().len(), 2);
        assert!(Mask::new(3, 2).to_outlines().is_empty());
        assert!(Mask::new(0, 2).to_outlines().is_empty());
    }

    #[test]
    fn a_hole_is_reached_by_a_vertical_line() {
        let ring = mask(&["###", "#.#", "###"]);
        let outlines = ring.to_outlines();
        let expected = [
            [0, 0],
            [1, 0],
            [1, 2],
            [2, 2],
            [2, 1],
            [1, 1],
            [1, 0],
            [3, 0],
            [3, 3],
            [0, 3],
        ];
        assert_eq!(outlines, [expected]);
        assert_eq!(filled(&ring), ring);
    }

    #[test]
    fn holes_below_holes_and_parts_in_holes_are_restored() {
        let nested = mask(&[
            "#########",
            "#.......#",
            "#.#####.#",
            "#.#.#.#.#",
            "#.#####.#",
            "#.#.#.#.#",
            "#.#####.#",
            "#.......#",
            "#########",
        ]);
        assert_eq!(nested.to_outlines().len(), 2);
        assert_eq!(filled(&nested), nested);
        // A hole in every second pixel of every second row: as many as a stack of calls would not hold.
        let side = 801;
        let values = (0..side * side).map(|i| u8::from(i % side % 2 * (i / side % 2) == 0));
        let sieve = Mask::from_vec(side, side, values.collect());
        assert_eq!(sieve.to_outlines().len(), 1);
        assert_eq!(filled(&sieve), sieve);
    }

    /// Twice the area within a closed line (the shoelace formula).
    fn area(line: &[[u32; 2]]) -> i64 {
        let points = line.iter().zip(line.iter().cycle().skip(1));
        let product = |(a, b): (&[u32; 2], &[u32; 2])| {
            i64::from(a[0]) * i64::from(b[1]) - i64::from(b[0]) * i64::from(a[1])
        };
        points.map(product).sum()
    }

    proptest! {
        #[test]
        fn filling_the_outlines_restores_any_mask(
            (width, values) in (1usize..26, 1usize..26, 1u32..10).prop_flat_map(|(width, height, of)| {
                let pixel = (0u32..10).prop_map(move |value| u8::from(value < of));
                (Just(width), prop::collection::vec(pixel, width * height))
            })
        ) {
            let height = (values.len() / width) as u32;
            let mask = Mask::from_vec(width as u32, height, values);
            prop_assert_eq!(&filled(&mask), &mask);
            let outlines = mask.to_outlines();
            let areas: i64 = outlines.iter().map(|line| area(line)).sum();
            prop_assert_eq!(areas, 2 * mask.area() as i64);
            prop_assert_eq!(outlines.len(), mask.instances(&vec![0.0; mask.to_vec().len()]).unwrap().len());
        }
    }
}
