//! Where objects lie, and how much of each can be seen.

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

/// Of an object that is named at least this share can be seen.
const NAMED_SHARE: f32 = 0.5;
/// And at least this many pixels.
const NAMED_PIXELS: usize = 12;
/// Share of the proposals that may hide another object more than a named one may be hidden.
const HIDING: f64 = 0.06;

/// What is drawn, and as what.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Look {
    pub(crate) shape: Shape,
    pub(crate) colour: &'static Colour,
    pub(crate) texture: Texture,
    pub(crate) size: Size,
}

/// Which looks a picture may show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Looks {
    /// None that is held back from training.
    Seen,
    /// Any, and those that are held back more often than chance has it.
    WithUnseen,
}

impl Looks {
    fn draw(self, random: &mut ChaCha8Rng, shape: Option<Shape>, size: Option<Size>) -> Look {
        let shape = shape.unwrap_or_else(|| *pick(random, &Shape::ALL));
        let size = size.unwrap_or_else(|| *pick(random, &Size::ALL));
        let mut look = Look {
            shape,
            colour: pick(random, &COLOURS),
            // Half of everything is plain, or the world is a circus.
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

/// From a drawing to the picture.
#[derive(Debug, Clone, Copy)]
struct Pose {
    centre: [f32; 2],
    radius: f32,
    angle: f32,
    /// By how much it is widened; negative if it is turned around.
    stretch: f32,
}

impl Pose {
    fn draw(random: &mut ChaCha8Rng, look: &Look, side: f32) -> Self {
        let radius = side * random.random_range(look.size.radius());
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

/// A drawing in its place.
#[derive(Debug)]
pub(crate) struct Object {
    pub(crate) look: Look,
    pub(crate) centre: [f32; 2],
    pub(crate) radius: f32,
    /// From the bottom up.
    pub(crate) parts: Vec<(Ink, Coverage)>,
    /// All parts together, seen or not.
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

/// Objects on each other, the first at the bottom.
#[derive(Debug)]
pub(crate) struct Scene {
    pub(crate) side: u32,
    pub(crate) objects: Vec<Object>,
    /// For each pixel the number of the object that is seen there, counted from 1; 0 for none.
    owner: Vec<u8>,
}

/// What can be seen of an object.
#[derive(Debug)]
pub(crate) struct Visible {
    pub(crate) mask: Mask,
    /// Whether it is enough for the object to be named.
    pub(crate) named: bool,
}

impl Scene {
    fn new(side: u32) -> Self {
        Self {
            side,
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

    /// Puts an object above the others, unless it would hide what should be seen.
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
            // What lies on its own colour could not be told from it.
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

    /// Whether any of a circle's square lies on an object.
    fn taken(&self, [x, y]: [f32; 2], radius: f32) -> bool {
        let reach = |at: f32| ((at - radius) as i32, (at + radius) as i32);
        let ((left, right), (top, bottom)) = (reach(x), reach(y));
        let pixels = (top..=bottom).flat_map(|y| (left..=right).map(move |x| [x, y]));
        let mut owners = pixels.filter_map(|pixel| index(pixel, self.side));
        owners.any(|pixel| self.owner[pixel] != 0)
    }
}

/// Two to seven objects: sometimes one inside or on top of another, some of a name that is there
/// already, some in front of others.
pub(crate) fn place(random: &mut ChaCha8Rng, side: u32, looks: Looks) -> Scene {
    let mut scene = Scene::new(side);
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
        let pose = Pose::draw(random, &look, side as f32);
        let overlap = random.random_bool(0.4);
        let hide = random.random_bool(HIDING);
        // Cheaper than to draw it first.
        if overlap || !scene.taken(pose.centre, 0.9 * pose.radius) {
            scene.add(Object::new(look, &pose), overlap, hide);
        }
    }
    scene
}

/// Something small in the room of something large.
fn place_inside(random: &mut ChaCha8Rng, scene: &mut Scene, looks: Looks) {
    let roomy: Vec<Shape> = Shape::ALL
        .into_iter()
        .filter(|shape| shape.room().is_some())
        .collect();
    let shape = *pick(random, &roomy);
    let around = looks.draw(random, Some(shape), Some(Size::Large));
    let pose = Pose::draw(random, &around, scene.side as f32);
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
    let mut inner = Pose::draw(random, &look, scene.side as f32);
    inner.centre = [room[0].x, room[0].y].map(|at| at + random.random_range(-shake..=shake));
    scene.add(Object::new(look, &inner), true, false);
}

/// Something on something with a flat top.
fn place_on_top(random: &mut ChaCha8Rng, scene: &mut Scene, looks: Looks) {
    let flat: Vec<(Shape, f32)> = Shape::ALL
        .into_iter()
        .filter_map(|shape| Some((shape, shape.top()?)))
        .collect();
    let (shape, top) = *pick(random, &flat);
    let size = *pick(random, &[Size::Medium, Size::Large]);
    let below = looks.draw(random, Some(shape), Some(size));
    let side = scene.side as f32;
    let mut pose = Pose::draw(random, &below, side);
    pose.centre[1] = random.random_range(0.55..0.8) * side;
    // On a whole row, so that nothing of it shines through below what stands on it.
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
    let mut above = Pose::draw(random, &look, side);
    above.angle = 0.0;
    let parts = look.shape.parts();
    let lowest = parts.iter().map(|part| part.path.bounds().bottom());
    let lowest = lowest.fold(f32::MIN, f32::max);
    // Half a pixel deeper, because the tip of a curve covers less than half of its last row.
    above.centre[1] = height + 0.5 - lowest * above.height();
    let shake = 0.4 * pose.radius;
    above.centre[0] = pose.centre[0] + random.random_range(-shake..=shake);
    scene.add(Object::new(look, &above), true, false);
}
