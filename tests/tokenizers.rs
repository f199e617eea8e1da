//! Tokenizers that are damaged, do not fit the checkpoint, or truncate a text.

use crate::bad_input::{copy, loading};
use crate::support::{device, fixtures};
use burn::tensor::{Int, Tensor};
use clipseg::clip::{ClipConfig, ClipTokenizer, PretrainedClip, TextBatch, TextConfig, load_clip};
use clipseg::model::Segmenter;
use clipseg_testing::warnings_of;
use serde_json::{Value, json};
use std::path::Path;

fn json_of(path: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// The text tower of the tiny checkpoint.
fn text_config() -> TextConfig {
    let path = fixtures().join("models/clipseg-refined/config.json");
    ClipConfig::from_file(&path).unwrap().text_config
}

#[test]
fn one_of_another_model_is_refused_when_it_is_loaded() {
    let folder = copy();
    let file = folder.path().join("tokenizer.json");
    // OpenAI's tokenizer, whose token ids go up to 49,407.
    std::fs::copy(fixtures().join("clip-tokenizer/tokenizer.json"), &file).unwrap();
    let error = loading(folder.path());
    assert!(error.starts_with(&file.display().to_string()), "{error}");
    assert!(
        error.contains("has the id 514; 48894 tokens in total are outside")
            && error.contains("vocabulary of 514 (0 to 513, `vocab_size` in config.json)"),
        "{error}"
    );

    // The token ids fit, but the end-of-text token differs from the one in the configuration.
    let folder = copy();
    let path = folder.path().join("config.json");
    let mut config = json_of(&path);
    for (end, expected) in [
        (512, "expects 512"),
        (-5, "expects -5"),
        (49_407, "expects 49407"),
    ] {
        config["text_config"]["eos_token_id"] = json!(end);
        std::fs::write(&path, config.to_string()).unwrap();
        let error = loading(folder.path());
        assert!(
            error.contains("tokenizer.json: texts end with token 513") && error.contains(expected),
            "{error}"
        );
    }
    // The tokenizer adds no special tokens.
    let folder = copy();
    let path = folder.path().join("tokenizer.json");
    let mut tokenizer = json_of(&path);
    tokenizer["post_processor"] = Value::Null;
    std::fs::write(&path, tokenizer.to_string()).unwrap();
    let error = loading(folder.path());
    assert!(error.contains("the text encoder expects 513"), "{error}");
}

#[test]
fn tokens_that_are_not_the_encoders_are_an_error() {
    let folder = fixtures().join("models/clipseg-refined");
    let PretrainedClip { config, clip } = load_clip(&folder, &device()).unwrap();
    let embed = |rows: &[&[i64]]| {
        let width = rows[0].len();
        let data = burn::tensor::TensorData::new(rows.concat(), [rows.len(), width]);
        let texts = TextBatch {
            input_ids: Tensor::<2, Int>::from_data(data, &device()),
            attention_mask: None,
        };
        clip.text_embedding(&texts)
            .map(|_| ())
            .map_err(|error| error.to_string())
    };
    embed(&[&[512, 5, 513]]).unwrap();
    for id in [514, 49_407, -1] {
        let error = embed(&[&[512, 5, 513], &[512, id, 513]]).unwrap_err();
        assert!(
            error.contains(&format!("token {id} is outside"))
                && error.contains("vocabulary of 514 (0 to 513)"),
            "{error}"
        );
    }
    let error = embed(&[&[512, 5, 513], &[512, 5, 6]]).unwrap_err();
    assert!(error.contains("no end-of-text token (513)"), "{error}");
    let most = config.text_config.max_position_embeddings;
    let long = [vec![7; most], vec![513]].concat();
    let error = embed(&[&long]).unwrap_err();
    assert!(
        error.contains(&format!(
            "has {} tokens, but the text encoder has {most}",
            most + 1
        )),
        "{error}"
    );
    // The same through a segmenter made of its parts.
    let model = clipseg::model::ClipSeg::from_pretrained(&folder, &device()).unwrap();
    let processor = clipseg::clip::ImageProcessor::clipseg(64);
    let segmenter = Segmenter::new(model, ClipTokenizer::openai(most).unwrap(), processor);
    let error = segmenter.encode_text(&["a cat"]).unwrap_err().to_string();
    assert!(
        error.contains("the tokenizer belongs to another model"),
        "{error}"
    );
}

#[test]
fn what_is_not_read_of_a_text_is_told_once() {
    let config = text_config();
    let most = config.max_position_embeddings;
    let folder = fixtures().join("models/clipseg-refined");
    let tokenizer = ClipTokenizer::from_folder(&folder, &config).unwrap();
    assert_eq!(tokenizer.truncated_part("a cat").unwrap(), None);
    assert_eq!(tokenizer.truncated_part("").unwrap(), None);
    // Separate letters are one token each, beside the two special tokens.
    let letters = |count: usize| vec!["x"; count].join(" ");
    assert_eq!(tokenizer.truncated_part(&letters(most - 2)).unwrap(), None);
    let text = format!("{} y z", letters(most - 2));
    assert_eq!(
        tokenizer.truncated_part(&text).unwrap().as_deref(),
        Some("y z")
    );
    // The warning shows the truncated part, and does not split a multi-byte character.
    let text = format!("{} \u{e9}\u{e9} {}", letters(most - 2), "word ".repeat(500));
    let truncated = tokenizer.truncated_part(&text).unwrap().unwrap();
    assert!(
        truncated.starts_with("\u{e9}\u{e9} word") && truncated.ends_with("word"),
        "{truncated}"
    );

    let (_, warnings) = warnings_of(|| {
        for _ in 0..3 {
            tokenizer
                .batch(&["a cat", text.as_str()], &device())
                .unwrap();
        }
        tokenizer
            .clone()
            .batch(&[text.as_str()], &device())
            .unwrap();
    });
    let [warning] = warnings.as_slice() else {
        panic!("{warnings:?}");
    };
    assert!(
        warning.contains(&format!("more than {most} tokens")) && warning.contains(&truncated),
        "{warning}"
    );
}

#[test]
fn a_byte_order_mark_is_passed_over_and_utf_16_named() {
    let expected: Vec<u32> = ClipTokenizer::from_folder(copy().path(), &text_config())
        .unwrap()
        .encode("a red circle")
        .unwrap();
    let folder = copy();
    let marked = [
        "config.json",
        "preprocessor_config.json",
        "special_tokens_map.json",
        "tokenizer_config.json",
        "tokenizer.json",
    ];
    let mark = |name: &str| {
        let path = folder.path().join(name);
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, format!("\u{feff}{text}")).unwrap();
    };
    marked.into_iter().for_each(mark);
    Segmenter::from_pretrained(folder.path(), &device()).unwrap();
    let encode = || {
        let tokenizer = ClipTokenizer::from_folder(folder.path(), &text_config());
        tokenizer.unwrap().encode("a red circle").unwrap()
    };
    assert_eq!(encode(), expected);
    std::fs::remove_file(folder.path().join("tokenizer.json")).unwrap();
    ["vocab.json", "merges.txt"].into_iter().for_each(mark);
    assert_eq!(encode(), expected);

    for name in [
        "config.json",
        "vocab.json",
        "merges.txt",
        "preprocessor_config.json",
    ] {
        let path = folder.path().join(name);
        let before = std::fs::read(&path).unwrap();
        let text = String::from_utf8(before.clone()).unwrap();
        let wide: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        std::fs::write(&path, wide).unwrap();
        let error = loading(folder.path());
        assert!(error.contains(name) && error.contains("UTF-16"), "{error}");
        std::fs::write(&path, before).unwrap();
    }
}

#[test]
fn no_tokenizer_file_makes_a_panic() {
    let folder = copy();
    let path = folder.path().join("tokenizer.json");
    let whole = json_of(&path);
    let config = text_config();
    let load = |tokenizer: &Value| {
        std::fs::write(&path, tokenizer.to_string()).unwrap();
        let tokenizer = ClipTokenizer::from_folder(folder.path(), &config)?;
        tokenizer.batch(&["a cat", "\u{1f600}", ""], &device())
    };
    load(&whole).unwrap();
    let others = [
        Value::Null,
        json!(0),
        json!(-1),
        json!("x"),
        json!([]),
        json!({}),
        json!(true),
        json!([["a", "b", "c"]]),
        json!({"type": "WordPiece"}),
    ];
    let mut refused = 0;
    let mut places: Vec<Vec<&str>> = Vec::new();
    for (key, value) in whole.as_object().unwrap() {
        places.push(vec![key]);
        for inner in value.as_object().into_iter().flatten() {
            places.push(vec![key, inner.0]);
        }
    }
    for place in &places {
        for other in &others {
            let mut changed = whole.clone();
            let field = place
                .iter()
                .fold(&mut changed, |value, key| &mut value[*key]);
            *field = other.clone();
            if let Err(error) = load(&changed) {
                refused += 1;
                let error = error.to_string();
                let named = error.contains("tokenizer.json") || error.contains("cannot tokenize");
                assert!(named || error.contains("no room"), "{place:?}: {error}");
            }
        }
    }
    assert!(refused > places.len(), "{refused} of {}", places.len());
    // Merges of unknown tokens, on which the tokenizers library panics.
    for merges in [
        json!([["a", "zzzzzzzzzzzzzzzzzzzzzzzzzzzzzz"]]),
        json!(["a b c d"]),
    ] {
        let mut changed = whole.clone();
        changed["model"]["merges"] = merges;
        let error = load(&changed).unwrap_err().to_string();
        assert!(error.contains("tokenizer.json"), "{error}");
    }
    std::fs::remove_file(&path).unwrap();
    let merges = folder.path().join("merges.txt");
    std::fs::write(&merges, "#version: 0.2\na b\nab \u{e9}\u{e9}\n").unwrap();
    let error = ClipTokenizer::from_folder(folder.path(), &config)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("merges.txt: merge ") && error.contains("is not in the vocabulary"),
        "{error}"
    );
}
