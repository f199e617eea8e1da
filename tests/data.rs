//! Pictures, polygons and files against Pillow and the official tools.

use crate::support::{Answers, device, fixtures};
use clipseg::clip::ImageProcessor;
use clipseg::data::{
    Mask, PhraseCut, PhraseCutDataset, Polygons, SampleOptions, ScenesConfig, Split, fill_polygon,
    generate_scenes, load_rgb,
};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The runs of each row, as start and length pairs.
fn from_runs(width: u32, height: u32, rows: &[Vec<u32>]) -> Mask {
    let mut inside = vec![0; (width * height) as usize];
    for (row, runs) in inside.chunks_exact_mut(width as usize).zip(rows) {
        for run in runs.chunks_exact(2) {
            row[run[0] as usize..(run[0] + run[1]) as usize].fill(1);
        }
    }
    Mask::from_vec(width, height, inside)
}

#[test]
fn polygons_are_filled_as_pillow_fills_them() {
    #[derive(Deserialize)]
    struct Case {
        width: u32,
        height: u32,
        polygons: Vec<Vec<[f64; 2]>>,
        rows: Vec<Vec<u32>>,
    }
    let json = std::fs::read(fixtures().join("polygons.json")).expect("a fixture");
    let cases: Vec<Case> = serde_json::from_slice(&json).expect("a list of cases");
    assert_eq!(cases.len(), 400);
    for (index, case) in cases.into_iter().enumerate() {
        let mut mask = Mask::new(case.width, case.height);
        let polygons: Polygons = [case.polygons].into_iter().collect();
        for polygon in polygons.iter() {
            fill_polygon(&mut mask, polygon);
        }
        assert!(
            mask == from_runs(case.width, case.height, &case.rows),
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
        let read = |folder: &std::path::Path| std::fs::read(folder.join(name)).unwrap();
        assert!(read(&first) == read(&second), "{name}");
    }
    let error = generate_scenes(&first, &config).unwrap_err().to_string();
    assert!(error.contains("it is there already"), "{error}");

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
    let batch = training.batch(&[0, 1, 2, 3, 4, 5], &device()).unwrap();
    let pictures = batch.picture_of.last().unwrap() + 1;
    assert!(pictures < 6, "phrases of one picture share it");
    assert_eq!(batch.pixels.dims(), [pictures, 3, 32, 48]);
    assert_eq!(batch.masks.dims(), [6, 32, 48]);
    let sample = training.sample(3).unwrap();
    let truth: Vec<f32> = sample
        .mask
        .as_slice()
        .iter()
        .map(|&v| f32::from(v))
        .collect();
    let found: Vec<f32> = batch
        .masks
        .slice(burn::tensor::s![3..4])
        .into_data()
        .try_to_vec()
        .unwrap();
    assert_eq!(found, truth);
}

#[test]
fn broken_data_sets_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let message = || PhraseCut::open(folder.path()).unwrap_err().to_string();
    assert!(
        message().contains("it holds none of image_data_split3000.json"),
        "{}",
        message()
    );
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write(
        "image_data_split.json",
        "[{\"image_id\": 1, \"width\": 4, \"height\": 4}]",
    );
    assert!(
        message().contains("missing field `split` at line 1"),
        "{}",
        message()
    );
    write(
        "image_data_split.json",
        "[{\"image_id\": 1, \"width\": 4, \"height\": 4, \"split\": \"train\"}]",
    );
    assert!(message().contains("refer_train.json"), "{}", message());
    write(
        "refer_train.json",
        "[{\"task_id\": \"2__1\", \"image_id\": 2, \"phrase\": \"cat\"}]",
    );
    assert_eq!(
        message(),
        "phrase `2__1`: picture 2 is not in the picture list"
    );
    write("refer_train.json", "{\"task_id\"");
    assert!(message().contains("refer_train.json"), "{}", message());
}
