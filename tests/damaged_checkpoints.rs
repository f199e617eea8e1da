//! Checkpoints that are damaged, of another kind, of other shapes, or contain NaN.

use crate::checkpoints::{
    checkpoints, folder_like, load, message, read, segmenter, weights, write,
};
use crate::support::{device, random, shipped};
use burn::prelude::*;
use clipseg::clip::{
    Activation, Checkpoint, ClipError, WeightProblems, load_clip, load_openai_clip, non_finite,
};
use clipseg::model::{ClipSeg, ModelError};
use clipseg_testing::warnings_of;
use serde_json::json;
use std::path::Path;

#[test]
fn torchscript_is_told_apart_with_advice() {
    let path = checkpoints().join("torchscript.pt");
    let error = message(load_openai_clip(&path, Activation::QuickGelu, &device()));
    assert!(error.starts_with(&path.display().to_string()), "{error}");
    assert!(error.contains("a TorchScript archive"), "{error}");
    assert!(error.contains("torch.jit.load("), "{error}");
    assert!(error.contains(".state_dict(), 'state_dict.pt')"), "{error}");
}

/// Reads an entire file that may be damaged anywhere.
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

/// The byte ranges that a parser reads: the safetensors header, the pickle, the archive's directory.
fn parsed(file: &[u8]) -> Vec<(usize, usize)> {
    let find = |needle: &[u8]| file.windows(needle.len()).position(|part| part == needle);
    if file.starts_with(b"PK") {
        let pickle = find(b"data.pkl").expect("an archive of PyTorch has one") + 8;
        let end = find(b".PK\x07\x08")
            .or(find(b".PK\x03\x04"))
            .expect("it ends")
            + 1;
        let directory = find(b"PK\x01\x02").expect("an archive has one");
        return vec![(pickle, end), (directory, file.len())];
    }
    if file.starts_with(&[0x80]) {
        // The older format: consecutive pickles, then the tensor data.
        return vec![(0, 4_000.min(file.len()))];
    }
    let length = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
    vec![(0, 8 + length)]
}

#[test]
fn damage_where_a_parser_reads_is_found_or_harmless() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights.pt");
    let mut random = random();
    for file in FILES {
        let whole = std::fs::read(shipped().join(file)).unwrap();
        let (mut tried, mut found) = (0, 0);
        for (start, end) in parsed(&whole) {
            for round in 0..100 {
                let mut damaged = whole.clone();
                for _ in 0..1 + round % 4 {
                    let place = start + random(end - start);
                    damaged[place] ^= 1 << random(8);
                }
                std::fs::write(&path, damaged).unwrap();
                tried += 1;
                if let Err(error) = read_all(&path) {
                    found += 1;
                    let error = error.to_string();
                    assert!(error.contains(&path.display().to_string()), "{error}");
                }
            }
        }
        // The remaining bytes change tensor names, which only a model can check, or unused data.
        assert!(2 * found > tried, "{file}: {found} of {tried}");
    }
}

/// A safetensors file with this header and 16 bytes of tensor data.
fn with_header(header: &str) -> Vec<u8> {
    let length = (header.len() as u64).to_le_bytes();
    [&length, header.as_bytes(), &[0; 16]].concat()
}

#[test]
fn damage_is_found_at_its_place_in_the_header_of_safetensors() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let entry = |dtype: &str, shape: &str, offsets: &str| {
        format!(r#"{{"a": {{"dtype": "{dtype}", "shape": {shape}, "data_offsets": {offsets}}}}}"#)
    };
    let good = entry("F32", "[2, 2]", "[0, 16]");
    std::fs::write(&path, with_header(&good)).unwrap();
    read_all(&path).unwrap();
    let mut long = with_header(&good);
    long[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    let mut short = with_header(&good);
    short[..8].copy_from_slice(&3u64.to_le_bytes());
    let two = r#"{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
                  "b": {"dtype": "F32", "shape": [3], "data_offsets": [4, 16]}}"#;
    for (what, bytes) in [
        ("a length beyond the file", long),
        ("a length within the header", short),
        ("no JSON", with_header(&good[1..])),
        (
            "no numbers",
            with_header(&entry("F32", r#"["x"]"#, "[0, 16]")),
        ),
        (
            "a shape for other bytes",
            with_header(&entry("F32", "[2, 3]", "[0, 16]")),
        ),
        (
            "a shape that overflows",
            with_header(&entry("F32", "[4294967296, 4294967296]", "[0, 16]")),
        ),
        (
            "bytes beyond the file",
            with_header(&entry("F32", "[2, 3]", "[0, 24]")),
        ),
        (
            "bytes from end to start",
            with_header(&entry("F32", "[2, 2]", "[16, 0]")),
        ),
        ("a hole", with_header(&entry("F32", "[2]", "[8, 16]"))),
        ("an overlap", with_header(two)),
        (
            "an unknown kind",
            with_header(&entry("F99", "[2, 2]", "[0, 16]")),
        ),
    ] {
        std::fs::write(&path, bytes).unwrap();
        let error = message(read_all(&path));
        let start = format!("{}: damaged or incomplete: ", path.display());
        assert!(error.starts_with(&start), "{what}: {error}");
    }
}

#[test]
fn eight_bit_floats_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    for kind in ["F8_E4M3", "F8_E5M2"] {
        let header =
            format!(r#"{{"a": {{"dtype": "{kind}", "shape": [16], "data_offsets": [0, 16]}}}}"#);
        std::fs::write(&path, with_header(&header)).unwrap();
        let error = message(Checkpoint::from_file(&path));
        let expected = format!("of the data type {kind}, and 8-bit floats are not supported");
        assert!(error.contains(&expected), "{error}");
        assert!(!error.contains("damaged or incomplete"), "{error}");
    }
    let error = message(Checkpoint::from_file(&checkpoints().join("float8.pt")));
    assert!(error.contains("float8.pt: "), "{error}");
    assert!(
        error.contains("of the data type float8_e4m3fn, and 8-bit floats are not supported"),
        "{error}"
    );
    let complex = r#"{"a": {"dtype": "C64", "shape": [2], "data_offsets": [0, 16]}}"#;
    std::fs::write(&path, with_header(complex)).unwrap();
    let error = message(Checkpoint::from_file(&path));
    assert!(
        error.contains("of the data type C64, which is not supported"),
        "{error}"
    );
}

#[test]
fn other_files_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let mut random = random();
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
            "decoder.reduces.0.bias has the data type I64, expected floating-point numbers",
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
    assert!(
        error.contains("does not have the tensor names of OpenAI"),
        "{error}"
    );
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

/// A model and the warnings of loading it.
fn load_aloud(folder: &tempfile::TempDir) -> (ClipSeg, Vec<String>) {
    let (model, warnings) = warnings_of(|| load(folder));
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
        // Half-precision tensors are checked too.
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
