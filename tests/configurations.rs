//! Configurations of every kind of wrong: an error that names the file, never a panic.

use crate::bad_input::{copy, loading};
use crate::support::{device, shipped};
use clipseg::clip::{ImageProcessor, TargetSize};
use clipseg::model::Segmenter;
use image::RgbImage;
use serde_json::{Value, json};
use std::path::Path;

/// The JSON with one value replaced, for each value in it and each replacement.
fn changes(json: &Value) -> Vec<(String, Value)> {
    let others = [
        Value::Null,
        json!(0),
        json!(1),
        json!(3),
        json!(-1),
        json!(0.5),
        json!(1e300),
        json!(u64::MAX),
        json!(1u64 << 40),
        json!(100_000),
        json!("x"),
        json!(""),
        json!(true),
        json!([]),
        json!([0]),
        json!([1, 2, 99]),
        json!({}),
    ];
    fn walk(json: &Value, path: String, others: &[Value]) -> Vec<(String, Value)> {
        let mut all: Vec<_> = others
            .iter()
            .map(|other| (path.clone(), other.clone()))
            .collect();
        if let Some(fields) = json.as_object() {
            for (key, value) in fields {
                for (place, changed) in walk(value, format!("{path}/{key}"), others) {
                    let mut whole = json.clone();
                    whole[key] = changed;
                    all.push((place, whole));
                }
            }
        }
        all
    }
    walk(json, String::new(), &others)
}

/// Loads a folder and uses what comes; how often it was refused.
fn try_all(name: &str, whole: &Value, folder: &Path) -> (usize, usize) {
    let path = folder.join(name);
    let picture = RgbImage::from_fn(40, 30, |x, y| image::Rgb([x as u8, y as u8, 7]));
    let (mut used, mut refused) = (0, 0);
    for (place, changed) in changes(whole) {
        std::fs::write(&path, changed.to_string()).unwrap();
        match Segmenter::from_pretrained(folder, &device()) {
            Err(error) => {
                refused += 1;
                let error = error.to_string();
                let named = [name, "model.safetensors", "tokenizer.json"];
                assert!(
                    named.iter().any(|name| error.contains(name)),
                    "{place}: {error}"
                );
            }
            Ok(segmenter) => {
                used += 1;
                let masks = segmenter
                    .encode_image(&picture)
                    .and_then(|image| segmenter.segment(&image, &["a cat"]));
                drop(masks);
            }
        }
    }
    (used, refused)
}

#[test]
fn no_value_in_config_json_makes_a_panic() {
    let folder = copy();
    let text = std::fs::read_to_string(folder.path().join("config.json")).unwrap();
    let whole: Value = serde_json::from_str(&text).unwrap();
    let (used, refused) = try_all("config.json", &whole, folder.path());
    assert!(
        refused > 300 && used > 100,
        "{refused} refused, {used} used"
    );
}

#[test]
fn no_value_in_preprocessor_config_json_makes_a_panic() {
    let folder = copy();
    let text = std::fs::read_to_string(folder.path().join("preprocessor_config.json")).unwrap();
    let mut whole: Value = serde_json::from_str(&text).unwrap();
    whole["do_center_crop"] = json!(true);
    whole["crop_size"] = json!({"height": 32, "width": 48});
    let (used, refused) = try_all("preprocessor_config.json", &whole, folder.path());
    assert!(refused > 100 && used > 50, "{refused} refused, {used} used");
}

fn shipped_case(name: &str) -> std::path::PathBuf {
    shipped().join("cases/preprocessing").join(name)
}

#[test]
fn the_preprocessing_of_transformers_5_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let newer = folder.path().join("processor_config.json");
    std::fs::copy(shipped_case("processor_config.json"), &newer).unwrap();
    let found = ImageProcessor::from_folder(folder.path()).unwrap().unwrap();
    assert_eq!(found, ImageProcessor::clipseg(96));
    // The older file with the same content gives the same, and the newer one goes first.
    let part = clipseg::clip::read_json(&newer).unwrap()["image_processor"].clone();
    let older = folder.path().join("preprocessor_config.json");
    std::fs::copy(shipped_case("half-mean-96.json"), &older).unwrap();
    assert_eq!(
        ImageProcessor::from_folder(folder.path()).unwrap(),
        Some(found.clone())
    );
    // A file that is about the tokenizer alone says nothing.
    std::fs::write(&newer, r#"{"processor_class": "CLIPSegProcessor"}"#).unwrap();
    let half = ImageProcessor::from_folder(folder.path()).unwrap().unwrap();
    assert_eq!((half.mean, half.std), ([0.5; 3], [0.5; 3]));
    let side = TargetSize::Exact {
        height: 96,
        width: 96,
    };
    assert_eq!(half.size, Some(side));
    std::fs::write(&older, part.to_string()).unwrap();
    assert_eq!(
        ImageProcessor::from_folder(folder.path()).unwrap(),
        Some(found)
    );

    std::fs::write(&newer, r#"{"image_processor": {"resample": 9}}"#).unwrap();
    let error = ImageProcessor::from_folder(folder.path())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("processor_config.json: field `resample`: 9"),
        "{error}"
    );
    // Saving would leave the newer file to be read in its place.
    let error = half.save(folder.path()).unwrap_err().to_string();
    assert!(error.contains("is there already"), "{error}");
}

#[test]
fn a_checkpoint_keeps_its_preprocessing_when_it_is_saved() {
    let folder = copy();
    let path = folder.path().join("preprocessor_config.json");
    std::fs::copy(shipped_case("half-mean-96.json"), &path).unwrap();
    let segmenter = Segmenter::from_pretrained(folder.path(), &device()).unwrap();
    let saved = tempfile::tempdir().unwrap();
    segmenter.save_pretrained(saved.path()).unwrap();
    segmenter.save_pretrained(saved.path()).unwrap();
    let found = ImageProcessor::from_folder(saved.path()).unwrap().unwrap();
    assert_eq!(&found, segmenter.processor());
    // A folder of another program's is left as it is, whichever file is in the way.
    for name in [
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
        "preprocessor_config.json",
    ] {
        let other = tempfile::tempdir().unwrap();
        std::fs::write(other.path().join(name), "{}").unwrap();
        let error = segmenter
            .save_pretrained(other.path())
            .unwrap_err()
            .to_string();
        assert!(
            error.contains(name) && error.contains("is there already"),
            "{error}"
        );
        assert_eq!(
            std::fs::read_dir(other.path()).unwrap().count(),
            1,
            "{name}"
        );
    }
    let own = copy();
    std::fs::remove_file(own.path().join("config.json")).unwrap();
    assert!(loading(own.path()).contains("config.json"));
}
