//! Models with every kind of decoder on disk.

use crate::decoders::{kinds, model, prompts};
use crate::support::{Answers, device, fixtures};
use clipseg::clip::{ClipTokenizer, ImageProcessor, load_clip};
use clipseg::data::load_rgb;
use clipseg::model::{ClipSeg, ClipSegConfig, DecoderConfig, Segmenter};
use serde_json::{Value, json};
use std::path::Path;

fn segmenter(model: ClipSeg) -> Segmenter {
    let folder = fixtures().join("models/clipseg-refined");
    let config = &model.config().clip.text_config;
    let tokenizer = ClipTokenizer::from_folder(&folder, config).expect("the fixture loads");
    Segmenter::new(model, tokenizer, ImageProcessor::clipseg(64))
}

fn read(folder: &Path) -> Value {
    let text = std::fs::read_to_string(folder.join("config.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

#[test]
fn a_saved_model_is_the_same_to_the_last_bit() {
    let photo = load_rgb(&fixtures().join("images/wide.png")).unwrap();
    for (name, config) in kinds() {
        let folder = tempfile::tempdir().unwrap();
        let before = segmenter(model(config.clone()));
        before.save_pretrained(folder.path()).unwrap();
        let after = Segmenter::from_pretrained(folder.path(), &device()).unwrap();
        assert_eq!(after.model().config(), before.model().config(), "{name}");

        let embedding = prompts(before.model());
        let logits = |segmenter: &Segmenter| {
            let encoded = segmenter.encode_image(&photo).unwrap();
            let logits = segmenter.logits(&encoded, embedding.clone()).unwrap();
            logits.into_data()
        };
        assert_eq!(logits(&before), logits(&after), "{name}");
        let mask = |segmenter: &Segmenter| {
            let encoded = segmenter.encode_image(&photo).unwrap();
            segmenter.segment(&encoded, &["a cat"]).unwrap().remove(0)
        };
        assert_eq!(mask(&before), mask(&after), "{name}");

        // The encoders can be loaded from any of them.
        let clip = load_clip(folder.path(), &device()).unwrap().config;
        assert_eq!(clip, before.model().config().clip);
        // Saving again writes the same bytes.
        let again = tempfile::tempdir().unwrap();
        after.save_pretrained(again.path()).unwrap();
        for file in ["config.json", "model.safetensors"] {
            let bytes = |folder: &Path| std::fs::read(folder.join(file)).unwrap();
            assert!(
                bytes(folder.path()) == bytes(again.path()),
                "{name}: {file}"
            );
        }
    }
}

#[test]
fn files_have_pytorch_s_names_and_shapes() {
    for (name, config) in kinds() {
        let folder = tempfile::tempdir().unwrap();
        model(config.clone())
            .save_pretrained(folder.path())
            .unwrap();
        let json = read(folder.path());
        let file = Answers::from_file(folder.path().to_owned(), "model.safetensors");
        let shape = |name: &str| file.data(name).shape().to_vec();
        for tensor in file.names("") {
            let known = tensor.starts_with("clip.") || tensor.starts_with("decoder.");
            assert!(known && !tensor.contains("gamma"), "{name}: {tensor}");
        }
        match config {
            DecoderConfig::Transformer(_) => {
                assert_eq!(json["model_type"], "clipseg");
                assert_eq!(json["extract_layers"], json!([1, 2, 4]));
                assert!(json.get("decoder_type").is_none(), "{json}");
                assert_eq!(shape("decoder.film_mul.weight"), [32, 32]);
            }
            DecoderConfig::Conv(conv) => {
                assert_eq!(json["decoder_type"], "conv");
                assert_eq!(json["decoder_config"], json!(conv));
                // Transformers would initialize its own decoder at random.
                assert!(json.get("model_type").is_none(), "{json}");
                // [out, in], unlike in Burn.
                assert_eq!(shape("decoder.levels.2.film_add.weight"), [8, 32]);
                assert_eq!(shape("decoder.levels.1.skip.projection.weight"), [16, 48]);
                assert_eq!(shape("decoder.levels.1.norm.weight"), [16]);
            }
            DecoderConfig::Deconv(_) => {
                assert_eq!(json["decoder_type"], "deconv");
                assert_eq!(
                    shape("decoder.transposed_convolution.weight"),
                    [64, 1, 16, 16]
                );
            }
            other => panic!("{other:?} is not tested"),
        }
    }
}

#[test]
fn bad_fields_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let (_, conv) = kinds().swap_remove(1);
    model(conv).save_pretrained(folder.path()).unwrap();
    let good = read(folder.path());
    let message = |change: &dyn Fn(&mut Value)| {
        let mut json = good.clone();
        change(&mut json);
        match ClipSegConfig::from_json(&json, Path::new("config.json")) {
            Ok(config) => panic!("{config:?} was read"),
            Err(error) => error.to_string(),
        }
    };
    assert_eq!(
        message(&|json| json["decoder_type"] = "unet".into()),
        "config.json: field `decoder_type`: `unet` is not known, expected `transformer`, `conv` or \
         `deconv`"
    );
    let kind = message(&|json| json["decoder_type"] = 3.into());
    assert!(
        kind.starts_with("config.json: field `decoder_type`: invalid type"),
        "{kind}"
    );
    let missing = |json: &mut Value| {
        json.as_object_mut().unwrap().remove("decoder_config");
    };
    assert_eq!(
        message(&missing),
        "config.json: field `decoder_config`: missing, expected an object"
    );
    for (field, value, expected) in [
        ("widht", json!(32), "unknown field `widht`"),
        ("width", json!("wide"), "invalid type: string \"wide\""),
        (
            "width",
            json!(4),
            "4, expected at least the `min_width` of 8",
        ),
        ("min_width", json!(3), "3, expected at least 4"),
        ("blocks", json!(0), "0, expected at least 1"),
        ("upsampling", json!("cubic"), "unknown variant `cubic`"),
        (
            "extract_layers",
            json!([]),
            "[], expected one or more of 0 to 4",
        ),
        (
            "extract_layers",
            json!([1, 5]),
            "[1, 5], expected one or more of 0 to 4",
        ),
        (
            "extract_layers",
            json!([0, 1, 2, 3, 4]),
            "5 layers, expected at most 4: one for each level that a patch size of 16 gives",
        ),
    ] {
        let found = message(&|json| json["decoder_config"][field] = value.clone());
        let expected = format!("config.json: field `decoder_config.{field}`: {expected}");
        assert!(found.starts_with(&expected), "{found}");
    }
    let (_, deconv) = kinds().swap_remove(4);
    model(deconv).save_pretrained(folder.path()).unwrap();
    let good = read(folder.path());
    for (field, value, expected) in [
        (
            "extract_layer",
            json!(5),
            "[5], expected one or more of 0 to 4",
        ),
        ("reduce_dim", json!(0), "0, expected at least 1"),
        ("mlp_dim", json!(0), "0, expected at least 1"),
    ] {
        let mut json = good.clone();
        json["decoder_config"][field] = value;
        let error = ClipSegConfig::from_json(&json, Path::new("config.json")).unwrap_err();
        let expected = format!("config.json: field `decoder_config.{field}`: {expected}");
        assert_eq!(error.to_string(), expected);
    }
}

#[test]
fn weights_of_another_decoder_do_not_load() {
    let folder = tempfile::tempdir().unwrap();
    let [conv, deconv] = [1, 4].map(|index| kinds().swap_remove(index).1);
    model(conv).save_pretrained(folder.path()).unwrap();
    let other = tempfile::tempdir().unwrap();
    model(deconv).save_pretrained(other.path()).unwrap();
    std::fs::copy(
        other.path().join("config.json"),
        folder.path().join("config.json"),
    )
    .unwrap();
    let error = ClipSeg::from_pretrained(folder.path(), &device()).unwrap_err();
    let error = error.to_string();
    for expected in [
        "missing: decoder.film_add.bias",
        "unexpected: decoder.head.bias",
    ] {
        assert!(error.contains(expected), "{error}");
    }
}
