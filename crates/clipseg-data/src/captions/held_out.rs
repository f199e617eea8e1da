//! Held-out pictures for scoring CLIP.

use super::annotated::Annotated;
use super::colour_words::COLOURS;
use super::sample::{cut, whole};
use super::source::Known;
use super::window::{around, fractions};
use image::RgbImage;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeMap;

/// Minimum number of objects of a class.
const LEAST_OF_A_NAME: usize = 2;
/// Maximum number of classes; those with the most objects are used.
const MOST_NAMES: usize = 100;
/// Random seed of the crops around objects.
const PARTS: u64 = 0x7061_7274;

/// Pictures and their captions, for retrieval.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct HeldOut {
    /// The pictures, all with the same size.
    pub pictures: Vec<RgbImage>,
    /// Caption of each picture.
    pub texts: Vec<String>,
    /// The named objects of each picture; none in pictures of caption lists.
    pub objects: Vec<Vec<BoxedName>>,
}

/// The name of an object in a picture.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct BoxedName {
    /// Bounding box: left, top, right and bottom edge, as fractions of the picture's sides.
    pub bounds: [f32; 4],
    /// The name, in lower case.
    pub name: String,
}

impl HeldOut {
    pub(super) fn new<'a>(known: impl Iterator<Item = (&'a Known, String)>, side: u32) -> Self {
        let mut held_out = Self::default();
        for (known, text) in known {
            let (picture, objects) = match known {
                Known::Annotated(known) => (&known.picture, known.objects.as_slice()),
                Known::Listed(picture, _) => (picture, [].as_slice()),
            };
            let window = whole(picture);
            let named = objects.iter().filter(|object| !object.name.is_empty());
            let boxed = named.flat_map(|object| {
                let name = object.name.to_lowercase();
                let boxes = object.bounds.iter();
                let boxes = boxes.filter_map(move |bounds| fractions(*bounds, window));
                boxes.map(move |bounds| BoxedName {
                    bounds,
                    name: name.clone(),
                })
            });
            held_out.objects.push(boxed.collect());
            held_out.pictures.push(cut(picture, window, side));
            held_out.texts.push(text);
        }
        held_out
    }
}

/// Crops of pictures around one object each, for zero-shot classification by name and by colour.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct LabelledPictures {
    /// The pictures, all with the same size.
    pub pictures: Vec<RgbImage>,
    /// Class of the name of each object, an index into `name_classes`.
    pub names: Vec<usize>,
    /// Names of the classes.
    pub name_classes: Vec<String>,
    /// Class of the colour of each object, an index into `colour_classes`; `None` if it is unknown.
    pub colours: Vec<Option<usize>>,
    /// Colours of the classes.
    pub colour_classes: Vec<String>,
}

/// Crops around at most `most` objects, spread over the pictures: first the first object of each picture,
/// then the second of each, and so on.
pub(crate) fn labelled<'a>(
    known: impl Iterator<Item = &'a Annotated>,
    most: usize,
    side: u32,
) -> LabelledPictures {
    let known: Vec<&Annotated> = known.collect();
    let deepest = known.iter().map(|one| one.objects.len()).max().unwrap_or(0);
    let rounds = (0..deepest).flat_map(|round| {
        let with = known.iter().enumerate();
        with.filter_map(move |(place, one)| Some((place, *one, one.objects.get(round)?)))
    });
    let named = rounds.filter(|(.., object)| !object.name.is_empty());
    let found: Vec<_> = named.take(most).collect();

    let mut counts = BTreeMap::<String, usize>::new();
    for (.., object) in &found {
        *counts.entry(object.name.to_lowercase()).or_default() += 1;
    }
    let mut classes: Vec<(String, usize)> = counts
        .into_iter()
        .filter(|(_, count)| *count >= LEAST_OF_A_NAME)
        .collect();
    classes.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    classes.truncate(MOST_NAMES);
    let mut name_classes: Vec<String> = classes.into_iter().map(|(name, _)| name).collect();
    name_classes.sort();

    let colour_of = |attributes: &[String]| -> Option<String> {
        let mut colours = attributes.iter().map(|word| word.to_lowercase());
        colours.find(|word| COLOURS.contains(&word.as_str()))
    };
    let mut result = LabelledPictures {
        name_classes,
        ..LabelledPictures::default()
    };
    let mut colours: Vec<Option<String>> = Vec::new();
    for (place, picture, object) in found {
        let name = object.name.to_lowercase();
        let class = result.name_classes.iter().position(|known| *known == name);
        let (Some(class), Some(&bounds)) = (class, object.bounds.first()) else {
            continue;
        };
        let mut random = ChaCha8Rng::seed_from_u64(PARTS);
        random.set_stream(place as u64);
        let (width, height) = picture.picture.dimensions();
        let window = around(bounds, [width, height], &mut random);
        result.pictures.push(cut(&picture.picture, window, side));
        result.names.push(class);
        colours.push(colour_of(&object.attributes));
    }
    let mut classes: Vec<String> = colours.iter().flatten().cloned().collect();
    classes.sort();
    classes.dedup();
    let class_of = |colour: Option<String>| {
        let colour = colour?;
        classes.iter().position(|known| *known == colour)
    };
    result.colours = colours.into_iter().map(class_of).collect();
    result.colour_classes = classes;
    result
}
