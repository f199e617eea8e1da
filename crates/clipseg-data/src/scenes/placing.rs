//! Placing the objects of a scene, and which of their pixels are visible.

use super::coverage::{Coverage, index};
use super::drawings::Ink;
use super::looks::{COLOURS, Colour, Size, Texture};
use super::pick::pick;
use super::shapes::Shape;
use super::unseen::{unseen_colour, unseen_texture};
use crate::mask::Mask;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use tiny_skia::Transform;

/// Minimum visible fraction of an object that is used in phrases.
const NAMED_SHARE: f32 = 0.5;
/// Minimum number of visible pixels of an object that is used in phrases.
const NAMED_PIXELS: usize = 12;
/// Fraction of the proposals that may hide more than the allowed part of another object.
const HIDING: f64 = 0.06;

/// Shape and appearance of an object.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Look {
    pub(crate) shape: Shape,
    pub(crate) colour: &'static Colour,
    pub(crate) texture: Texture,
    pub(crate) size: Size,
}

/// Which combinations of shape and appearance a picture may contain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Looks {
    /// Only combinations that occur in training.
    Seen,
    /// All combinations; unseen ones occur more often than by chance.
    WithUnseen,
}

impl Looks {
    fn draw(self, random: &mut ChaCha8Rng, shape: Option<Shape>, size: Option<Size>) -> Look {
        let shape = shape.unwrap_or_else(|| *pick(random, &Shape::ALL));
        let size = size.unwrap_or_else(|| *pick(random, &Size::ALL));
        let mut look = Look {
            shape,
            colour: pick(random, &COLOURS),
            // Half of the objects are plain, which is more natural.
            texture: *pick(
                random,
                &[
                    Texture::Plain,
                    Texture::Plain,
                    Texture::Striped,
                    Texture::Dotted,
                ],
            ),
            size,
        };
        match self {
            Self::Seen => {
                while look.colour == unseen_colour(shape) {
                    look.colour = pick(random, &COLOURS);
                }
                while Some(look.texture) == unseen_texture(shape) {
                    look.texture = *pick(random, &Texture::ALL);
                }
            }
            Self::WithUnseen => {
                if random.random_bool(0.3) {
                    look.colour = unseen_colour(shape);
                } else if let Some(texture) = unseen_texture(shape)
                    && random.random_bool(0.3)
                {
                    look.texture = texture;
                }
            }
        }
        look
    }
}

/// Position, size and rotation of a drawing in the picture.
#[derive(Debug, Clone, Copy)]
struct Pose {
    centre: [f32; 2],
    radius: f32,
    angle: f32,
    /// Horizontal stretch factor; negative for a flipped drawing.
    stretch: f32,
}

impl Pose {
    fn draw(random: &mut ChaCha8Rng, look: &Look, scene: &Scene) -> Self {
        let side = scene.side as f32;
        let radius = scene.unit * random.random_range(look.size.radius());
        let turn = look.shape.turn();
        let around: f32 = if random.random_bool(0.5) { -1.0 } else { 1.0 };
        let room = 0.55 * radius..side - 0.55 * radius;
        Self {
            centre: std::array::from_fn(|_| random.random_range(room.clone())),
            radius,
            angle: random.random_range(-turn..=turn),
            stretch: around * random.random_range(0.93..1.07),
        }
    }

    fn transform(&self) -> Transform {
        let (sin, cos) = self.angle.sin_cos();
        let (wide, high) = (self.radius * self.stretch, self.height());
        let [x, y] = self.centre;
        Transform::from_row(wide * cos, wide * sin, -high * sin, high * cos, x, y)
    }

    fn height(&self) -> f32 {
        self.radius / self.stretch.abs()
    }
}

/// A placed drawing.
#[derive(Debug)]
pub(crate) struct Object {
    pub(crate) look: Look,
    pub(crate) centre: [f32; 2],
    pub(crate) radius: f32,
    /// Parts from bottom to top.
    pub(crate) parts: Vec<(Ink, Coverage)>,
    /// All parts together, including hidden pixels.
    pub(crate) silhouette: Coverage,
}

impl Object {
    fn new(look: Look, pose: &Pose) -> Self {
        let parts = look.shape.parts().into_iter().filter_map(|part| {
            let path = part.path.transform(pose.transform())?;
            Some((part.ink, Coverage::of(&path, part.rule)))
        });
        let parts: Vec<_> = parts.collect();
        Self {
            look,
            centre: pose.centre,
            radius: pose.radius,
            silhouette: Coverage::union(parts.iter().map(|(_, coverage)| coverage)),
            parts,
        }
    }
}

/// The objects of a picture from bottom to top.
#[derive(Debug)]
pub(crate) struct Scene {
    pub(crate) side: u32,
    /// The side in pixels of the picture for which the sizes of objects are meant.
    pub(crate) unit: f32,
    pub(crate) objects: Vec<Object>,
    /// For each pixel, the number of the visible object, counted from 1; 0 for none.
    owner: Vec<u8>,
}

/// The visible part of an object.
#[derive(Debug)]
pub(crate) struct Visible {
    pub(crate) mask: Mask,
    /// Whether enough is visible for the object to be used in phrases.
    pub(crate) named: bool,
}

impl Scene {
    fn new(side: u32, unit: u32) -> Self {
        Self {
            side,
            unit: unit as f32,
            objects: Vec::new(),
            owner: vec![0; side as usize * side as usize],
        }
    }

    /// The visible part of each object.
    pub(crate) fn visible(&self) -> Vec<Visible> {
        let of = |(number, object): (usize, &Object)| {
            let own = self.owner.iter();
            let own = own.map(|&owner| u8::from(usize::from(owner) == number + 1));
            let mask = Mask::from_vec(self.side, self.side, own.collect());
            let (seen, whole) = (mask.area(), object.silhouette.area());
            let named = seen >= NAMED_PIXELS && seen as f32 >= NAMED_SHARE * whole as f32;
            Visible { mask, named }
        };
        self.objects.iter().enumerate().map(of).collect()
    }

    /// Adds an object on top, unless it would hide too much of another one. Returns whether it was added.
    fn add(&mut self, object: Object, overlap: bool, hide: bool) -> bool {
        let whole = object.silhouette.area();
        let mut covered = vec![0usize; self.objects.len() + 1];
        let mut inside = 0;
        for pixel in object.silhouette.inside_of(self.side) {
            covered[usize::from(self.owner[pixel])] += 1;
            inside += 1;
        }
        if inside * 10 < whole * 7 {
            return false;
        }
        for (number, below) in self.objects.iter().enumerate() {
            let hidden = covered[number + 1];
            if hidden == 0 {
                continue;
            }
            let own = u8::try_from(number + 1).unwrap_or(u8::MAX);
            let seen = self.owner.iter().filter(|owner| **owner == own).count();
            let left = (seen - hidden) as f32 / below.silhouette.area() as f32;
            // An object on another one with the same colour could not be distinguished from it.
            let blends = below.look.colour == object.look.colour;
            if !overlap || blends || (left < NAMED_SHARE + 0.1 && !hide) {
                return false;
            }
        }
        let Ok(number) = u8::try_from(self.objects.len() + 1) else {
            return false;
        };
        for pixel in object.silhouette.inside_of(self.side) {
            self.owner[pixel] = number;
        }
        self.objects.push(object);
        true
    }

    /// Whether the bounding square of a circle overlaps an object.
    fn taken(&self, [x, y]: [f32; 2], radius: f32) -> bool {
        let reach = |at: f32| ((at - radius) as i32, (at + radius) as i32);
        let ((left, right), (top, bottom)) = (reach(x), reach(y));
        let pixels = (top..=bottom).flat_map(|y| (left..=right).map(move |x| [x, y]));
        let mut owners = pixels.filter_map(|pixel| index(pixel, self.side));
        owners.any(|pixel| self.owner[pixel] != 0)
    }
}

/// Places two to seven objects. Sometimes one is inside or on top of another, some have the same name as
/// another, and some partly hide others. Objects have the sizes of those in a picture of `unit` pixels.
pub(crate) fn place(random: &mut ChaCha8Rng, side: u32, unit: u32, looks: Looks) -> Scene {
    let mut scene = Scene::new(side, unit);
    let wanted = random.random_range(2..=7);
    if random.random_bool(0.3) {
        place_inside(random, &mut scene, looks);
    }
    if random.random_bool(0.22) {
        place_on_top(random, &mut scene, looks);
    }
    for _ in 0..40 {
        if scene.objects.len() >= wanted {
            break;
        }
        let again = (!scene.objects.is_empty() && random.random_bool(0.35))
            .then(|| pick(random, &scene.objects).look.shape);
        let look = looks.draw(random, again, None);
        let pose = Pose::draw(random, &look, &scene);
        let overlap = random.random_bool(0.4);
        let hide = random.random_bool(HIDING);
        // Cheaper than rejecting it after drawing.
        if overlap || !scene.taken(pose.centre, 0.9 * pose.radius) {
            scene.add(Object::new(look, &pose), overlap, hide);
        }
    }
    scene
}

/// Places a small object inside a large one.
fn place_inside(random: &mut ChaCha8Rng, scene: &mut Scene, looks: Looks) {
    let roomy: Vec<Shape> = Shape::ALL
        .into_iter()
        .filter(|shape| shape.room().is_some())
        .collect();
    let shape = *pick(random, &roomy);
    let around = looks.draw(random, Some(shape), Some(Size::Large));
    let pose = Pose::draw(random, &around, scene);
    let Some(room) = around.shape.room() else {
        return;
    };
    if !scene.add(Object::new(around, &pose), true, false) {
        return;
    }
    let look = looks.draw(random, None, Some(Size::Small));
    let mut room = [tiny_skia::Point::from_xy(room[0], room[1])];
    pose.transform().map_points(&mut room);
    let shake = 0.06 * pose.radius;
    let mut inner = Pose::draw(random, &look, scene);
    inner.centre = [room[0].x, room[0].y].map(|at| at + random.random_range(-shake..=shake));
    scene.add(Object::new(look, &inner), true, false);
}

/// Places an object on another one with a flat top.
fn place_on_top(random: &mut ChaCha8Rng, scene: &mut Scene, looks: Looks) {
    let flat: Vec<(Shape, f32)> = Shape::ALL
        .into_iter()
        .filter_map(|shape| Some((shape, shape.top()?)))
        .collect();
    let (shape, top) = *pick(random, &flat);
    let size = *pick(random, &[Size::Medium, Size::Large]);
    let below = looks.draw(random, Some(shape), Some(size));
    let side = scene.side as f32;
    let mut pose = Pose::draw(random, &below, scene);
    pose.centre[1] = random.random_range(0.55..0.8) * side;
    // Aligned with a pixel row, so that there is no gap below the upper object.
    let height = (pose.centre[1] + top * pose.height()).round();
    pose.centre[1] = height - top * pose.height();
    if !scene.add(Object::new(below, &pose), true, false) {
        return;
    }
    let others: Vec<Shape> = Shape::ALL
        .into_iter()
        .filter(|other| *other != shape)
        .collect();
    let size = *pick(random, &[Size::Small, Size::Small, Size::Medium]);
    let other = *pick(random, &others);
    let look = looks.draw(random, Some(other), Some(size));
    let mut above = Pose::draw(random, &look, scene);
    above.angle = 0.0;
    let parts = look.shape.parts();
    let lowest = parts.iter().map(|part| part.path.bounds().bottom());
    let lowest = lowest.fold(f32::MIN, f32::max);
    // Half a pixel lower, because the tip of a curve covers less than half of its last row.
    above.centre[1] = height + 0.5 - lowest * above.height();
    let shake = 0.4 * pose.radius;
    above.centre[0] = pose.centre[0] + random.random_range(-shake..=shake);
    scene.add(Object::new(look, &above), true, false);
}
