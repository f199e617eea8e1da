//! Regions of an entire picture, each with a text about the object in it.

use super::annotated::{Annotated, Shown};
use super::things::Thing;
use super::window::{fractions, same_place, shows};
use crate::mask::BoundingBox;
use crate::samples::words::swap_sides;
use rand::Rng;
use rand::seq::{IndexedRandom, SliceRandom};

/// A region of a picture with a text about the object in it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct CaptionedRegion {
    /// Bounding box of the object: left, top, right and bottom edge, as fractions of the sides of the
    /// sample's picture.
    pub bounds: [f32; 4],
    /// The text.
    pub text: String,
    /// The things that the text describes.
    pub(crate) said: Vec<Thing>,
    /// The things that are known to be in the box.
    pub(crate) shown: Vec<Thing>,
}

impl CaptionedRegion {
    fn new(
        known: &Annotated,
        bounds: BoundingBox,
        window: BoundingBox,
        (text, thing): &(String, Thing),
    ) -> Option<Self> {
        Some(Self {
            bounds: fractions(bounds, window)?,
            text: text.clone(),
            said: vec![thing.clone()],
            shown: known.things_at(|other| same_place(bounds, other)),
        })
    }

    /// Mirrors the box, and swaps "left" and "right" in the text.
    pub(crate) fn flip(&mut self) {
        let [left, _, right, _] = &mut self.bounds;
        (*left, *right) = (1.0 - *right, 1.0 - *left);
        self.text = swap_sides(&self.text).into_owned();
    }
}

/// An object that is visible in a window, with its boxes there and the texts that are not used yet.
struct Candidate<'a> {
    boxes: Vec<BoundingBox>,
    texts: Vec<&'a (String, Thing)>,
}

impl<'a> Candidate<'a> {
    fn new(object: &'a Shown, window: BoundingBox) -> Option<Self> {
        let boxes = object.bounds.iter().copied();
        let boxes: Vec<_> = boxes.filter(|bounds| shows(window, *bounds)).collect();
        (!boxes.is_empty()).then(|| Self {
            boxes,
            texts: object.texts().collect(),
        })
    }

    /// Draws a box and a text, which is not drawn again.
    fn draw(&mut self, random: &mut impl Rng) -> Option<(BoundingBox, &'a (String, Thing))> {
        let bounds = *self.boxes.choose(random)?;
        let chosen = *self.texts.choose(random)?;
        self.texts.retain(|(text, _)| *text != chosen.0);
        Some((bounds, chosen))
    }
}

/// Draws up to `most` regions in a window of the picture. Every object that is visible in it gets a text
/// before one of them gets a second, different text.
pub(crate) fn draw_regions(
    known: &Annotated,
    window: BoundingBox,
    most: usize,
    random: &mut impl Rng,
) -> Vec<CaptionedRegion> {
    let objects = known.objects.iter();
    let mut candidates: Vec<Candidate<'_>> = objects
        .filter_map(|object| Candidate::new(object, window))
        .collect();
    candidates.shuffle(random);
    let mut regions = Vec::new();
    while !candidates.is_empty() && regions.len() < most {
        for candidate in candidates.iter_mut().take(most - regions.len()) {
            let drawn = candidate.draw(random);
            regions.extend(
                drawn.and_then(|(bounds, text)| CaptionedRegion::new(known, bounds, window, text)),
            );
        }
        candidates.retain(|candidate| !candidate.texts.is_empty());
    }
    regions
}

#[cfg(test)]
mod tests {
    use super::super::things::may_hold;
    use super::super::window::tests::bounds;
    use super::*;
    use crate::scenes::fresh::{Looks, fresh_scene};
    use image::RgbImage;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;
    use std::collections::BTreeSet;

    fn object(name: &str, boxes: &[BoundingBox]) -> Shown {
        let text = |words: &str| (words.to_owned(), Thing::new([words]));
        let named = text(name);
        Shown {
            thing: Thing::new([name, "small"]),
            bounds: boxes.to_vec(),
            captions: vec![named.clone(), named],
            sized: vec![text(&format!("small {name}"))],
            name: name.to_owned(),
            attributes: Vec::new(),
        }
    }

    /// A picture of 100 x 50 pixels.
    fn known(objects: Vec<Shown>) -> Annotated {
        Annotated {
            picture: RgbImage::new(100, 50),
            phrases: Vec::new(),
            objects,
        }
    }

    fn texts(regions: &[CaptionedRegion]) -> BTreeSet<&str> {
        regions.iter().map(|region| region.text.as_str()).collect()
    }

    #[test]
    fn every_object_gets_a_text_before_one_gets_a_second() {
        let known = known(vec![
            object("star", &[bounds(0, 0, 10, 10)]),
            object("tree", &[bounds(20, 0, 10, 10), bounds(60, 0, 10, 10)]),
            object("car", &[bounds(40, 30, 20, 10)]),
        ]);
        let picture = bounds(0, 0, 100, 50);
        for seed in 0..20 {
            let draw =
                |most| draw_regions(&known, picture, most, &mut ChaCha8Rng::seed_from_u64(seed));
            let three = draw(3);
            for name in ["star", "tree", "car"] {
                let count = three
                    .iter()
                    .filter(|region| region.text.contains(name))
                    .count();
                assert_eq!(count, 1, "{:?}", texts(&three));
            }
            assert_eq!((draw(5).len(), texts(&draw(5)).len()), (5, 5));
            // Each object has two different texts.
            assert_eq!((draw(9).len(), texts(&draw(9)).len()), (6, 6));
        }
    }

    #[test]
    fn boxes_are_fractions_of_the_window_and_mostly_within_it() {
        let known = known(vec![
            object("star", &[bounds(20, 10, 20, 10)]),
            object("tree", &[bounds(85, 10, 10, 20)]),
            object("car", &[bounds(87, 10, 10, 20)]),
        ]);
        let window = bounds(10, 0, 80, 40);
        let mut random = ChaCha8Rng::seed_from_u64(1);
        let mut regions = draw_regions(&known, window, 2, &mut random);
        regions.sort_by_key(|region| region.text.contains("tree"));
        // Less than half of the car is in the window, exactly half of the tree.
        let [star, tree] = regions.as_mut_slice() else {
            panic!("{regions:?}")
        };
        assert!(star.text.contains("star") && tree.text.contains("tree"));
        let [star, tree] = [star, tree].map(|region| {
            let before = region.bounds;
            region.flip();
            [before, region.bounds]
        });
        assert_eq!(star[0], [0.125, 0.25, 0.375, 0.5]);
        assert_eq!(star[1], [0.625, 0.25, 0.875, 0.5]);
        assert_eq!(tree[0], [0.9375, 0.25, 1.0, 0.75]);
        assert_eq!(tree[1], [0.0, 0.25, 0.0625, 0.75]);
    }

    #[test]
    fn flipping_swaps_the_sides_in_the_text() {
        let known = known(vec![object("left shoe", &[bounds(0, 0, 50, 50)])]);
        let mut random = ChaCha8Rng::seed_from_u64(1);
        let window = bounds(0, 0, 100, 50);
        let mut regions = draw_regions(&known, window, 1, &mut random);
        let before = regions[0].text.clone();
        regions[0].flip();
        assert_eq!(regions[0].text, before.replace("left", "right"));
        assert_eq!(regions[0].bounds, [0.5, 0.0, 1.0, 1.0]);
    }

    #[test]
    fn regions_of_a_scene_have_true_texts() {
        for index in 0..30 {
            let known = Annotated::of_scene(fresh_scene(1, index, 64, Looks::Seen));
            let window = bounds(0, 0, 64, 64);
            let mut random = ChaCha8Rng::seed_from_u64(index);
            let regions = draw_regions(&known, window, 8, &mut random);
            assert!(regions.len() > known.objects.len().min(7));
            for region in regions {
                assert!(may_hold(&region.said, &region.shown), "{}", region.text);
            }
        }
    }
}
