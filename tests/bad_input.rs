//! Mistakes of users: each gives an error that names the place, never a panic.

use crate::support::{device, drawn, fixtures};
use clipseg::clip::{ClipTokenizer, ImageProcessor};
use clipseg::model::{ClipSeg, ModelError, Prompt, SegmentOptions, Segmenter, VisualPrompt};
use image::RgbImage;
use std::path::{Path, PathBuf};

fn model() -> PathBuf {
    fixtures().join("models/clipseg-refined")
}

/// A copy of the tiny checkpoint for tests to damage.
pub(crate) fn copy() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(model()).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
    }
    folder
}

/// Replaces the first value of a tensor in a float32 file.
pub(crate) fn spoil(file: &Path, tensor: &str, value: f32) {
    let mut bytes = std::fs::read(file).unwrap();
    let header = 8 + u64::from_le_bytes(*bytes.first_chunk().unwrap()) as usize;
    let names: serde_json::Value = serde_json::from_slice(&bytes[8..header]).unwrap();
    assert_eq!(names[tensor]["dtype"], "F32", "{tensor}");
    let offset = names[tensor]["data_offsets"][0].as_u64().unwrap() as usize;
    bytes[header + offset..][..4].copy_from_slice(&value.to_le_bytes());
    std::fs::write(file, bytes).unwrap();
}

pub(crate) fn loading(folder: &Path) -> String {
    match Segmenter::from_pretrained(folder, &device()) {
        Ok(_) => panic!("{} was loaded", folder.display()),
        Err(error) => error.to_string(),
    }
}

#[test]
fn folders_without_a_checkpoint() {
    assert_eq!(
        loading(Path::new("no/such/folder")),
        "cannot read no/such/folder: no such folder"
    );
    let empty = tempfile::tempdir().unwrap();
    let expected = format!(
        "{} contains none of model.safetensors, model.safetensors.index.json, pytorch_model.bin, \
         pytorch_model.bin.index.json",
        empty.path().display()
    );
    assert_eq!(loading(empty.path()), expected);
    let folder = copy();
    std::fs::remove_file(folder.path().join("config.json")).unwrap();
    let message = loading(folder.path());
    assert!(
        message.starts_with("cannot read ") && message.contains("config.json"),
        "{message}"
    );
}

#[test]
fn weights_that_are_cut_off() {
    let folder = copy();
    let path = folder.path().join("model.safetensors");
    let bytes = std::fs::read(&path).unwrap();
    for length in [0, 4, 8, 100, bytes.len() / 2, bytes.len() - 1] {
        std::fs::write(&path, &bytes[..length]).unwrap();
        let message = loading(folder.path());
        assert!(message.contains("model.safetensors"), "{length}: {message}");
    }
}

#[test]
fn one_weight_that_is_not_finite() {
    for (tensor, value) in [
        ("decoder.film_mul.weight", f32::INFINITY),
        ("clip.visual_projection.weight", f32::NAN),
        ("decoder.transposed_convolution.0.bias", f32::NEG_INFINITY),
    ] {
        let folder = copy();
        spoil(&folder.path().join("model.safetensors"), tensor, value);
        let expected = format!("the tensor `{tensor}` has NaN or infinite values");
        let message = loading(folder.path());
        assert!(message.ends_with(&expected), "{message}");
    }
}

#[test]
fn logits_that_are_not_finite_give_no_mask() {
    let folder = copy();
    let weights = folder.path().join("model.safetensors");
    spoil(&weights, "decoder.film_mul.bias", f32::INFINITY);
    let model = ClipSeg::from_pretrained(folder.path(), &device()).unwrap();
    let config = &model.config().clip.text_config;
    let tokenizer = ClipTokenizer::from_folder(folder.path(), config).unwrap();
    let segmenter = Segmenter::new(model, tokenizer, ImageProcessor::clipseg(64));
    let photo = segmenter.encode_image(&RgbImage::new(9, 7)).unwrap();
    let embedding = segmenter.encode_text(&["a cat"]).unwrap();
    let prompt: [Prompt; 1] = ["a cat".into()];
    let mut seen = 0;
    let options = SegmentOptions::default();
    let each = segmenter.for_each_mask(&photo, &prompt, &options, |_, _| {
        seen += 1;
        Ok::<(), ModelError>(())
    });
    assert_eq!(seen, 0);
    let errors = [
        each.unwrap_err(),
        segmenter.segment(&photo, &["a cat"]).unwrap_err(),
        segmenter
            .segment_with(&photo, &prompt, &options)
            .unwrap_err(),
        segmenter.logits(&photo, embedding.clone()).unwrap_err(),
        segmenter
            .segment_by_embedding(&photo, embedding)
            .unwrap_err(),
    ];
    for error in errors {
        assert!(matches!(error, ModelError::NotFinite { .. }), "{error}");
    }
}

#[test]
fn pictures_that_whole_patches_do_not_fill() {
    let model = ClipSeg::from_pretrained(&model(), &device()).unwrap();
    let tokenizer = ClipTokenizer::from_folder(&self::model(), &model.config().clip.text_config);
    let segmenter = Segmenter::new(model, tokenizer.unwrap(), ImageProcessor::clipseg(50));
    let expected =
        "the preprocessing resizes pictures to 50x50, expected multiples of the patch size 16";
    let error = segmenter.encode_image(&RgbImage::new(9, 7)).unwrap_err();
    assert_eq!(error.to_string(), expected);
    let example = VisualPrompt::new(RgbImage::new(9, 7));
    let error = segmenter.encode_visual(&example).unwrap_err();
    assert_eq!(error.to_string(), expected);
}

#[test]
fn a_tower_for_other_than_three_channels() {
    let mut config = clipseg::model::ClipSegConfig::small();
    config.clip.text_config.hidden_size = 32;
    config.clip.vision_config.num_channels = 1;
    let model = drawn(0, || ClipSeg::init(&config, &device()));
    let tokenizer = ClipTokenizer::openai(77).unwrap();
    let segmenter = Segmenter::new(model, tokenizer, ImageProcessor::clipseg(96));
    let error = segmenter.encode_image(&RgbImage::new(9, 7)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the model expects pictures with 1 channels, but this one has 3"
    );
    let folder = tempfile::tempdir().unwrap();
    segmenter.save_pretrained(folder.path()).unwrap();
    let message = loading(folder.path());
    assert!(
        message.contains("field `vision_config.num_channels`: 1, expected 3"),
        "{message}"
    );
}

#[test]
fn configurations_of_something_else() {
    let folder = copy();
    let path = folder.path().join("config.json");
    let text = std::fs::read_to_string(&path).unwrap();
    let config: serde_json::Value = serde_json::from_str(&text).unwrap();
    let message = |change: &dyn Fn(&mut serde_json::Value)| {
        let mut config = config.clone();
        change(&mut config);
        std::fs::write(&path, config.to_string()).unwrap();
        loading(folder.path())
    };
    let bert = message(&|config| config["model_type"] = "bert".into());
    assert!(
        bert.contains("field `model_type`: `bert` is another architecture"),
        "{bert}"
    );
    let blind = message(&|config| {
        config.as_object_mut().unwrap().remove("vision_config");
    });
    assert!(blind.contains("field `vision_config`: missing"), "{blind}");
    let wide = message(&|config| config["reduce_dim"] = 32.into());
    assert!(wide.contains("decoder.film_mul.weight has shape"), "{wide}");
    std::fs::write(&path, "{\"model_type\":").unwrap();
    let cut = loading(folder.path());
    assert!(cut.contains("config.json: not JSON"), "{cut}");
}

#[test]
fn prompts_and_pictures_at_the_edge() {
    let segmenter = Segmenter::from_pretrained(&model(), &device()).unwrap();
    let dot = segmenter.encode_image(&RgbImage::new(1, 1)).unwrap();
    let none: [&str; 0] = [];
    let error = segmenter.segment(&dot, &none).unwrap_err();
    assert_eq!(
        error.to_string(),
        "no prompt was given, expected at least one"
    );

    // Longer than any text tower accepts: the text is truncated.
    let long = "cat ".repeat(2_500);
    let masks = segmenter.segment(&dot, &[long.as_str(), ""]).unwrap();
    assert_eq!((masks[0].width(), masks[0].height()), (1, 1));
    assert!(masks.iter().all(|mask| mask.highest().is_finite()));

    let strip = segmenter.encode_image(&RgbImage::new(40_000, 2)).unwrap();
    let mask = segmenter.segment(&strip, &["a cat"]).unwrap().remove(0);
    assert_eq!((mask.width(), mask.height()), (40_000, 2));

    let error = segmenter.encode_image(&RgbImage::new(0, 5)).unwrap_err();
    assert_eq!(error.to_string(), "a picture of 0x5 has no pixels");
    let narrow = burn::tensor::Tensor::<2>::zeros([1, 3], &device());
    match segmenter.segment_by_embedding(&dot, narrow) {
        Err(ModelError::Input(message)) => {
            assert!(
                message.starts_with("the prompt's embedding has 3 values"),
                "{message}"
            );
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_folder_that_cannot_be_written() {
    let segmenter = Segmenter::from_pretrained(&model(), &device()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "in the way").unwrap();
    let error = segmenter.save_pretrained(&file.join("model")).unwrap_err();
    assert!(error.to_string().starts_with("cannot make "), "{error}");
    // A folder blocks the file: no partial file is left beside it.
    let taken = folder.path().join("taken");
    std::fs::create_dir_all(taken.join("model.safetensors/full")).unwrap();
    let error = segmenter.save_pretrained(&taken).unwrap_err();
    assert!(error.to_string().contains("model.safetensors"), "{error}");
    assert_eq!(std::fs::read_dir(&taken).unwrap().count(), 1);
}
