//! The encoders and decoders against transformers, on tiny checkpoints with large weights.

use crate::support::{Answers, SEGMENTERS, device, fixtures, sizes};
use clipseg::clip::{ClipTokenizer, TextBatch, load_clip};
use clipseg::model::ClipSeg;

/// What float32 leaves of the reference's own answers is 1e-6; see `tests/README.md`.
const TOLERANCE: f32 = 1e-4;

fn texts(answers: &Answers) -> TextBatch {
    let device = device();
    TextBatch {
        input_ids: answers.int("in.input_ids", &device),
        attention_mask: Some(answers.int("in.attention_mask", &device)),
    }
}

fn segmenter(name: &str) -> (Answers, ClipSeg) {
    let folder = fixtures().join("models").join(name);
    let model = ClipSeg::from_pretrained(&folder, &device()).expect("the fixture loads");
    (Answers::of(folder), model)
}

#[test]
fn text_encoder() {
    for name in SEGMENTERS {
        let (answers, model) = segmenter(name);
        let batch = texts(&answers);
        let output = model.clip().text_model().forward(&batch);
        answers.check(
            "out.text.last_hidden_state",
            output.last_hidden_state,
            TOLERANCE,
        );
        answers.check("out.text.pooled", output.pooled, TOLERANCE);
        answers.check(
            "out.text.embedding",
            model.clip().text_embedding(&batch),
            TOLERANCE,
        );
    }
}

#[test]
fn vision_encoder_at_every_layer_and_size() {
    for name in SEGMENTERS {
        let (answers, model) = segmenter(name);
        for size in sizes(&answers) {
            let pixels = answers.float(&format!("in.{size}.pixel_values"), &device());
            let depth = model.clip().vision_model().num_layers();
            let layers: Vec<usize> = std::iter::once(usize::MAX).chain(0..depth).collect();
            let output = model.clip().vision_model().forward(pixels, &layers, true);
            for (index, hidden) in output.hidden_states.into_iter().enumerate() {
                answers.check(
                    &format!("out.{size}.vision.hidden.{index}"),
                    hidden,
                    TOLERANCE,
                );
            }
            let pooled = output.pooled.expect("it was asked for");
            answers.check(
                &format!("out.{size}.vision.pooled"),
                pooled.clone(),
                TOLERANCE,
            );
            answers.check(
                &format!("out.{size}.vision.embedding"),
                model.clip().project_pooled(pooled),
                TOLERANCE,
            );
        }
    }
}

#[test]
fn decoder_layers_and_logits_of_text_and_visual_prompts() {
    for name in SEGMENTERS {
        let (answers, model) = segmenter(name);
        let prompts = model.clip().text_embedding(&texts(&answers));
        for size in sizes(&answers) {
            let pixels = |kind: &str| answers.float(&format!("in.{size}.{kind}"), &device());
            let features = model.encode_image(pixels("pixel_values"));
            let layers = model.decoder().hidden_states(
                &features.hidden_states,
                prompts.clone(),
                features.grid,
            );
            for (index, hidden) in layers.into_iter().enumerate() {
                answers.check(
                    &format!("out.{size}.decoder.hidden.{index}"),
                    hidden,
                    TOLERANCE,
                );
            }
            let logits = model.decode(&features, prompts.clone());
            answers.check(&format!("out.{size}.logits"), logits, TOLERANCE);
            let visual = model
                .clip()
                .image_embedding(pixels("conditional_pixel_values"));
            let logits = model.decode(&features, visual);
            answers.check(
                &format!("out.{size}.visual_prompt.logits"),
                logits,
                TOLERANCE,
            );
        }
    }
}

#[test]
fn contrastive_scores() {
    let folder = fixtures().join("models/clip");
    let (_, clip) = load_clip(&folder, &device()).expect("the fixture loads");
    let answers = Answers::of(folder);
    let image = clip.image_embedding(answers.float("in.pixel_values", &device()));
    let text = clip.text_embedding(&texts(&answers));
    let unit = clipseg::clip::normalise;
    answers.check("out.image_embeds", unit(image.clone()), TOLERANCE);
    answers.check("out.text_embeds", unit(text.clone()), TOLERANCE);
    answers.check(
        "out.logits_per_image",
        clip.logits_per_image(image, text),
        TOLERANCE,
    );
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
