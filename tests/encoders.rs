//! The encoders, decoders and tokenizers against transformers.

use crate::parity;
use crate::support::{Answers, SEGMENTERS, device, fixtures};
use burn::module::{Module, ModuleMapper, Param};
use burn::prelude::*;
use burn::tensor::{DType, FloatDType};
use clipseg::clip::{Clip, ClipTokenizer, TextConfig};

/// The reference's own float32 error is 1e-6; see `tests/README.md`.
const TOLERANCE: f32 = 1e-4;

#[test]
fn text_encoder() {
    parity::text_encoder(&device(), TOLERANCE);
}

#[test]
fn vision_encoder_at_every_layer_and_size() {
    parity::vision_encoder_at_every_layer_and_size(&device(), TOLERANCE);
}

#[test]
fn decoder_layers_and_logits_of_text_and_visual_prompts() {
    parity::decoder_layers_and_logits_of_text_and_visual_prompts(&device(), TOLERANCE);
}

#[test]
fn contrastive_scores() {
    parity::contrastive_scores(&device(), TOLERANCE);
}

#[test]
fn tokenizer_of_a_checkpoint_gives_the_batch_of_the_reference() {
    for name in SEGMENTERS.into_iter().chain(["clip"]) {
        let folder = fixtures().join("models").join(name);
        let answers = Answers::of(folder.clone());
        let json = std::fs::read_to_string(folder.join("prompts.json")).expect("a fixture");
        let prompts: Vec<String> = serde_json::from_str(&json).expect("a list of texts");
        let config = clipseg::clip::ClipConfig::from_file(&folder.join("config.json")).unwrap();
        let tokenizer = ClipTokenizer::from_folder(&folder, &config.text_config).unwrap();
        let batch = tokenizer.batch(&prompts, &device()).unwrap();
        let ids: Vec<i64> = batch
            .input_ids
            .into_data()
            .convert::<i64>()
            .try_to_vec()
            .unwrap();
        assert_eq!(
            ids,
            answers.data("in.input_ids").try_to_vec::<i64>().unwrap(),
            "{name}"
        );
        let mask = batch
            .attention_mask
            .map(|mask| mask.into_data().convert::<i64>());
        let expected = answers
            .data("in.attention_mask")
            .try_to_vec::<i64>()
            .unwrap();
        match mask {
            Some(mask) => assert_eq!(mask.try_to_vec::<i64>().unwrap(), expected, "{name}"),
            None => assert!(expected.iter().all(|&one| one == 1), "{name}"),
        }
    }
}

#[test]
fn all_texts_get_the_ids_of_the_reference() {
    #[derive(serde::Deserialize)]
    struct Text {
        text: String,
        ids: Vec<u32>,
    }
    let json = std::fs::read_to_string(fixtures().join("prompts.json")).expect("a fixture");
    let texts: Vec<Text> = serde_json::from_str(&json).expect("a list of texts and ids");
    let config = TextConfig::default();
    let folder = fixtures().join("clip-tokenizer");
    let from_json = ClipTokenizer::from_folder(&folder, &config).unwrap();

    let parts = tempfile::tempdir().unwrap();
    let assets = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../clipseg-clip/assets/merges.txt"
    );
    std::fs::copy(assets, parts.path().join("merges.txt")).unwrap();
    let vocabulary = fixtures().join("clip-tokenizer/vocab.json");
    std::fs::copy(vocabulary, parts.path().join("vocab.json")).unwrap();
    let from_parts = ClipTokenizer::from_folder(parts.path(), &config).unwrap();

    let embedded = ClipTokenizer::openai(77).unwrap();
    assert_eq!(embedded.vocab_size(), 49_408);
    assert_eq!(texts.len(), 86);
    for Text { text, ids } in texts {
        for (form, tokenizer) in [
            ("json", &from_json),
            ("parts", &from_parts),
            ("embedded", &embedded),
        ] {
            assert_eq!(tokenizer.encode(&text).unwrap(), ids, "{form}: {text:?}");
        }
    }
}

struct Cast(FloatDType);

impl ModuleMapper for Cast {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.map(|tensor| tensor.cast(self.0))
    }
}

/// The largest difference relative to the largest value.
fn difference<const D: usize>(found: Tensor<D>, expected: Tensor<D>) -> f32 {
    let worst: f32 = (found.cast(FloatDType::F32) - expected.clone())
        .abs()
        .max()
        .into_scalar();
    let largest: f32 = expected.abs().max().into_scalar();
    worst / largest
}

/// Half precision rounds each result to 1 part in 2,048, bfloat16 to 1 in 256. Through five blocks
/// that adds up to a few times as much, 0.0022 and 0.017 of the largest value, and is never nothing.
#[test]
fn half_precision_gives_the_hidden_states_of_single_but_for_its_rounding() {
    for (dtype, tolerance) in [(FloatDType::F16, 4e-3), (FloatDType::BF16, 4e-2)] {
        if !device().supports_dtype(DType::from(dtype)) {
            continue;
        }
        for name in SEGMENTERS {
            let folder = fixtures().join("models").join(name);
            let answers = Answers::of(folder.clone());
            let single = clipseg::clip::load_clip(&folder, &device()).unwrap().clip;
            let half = single.clone().map(&mut Cast(dtype));
            let pixels: Tensor<4> = {
                let size = &crate::support::sizes(&answers)[0];
                answers.float(&format!("in.{size}.pixel_values"), &device())
            };
            let see = |clip: &Clip, pixels| clip.vision_model().forward(pixels).unwrap();
            let (found, expected) = (see(&half, pixels.clone().cast(dtype)), see(&single, pixels));
            let mut differences = Vec::new();
            for (found, expected) in found.hidden_states.into_iter().zip(expected.hidden_states) {
                assert_eq!(found.dtype(), DType::from(dtype));
                differences.push(difference(found, expected));
            }
            differences.push(difference(found.pooled, expected.pooled));
            let texts = clipseg::clip::TextBatch {
                input_ids: answers.int("in.input_ids", &device()),
                attention_mask: Some(answers.int("in.attention_mask", &device())),
            };
            let read = |clip: &Clip| clip.text_model().forward(&texts).unwrap();
            let (found, expected) = (read(&half), read(&single));
            differences.push(difference(
                found.last_hidden_state,
                expected.last_hidden_state,
            ));
            differences.push(difference(found.pooled, expected.pooled));
            for (place, difference) in differences.into_iter().enumerate() {
                assert!(
                    difference > 0.0 && difference < tolerance,
                    "{name}, {dtype:?}, place {place}: {difference}"
                );
            }
        }
    }
}
