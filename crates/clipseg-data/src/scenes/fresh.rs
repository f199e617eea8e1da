//! Scenes generated in memory, each determined by a seed and an index.

use super::painting::paint;
use super::phrases::describe;
pub(crate) use super::placing::Looks;
use super::placing::{Look, place};
use crate::mask::BoundingBox;
use crate::records::Phrase;
use image::RgbImage;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// Separates the seed from that of scenes in folders.
const APART: u64 = 0x6672_6573_685f_7363;

/// A picture with its objects and phrases.
#[derive(Debug)]
pub(crate) struct FreshScene {
    pub(crate) picture: RgbImage,
    pub(crate) objects: Vec<FreshObject>,
    pub(crate) phrases: Vec<Phrase>,
}

/// An object that is sufficiently visible.
#[derive(Debug)]
pub(crate) struct FreshObject {
    pub(crate) name: &'static str,
    pub(crate) size: &'static str,
    pub(crate) texture: &'static str,
    pub(crate) colour: &'static str,
    /// Bounding box of its visible pixels.
    pub(crate) bounds: BoundingBox,
}

/// Generates the scene with an index.
pub(crate) fn fresh_scene(seed: u64, index: u64, side: u32, looks: Looks) -> FreshScene {
    let mut random = ChaCha8Rng::seed_from_u64(seed ^ APART);
    random.set_stream(index);
    let scene = place(&mut random, side, side, looks);
    let phrases = describe(&mut random, &scene, index);
    let picture = paint(&mut random, &scene);
    let seen = scene.objects.iter().zip(scene.visible());
    let objects = seen.filter_map(|(object, seen)| {
        let bounds = seen.mask.bounding_box().filter(|_| seen.named)?;
        let Look {
            shape,
            colour,
            texture,
            size,
        } = object.look;
        Some(FreshObject {
            name: shape.name(),
            size: size.name(),
            texture: texture.name(),
            colour: colour.name,
            bounds,
        })
    });
    FreshScene {
        objects: objects.collect(),
        picture,
        phrases,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenes::UnseenPairs;
    use crate::scenes::looks::COLOURS;
    use crate::scenes::shapes::Shape;

    #[test]
    fn a_scene_depends_on_seed_and_index() {
        let scene = |seed, index| fresh_scene(seed, index, 48, Looks::Seen);
        assert_eq!(scene(1, 2).picture, scene(1, 2).picture);
        assert_ne!(scene(1, 2).picture, scene(2, 2).picture);
        assert_ne!(scene(1, 2).picture, scene(1, 3).picture);
    }

    #[test]
    fn unseen_combinations_occur_only_where_they_are_allowed() {
        let held_back = |looks: Looks| {
            let pairs = UnseenPairs::of_scenes().pairs;
            let scenes = (0..60).map(|index| fresh_scene(7, index, 48, looks));
            let objects = scenes.flat_map(|scene| scene.objects);
            let is = |object: &FreshObject| {
                pairs.iter().any(|(attribute, name)| {
                    name == object.name
                        && [object.colour, object.texture].contains(&attribute.as_str())
                })
            };
            objects.filter(is).count()
        };
        assert_eq!(held_back(Looks::Seen), 0);
        assert!(held_back(Looks::WithUnseen) > 20);
    }

    #[test]
    fn objects_lie_in_the_picture() {
        for index in 0..20 {
            let scene = fresh_scene(3, index, 64, Looks::Seen);
            assert!(!scene.phrases.is_empty() && !scene.objects.is_empty());
            for object in &scene.objects {
                let BoundingBox {
                    x,
                    y,
                    width,
                    height,
                } = object.bounds;
                assert!(x + width <= 64 && y + height <= 64 && width * height >= 12);
                assert!(Shape::ALL.iter().any(|shape| shape.name() == object.name));
                assert!(COLOURS.iter().any(|colour| colour.name == object.colour));
            }
        }
    }
}
