//! Windows of a picture that a caption describes.

use crate::mask::BoundingBox;
use rand::{Rng, RngExt};

/// Minimum and maximum size of a crop, relative to its object.
const CONTEXT: [f32; 2] = [1.15, 2.2];
/// Minimum side of a crop in pixels.
const SMALLEST: u32 = 8;

/// Draws a square within the picture that contains the object at a random position. In a narrow picture the
/// square is as wide as the picture and may cut the object off.
pub(crate) fn around(
    bounds: BoundingBox,
    [width, height]: [u32; 2],
    random: &mut impl Rng,
) -> BoundingBox {
    let longer = bounds.width.max(bounds.height).max(1) as f32;
    let wanted = longer * random.random_range(CONTEXT[0]..=CONTEXT[1]);
    let side = (wanted.round() as u32)
        .max(SMALLEST)
        .min(width.min(height))
        .max(1);
    let mut place = |start: u32, length: u32, whole: u32| {
        // All positions that contain the entire object; its centre if there is none.
        let first = (start + length).saturating_sub(side);
        let last = start.min(whole - side);
        if first <= last {
            random.random_range(first..=last)
        } else {
            let middle = start + length / 2;
            middle.saturating_sub(side / 2).min(whole - side)
        }
    };
    BoundingBox {
        x: place(bounds.x, bounds.width, width),
        y: place(bounds.y, bounds.height, height),
        width: side,
        height: side,
    }
}

/// Draws a window with the aspect ratio of the picture and at least `share` of its sides, which contains all
/// of `kept`.
pub(crate) fn within(
    kept: Option<BoundingBox>,
    [width, height]: [u32; 2],
    share: f32,
    random: &mut impl Rng,
) -> BoundingBox {
    let whole = BoundingBox {
        x: 0,
        y: 0,
        width,
        height,
    };
    let share = random.random_range(share.min(1.0)..=1.0);
    let length = |of: u32| ((of as f32 * share).round() as u32).clamp(1, of);
    let (columns, rows) = (length(width), length(height));
    let kept = kept.unwrap_or(BoundingBox {
        x: width / 2,
        y: height / 2,
        width: 0,
        height: 0,
    });
    if kept.width > columns || kept.height > rows {
        return whole;
    }
    let mut place = |start: u32, length: u32, part: u32, of: u32| {
        let first = (start + length).saturating_sub(part);
        random.random_range(first..=start.min(of - part).max(first))
    };
    BoundingBox {
        x: place(kept.x, kept.width, columns, width),
        y: place(kept.y, kept.height, rows, height),
        width: columns,
        height: rows,
    }
}

/// The smallest box around several boxes.
pub(crate) fn union(boxes: impl Iterator<Item = BoundingBox>) -> Option<BoundingBox> {
    boxes.reduce(|a, b| {
        let (x, y) = (a.x.min(b.x), a.y.min(b.y));
        let right = (a.x + a.width).max(b.x + b.width);
        let bottom = (a.y + a.height).max(b.y + b.height);
        BoundingBox {
            x,
            y,
            width: right - x,
            height: bottom - y,
        }
    })
}

/// The part of a box that is in a window, as its left, top, right and bottom edge in fractions of the
/// window's sides; `None` if the box is not in the window.
pub(crate) fn fractions(bounds: BoundingBox, window: BoundingBox) -> Option<[f32; 4]> {
    let seen = common(bounds, window)?;
    let share = |edge: u32, start: u32, length: u32| (edge - start) as f32 / length as f32;
    Some([
        share(seen.x, window.x, window.width),
        share(seen.y, window.y, window.height),
        share(seen.x + seen.width, window.x, window.width),
        share(seen.y + seen.height, window.y, window.height),
    ])
}

/// The common part of two boxes; `None` if it has no area.
fn common(a: BoundingBox, b: BoundingBox) -> Option<BoundingBox> {
    let span = |a: u32, length_a: u32, b: u32, length_b: u32| {
        let (start, end) = (a.max(b), (a + length_a).min(b + length_b));
        (end > start).then(|| (start, end - start))
    };
    let (x, width) = span(a.x, a.width, b.x, b.width)?;
    let (y, height) = span(a.y, a.height, b.y, b.height)?;
    Some(BoundingBox {
        x,
        y,
        width,
        height,
    })
}

fn area(bounds: BoundingBox) -> u64 {
    u64::from(bounds.width) * u64::from(bounds.height)
}

/// Whether at least half of the area of a box lies in a window.
pub(crate) fn shows(window: BoundingBox, bounds: BoundingBox) -> bool {
    common(window, bounds).is_some_and(|seen| 2 * area(seen) >= area(bounds))
}

/// Whether two boxes have at least half of their union in common.
pub(crate) fn same_place(a: BoundingBox, b: BoundingBox) -> bool {
    common(a, b).is_some_and(|both| 3 * area(both) >= area(a) + area(b))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    pub(crate) fn bounds(x: u32, y: u32, width: u32, height: u32) -> BoundingBox {
        BoundingBox {
            x,
            y,
            width,
            height,
        }
    }

    fn inside(inner: BoundingBox, outer: BoundingBox) -> bool {
        inner.x >= outer.x
            && inner.y >= outer.y
            && inner.x + inner.width <= outer.x + outer.width
            && inner.y + inner.height <= outer.y + outer.height
    }

    #[test]
    fn a_square_contains_its_object_and_lies_in_the_picture() {
        let mut random = ChaCha8Rng::seed_from_u64(3);
        let picture = bounds(0, 0, 100, 80);
        for object in [
            bounds(10, 10, 20, 30),
            bounds(0, 0, 5, 5),
            bounds(90, 70, 10, 10),
        ] {
            for _ in 0..100 {
                let square = around(object, [100, 80], &mut random);
                assert_eq!(square.width, square.height);
                assert!(
                    inside(object, square) && inside(square, picture),
                    "{object:?} {square:?}"
                );
            }
        }
        // Wider than the height of the picture: the square is limited to the picture.
        let square = around(bounds(0, 20, 100, 10), [100, 80], &mut random);
        assert_eq!((square.width, square.height, square.y), (80, 80, 0));
        let tiny = around(bounds(0, 0, 1, 1), [1, 1], &mut random);
        assert_eq!(tiny, bounds(0, 0, 1, 1));
    }

    #[test]
    fn described_objects_stay_in_the_window() {
        let mut random = ChaCha8Rng::seed_from_u64(4);
        let kept = bounds(60, 5, 30, 20);
        let mut sizes = std::collections::BTreeSet::new();
        for _ in 0..200 {
            let part = within(Some(kept), [100, 80], 0.5, &mut random);
            assert!(inside(kept, part) && inside(part, bounds(0, 0, 100, 80)));
            sizes.insert(part.width);
        }
        assert!(sizes.len() > 20 && sizes.first() < Some(&60));
        let wide = within(Some(bounds(0, 0, 100, 5)), [100, 80], 0.5, &mut random);
        assert!(wide.width == 100);
        // Nearly every window is lower than this box, so the entire picture is used.
        for _ in 0..20 {
            let tall = within(Some(bounds(40, 0, 5, 80)), [100, 80], 0.5, &mut random);
            assert_eq!((tall.y, tall.height), (0, 80));
        }
        let any = within(None, [100, 80], 0.5, &mut random);
        assert!(inside(any, bounds(0, 0, 100, 80)));
    }

    #[test]
    fn an_object_is_shown_if_half_of_it_is_in_the_window() {
        let window = bounds(10, 10, 20, 20);
        assert!(shows(window, bounds(12, 12, 4, 4)) && shows(window, bounds(5, 12, 10, 4)));
        assert!(!shows(window, bounds(4, 12, 10, 4)) && !shows(window, bounds(40, 40, 4, 4)));
        // An empty box is never shown.
        assert!(!shows(window, bounds(12, 12, 0, 4)));
        // 12 of 24 pixels are common, and 8 of 28.
        assert!(same_place(bounds(0, 0, 6, 3), bounds(2, 0, 6, 3)));
        assert!(!same_place(bounds(0, 0, 6, 3), bounds(3, 0, 6, 3)));
        assert!(!same_place(bounds(0, 0, 6, 3), bounds(6, 0, 6, 3)));
        assert_eq!(
            union([bounds(1, 2, 3, 4), bounds(3, 0, 5, 3)].into_iter()),
            Some(bounds(1, 0, 7, 6))
        );
    }
}
