//! Batches of captioned pictures, and what is held out.

use super::batch::CaptionBatch;
use super::options::CaptionOptions;
use super::source::CAPTION_LIST;
use super::stream::Captions;
use crate::scenes::fresh::{Looks, fresh_scene};
use crate::scenes::{ScenesConfig, generate_scenes};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn options() -> CaptionOptions {
    CaptionOptions {
        per_picture: 2,
        seed: 9,
        ..CaptionOptions::new(32)
    }
}

/// A data set of 16 training scenes, and a list of six pictures, of which the first is held out.
fn scenes_and_list(folder: &Path) -> [PathBuf; 2] {
    let scenes = folder.join("scenes");
    let config = ScenesConfig {
        images: 20,
        size: 48,
        seed: 5,
    };
    generate_scenes(&scenes, &config).unwrap();
    let listed = folder.join("listed");
    std::fs::create_dir(&listed).unwrap();
    let mut list = String::new();
    for index in 0..6u8 {
        let picture = image::RgbImage::from_pixel(20, 10, image::Rgb([40 * index; 3]));
        picture.save(listed.join(format!("{index}.png"))).unwrap();
        list += &format!("{index}.png\tgrey number {index}\n");
    }
    std::fs::write(listed.join(CAPTION_LIST), list).unwrap();
    [scenes, listed]
}

fn texts(batch: &CaptionBatch) -> Vec<&str> {
    batch.samples.iter().map(|one| one.text.as_str()).collect()
}

#[test]
fn a_batch_depends_only_on_its_position() {
    let captions = Captions::scenes(options()).unwrap();
    let again = Captions::scenes(options()).unwrap();
    let later = again.batch(3, 8).unwrap();
    let first = captions.batch(0, 8).unwrap();
    assert_ne!(texts(&first), texts(&later));
    let same = captions.batch(3, 8).unwrap();
    assert_eq!(texts(&same), texts(&later));
    assert_eq!(same.pixels(), later.pixels());
    assert_eq!((captions.pictures(), captions.epoch(100, 8)), (None, 0));
    let other = CaptionOptions {
        seed: 10,
        ..options()
    };
    let other = Captions::scenes(other).unwrap();
    assert_ne!(texts(&other.batch(3, 8).unwrap()), texts(&later));
    let message = captions.batch(0, 7).unwrap_err().to_string();
    assert!(
        message.contains("7 samples, expected a multiple of 2"),
        "{message}"
    );
}

#[test]
fn without_regions_the_samples_are_those_of_earlier_versions() {
    let options = CaptionOptions {
        per_picture: 4,
        ..options()
    };
    let batch = Captions::scenes(options).unwrap().batch(3, 8).unwrap();
    let expected = [
        "table right of table and right of triangle, table left of boat, face, table",
        "triangle, face, red boat above table",
        "red triangle",
        "table left of table and left of triangle, table",
        "green mushroom",
        "table",
        "orange ring",
        "small orange ring below tree",
    ];
    assert_eq!(texts(&batch), expected);
    assert!(batch.boxes().iter().all(Vec::is_empty));
}

#[test]
fn only_pictures_with_annotated_objects_have_regions() {
    let folder = tempfile::tempdir().unwrap();
    let [scenes, listed] = scenes_and_list(folder.path());
    let options = CaptionOptions {
        regions: 4,
        crops: 0.0,
        ..options()
    };
    let message = Captions::open(&[&listed], options.clone()).unwrap_err();
    assert_eq!(
        message.to_string(),
        "field `regions`: 4, expected 0: caption lists have no annotated objects"
    );
    let captions = Captions::open(&[&scenes, &listed], options).unwrap();
    assert_eq!(
        (captions.pictures(), captions.without_objects()),
        (Some(21), 5)
    );
    let (mut with, mut without) = (0, 0);
    for position in 0..21 {
        for sample in captions.batch(position, 2).unwrap().samples {
            if sample.text.starts_with("grey number") {
                without += 1;
                assert!(sample.regions.is_empty());
            } else {
                with += usize::from(!sample.regions.is_empty());
            }
            for region in &sample.regions {
                let [left, top, right, bottom] = region.bounds;
                assert!(0.0 <= left && left < right && right <= 1.0, "{region:?}");
                assert!(0.0 <= top && top < bottom && bottom <= 1.0, "{region:?}");
                assert!(!region.text.is_empty());
            }
        }
    }
    assert_eq!((with, without), (32, 10));
    let held_out = captions.held_out(100).unwrap();
    assert_eq!(held_out.objects.len(), held_out.pictures.len());
    assert!(held_out.objects.iter().any(|objects| !objects.is_empty()));
    assert!(held_out.objects.iter().any(Vec::is_empty));
}

#[test]
fn an_epoch_contains_every_picture() {
    let folder = tempfile::tempdir().unwrap();
    let [scenes, listed] = scenes_and_list(folder.path());
    let captions = Captions::open(&[&scenes, &listed], options()).unwrap();
    let pictures = captions.pictures().unwrap();
    assert_eq!(pictures, 21);
    let pass = |epoch: u64| -> Vec<String> {
        let positions = epoch * 21..(epoch + 1) * 21;
        let of = |position| captions.batch(position, 2).unwrap();
        let batches = positions.map(of);
        batches
            .flat_map(|batch| batch.samples.into_iter().map(|sample| sample.text))
            .collect()
    };
    let (first, second) = (pass(0), pass(1));
    let greys = |texts: &[String]| -> BTreeSet<String> {
        let greys = texts.iter().filter(|text| text.starts_with("grey number"));
        greys.cloned().collect()
    };
    assert_eq!(greys(&first).len(), 5);
    assert_eq!(greys(&second).len(), 5);
    assert_ne!(first, second);
    assert_eq!([captions.epoch(20, 2), captions.epoch(21, 2)], [0, 1]);

    let held_out = captions.held_out(100).unwrap();
    assert!(held_out.texts.contains(&"grey number 0".to_owned()));
    assert_eq!(
        held_out.texts.len(),
        3,
        "two of the split `val` and one of the list"
    );
    let labelled = captions.labelled(100).unwrap();
    assert_eq!(labelled.names.len(), labelled.pictures.len());
    assert!(
        labelled
            .names
            .iter()
            .all(|&name| name < labelled.name_classes.len())
    );
    assert!(captions.texts().iter().any(|text| text == "grey number 3"));
    assert!(captions.texts().iter().all(|text| text != "grey number 0"));
}

#[test]
fn folders_without_captions_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let message = Captions::open(&[folder.path()], options()).unwrap_err();
    assert!(
        message.to_string().contains("is not a data set"),
        "{message}"
    );
    let none: [&Path; 0] = [];
    assert!(Captions::open(&none, options()).is_err());
    let picture = image::RgbImage::new(4, 4);
    picture.save(folder.path().join("a.png")).unwrap();
    std::fs::write(folder.path().join(CAPTION_LIST), "a.png\tx").unwrap();
    let message = Captions::open(&[folder.path()], options()).unwrap_err();
    assert!(
        message.to_string().contains("captions.tsv: one picture"),
        "{message}"
    );
}

#[test]
fn held_out_scenes_differ_from_training_scenes() {
    let captions = Captions::scenes(options()).unwrap();
    let held_out = captions.held_out(30).unwrap();
    assert_eq!((held_out.texts.len(), held_out.pictures.len()), (30, 30));
    let distinct: BTreeSet<&String> = held_out.texts.iter().collect();
    assert!(distinct.len() > 25);
    let first = fresh_scene(9, 0, 32, Looks::Seen).picture;
    assert!(held_out.pictures.iter().all(|picture| *picture != first));
    let labelled = captions.labelled(200).unwrap();
    let (names, colours) = (&labelled.name_classes, &labelled.colour_classes);
    assert!(labelled.pictures.len() > 180, "{}", labelled.pictures.len());
    assert!((18..=22).contains(&names.len()) && colours.len() == 10);
}
