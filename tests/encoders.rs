//! The encoders, decoders and tokenizers against transformers.

use crate::parity;
use crate::support::{Answers, SEGMENTERS, device, fixtures};
use clipseg::clip::ClipTokenizer;

/// What float32 leaves of the reference's own answers is 1e-6; see `tests/README.md`.
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
        let positions = config.text_config.max_position_embeddings;
        let tokenizer = ClipTokenizer::from_folder(&folder, positions).unwrap();
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
    let from_json = ClipTokenizer::from_folder(&fixtures().join("clip-tokenizer"), 77).unwrap();

    let parts = tempfile::tempdir().unwrap();
    let assets = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../clipseg-clip/assets/merges.txt"
    );
    std::fs::copy(assets, parts.path().join("merges.txt")).unwrap();
    let vocabulary = fixtures().join("clip-tokenizer/vocab.json");
    std::fs::copy(vocabulary, parts.path().join("vocab.json")).unwrap();
    let from_parts = ClipTokenizer::from_folder(parts.path(), 77).unwrap();

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
