//! Exported folders, and models whose files are in memory.

use crate::running::{run_command, text};
use crate::support::{SEGMENTERS, device, fixtures};
use clipseg::clip::{CheckpointFiles, ClipTokenizer, ImageProcessor, load_clip};
use clipseg::model::Segmenter;
use std::path::Path;
use std::process::Output;

fn export(arguments: &[&str]) -> Output {
    run_command("export", arguments)
}

fn fixture(name: &str) -> String {
    let folder = fixtures().join("models").join(name);
    folder.to_str().expect("a path in Unicode").to_owned()
}

fn probabilities(segmenter: &Segmenter) -> Vec<f32> {
    let photo = clipseg::data::load_rgb(&fixtures().join("images/wide.png")).unwrap();
    let encoded = segmenter.encode_image(&photo).unwrap();
    let masks = segmenter.segment(&encoded, &["a cat", "two dogs"]).unwrap();
    let masks = masks.iter().flat_map(|mask| mask.probabilities().to_vec());
    masks.collect()
}

/// The files of a folder, kept in memory until the process ends.
fn in_memory(folder: &Path, names: &[&'static str]) -> CheckpointFiles {
    let files = names.iter().map(|name| {
        let bytes: &'static [u8] = std::fs::read(folder.join(name)).unwrap().leak();
        (*name, bytes)
    });
    CheckpointFiles::in_memory("memory", files.collect::<Vec<_>>().leak())
}

const FILES: [&str; 5] = [
    "config.json",
    "model.safetensors",
    "tokenizer.json",
    "special_tokens_map.json",
    "preprocessor_config.json",
];

#[test]
fn a_model_in_memory_is_the_model_of_the_folder() {
    for name in SEGMENTERS {
        let folder = fixtures().join("models").join(name);
        let files = in_memory(&folder, &FILES);
        let [one, other] = [
            Segmenter::from_pretrained(&folder, &device()).unwrap(),
            Segmenter::from_pretrained(&files, &device()).unwrap(),
        ];
        assert_eq!(probabilities(&one), probabilities(&other), "{name}");
        let loaded = load_clip(&files, &device()).unwrap();
        assert_eq!(loaded.config, one.model().config().clip);
        let tokenizer = ClipTokenizer::from_folder(&files, &loaded.config.text_config).unwrap();
        let ids = |tokenizer: &ClipTokenizer| tokenizer.encode("a cat").unwrap();
        assert_eq!(ids(&tokenizer), ids(one.tokenizer()));
        let processor = ImageProcessor::from_folder(&files).unwrap();
        assert_eq!(processor.as_ref(), Some(one.processor()));
    }
}

#[test]
fn missing_and_damaged_files_in_memory_are_named() {
    let folder = fixtures().join("models/clipseg-plain");
    let message = |files: CheckpointFiles| {
        let loaded = Segmenter::from_pretrained(&files, &device());
        loaded.unwrap_err().to_string()
    };
    for left_out in ["config.json", "model.safetensors", "tokenizer.json"] {
        let others: Vec<&str> = FILES.into_iter().filter(|name| *name != left_out).collect();
        let found = message(in_memory(&folder, &others));
        assert!(
            found.starts_with("memory contains none of ") && found.contains(left_out),
            "{found}"
        );
    }
    let bytes = std::fs::read(folder.join("model.safetensors")).unwrap();
    for (name, content, expected) in [
        ("config.json", b"{".to_vec(), "memory/config.json: not JSON"),
        ("config.json", vec![0xff; 4], "memory/config.json: "),
        (
            "model.safetensors",
            bytes[..bytes.len() - 1].to_vec(),
            "memory/model.safetensors: damaged or incomplete: ",
        ),
        (
            "model.safetensors",
            Vec::new(),
            "memory/model.safetensors: damaged or incomplete: ",
        ),
        ("tokenizer.json", b"[]".to_vec(), "memory/tokenizer.json"),
    ] {
        let copy = tempfile::tempdir().unwrap();
        for file in FILES {
            std::fs::copy(folder.join(file), copy.path().join(file)).unwrap();
        }
        std::fs::write(copy.path().join(name), content).unwrap();
        let found = message(in_memory(copy.path(), &FILES));
        assert!(found.starts_with(expected), "{found}");
    }
}

#[test]
fn the_program_exports_and_reads_what_it_exported() {
    let parent = tempfile::tempdir().unwrap();
    let out = parent.path().join("new/exported");
    let target = out.to_str().unwrap();
    let model = fixture("clipseg-refined");
    let output = export(&["--model", &model, "--out", target, "--license", "mit"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let printed = text(&output.stdout);
    assert!(printed.ends_with("MB with weights in f16\n"), "{printed}");
    assert_eq!(text(&output.stderr), "");

    let [exported, original] = [&out, Path::new(&model)]
        .map(|folder| probabilities(&Segmenter::from_pretrained(folder, &device()).unwrap()));
    let furthest = exported.iter().zip(&original).map(|(a, b)| (a - b).abs());
    let furthest = furthest.fold(0f32, f32::max);
    assert!(0.0 < furthest && furthest < 0.05, "{furthest}");

    let again = export(&["--model", &model, "--out", target]);
    assert!(!again.status.success());
    let message = text(&again.stderr);
    assert!(
        message.contains("already exists; choose a new folder"),
        "{message}"
    );
    let full = parent.path().join("full");
    let arguments = ["--out", full.to_str().unwrap(), "--precision", "f32"];
    let output = export(&[&["--model", &model][..], &arguments].concat());
    let notes = text(&output.stderr);
    assert_eq!(notes, "clipseg: README.md names no licence\n");
    let full = Segmenter::from_pretrained(&full, &device()).unwrap();
    assert_eq!(probabilities(&full), original);
}

#[test]
fn what_cannot_be_exported_is_refused() {
    let parent = tempfile::tempdir().unwrap();
    let out = parent.path().join("out");
    let target = out.to_str().unwrap();
    let model = fixture("clipseg-plain");
    for (arguments, expected) in [
        (vec!["--model", "no/such/model"], "`no/such/model`"),
        (
            vec!["--model", &model, "--precision", "f8"],
            "`f8` is not a precision",
        ),
        (
            vec!["--model", &model, "--license", "my own"],
            "is not an identifier",
        ),
    ] {
        let output = export(&[&arguments[..], &["--out", target]].concat());
        let message = text(&output.stderr);
        assert!(
            !output.status.success() && message.contains(expected),
            "{message}"
        );
        assert_eq!(std::fs::read_dir(parent.path()).unwrap().count(), 0);
    }
    std::fs::write(&out, "mine").unwrap();
    let inside = out.join("inside");
    let output = export(&["--model", &model, "--out", inside.to_str().unwrap()]);
    let message = text(&output.stderr);
    assert!(
        !output.status.success() && message.contains("cannot make"),
        "{message}"
    );
    assert_eq!(std::fs::read_to_string(&out).unwrap(), "mine");
}
