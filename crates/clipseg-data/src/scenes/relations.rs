//! Spatial relations between objects, restricted to unambiguous cases.
//!
//! | | true | false |
//! |---|---|---|
//! | left of | its box ends left of the other's box, and the vertical distance of the centres is at most twice the horizontal one | its centre is not further left |
//! | right of, above, below | the same in the other direction | the same in the other direction |
//! | inside | all of it, including hidden parts, is enclosed by the other on all four sides, and the other is a plain closed shape | at most a quarter of it is enclosed |
//! | on | its bottom is within two pixels of the other's flat top, and its centre is above the top | it ends far above the top, begins below it, or is beside it |
//!
//! All other cases are ambiguous and not used in phrases. Boxes are those of the visible pixels.

use super::coverage::Enclosure;
use super::placing::{Object, Scene, Visible};
use crate::mask::BoundingBox;

/// Whether a statement is true.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Truth {
    No,
    /// Ambiguous: people would disagree.
    Unclear,
    Yes,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Predicate {
    LeftOf,
    RightOf,
    Above,
    Below,
    Inside,
    On,
}

impl Predicate {
    pub(crate) const ALL: [Self; 6] = [
        Self::LeftOf,
        Self::RightOf,
        Self::Above,
        Self::Below,
        Self::Inside,
        Self::On,
    ];

    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::LeftOf => "left of",
            Self::RightOf => "right of",
            Self::Above => "above",
            Self::Below => "below",
            Self::Inside => "inside",
            Self::On => "on",
        }
    }
}

/// The relations between all pairs of objects.
#[derive(Debug)]
pub(crate) struct Relations {
    count: usize,
    truths: Vec<[Truth; 6]>,
}

impl Relations {
    pub(crate) fn of(scene: &Scene, visible: &[Visible]) -> Self {
        let count = scene.objects.len();
        let boxes: Vec<Option<BoundingBox>> = visible
            .iter()
            .map(|seen| seen.mask.bounding_box())
            .collect();
        let enclosures: Vec<Enclosure> = scene
            .objects
            .iter()
            .map(|object| Enclosure::of(&object.silhouette))
            .collect();
        let truth = |a: usize, b: usize| {
            let (Some(box_a), Some(box_b)) = (boxes[a], boxes[b]) else {
                return [Truth::No; 6];
            };
            let ((across_a, down_a), (across_b, down_b)) = (spans(box_a), spans(box_b));
            let (object, other) = (&scene.objects[a], &scene.objects[b]);
            [
                before((across_a, down_a), (across_b, down_b)),
                before((across_b, down_b), (across_a, down_a)),
                before((down_a, across_a), (down_b, across_b)),
                before((down_b, across_b), (down_a, across_a)),
                inside(object, other, &enclosures[b]),
                on((across_a, down_a), (across_b, down_b), other, scene.unit),
            ]
        };
        let pairs = (0..count).flat_map(|a| (0..count).map(move |b| (a, b)));
        Self {
            count,
            truths: pairs.map(|(a, b)| truth(a, b)).collect(),
        }
    }

    /// Whether object `a` has a relation to object `b`.
    pub(crate) fn truth(&self, predicate: Predicate, a: usize, b: usize) -> Truth {
        self.truths[a * self.count + b][predicate as usize]
    }
}

/// First and last pixel along one axis.
type Span = [f32; 2];

fn spans(found: BoundingBox) -> (Span, Span) {
    let span = |start: u32, length: u32| [start as f32, (start + length) as f32 - 1.0];
    (span(found.x, found.width), span(found.y, found.height))
}

fn middle(span: Span) -> f32 {
    (span[0] + span[1]) / 2.0
}

/// Whether `a` is left of `b`, given their horizontal and vertical spans; with both exchanged, above.
fn before((along_a, across_a): (Span, Span), (along_b, across_b): (Span, Span)) -> Truth {
    let ahead = middle(along_b) - middle(along_a);
    let aside = (middle(across_b) - middle(across_a)).abs();
    if ahead <= 0.0 {
        Truth::No
    } else if along_a[1] < along_b[0] && aside <= 2.0 * ahead {
        Truth::Yes
    } else {
        Truth::Unclear
    }
}

fn inside(object: &Object, other: &Object, enclosure: &Enclosure) -> Truth {
    let pixels = object.silhouette.inside();
    let held = pixels.filter(|pixel| enclosure.holds(*pixel)).count();
    let whole = object.silhouette.area();
    if held == whole && other.look.shape.room().is_some() {
        Truth::Yes
    } else if 4 * held <= whole {
        Truth::No
    } else {
        Truth::Unclear
    }
}

fn on(
    (across_a, down_a): (Span, Span),
    (across_b, down_b): (Span, Span),
    other: &Object,
    unit: f32,
) -> Truth {
    if other.look.shape.top().is_none() {
        return Truth::No;
    }
    let beside = across_a[1] < across_b[0] || across_b[1] < across_a[0];
    let (end, top) = (down_a[1] + 1.0, down_b[0]);
    if beside || end < top - 0.08 * unit || down_a[0] > top {
        Truth::No
    } else if (end - top).abs() <= 2.0 && (across_b[0]..=across_b[1]).contains(&middle(across_a)) {
        Truth::Yes
    } else {
        Truth::Unclear
    }
}

#[cfg(test)]
mod tests {
    use super::super::shapes::Shape;
    use super::super::writing::compose;
    use super::*;
    use crate::ScenesConfig;

    #[test]
    fn left_of_needs_separate_boxes_and_a_limited_slope() {
        let level = [10.0, 20.0];
        let far = ([40.0, 50.0], level);
        assert_eq!(before(([0.0, 9.0], level), far), Truth::Yes);
        assert_eq!(before(far, ([0.0, 9.0], level)), Truth::No);
        assert_eq!(before(far, far), Truth::No);
        // They overlap horizontally, or one is far above the other.
        assert_eq!(before(([30.0, 40.0], level), far), Truth::Unclear);
        assert_eq!(before(([28.0, 38.0], [80.0, 90.0]), far), Truth::Unclear);
    }

    #[test]
    fn on_needs_a_bottom_close_to_the_top() {
        let config = ScenesConfig {
            images: 60,
            size: 100,
            seed: 1,
        };
        let objects: Vec<Object> = (0..config.images)
            .flat_map(|index| compose(&config, index).0.objects)
            .collect();
        let find = |table: bool| {
            let mut found = objects.iter();
            found.find(|object| (object.look.shape == Shape::Table) == table)
        };
        let (table, thing) = (find(true).unwrap(), find(false).unwrap());
        let place = ([40.0, 60.0], [50.0, 70.0]);
        let told = |across: Span, down: Span| on((across, down), place, table, 100.0);
        assert_eq!(told([45.0, 55.0], [30.0, 49.0]), Truth::Yes);
        let standing = ([45.0, 55.0], [30.0, 49.0]);
        assert_eq!(on(standing, place, thing, 100.0), Truth::No);
        // Left, right, below the top, and too far above it.
        assert_eq!(told([10.0, 20.0], [30.0, 49.0]), Truth::No);
        assert_eq!(told([80.0, 90.0], [30.0, 49.0]), Truth::No);
        assert_eq!(told([45.0, 55.0], [51.0, 60.0]), Truth::No);
        assert_eq!(told([45.0, 55.0], [20.0, 39.0]), Truth::No);
        // Beyond the edge, or a little too high.
        assert_eq!(told([30.0, 41.0], [30.0, 49.0]), Truth::Unclear);
        assert_eq!(told([45.0, 55.0], [20.0, 44.0]), Truth::Unclear);
    }
}
