//! Invalid configurations: each gives an error that names the file, never a panic.

use crate::bad_input::{copy, loading};
use crate::support::{device, shipped};
use clipseg::clip::{ClipTokenizer, ImageProcessor, TargetSize};
use clipseg::model::{ClipSeg, ClipSegConfig, Segmenter};
use image::RgbImage;
use serde_json::{Value, json};

/// Every variant of the JSON with one value replaced by one of the replacements.
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

fn picture() -> RgbImage {
    RgbImage::from_fn(40, 30, |x, y| image::Rgb([x as u8, y as u8, 7]))
}

/// Accepts any result; a panic fails the test.
fn segment(segmenter: &Segmenter) {
    let photo = segmenter.encode_image(&picture());
    drop(photo.and_then(|photo| segmenter.segment(&photo, &["a cat"])));
}

#[test]
fn no_value_in_config_json_makes_a_panic() {
    let folder = copy();
    let path = folder.path().join("config.json");
    let whole = clipseg::clip::read_json(&path).unwrap();
    let base = ClipSegConfig::from_file(&path).unwrap();
    let (mut used, mut refused, mut same) = (0, 0, 0);
    for (place, changed) in changes(&whole) {
        std::fs::write(&path, changed.to_string()).unwrap();
        let error = match ClipSegConfig::from_file(&path) {
            Ok(config) if config == base => {
                same += 1;
                continue;
            }
            Ok(_) => match Segmenter::from_pretrained(folder.path(), &device()) {
                Ok(segmenter) => {
                    used += 1;
                    segment(&segmenter);
                    continue;
                }
                Err(error) => error.to_string(),
            },
            Err(error) => error.to_string(),
        };
        refused += 1;
        let named = ["config.json", "tokenizer.json"];
        // The error about a width that differs from the weights' names their folder.
        let fits = error.contains("the tensors do not fit the model");
        assert!(
            fits || named.iter().any(|name| error.contains(name)),
            "{place}: {error}"
        );
    }
    let counts = format!("{refused} refused, {used} used, {same} without effect");
    assert!(refused > 300 && used > 10 && same > 100, "{counts}");
}

#[test]
fn no_value_in_preprocessor_config_json_makes_a_panic() {
    let folder = copy();
    let path = folder.path().join("preprocessor_config.json");
    let mut whole = clipseg::clip::read_json(&path).unwrap();
    whole["do_center_crop"] = json!(true);
    whole["crop_size"] = json!({"height": 32, "width": 48});
    let model = ClipSeg::from_pretrained(folder.path(), &device()).unwrap();
    let config = &model.config().clip.text_config;
    let tokenizer = ClipTokenizer::from_folder(folder.path(), config).unwrap();
    let read = |json: &Value| {
        std::fs::write(&path, json.to_string()).unwrap();
        ImageProcessor::from_folder(folder.path()).map(|processor| processor.expect("it is there"))
    };
    let base = read(&whole).unwrap();
    let (mut used, mut refused) = (0, 0);
    for (place, changed) in changes(&whole) {
        match read(&changed) {
            Ok(processor) if processor == base => {}
            Ok(processor) => {
                used += 1;
                segment(&Segmenter::new(model.clone(), tokenizer.clone(), processor));
            }
            Err(error) => {
                refused += 1;
                let error = error.to_string();
                assert!(
                    error.contains("preprocessor_config.json"),
                    "{place}: {error}"
                );
            }
        }
    }
    assert!(refused > 100 && used > 20, "{refused} refused, {used} used");
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
    // The older file with the same content gives the same result; the newer one has precedence.
    let part = clipseg::clip::read_json(&newer).unwrap()["image_processor"].clone();
    let older = folder.path().join("preprocessor_config.json");
    std::fs::copy(shipped_case("half-mean-96.json"), &older).unwrap();
    assert_eq!(
        ImageProcessor::from_folder(folder.path()).unwrap(),
        Some(found.clone())
    );
    // A file about the tokenizer alone has no effect on preprocessing.
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
    // Otherwise the newer file would be read instead of the saved one.
    let error = half.save(folder.path()).unwrap_err().to_string();
    assert!(error.contains("already exists"), "{error}");
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
    // Another program's folder is left unchanged, whichever of its files conflicts.
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
            error.contains(name) && error.contains("already exists"),
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
