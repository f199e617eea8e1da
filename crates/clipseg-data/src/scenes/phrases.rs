//! Phrases about a scene, each of which describes exactly the objects in its mask.

use super::looks::{Size, Texture};
use super::pick::pick;
use super::placing::{Look, Scene, Visible};
use super::relations::{Predicate, Relations, Truth};
use super::shapes::Shape;
use crate::records::{Phrase, PhraseStructure};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeSet;

/// Maximum number of attempts to find a true phrase that is not used yet.
const ATTEMPTS: usize = 48;

/// A phrase before it is written in words.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Description {
    name: Shape,
    size: Option<Size>,
    texture: Option<Texture>,
    colour: Option<&'static str>,
    relations: Vec<(Predicate, Shape)>,
}

/// A scene with its visible objects and relations.
struct Facts<'a> {
    scene: &'a Scene,
    visible: &'a [Visible],
    relations: Relations,
}

impl Facts<'_> {
    /// The objects that match a description; `None` if it is ambiguous for any object.
    ///
    /// An object with too few visible pixels is never returned. If such an object matches, or is needed for
    /// another one to match, the description is ambiguous.
    fn members(&self, description: &Description) -> Option<Vec<usize>> {
        let mut members = Vec::new();
        for index in 0..self.scene.objects.len() {
            match self.truth(description, index) {
                Truth::Yes => members.push(index),
                Truth::No => {}
                Truth::Unclear => return None,
            }
        }
        (!members.is_empty()).then_some(members)
    }

    fn truth(&self, description: &Description, index: usize) -> Truth {
        if !description.fits(&self.scene.objects[index].look) {
            return Truth::No;
        }
        let related = description
            .relations
            .iter()
            .map(|&(predicate, name)| self.related(predicate, name, index));
        related.min().unwrap_or(Truth::Yes).min(self.clear(index))
    }

    fn related(&self, predicate: Predicate, name: Shape, index: usize) -> Truth {
        let others = self.scene.objects.iter().enumerate();
        let others = others.filter(|(other, object)| *other != index && object.look.shape == name);
        let truths = others.map(|(other, _)| {
            let truth = self.relations.truth(predicate, index, other);
            truth.min(self.clear(other))
        });
        truths.max().unwrap_or(Truth::No)
    }

    /// Whether an object is visible to people.
    fn clear(&self, index: usize) -> Truth {
        let seen = &self.visible[index];
        match (seen.named, seen.mask.area()) {
            (true, _) => Truth::Yes,
            (false, 0) => Truth::No,
            (false, _) => Truth::Unclear,
        }
    }

    /// Draws a random description of an object.
    fn draw(&self, random: &mut ChaCha8Rng, index: usize) -> Description {
        let look = &self.scene.objects[index].look;
        let mut description = Description {
            name: look.shape,
            size: None,
            texture: None,
            colour: None,
            relations: Vec::new(),
        };
        // Name, attributes, relations or both, with about the frequencies of PhraseCut.
        let kind = random.random_range(0..20);
        if matches!(kind, 4..11 | 16..20) {
            match random.random_range(0..10) {
                0..5 => description.colour = Some(look.colour.name),
                5 => description.texture = Some(look.texture),
                6 => description.size = Some(look.size),
                _ => {
                    let with = [(); 3].map(|()| random.random_bool(0.65));
                    description.size = with[0].then_some(look.size);
                    description.texture = with[1].then_some(look.texture);
                    description.colour = with[2].then_some(look.colour.name);
                }
            }
        }
        if kind >= 11 {
            description.relations = self.draw_relations(random, index);
        }
        description
    }

    /// Draws one or two relations of the object.
    fn draw_relations(&self, random: &mut ChaCha8Rng, index: usize) -> Vec<(Predicate, Shape)> {
        let mut known: Vec<(Predicate, Shape)> = Vec::new();
        for predicate in Predicate::ALL {
            for (other, object) in self.scene.objects.iter().enumerate() {
                let relation = (predicate, object.look.shape);
                if other != index
                    && self.relations.truth(predicate, index, other) == Truth::Yes
                    && !known.contains(&relation)
                {
                    // Weighted, because `inside` and `on` occur less often than `left of`.
                    let often = matches!(predicate, Predicate::Inside | Predicate::On);
                    known.extend(std::iter::repeat_n(relation, if often { 4 } else { 1 }));
                }
            }
        }
        let count = if random.random_bool(0.2) { 2 } else { 1 };
        let mut chosen: Vec<(Predicate, Shape)> = Vec::new();
        for _ in 0..count {
            known.retain(|relation| !chosen.contains(relation));
            if !known.is_empty() {
                chosen.push(*pick(random, &known));
            }
        }
        chosen
    }
}

impl Description {
    fn fits(&self, look: &Look) -> bool {
        self.name == look.shape
            && self.size.is_none_or(|size| size == look.size)
            && self.texture.is_none_or(|texture| texture == look.texture)
            && self.colour.is_none_or(|colour| colour == look.colour.name)
    }

    fn attributes(&self) -> Vec<&'static str> {
        let (size, texture) = (self.size.map(Size::name), self.texture.map(Texture::name));
        [size, texture, self.colour].into_iter().flatten().collect()
    }

    /// Writes a description in words: `small striped red star left of tree and above car`.
    fn words(&self) -> String {
        let mut words = self.attributes();
        words.push(self.name.name());
        let relations = self.relations.iter().enumerate();
        for (index, (predicate, other)) in relations {
            words.extend((index > 0).then_some("and"));
            words.extend([predicate.words(), other.name()]);
        }
        words.join(" ")
    }

    fn structure(&self, image_id: u64) -> PhraseStructure {
        let attributes = self.attributes();
        let kind = match (attributes.is_empty(), self.relations.is_empty()) {
            (true, true) => "name",
            (false, true) => "attribute",
            (true, false) => "relation",
            (false, false) => "verbose",
        };
        // Unique in the data set, and equal for the same relation in one picture.
        let id = |(predicate, other): &(Predicate, Shape)| {
            1_000 * image_id + 100 * *predicate as u64 + *other as u64
        };
        let described = self.relations.iter();
        PhraseStructure {
            name: self.name.name().to_owned(),
            attributes: attributes.into_iter().map(str::to_owned).collect(),
            relation_ids: self.relations.iter().map(id).collect(),
            relation_descriptions: described
                .map(|(predicate, other)| (predicate.words().into(), other.name().into()))
                .collect(),
            kind: kind.to_owned(),
        }
    }
}

/// The annotation of an object, which its phrases share.
struct Annotation {
    id: u64,
    outlines: Vec<Vec<[f64; 2]>>,
    bounds: [f32; 4],
}

/// Writes up to eight phrases about a scene. No two describe the same objects, because a task is identified
/// by its objects.
pub(crate) fn describe(random: &mut ChaCha8Rng, scene: &Scene, image_id: u64) -> Vec<Phrase> {
    let visible = scene.visible();
    let facts = Facts {
        scene,
        visible: &visible,
        relations: Relations::of(scene, &visible),
    };
    let named: Vec<usize> = (0..visible.len())
        .filter(|&index| visible[index].named)
        .collect();
    let annotations: Vec<Annotation> = visible
        .iter()
        .enumerate()
        .map(|(index, seen)| annotate(100 * image_id + index as u64, seen))
        .collect();
    let mut said = BTreeSet::new();
    let mut phrases = Vec::new();
    let wanted = random.random_range(3..=8);
    for _ in 0..ATTEMPTS {
        if phrases.len() == wanted || named.is_empty() {
            break;
        }
        let about = *pick(random, &named);
        let description = facts.draw(random, about);
        if let Some(members) = facts.members(&description)
            && said.insert(members.clone())
        {
            phrases.push(write(&description, &members, &annotations, image_id));
        }
    }
    phrases
}

fn annotate(id: u64, seen: &Visible) -> Annotation {
    let found = seen.mask.bounding_box();
    Annotation {
        id,
        outlines: if seen.named {
            seen.mask.to_polygons()
        } else {
            Vec::new()
        },
        bounds: found.map_or([0.0; 4], |b| {
            [b.x, b.y, b.width, b.height].map(|value| value as f32)
        }),
    }
}

fn write(
    description: &Description,
    members: &[usize],
    annotations: &[Annotation],
    image_id: u64,
) -> Phrase {
    let of = || members.iter().map(|&index| &annotations[index]);
    let ids: Vec<String> = of().map(|annotation| annotation.id.to_string()).collect();
    Phrase {
        task_id: format!("{image_id}__{}", ids.join("_")),
        image_id,
        ann_ids: of().map(|annotation| annotation.id).collect(),
        instance_boxes: of().map(|annotation| annotation.bounds).collect(),
        polygons: of()
            .map(|annotation| {
                let outlines = annotation.outlines.iter();
                outlines.map(|outline| outline.iter().copied())
            })
            .collect(),
        phrase: description.words(),
        phrase_structure: description.structure(image_id),
    }
}
