//! Generated pictures of coloured shapes, in the layout of PhraseCut.
//!
//! Something to train on where no data set is at hand. What is drawn and what the polygons say is the
//! same by construction: both go through the evaluator's own fill rule.

use crate::error::{DataError, Result};
use crate::raster::RasterRule;
use crate::records::{ImageRecord, Phrase, PhraseStructure, Split};
use image::codecs::jpeg::JpegEncoder;
use image::{Rgb, RgbImage};
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use serde::Serialize;
use std::collections::BTreeMap;
use std::f64::consts::{PI, TAU};
use std::path::Path;

const COLOURS: [(&str, [u8; 3]); 8] = [
    ("red", [206, 44, 42]),
    ("green", [48, 150, 62]),
    ("blue", [42, 74, 198]),
    ("yellow", [238, 204, 44]),
    ("orange", [238, 132, 30]),
    ("purple", [136, 52, 164]),
    ("white", [240, 240, 240]),
    ("black", [22, 22, 24]),
];
const SHAPES: [&str; 8] = [
    "circle", "square", "triangle", "star", "diamond", "cross", "ring", "arrow",
];
const FIRST_PICTURE: u64 = 1;
const JPEG_QUALITY: u8 = 95;

/// What is generated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScenesConfig {
    /// Number of pictures: eight tenths to train on, the rest shared by the other splits.
    /// Default: 1,000.
    pub images: usize,
    /// Side of the pictures in pixels. Default: 128.
    pub size: u32,
    /// Decides everything. Default: 0.
    pub seed: u64,
}

impl Default for ScenesConfig {
    fn default() -> Self {
        Self {
            images: 1_000,
            size: 128,
            seed: 0,
        }
    }
}

impl ScenesConfig {
    /// A name for a folder that holds just these scenes.
    pub fn folder_name(&self) -> String {
        format!(
            "scenes-{}x{}-{}-seed-{}",
            self.size, self.size, self.images, self.seed
        )
    }

    fn split_of(&self, index: usize) -> Split {
        match 20 * index / self.images.max(1) {
            0..16 => Split::Train,
            16 | 17 => Split::Val,
            18 => Split::Test,
            _ => Split::Miniv,
        }
    }
}

struct Object {
    shape: &'static str,
    colour: &'static str,
    polygon: Vec<[f64; 2]>,
}

struct Scene {
    record: ImageRecord,
    phrases: Vec<Phrase>,
}

/// Generates scenes into a new folder. The same configuration gives the same bytes; the folder
/// appears only when it is whole.
///
/// # Errors
///
/// If the folder is there already or cannot be written, or the configuration asks for no pictures or
/// for pictures of less than 32 pixels.
pub fn generate_scenes(folder: &Path, config: &ScenesConfig) -> Result<()> {
    if config.images == 0 || !(32..=4_096).contains(&config.size) {
        return Err(DataError::Input(format!(
            "{} scenes of {} pixels: expected at least one, of 32 to 4096 pixels",
            config.images, config.size
        )));
    }
    if folder.exists() {
        let there = std::io::Error::new(std::io::ErrorKind::AlreadyExists, "it is there already");
        return Err(DataError::io("make", folder)(there));
    }
    let parent = folder
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    let parent = parent.unwrap_or(Path::new("."));
    std::fs::create_dir_all(parent).map_err(DataError::io("make", parent))?;
    let aside = tempfile::Builder::new()
        .prefix(".writing-")
        .tempdir_in(parent)
        .map_err(DataError::io("make", folder))?;
    let pictures = aside.path().join("images");
    std::fs::create_dir(&pictures).map_err(DataError::io("make", &pictures))?;

    let scenes: Vec<Scene> = (0..config.images)
        .into_par_iter()
        .map(|index| write_scene(&pictures, config, index))
        .collect::<Result<_>>()?;
    write_lists(aside.path(), scenes)?;

    let whole = aside.keep();
    std::fs::rename(&whole, folder).map_err(|error| {
        // Nobody else knows of the folder aside; what cannot be removed is left to the system.
        let _ = std::fs::remove_dir_all(&whole);
        DataError::io("write", folder)(error)
    })
}

fn write_scene(pictures: &Path, config: &ScenesConfig, index: usize) -> Result<Scene> {
    // One generator for each picture, so that they can be drawn in any order.
    let mut random = ChaCha8Rng::seed_from_u64(config.seed);
    random.set_stream(index as u64);
    let objects = place_objects(&mut random, config.size);
    let picture = draw(&mut random, config.size, &objects);

    let image_id = FIRST_PICTURE + index as u64;
    let path = pictures.join(format!("{image_id}.jpg"));
    let mut bytes = Vec::new();
    picture
        .write_with_encoder(JpegEncoder::new_with_quality(&mut bytes, JPEG_QUALITY))
        .map_err(|source| DataError::Picture {
            path: path.clone(),
            source,
        })?;
    std::fs::write(&path, bytes).map_err(DataError::io("write", &path))?;

    let record = ImageRecord {
        image_id,
        coco_id: None,
        flickr_id: None,
        width: config.size,
        height: config.size,
        url: String::new(),
        split: config.split_of(index),
    };
    Ok(Scene {
        phrases: describe(image_id, &objects),
        record,
    })
}

/// Two to five shapes that do not touch, so that each is wholly visible.
fn place_objects(random: &mut ChaCha8Rng, size: u32) -> Vec<Object> {
    let size = f64::from(size);
    let wanted = random.random_range(2..=5);
    let mut circles: Vec<([f64; 2], f64)> = Vec::new();
    let mut objects = Vec::new();
    for _ in 0..60 {
        if objects.len() == wanted {
            break;
        }
        let radius = size * random.random_range(0.1..0.24);
        let centre: [f64; 2] =
            std::array::from_fn(|_| random.random_range(radius + 1.0..size - radius - 1.0));
        let free = circles.iter().all(|(other, other_radius)| {
            (centre[0] - other[0]).hypot(centre[1] - other[1]) > radius + other_radius + 2.0
        });
        if !free {
            continue;
        }
        circles.push((centre, radius));
        let shape = SHAPES[random.random_range(0..SHAPES.len())];
        let angle = random.random_range(-0.3..0.3);
        let polygon = outline(shape)
            .into_iter()
            .map(|[x, y]| {
                let (sin, cos) = f64::sin_cos(angle);
                [
                    centre[0] + radius * (x * cos - y * sin),
                    centre[1] + radius * (x * sin + y * cos),
                ]
            })
            .collect();
        let colour = COLOURS[random.random_range(0..COLOURS.len())].0;
        objects.push(Object {
            shape,
            colour,
            polygon,
        });
    }
    objects
}

/// The corners of a shape that fits a circle of radius 1, y downwards.
fn outline(shape: &str) -> Vec<[f64; 2]> {
    let around = |count: usize, radius: &dyn Fn(usize) -> f64| -> Vec<[f64; 2]> {
        (0..count)
            .map(|corner| {
                let angle = TAU * corner as f64 / count as f64 - PI / 2.0;
                [radius(corner) * angle.cos(), radius(corner) * angle.sin()]
            })
            .collect()
    };
    let s = 0.7;
    match shape {
        "circle" => around(40, &|_| 0.95),
        "square" => vec![[-s, -s], [s, -s], [s, s], [-s, s]],
        "triangle" => around(3, &|_| 1.0),
        "star" => around(10, &|corner| if corner % 2 == 0 { 1.0 } else { 0.42 }),
        "diamond" => vec![[0.0, -1.0], [0.62, 0.0], [0.0, 1.0], [-0.62, 0.0]],
        "cross" => {
            let (a, b) = (0.28, 0.9);
            vec![
                [-a, -b],
                [a, -b],
                [a, -a],
                [b, -a],
                [b, a],
                [a, a],
                [a, b],
                [-a, b],
                [-a, a],
                [-b, a],
                [-b, -a],
                [-a, -a],
            ]
        }
        // A ring is one polygon: once round outside, across, and back round inside.
        "ring" => {
            let mut ring = around(40, &|_| 0.97);
            ring.push(ring[0]);
            let mut inner = around(40, &|_| 0.5);
            inner.push(inner[0]);
            inner.reverse();
            ring.extend(inner);
            ring
        }
        _ => vec![
            [-0.95, -0.24],
            [0.1, -0.24],
            [0.1, -0.7],
            [0.98, 0.0],
            [0.1, 0.7],
            [0.1, 0.24],
            [-0.95, 0.24],
        ],
    }
}

/// A mottled ground with a slope of light, and the shapes on it with a little noise.
fn draw(random: &mut ChaCha8Rng, size: u32, objects: &[Object]) -> RgbImage {
    let ground: [f32; 3] = std::array::from_fn(|_| random.random_range(70.0..185.0));
    let cell = random.random_range(6..20u32);
    let cells = size / cell + 2;
    let mottle: Vec<f32> = (0..cells * cells)
        .map(|_| random.random_range(-22.0..22.0))
        .collect();
    let [light_x, light_y]: [f32; 2] = std::array::from_fn(|_| random.random_range(-18.0..18.0));
    let mut picture = RgbImage::from_fn(size, size, |x, y| {
        let spot = mottle[(y / cell * cells + x / cell) as usize];
        let slope =
            light_x * (x as f32 / size as f32 - 0.5) + light_y * (y as f32 / size as f32 - 0.5);
        Rgb(ground.map(|value| (value + spot + slope).clamp(0.0, 255.0) as u8))
    });
    for object in objects {
        let points: Vec<[f32; 2]> = object
            .polygon
            .iter()
            .map(|point| point.map(|value| value as f32))
            .collect();
        let mask = RasterRule::Pillow.mask([&points[..]], size, size);
        let colour = COLOURS.iter().find(|(name, _)| *name == object.colour);
        let base = colour.map_or([0; 3], |(_, value)| *value).map(i16::from);
        let shade = random.random_range(-14..=14i16);
        for (pixel, _) in picture
            .pixels_mut()
            .zip(mask.pixels())
            .filter(|(_, inside)| *inside)
        {
            pixel.0 = base.map(|value| (value + shade).clamp(0, 255) as u8);
        }
    }
    for pixel in picture.pixels_mut() {
        let noise = (random.next_u32() % 13) as i16 - 6;
        pixel.0 = pixel
            .0
            .map(|value| (i16::from(value) + noise).clamp(0, 255) as u8);
    }
    picture
}

/// Each name and each colour with a name, once, with all that it holds for. Where both hold for the
/// same objects only one is kept, because a task is known by its objects.
fn describe(image_id: u64, objects: &[Object]) -> Vec<Phrase> {
    let mut members: BTreeMap<(&str, Option<&str>), Vec<usize>> = BTreeMap::new();
    for (index, object) in objects.iter().enumerate() {
        members.entry((object.shape, None)).or_default().push(index);
        members
            .entry((object.shape, Some(object.colour)))
            .or_default()
            .push(index);
    }
    let names_only: BTreeMap<&str, Vec<usize>> = members
        .iter()
        .filter(|((_, colour), _)| colour.is_none())
        .map(|((shape, _), of)| (*shape, of.clone()))
        .collect();
    let coloured = |shape: &str, of: &[usize]| -> bool {
        (image_id as usize + of[0] + shape.len()).is_multiple_of(2)
    };
    let alike: Vec<(&str, bool)> = members
        .iter()
        .filter(|((shape, colour), of)| colour.is_some() && names_only[shape] == **of)
        .map(|((shape, _), of)| (*shape, coloured(shape, of)))
        .collect();
    for (shape, keep_colour) in alike {
        members.retain(|(name, colour), _| *name != shape || colour.is_some() == keep_colour);
    }
    members
        .into_iter()
        .map(|((shape, colour), of)| {
            let ann_ids: Vec<u64> = of
                .iter()
                .map(|&index| 100 * image_id + index as u64)
                .collect();
            let ids: Vec<String> = ann_ids.iter().map(u64::to_string).collect();
            let attributes: Vec<String> = colour.iter().map(|&name| name.to_owned()).collect();
            let kind = if colour.is_some() {
                "attribute"
            } else {
                "name"
            };
            Phrase {
                task_id: format!("{image_id}__{}", ids.join("_")),
                image_id,
                instance_boxes: of
                    .iter()
                    .map(|&i| bounding_box(&objects[i].polygon))
                    .collect(),
                polygons: of
                    .iter()
                    .map(|&i| [objects[i].polygon.iter().copied()])
                    .collect(),
                phrase: colour.map_or(shape.to_owned(), |colour| format!("{colour} {shape}")),
                phrase_structure: PhraseStructure {
                    name: shape.to_owned(),
                    attributes,
                    kind: kind.to_owned(),
                    ..PhraseStructure::default()
                },
                ann_ids,
            }
        })
        .collect()
}

fn bounding_box(polygon: &[[f64; 2]]) -> [f32; 4] {
    let side = |axis: usize| {
        let low = polygon
            .iter()
            .map(|point| point[axis])
            .fold(f64::INFINITY, f64::min);
        let high = polygon
            .iter()
            .map(|point| point[axis])
            .fold(f64::NEG_INFINITY, f64::max);
        (low as f32, (high - low + 1.0) as f32)
    };
    let ((x, width), (y, height)) = (side(0), side(1));
    [x, y, width, height]
}

#[derive(Serialize)]
struct Counts {
    cat: Vec<(String, usize)>,
    att: Vec<(String, usize)>,
    rel: Vec<(String, usize)>,
}

fn write_lists(root: &Path, scenes: Vec<Scene>) -> Result<()> {
    let mut names = BTreeMap::<String, usize>::new();
    let mut attributes = BTreeMap::<String, usize>::new();
    let mut phrases: BTreeMap<Split, Vec<Phrase>> = Split::ALL
        .into_iter()
        .map(|split| (split, Vec::new()))
        .collect();
    let mut records = Vec::new();
    for Scene {
        record,
        phrases: of_scene,
    } in scenes
    {
        for phrase in &of_scene {
            *names
                .entry(phrase.phrase_structure.name.clone())
                .or_default() += 1;
            for attribute in &phrase.phrase_structure.attributes {
                *attributes.entry(attribute.clone()).or_default() += 1;
            }
        }
        phrases.entry(record.split).or_default().extend(of_scene);
        records.push(record);
    }
    let ranked = |counts: BTreeMap<String, usize>| {
        let mut counts: Vec<_> = counts.into_iter().collect();
        counts.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        counts
    };
    write_json(&root.join("image_data_split3000.json"), &records)?;
    let counts = Counts {
        cat: ranked(names),
        att: ranked(attributes),
        rel: Vec::new(),
    };
    write_json(&root.join("name_att_rel_count.json"), &counts)?;
    for (split, phrases) in phrases {
        write_json(&root.join(format!("refer_{split}.json")), &phrases)?;
    }
    Ok(())
}

fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let text =
        serde_json::to_vec(value).map_err(|error| DataError::io("write", path)(error.into()))?;
    std::fs::write(path, text).map_err(DataError::io("write", path))
}
