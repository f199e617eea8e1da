//! Rasterizing polygons.

mod active;
mod pillow;
mod pixel_centre;

use crate::mask::{BoundingBox, Mask};
use serde::{Deserialize, Serialize};

/// The rule that decides which pixels a polygon covers.
///
/// Coordinates are columns and rows in pixels. Any values are accepted: parts outside the mask take no
/// time, NaN is treated as 0, and infinity as the largest number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RasterRule {
    /// The rule of PhraseCut's evaluator: coordinates are truncated to whole pixels and filled like Pillow
    /// 13's `ImageDraw.polygon`, including the outline. A polygon with one point covers nothing.
    #[default]
    Pillow,
    /// The rule of scikit-image's `polygon2mask`, with which CLIPSeg was trained: a pixel is covered if its
    /// centre, at integer coordinates, lies in the polygon or on an edge.
    PixelCentre,
}

impl RasterRule {
    /// Adds the pixels covered by a polygon to a mask.
    pub fn fill(self, mask: &mut Mask, polygon: &[[f32; 2]]) {
        if mask.width() == 0 || mask.height() == 0 {
            return;
        }
        match self {
            Self::Pillow => pillow::fill(mask, polygon),
            Self::PixelCentre => pixel_centre::fill(mask, polygon),
        }
    }

    /// Returns the union of polygons as a mask of `width` × `height` pixels.
    pub fn mask<'a>(
        self,
        polygons: impl IntoIterator<Item = &'a [[f32; 2]]>,
        width: u32,
        height: u32,
    ) -> Mask {
        let mut mask = Mask::new(width, height);
        for polygon in polygons {
            self.fill(&mut mask, polygon);
        }
        mask
    }

    /// Returns the union of polygons within a window, scaled to a mask of `width` × `height` pixels.
    ///
    /// The polygons are scaled before they are filled, so that thin parts are kept, unlike with
    /// [`Mask::resize`]. The borders of the window are mapped to the borders of the mask. Integer coordinates
    /// are the corners of pixels for [`Pillow`](Self::Pillow) and their centres for
    /// [`PixelCentre`](Self::PixelCentre).
    pub fn mask_scaled<'a>(
        self,
        polygons: impl IntoIterator<Item = &'a [[f32; 2]]>,
        window: BoundingBox,
        width: u32,
        height: u32,
    ) -> Mask {
        let mut mask = Mask::new(width, height);
        if window.width == 0 || window.height == 0 {
            return mask;
        }
        let first = [window.x, window.y].map(f64::from);
        let scale = [
            f64::from(width) / f64::from(window.width),
            f64::from(height) / f64::from(window.height),
        ];
        let centre = match self {
            Self::Pillow => 0.0,
            Self::PixelCentre => 0.5,
        };
        let mut scaled = Vec::new();
        for polygon in polygons {
            scaled.clear();
            scaled.extend(polygon.iter().map(|point| {
                [0, 1].map(|axis| {
                    let value = f64::from(point[axis]) - first[axis] + centre;
                    let value = value * scale[axis] - centre;
                    // Truncation is toward zero in the picture, not in the window.
                    (match self {
                        Self::Pillow if point[axis] < 0.0 => value.ceil(),
                        Self::Pillow => value.floor(),
                        Self::PixelCentre => value,
                    }) as f32
                })
            }));
            self.fill(&mut mask, &scaled);
        }
        mask
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::{Duration, Instant};

    const RULES: [RasterRule; 2] = [RasterRule::Pillow, RasterRule::PixelCentre];

    fn polygon(range: std::ops::Range<i16>) -> impl Strategy<Value = Vec<[f32; 2]>> {
        // Quarters of pixels, so that moving by whole pixels rounds nothing.
        prop::collection::vec([range.clone(), range], 2..9).prop_map(|points| {
            points
                .into_iter()
                .map(|p| p.map(|v| f32::from(v) / 4.0))
                .collect()
        })
    }

    fn wild() -> impl Strategy<Value = f32> {
        prop_oneof![
            any::<f32>(),
            -50f32..50.0,
            Just(f32::NAN),
            Just(f32::INFINITY),
            Just(f32::NEG_INFINITY),
            Just(f32::MAX),
            Just(f32::MIN),
            Just(i32::MAX as f32),
            Just(i32::MIN as f32),
            Just(f32::MIN_POSITIVE),
            Just(-0.0),
        ]
    }

    /// Much longer than filling a picture takes, and much shorter than a loop over 2³² rows.
    const LONG: Duration = Duration::from_millis(500);

    #[test]
    fn parts_outside_the_mask_take_no_time() {
        // The largest possible coordinates; a loop over their rows or columns would have 2³² steps.
        let (low, high) = (f32::MIN, f32::MAX);
        let triangle = [[low, low], [high, low], [0.0, high]];
        let sliver = [[3.0, low], [4.0, high], [5.0, low], [6.0, high]];
        let run = [[low, 2.0], [high, 2.0], [high, 4.0], [low, 4.0]];
        for rule in RULES {
            let begin = Instant::now();
            for _ in 0..100 {
                for points in [&triangle[..], &sliver[..], &run[..]] {
                    let mask = rule.mask([points], 13, 9);
                    assert!(mask.area() > 0, "{rule:?} {points:?}");
                    rule.mask_scaled([points], mask.frame(), 640, 480);
                }
            }
            assert!(
                begin.elapsed() < 10 * LONG,
                "{rule:?} took {:?}",
                begin.elapsed()
            );
        }
    }

    proptest! {
        #[test]
        fn the_mask_is_the_union_of_polygons(a in polygon(-40..160), b in polygon(-40..160)) {
            for rule in RULES {
                let [first, second] = [&a, &b].map(|points| rule.mask([&points[..]], 31, 23));
                let both = rule.mask([&a[..], &b[..]], 31, 23);
                prop_assert_eq!(both, first.union(&second).unwrap());
            }
        }

        #[test]
        fn moving_by_whole_pixels_moves_the_mask(
            points in polygon(0..80), dx in 0u32..9, dy in 0u32..9
        ) {
            for rule in RULES {
                let moved: Vec<[f32; 2]> =
                    points.iter().map(|[x, y]| [x + dx as f32, y + dy as f32]).collect();
                let (here, there) = (rule.mask([&points[..]], 24, 24), rule.mask([&moved[..]], 33, 33));
                prop_assert_eq!(here.area(), there.area());
                for y in 0..24u32 {
                    for x in 0..24u32 {
                                                prop_assert_eq!(here.contains(x, y), there.contains(x + dx, y + dy), "{:?} at {} {}", rule, x, y);
                    }
                }
            }
        }

        #[test]
        fn the_size_of_the_mask_does_not_change_the_covered_pixels(points in polygon(-200..300)) {
            for rule in RULES {
                let (small, large) = (rule.mask([&points[..]], 20, 15), rule.mask([&points[..]], 60, 50));
                prop_assert_eq!(large.crop(small.frame()), small);
            }
        }

        #[test]
        fn any_coordinates_are_filled_in_bounded_time(
            points in prop::collection::vec([wild(), wild()], 0..40)
        ) {
            for rule in RULES {
                let begin = Instant::now();
                let mask = rule.mask([&points[..]], 13, 9);
                rule.mask_scaled([&points[..]], mask.frame(), 640, 480);
                rule.mask_scaled([&points[..]], Mask::new(640, 480).frame(), 13, 9);
                prop_assert!(begin.elapsed() < LONG, "{:?} took {:?}", rule, begin.elapsed());
            }
        }

        #[test]
        fn scaling_by_one_changes_nothing(points in polygon(-40..160)) {
            for rule in RULES {
                let full = rule.mask([&points[..]], 31, 23);
                prop_assert_eq!(&rule.mask_scaled([&points[..]], full.frame(), 31, 23), &full);
            }
        }

        #[test]
        fn a_window_equals_a_crop(points in polygon(20..60)) {
            let window = BoundingBox { x: 4, y: 5, width: 20, height: 12 };
            for rule in RULES {
                let full = rule.mask([&points[..]], 31, 23);
                prop_assert_eq!(rule.mask_scaled([&points[..]], window, 20, 12), full.crop(window));
            }
        }
    }

    #[test]
    fn a_thin_part_is_kept_by_scaling_and_lost_by_resizing() {
        // One pixel wide, between the columns that resizing by the nearest pixel samples.
        let line: &[[f32; 2]] = &[[13.0, 0.0], [13.0, 99.0]];
        let full = RasterRule::Pillow.mask([line], 100, 100);
        assert_eq!((full.area(), full.resize(10, 10).area()), (100, 0));
        let scaled = RasterRule::Pillow.mask_scaled([line], full.frame(), 10, 10);
        assert_eq!(
            scaled.bounding_box().map(|b| (b.x, b.width, b.height)),
            Some((1, 1, 10))
        );
    }

    #[test]
    fn masks_of_size_zero_are_accepted() {
        for rule in RULES {
            assert_eq!(rule.mask([&[[0.0, 0.0], [5.0, 5.0]][..]], 0, 4).area(), 0);
            let scaled = rule.mask_scaled(
                [&[[0.0, 0.0], [5.0, 5.0]][..]],
                Mask::new(0, 0).frame(),
                4,
                4,
            );
            assert_eq!(scaled.area(), 0);
        }
    }
}
