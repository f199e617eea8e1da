//! The content of scenes and of their files.

mod truth;

use super::looks::{COLOURS, Size, Texture};
use super::phrases::describe;
use super::placing::Scene;
use super::shapes::Shape;
use super::unseen::{unseen_colour, unseen_texture};
use super::writing::{compose, image_id};
use super::*;
use crate::phrasecut::PhraseCut;
use crate::pictures::load_rgb;
use crate::records::Phrase;
use crate::records::Split;
use std::collections::{BTreeMap, BTreeSet};

fn config(images: usize, size: u32, seed: u64) -> ScenesConfig {
    ScenesConfig { images, size, seed }
}

fn phrases_of(config: &ScenesConfig, index: usize) -> (Scene, Vec<Phrase>) {
    let (scene, mut random) = compose(config, index);
    let phrases = describe(&mut random, &scene, image_id(index));
    (scene, phrases)
}

#[test]
fn unseen_pairs_are_in_no_training_picture_and_in_many_others() {
    let config = config(1_000, 64, 4);
    let unseen = UnseenPairs::of_scenes();
    let (mut objects, mut phrases, mut others) = (0, 0, 0);
    for index in 0..1_000 {
        let (scene, described) = phrases_of(&config, index);
        let held_back = scene.objects.iter().filter(|object| {
            let look = &object.look;
            look.colour == unseen_colour(look.shape)
                || Some(look.texture) == unseen_texture(look.shape)
        });
        let marked = described.iter().map(|phrase| &phrase.phrase_structure);
        let marked = marked.filter(|phrase| unseen.is_unseen(phrase)).count();
        if config.split_of(index) == Split::Train {
            assert_eq!((held_back.count(), marked), (0, 0), "picture {index}");
        } else {
            objects += held_back.count();
            phrases += marked;
            others += described.len() - marked;
        }
    }
    assert!(objects > 200, "{objects}");
    assert!(
        phrases * 12 > others && phrases < others,
        "{phrases} and {others}"
    );
}

#[test]
fn every_look_comes_up() {
    let config = config(300, 64, 5);
    let mut found = BTreeSet::new();
    for index in 0..300 {
        for object in &compose(&config, index).0.objects {
            let look = &object.look;
            let words = [look.colour.name, look.texture.name(), look.size.name()];
            found.extend(words);
            found.insert(look.shape.name());
        }
    }
    assert_eq!(
        found.len(),
        COLOURS.len() + Texture::ALL.len() + Size::ALL.len() + Shape::ALL.len()
    );
}

/// The fraction of each channel in the brightness, and the brightness.
fn hue(tone: [f32; 3]) -> [f32; 4] {
    let sum = tone.iter().sum::<f32>() + 60.0;
    let [r, g, b] = tone.map(|value| 3.0 * value / sum);
    [r, g, b, sum / 900.0]
}

#[test]
fn pictures_show_the_colours_that_phrases_name() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("scenes");
    let config = config(150, 96, 6);
    generate_scenes(&root, &config).unwrap();
    let data = PhraseCut::open(&root).unwrap();
    let (mut right, mut wrong) = (0, Vec::new());
    for split in Split::ALL {
        for phrase in data.phrases(split) {
            let index = (phrase.image_id - image_id(0)) as usize;
            let scene = compose(&config, index).0;
            let shown = phrase.ann_ids.iter();
            let looks = shown.map(|id| scene.objects[(id - 100 * phrase.image_id) as usize].look);
            let plain = |shape: Shape| Shape::ALL.iter().position(|s| *s == shape) < Some(10);
            if !looks
                .into_iter()
                .all(|look| look.texture == Texture::Plain && plain(look.shape))
            {
                continue;
            }
            let colour = COLOURS.iter().find(|colour| {
                phrase
                    .phrase_structure
                    .attributes
                    .iter()
                    .any(|a| a == colour.name)
            });
            let Some(colour) = colour else { continue };
            // Without the rim and the JPEG artefacts around it.
            let mask = data.mask(phrase).unwrap().erode(2);
            if mask.area() < 20 {
                continue;
            }
            let picture = load_rgb(&data.image_path(phrase.image_id)).unwrap();
            let inside = picture
                .pixels()
                .zip(mask.pixels())
                .filter(|(_, inside)| *inside);
            let sum = inside.fold([0f32; 3], |sum, (pixel, _)| {
                std::array::from_fn(|channel| sum[channel] + f32::from(pixel.0[channel]))
            });
            let mean = hue(sum.map(|value| value / mask.area() as f32));
            let distance = |tone: [f32; 3]| {
                let hue = hue(tone);
                (0..4).map(|i| (hue[i] - mean[i]).powi(2)).sum::<f32>()
            };
            let nearest = COLOURS
                .iter()
                .min_by(|a, b| distance(a.body).total_cmp(&distance(b.body)));
            if nearest == Some(colour) {
                right += 1;
            } else {
                wrong.push((phrase.phrase.clone(), nearest.map(|colour| colour.name)));
            }
        }
    }
    assert!(
        right > 40 && wrong.len() * 20 < right,
        "{right} are right, not {wrong:?}"
    );
}

/// All files of a folder by name.
fn files(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for folder in [root.to_owned(), root.join("images")] {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                found.insert(path.display().to_string(), std::fs::read(&path).unwrap());
            }
        }
    }
    let prefix = root.display().to_string();
    found
        .into_iter()
        .map(|(name, bytes)| (name.replace(&prefix, ""), bytes))
        .collect()
}

#[test]
fn the_same_seed_gives_the_same_bytes_with_any_number_of_threads() {
    let folder = tempfile::tempdir().unwrap();
    let written = |name: &str, threads: usize, seed: u64| {
        let root = folder.path().join(name);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
        let count = std::sync::atomic::AtomicUsize::new(0);
        let progress = || {
            count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        };
        let generate = || generate_scenes_with(&root, &config(40, 64, seed), progress);
        pool.build().unwrap().install(generate).unwrap();
        assert_eq!(count.into_inner(), 40);
        files(&root)
    };
    let first = written("one", 1, 7);
    assert_eq!(first.len(), 40 + 7);
    assert!(first == written("three", 3, 7));
    let other = written("other", 2, 8);
    for (name, bytes) in first {
        let drawn = name.starts_with("/images/") || name == "/refer_train.json";
        assert!(!drawn || other[&name] != bytes, "{name}");
    }
}

#[test]
fn counts_are_those_of_the_phrases() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("scenes");
    generate_scenes(&root, &config(60, 64, 9)).unwrap();
    let data = PhraseCut::open(&root).unwrap();
    let text = std::fs::read(root.join("name_att_rel_count.json")).unwrap();
    let counts: BTreeMap<String, Vec<(String, usize)>> = serde_json::from_slice(&text).unwrap();
    let keys: Vec<&str> = counts.keys().map(String::as_str).collect();
    assert_eq!(keys, ["att", "cat", "rel"]);
    for (key, ranked) in &counts {
        assert!(ranked.is_sorted_by(|a, b| a.1 >= b.1), "{key}");
        let phrases = || Split::ALL.into_iter().flat_map(|split| data.phrases(split));
        let words = phrases().flat_map(|phrase| {
            let structure = phrase.phrase_structure.clone();
            match key.as_str() {
                "cat" => vec![structure.name],
                "att" => structure.attributes,
                _ => structure
                    .relation_descriptions
                    .into_iter()
                    .map(|r| r.0)
                    .collect(),
            }
        });
        let mut expected = BTreeMap::new();
        for word in words {
            *expected.entry(word).or_insert(0) += 1;
        }
        assert_eq!(
            ranked.iter().cloned().collect::<BTreeMap<_, _>>(),
            expected,
            "{key}"
        );
    }
    let marked = UnseenPairs::open(&root).unwrap().unwrap();
    assert_eq!(marked, UnseenPairs::of_scenes());
    assert!(marked.pairs.contains(&("purple".into(), "star".into())));
}

#[test]
fn what_cannot_be_generated_is_told_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let message = |name: &str, config: &ScenesConfig| {
        let error = generate_scenes(&folder.path().join(name), config).unwrap_err();
        error.to_string()
    };
    for (images, size) in [
        (0, 64),
        (3, 0),
        (3, 31),
        (3, 4_097),
        (100_000_001, 32),
        (usize::MAX, 32),
    ] {
        assert_eq!(
            message("new", &config(images, size, 0)),
            format!(
                "{images} scenes of {size} pixels, expected 1 to 100000000 scenes of 32 to 4096 pixels"
            )
        );
    }
    std::fs::create_dir(folder.path().join("there")).unwrap();
    let there = message("there", &config(1, 32, 0));
    assert!(there.ends_with("there: it already exists"), "{there}");
    std::fs::write(folder.path().join("file"), "in the way").unwrap();
    let blocked = message("file/new", &config(1, 32, 0));
    assert!(blocked.starts_with("cannot make "), "{blocked}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
}
