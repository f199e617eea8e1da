//! A picture with its annotations, independent of their source.

use super::things::Thing;
use super::window::{shows, union};
use crate::mask::BoundingBox;
use crate::records::{Phrase, PhraseStructure};
use crate::scenes::fresh::{FreshObject, FreshScene};
use image::RgbImage;

/// Words that lose their meaning in a crop around an object.
const SIZES: [&str; 9] = [
    "small", "medium", "large", "big", "little", "tiny", "huge", "tall", "short",
];

/// A picture with phrases and objects. Boxes are in pixels of the picture.
#[derive(Debug)]
pub(crate) struct Annotated {
    pub(crate) picture: RgbImage,
    /// Phrases that describe the entire picture.
    pub(crate) phrases: Vec<Said>,
    /// Objects around which the picture can be cropped.
    pub(crate) objects: Vec<Shown>,
}

/// A phrase and the things that it describes.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) text: String,
    pub(crate) things: Vec<Thing>,
    /// Bounding box around the described objects, if it is known.
    pub(crate) bounds: Option<BoundingBox>,
}

/// An object and the texts that describe a crop around it.
#[derive(Debug)]
pub(crate) struct Shown {
    /// All known words about the object.
    pub(crate) thing: Thing,
    /// Bounding box of each instance.
    pub(crate) bounds: Vec<BoundingBox>,
    /// Texts, each with the thing that it describes.
    pub(crate) captions: Vec<(String, Thing)>,
    /// Texts that contain the size of the object, so that they describe it only within the entire picture.
    pub(crate) sized: Vec<(String, Thing)>,
    /// Name of the object, a class of zero-shot classification.
    pub(crate) name: String,
    pub(crate) attributes: Vec<String>,
}

impl Annotated {
    pub(crate) fn of_scene(scene: FreshScene) -> Self {
        let size = scene.picture.dimensions();
        let phrases = scene.phrases.iter().map(|phrase| said(phrase, size, size));
        Self {
            phrases: phrases.collect(),
            objects: scene.objects.iter().map(Shown::of_scene).collect(),
            picture: scene.picture,
        }
    }

    /// Creates the annotations from phrases. `recorded` is the size that boxes refer to; the size of the
    /// picture may differ.
    pub(crate) fn of_phrases(picture: RgbImage, phrases: &[&Phrase], recorded: (u32, u32)) -> Self {
        let size = picture.dimensions();
        let said = phrases.iter().map(|phrase| said(phrase, size, recorded));
        let objects = phrases
            .iter()
            .map(|phrase| Shown::of_phrase(phrase, size, recorded));
        Self {
            phrases: said.collect(),
            objects: objects.filter(|shown| !shown.bounds.is_empty()).collect(),
            picture,
        }
    }

    /// The things that are visible in a window of the picture.
    pub(crate) fn things_in(&self, window: BoundingBox) -> Vec<Thing> {
        self.things_at(|bounds| shows(window, bounds))
    }

    /// The things with a bounding box for which the condition holds.
    pub(crate) fn things_at(&self, condition: impl Fn(BoundingBox) -> bool) -> Vec<Thing> {
        let there = |object: &&Shown| object.bounds.iter().any(|bounds| condition(*bounds));
        let objects = self.objects.iter().filter(there);
        objects.map(|object| object.thing.clone()).collect()
    }

    /// The things that are known to be in the picture.
    pub(crate) fn things(&self) -> Vec<Thing> {
        let objects = self.objects.iter().map(|object| &object.thing);
        let said = self.phrases.iter().flat_map(|phrase| &phrase.things);
        objects.chain(said).cloned().collect()
    }
}

impl Shown {
    /// All texts that describe the object within the entire picture.
    pub(crate) fn texts(&self) -> impl Iterator<Item = &(String, Thing)> {
        self.captions.iter().chain(&self.sized)
    }

    fn of_scene(object: &FreshObject) -> Self {
        let FreshObject {
            name,
            size,
            texture,
            colour,
            bounds,
        } = *object;
        // Colours most often, because other attributes are less visible.
        let captions: [&[&str]; 6] = [
            &[name],
            &[name],
            &[colour, name],
            &[colour, name],
            &[texture, name],
            &[texture, colour, name],
        ];
        let sized: [&[&str]; 2] = [&[size, name], &[size, colour, name]];
        let text = |words: &[&str]| (words.join(" "), Thing::new(words.iter().copied()));
        Self {
            thing: Thing::new([name, size, texture, colour]),
            bounds: vec![bounds],
            captions: captions.map(text).into(),
            sized: sized.map(text).into(),
            name: name.to_owned(),
            attributes: vec![texture.to_owned(), colour.to_owned()],
        }
    }

    fn of_phrase(phrase: &Phrase, size: (u32, u32), recorded: (u32, u32)) -> Self {
        let structure = &phrase.phrase_structure;
        let attributes: Vec<String> = structure
            .attributes
            .iter()
            .filter(|word| !SIZES.contains(&word.to_lowercase().as_str()))
            .cloned()
            .collect();
        let words = |attributes: &[String]| {
            let words = attributes.iter().chain([&structure.name]);
            words.map(String::as_str).collect::<Vec<_>>().join(" ")
        };
        let text = if structure.name.is_empty() {
            phrase.phrase.clone()
        } else {
            words(&attributes)
        };
        let named = |text: String| {
            let thing = Thing::new([text.as_str()]);
            (text, thing)
        };
        let sized = attributes.len() < structure.attributes.len() && !structure.name.is_empty();
        let boxes = phrase.instance_boxes.iter();
        Self {
            thing: main_thing(phrase),
            sized: sized
                .then(|| named(words(&structure.attributes)))
                .into_iter()
                .collect(),
            bounds: boxes
                .filter_map(|values| scaled(*values, size, recorded))
                .collect(),
            captions: vec![named(text)],
            name: structure.name.clone(),
            attributes,
        }
    }
}

fn main_thing(phrase: &Phrase) -> Thing {
    let PhraseStructure {
        name, attributes, ..
    } = &phrase.phrase_structure;
    if name.is_empty() {
        return Thing::new([phrase.phrase.as_str()]);
    }
    Thing::new(attributes.iter().chain([name]).map(String::as_str))
}

fn said(phrase: &Phrase, size: (u32, u32), recorded: (u32, u32)) -> Said {
    let related = phrase.phrase_structure.relation_descriptions.iter();
    let related = related.map(|(_, other)| Thing::new([other.as_str()]));
    let boxes = phrase.instance_boxes.iter();
    Said {
        text: phrase.phrase.trim().to_owned(),
        things: std::iter::once(main_thing(phrase)).chain(related).collect(),
        bounds: union(boxes.filter_map(|values| scaled(*values, size, recorded))),
    }
}

/// Scales a box to pixels of the picture and clips it to the picture.
fn scaled(
    [x, y, width, height]: [f32; 4],
    size: (u32, u32),
    recorded: (u32, u32),
) -> Option<BoundingBox> {
    let factor = [
        size.0 as f32 / recorded.0.max(1) as f32,
        size.1 as f32 / recorded.1.max(1) as f32,
    ];
    let span = |start: f32, length: f32, factor: f32, most: u32| {
        let from = (start * factor).floor().clamp(0.0, most as f32) as u32;
        let to = ((start + length) * factor).ceil().clamp(0.0, most as f32) as u32;
        (to > from).then_some((from, to - from))
    };
    let (x, width) = span(x, width, factor[0], size.0)?;
    let (y, height) = span(y, height, factor[1], size.1)?;
    Some(BoundingBox {
        x,
        y,
        width,
        height,
    })
}

#[cfg(test)]
mod tests {
    use super::super::things::may_hold;
    use super::*;
    use crate::scenes::fresh::{Looks, fresh_scene};

    #[test]
    fn captions_of_a_scene_are_true() {
        for index in 0..30 {
            let scene = Annotated::of_scene(fresh_scene(1, index, 64, Looks::Seen));
            let things = scene.things();
            for said in &scene.phrases {
                assert!(may_hold(&said.things, &things), "{}", said.text);
            }
            for object in &scene.objects {
                let around = scene.things_in(object.bounds[0]);
                for (text, thing) in &object.captions {
                    assert!(may_hold(std::slice::from_ref(thing), &around), "{text}");
                }
            }
        }
    }

    #[test]
    fn captions_of_crops_omit_size_and_position() {
        let mut phrase = Phrase {
            task_id: "1__1".into(),
            image_id: 1,
            ann_ids: vec![1],
            instance_boxes: vec![[10.0, 10.0, 30.0, 20.0], [90.0, 0.0, 30.0, 10.0]],
            polygons: crate::records::Polygons::default(),
            phrase: "small red car on street".into(),
            phrase_structure: PhraseStructure {
                name: "car".into(),
                attributes: vec!["Small".into(), "red".into()],
                relation_descriptions: vec![("on".into(), "street".into())],
                ..PhraseStructure::default()
            },
        };
        let picture = || RgbImage::new(50, 50);
        let known = Annotated::of_phrases(picture(), &[&phrase], (100, 100));
        assert_eq!(known.objects[0].captions[0].0, "red car");
        assert_eq!(known.objects[0].sized[0].0, "Small red car");
        let first = BoundingBox {
            x: 5,
            y: 5,
            width: 15,
            height: 10,
        };
        assert_eq!(known.objects[0].bounds[0], first);
        assert_eq!(known.objects[0].bounds[1].width, 5, "the rest lies outside");
        assert_eq!(known.phrases[0].things.len(), 2, "the street must be there");
        phrase.phrase_structure = PhraseStructure::default();
        let known = Annotated::of_phrases(picture(), &[&phrase], (100, 100));
        assert_eq!(known.objects[0].captions[0].0, "small red car on street");
        assert!(known.objects[0].sized.is_empty());
    }
}
