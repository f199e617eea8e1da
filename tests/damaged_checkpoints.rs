//! Checkpoints that are damaged, of another kind, do not fit, or hold what is no number.

use crate::checkpoints::{
    checkpoints, folder_like, load, message, read, segmenter, weights, write,
};
use crate::support::{device, shipped};
use burn::prelude::*;
use clipseg::clip::{
    Activation, Checkpoint, ClipError, WeightProblems, load_clip, load_openai_clip, non_finite,
};
use clipseg::model::{ClipSeg, ModelError};
use serde_json::json;
use std::fmt::Debug;
use std::path::Path;
use std::sync::{Arc, Mutex};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

#[test]
fn torchscript_is_told_apart_with_advice() {
    let path = checkpoints().join("torchscript.pt");
    let error = message(load_openai_clip(&path, Activation::QuickGelu, &device()));
    assert!(error.starts_with(&path.display().to_string()), "{error}");
    assert!(error.contains("a TorchScript archive"), "{error}");
    assert!(error.contains("torch.jit.load("), "{error}");
    assert!(error.contains(".state_dict(), 'state_dict.pt')"), "{error}");
}

/// Reads all of a file, which may have been damaged in any way.
fn read_all(path: &Path) -> Result<(), ClipError> {
    let checkpoint = Checkpoint::from_file(path)?;
    checkpoint
        .names()
        .try_for_each(|name| checkpoint.tensor(name).map(drop))
}

const FILES: [&str; 5] = [
    "checkpoints/pytorch_model.bin",
    "checkpoints/open_clip-training.pt",
    "checkpoints/original.pth",
    "checkpoints/torchscript.pt",
    "models/clipseg-plain/model.safetensors",
];

#[test]
fn a_file_cut_off_anywhere_is_an_error_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    for file in FILES {
        let whole = std::fs::read(shipped().join(file)).unwrap();
        let path = folder.path().join(Path::new(file).file_name().unwrap());
        let size = whole.len();
        let starts = [0, 1, 2, 4, 7, 8, 9, 16, 40, 100, 300, 512, 1_000, 4_096];
        let parts = (1..16).map(|part| size * part / 16);
        let ends = [65_536, 1_024, 100, 22, 21, 8, 1].map(|end| size.saturating_sub(end));
        for length in starts
            .into_iter()
            .chain(parts)
            .chain(ends)
            .filter(|&length| length < size)
        {
            std::fs::write(&path, &whole[..length]).unwrap();
            let error = message(read_all(&path).map_err(|error| format!("{length}: {error}")));
            assert!(error.contains(&path.display().to_string()), "{error}");
        }
    }
}

#[test]
fn damaged_bytes_and_other_files_never_panic() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights.pt");
    let mut state = 7u64;
    let mut random = |below: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    for file in FILES {
        let whole = std::fs::read(shipped().join(file)).unwrap();
        // What is not numbers stands at the start, and in zip archives at the end.
        let edge = 12_000.min(whole.len());
        for round in 0..120 {
            let mut damaged = whole.clone();
            for _ in 0..1 + round % 8 {
                let place = random(edge);
                let place = if round % 2 == 0 {
                    place
                } else {
                    whole.len() - 1 - place
                };
                damaged[place] = random(256) as u8;
            }
            std::fs::write(&path, damaged).unwrap();
            // A changed number is no error, so either answer will do.
            let _ = read_all(&path);
        }
    }
    for name in ["weights.pt", "weights.bin", "weights.safetensors"] {
        let path = folder.path().join(name);
        let noise: Vec<u8> = (0..5_000).map(|_| random(256) as u8).collect();
        let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n";
        for (content, expected) in [
            (noise.as_slice(), ""),
            (b"<!DOCTYPE html><html><body>Not found</body></html>", ""),
            (b"", "the file is empty"),
            (pointer, "a Git LFS pointer"),
        ] {
            std::fs::write(&path, content).unwrap();
            let error = message(Checkpoint::from_file(&path));
            assert!(error.contains(name) && error.contains(expected), "{error}");
        }
    }
    assert!(message(Checkpoint::from_file(folder.path())).contains("a folder"));
    assert!(message(Checkpoint::from_file(&folder.path().join("none.pt"))).contains("none.pt"));
}

fn problems(error: ModelError) -> WeightProblems {
    match error {
        ModelError::Clip(ClipError::Weights { problems, .. }) => problems,
        other => panic!("{other}"),
    }
}

#[test]
fn everything_that_does_not_fit_is_listed_at_once() {
    let name = "clipseg-refined";
    let folder = folder_like(name);
    let mut tensors = weights(name);
    for missing in [
        "clip.text_projection.weight",
        "decoder.transposed_convolution.2.bias",
    ] {
        tensors.remove(missing).expect("the fixture has it");
    }
    let extra = tensors["decoder.film_mul.weight"].clone();
    tensors.insert("decoder.extra.weight".into(), extra);
    let zeros = |shape: [usize; 2]| TensorData::zeros::<f32, _>(shape);
    tensors.insert("decoder.film_add.weight".into(), zeros([16, 31]));
    tensors.insert("decoder.layers.1.layer_norm1.weight".into(), zeros([16, 1]));
    let counts = TensorData::new(vec![1i64; 16], [16]);
    tensors.insert("decoder.reduces.0.bias".into(), counts);
    write(&folder.path().join("model.safetensors"), &tensors);

    let error = load(&folder).unwrap_err();
    let text = error.to_string();
    let problems = problems(error);
    assert_eq!(
        problems.missing,
        [
            "clip.text_projection.weight",
            "decoder.transposed_convolution.2.bias"
        ]
    );
    assert_eq!(problems.unexpected, ["decoder.extra.weight"]);
    assert_eq!(
        problems.mismatched,
        [
            "decoder.film_add.weight has shape [16, 31], expected [16, 32]",
            "decoder.layers.1.layer_norm1.weight has shape [16, 1], expected [16]",
            "decoder.reduces.0.bias holds I64, expected floating-point numbers",
        ]
    );
    let lists = problems.missing.iter().chain(&problems.unexpected);
    for listed in lists.chain(&problems.mismatched) {
        assert!(text.contains(listed), "{text}");
    }
}

#[test]
fn what_does_not_fit_has_the_names_of_open_clip() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("clip.safetensors");
    let mut tensors = read(&checkpoints().join("open_clip.pt"));
    let zeros = |shape: [usize; 2]| TensorData::zeros::<f32, _>(shape);
    tensors.remove("transformer.resblocks.1.attn.in_proj_bias");
    tensors.insert(
        "transformer.resblocks.0.attn.in_proj_weight".into(),
        zeros([191, 64]),
    );
    tensors.insert("visual.proj".into(), zeros([24, 128]));
    tensors.insert("logit_bias".into(), zeros([1, 1]));
    let tensors = tensors
        .into_iter()
        .map(|(name, data)| (name, data.convert::<f32>()))
        .collect();
    write(&path, &tensors);
    let error = load_openai_clip(&path, Activation::Gelu, &device()).unwrap_err();
    let problems = problems(error.into());
    assert_eq!(
        problems.missing,
        ["transformer.resblocks.1.attn.in_proj_bias"]
    );
    assert_eq!(problems.unexpected, ["logit_bias"]);
    assert_eq!(
        problems.mismatched,
        [
            "transformer.resblocks.0.attn.in_proj_weight has shape [191, 64], expected [192, 64]",
            "visual.proj has shape [24, 128], expected [128, 24]",
        ]
    );
    let path = segmenter("clipseg-plain").join("model.safetensors");
    let error = message(load_openai_clip(&path, Activation::Gelu, &device()));
    assert!(error.contains("not the names of OpenAI"), "{error}");
}

#[test]
fn other_architectures_are_refused_by_name() {
    for (config, expected) in [
        (
            json!({"model_type": "bert"}),
            "field `model_type`: `bert` is another architecture",
        ),
        (
            json!({"model_type": "clipseg", "text_config": {}}),
            "field `vision_config`: missing, expected an object",
        ),
    ] {
        let folder = folder_like("clipseg-plain");
        write(
            &folder.path().join("model.safetensors"),
            &weights("clipseg-plain"),
        );
        std::fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
        let errors = [
            message(load(&folder)),
            message(load_clip(folder.path(), &device())),
        ];
        for error in errors {
            assert!(
                error.contains("config.json") && error.contains(expected),
                "{error}"
            );
        }
    }
}

/// Keeps what is warned of.
struct Warnings(Arc<Mutex<Vec<String>>>);

struct Fields(String);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.push_str(&format!("{field} = {value:?}; "));
    }
}

impl Subscriber for Warnings {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::WARN && metadata.target().starts_with("clipseg")
    }

    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields(String::new());
        event.record(&mut fields);
        self.0.lock().unwrap().push(fields.0);
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// A model and the warnings of loading it.
fn load_aloud(folder: &tempfile::TempDir) -> (ClipSeg, Vec<String>) {
    let warnings = Arc::new(Mutex::new(Vec::new()));
    let model = tracing::subscriber::with_default(Warnings(warnings.clone()), || load(folder));
    let warnings = std::mem::take(&mut *warnings.lock().unwrap());
    (model.unwrap(), warnings)
}

#[test]
fn what_is_no_number_is_loaded_with_one_warning() {
    let name = "clipseg-refined";
    let folder = folder_like(name);
    let path = folder.path().join("model.safetensors");
    let mut tensors = weights(name);
    write(&path, &tensors);
    let (model, warnings) = load_aloud(&folder);
    assert!(warnings.is_empty(), "{warnings:?}");
    assert!(model.non_finite().is_empty());

    let strange = [
        (
            "clip.text_model.encoder.layers.0.layer_norm1.bias",
            f32::NAN,
        ),
        ("decoder.film_mul.weight", f32::INFINITY),
        ("decoder.transposed_convolution.2.bias", f32::NEG_INFINITY),
    ];
    for (name, value) in strange {
        let data = tensors.remove(name).expect("the fixture has it");
        let shape = data.shape().clone();
        let mut values: Vec<f32> = data.try_to_vec().unwrap();
        *values.last_mut().unwrap() = value;
        // Half precision has to be looked through as well.
        let data = TensorData::new(values, shape).convert::<burn::tensor::f16>();
        tensors.insert(name.into(), data);
    }
    write(&path, &tensors);
    let (model, warnings) = load_aloud(&folder);
    let [warning] = warnings.as_slice() else {
        panic!("{warnings:?}");
    };
    let names = strange.map(|(name, _)| name);
    assert!(warning.contains(&names.join(", ")), "{warning}");
    assert!(
        warning.contains(&folder.path().display().to_string()),
        "{warning}"
    );
    let mut found = model.non_finite();
    found.sort();
    assert_eq!(found, names);
    assert_eq!(
        non_finite(model.clip()),
        ["text_model.encoder.layers.0.layer_norm1.bias"]
    );
}
