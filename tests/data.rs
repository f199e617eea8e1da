//! Pictures, polygons and files against Pillow and the official tools.

use crate::support::{Answers, device, fixtures, fixtures_with, from_runs};
use clipseg::clip::ImageProcessor;
use clipseg::data::{
    PhraseCut, PhraseCutDataset, Polygons, RasterRule, SampleOptions, ScenesConfig, Split,
    generate_scenes, load_rgb,
};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

#[derive(Deserialize)]
struct Case {
    width: u32,
    height: u32,
    polygons: Vec<Vec<[f64; 2]>>,
    rows: Vec<Vec<u32>>,
}

fn cases(folder: &Path) -> Vec<Case> {
    let json = std::fs::read(folder.join("polygons.json")).expect("a fixture");
    let cases: Vec<Case> = serde_json::from_slice(&json).expect("a list of cases");
    assert_eq!(cases.len(), 400);
    cases
}

#[test]
fn polygons_are_filled_as_pillow_fills_them() {
    for (index, case) in cases(&fixtures()).into_iter().enumerate() {
        let polygons: Polygons = [case.polygons].into_iter().collect();
        let mask = RasterRule::Pillow.mask(polygons.iter(), case.width, case.height);
        assert!(
            mask == from_runs(case.width, case.height, &case.rows),
            "case {index}"
        );
    }
}

#[test]
fn the_centres_of_pixels_are_inside_as_for_scikit_image() {
    let folder = fixtures_with("pixel_centre.json");
    let json = std::fs::read(folder.join("pixel_centre.json")).expect("a fixture");
    let masks: Vec<Vec<Vec<u32>>> = serde_json::from_slice(&json).expect("a list of rows");
    let cases = cases(&folder);
    assert_eq!(cases.len(), masks.len());
    for (index, (case, rows)) in cases.into_iter().zip(masks).enumerate() {
        let polygons: Polygons = [case.polygons].into_iter().collect();
        let mask = RasterRule::PixelCentre.mask(polygons.iter(), case.width, case.height);
        assert!(
            mask == from_runs(case.width, case.height, &rows),
            "case {index}"
        );
    }
}

#[derive(Deserialize)]
struct Task {
    split: Split,
    width: u32,
    height: u32,
    rows: Vec<Vec<u32>>,
}

#[test]
fn every_phrase_of_the_file_layout_has_the_official_mask() {
    #[derive(Deserialize)]
    struct Expected {
        tasks: BTreeMap<String, Task>,
    }
    let json = std::fs::read(fixtures().join("phrasecut/expected.json")).expect("a fixture");
    let mut expected: Expected = serde_json::from_slice(&json).expect("tasks by their ids");
    let data = PhraseCut::open(&fixtures().join("phrasecut/VGPhraseCut_v0")).expect("it opens");
    for split in Split::ALL {
        for phrase in data.phrases(split) {
            let task = expected
                .tasks
                .remove(&phrase.task_id)
                .expect("each task is expected once");
            assert_eq!(task.split, split);
            let mask = data.mask(phrase).expect("its picture is listed");
            let truth = from_runs(task.width, task.height, &task.rows);
            assert!(mask == truth, "{}", phrase.task_id);
        }
    }
    assert!(
        expected.tasks.is_empty(),
        "{} tasks were not read",
        expected.tasks.len()
    );
}

#[test]
fn pictures_are_prepared_as_the_reference_prepares_them() {
    let answers = Answers::of(fixtures().join("images"));
    let processors = [
        ("clipseg", ImageProcessor::clipseg(64)),
        ("clip", ImageProcessor::clip(56)),
    ];
    let names = answers.names("");
    assert_eq!(names.len(), 18);
    for name in names {
        let (picture, kind) = name.rsplit_once('.').expect("picture and processor");
        let processor = &processors
            .iter()
            .find(|(known, _)| *known == kind)
            .expect("known")
            .1;
        let path = answers.folder().join(format!("{picture}.png"));
        let rgb = load_rgb(&path).expect("a fixture");
        let pixels = processor
            .pixel_values(&[rgb], &device())
            .expect("it can be prepared");
        let found: Vec<f32> = pixels.into_data().try_to_vec().expect("floats");
        let expected = answers.values(&name);
        assert_eq!(found.len(), expected.len(), "{name}");
        let grey_level = 1.0 / 255.0 / processor.std.iter().copied().fold(f32::MAX, f32::min);
        let differences: Vec<f32> = found
            .iter()
            .zip(&expected)
            .map(|(a, b)| (a - b).abs())
            .collect();
        let worst = differences.iter().copied().fold(0.0, f32::max);
        assert!(
            worst <= 1.001 * grey_level,
            "{name}: {worst}, a grey level is {grey_level}"
        );
        let equal = differences
            .iter()
            .filter(|&&difference| difference <= 1e-6)
            .count();
        assert!(
            20 * equal >= 19 * found.len(),
            "{name}: {equal} of {} are equal",
            found.len()
        );
    }
}

#[test]
fn scenes_are_the_same_for_the_same_seed_and_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let config = ScenesConfig {
        images: 40,
        size: 64,
        seed: 5,
    };
    let [first, second] = ["first", "second"].map(|name| folder.path().join(name));
    generate_scenes(&first, &config).unwrap();
    generate_scenes(&second, &config).unwrap();
    for name in [
        "refer_train.json",
        "refer_test.json",
        "images/1.jpg",
        "images/40.jpg",
    ] {
        let read = |folder: &Path| std::fs::read(folder.join(name)).unwrap();
        assert!(read(&first) == read(&second), "{name}");
    }
    let error = generate_scenes(&first, &config).unwrap_err().to_string();
    assert!(error.contains("it already exists"), "{error}");

    let data = Arc::new(PhraseCut::open(&first).unwrap());
    let mut tasks = std::collections::BTreeSet::new();
    for split in Split::ALL {
        assert!(!data.phrases(split).is_empty(), "{split}");
        for phrase in data.phrases(split) {
            assert!(
                tasks.insert(phrase.task_id.clone()),
                "{} comes twice",
                phrase.task_id
            );
            assert!(
                data.mask(phrase).unwrap().area() >= 12,
                "{} is hardly there",
                phrase.task_id
            );
        }
    }
    let training = PhraseCutDataset::new(data, Split::Train, SampleOptions::new(48, 32)).unwrap();
    let batch = training.batch(&[0, 1, 2, 3, 4, 5], 0, &device()).unwrap();
    let pictures = batch.picture_of.last().unwrap() + 1;
    assert!(pictures < 6, "phrases of one picture share it");
    assert_eq!(batch.pixels.dims(), [pictures, 3, 32, 48]);
    assert_eq!(batch.masks.dims(), [6, 32, 48]);
    let sample = training.sample(3, 0).unwrap();
    let truth = sample.mask.to_vec().into_iter().map(f32::from);
    let found: Vec<f32> = batch
        .masks
        .slice(burn::tensor::s![3..4])
        .into_data()
        .try_to_vec()
        .unwrap();
    assert!(truth.eq(found));
}
