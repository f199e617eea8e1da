//! Every form of checkpoint: Hugging Face's and open_clip's.
//!
//! `fixtures/checkpoints` has what only PyTorch can write; `fixtures/make/checkpoints.py` writes
//! it. Everything else is written here, from the tensors of the fixtures.

use crate::support::{Answers, device, fixtures_with, sizes};
use burn::prelude::*;
use burn::tensor::DType;
use clipseg::clip::{
    Activation, Checkpoint, ClipConfig, PretrainedClip, TextBatch, load_clip, load_openai_clip,
    normalise,
};
use clipseg::model::{ClipSeg, ModelError};
use clipseg_testing::warnings_of;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

const TOLERANCE: f32 = 1e-4;

pub(crate) type Tensors = BTreeMap<String, TensorData>;

/// The checkpoints are other forms of the models of the same set.
fn with_checkpoints() -> PathBuf {
    fixtures_with("checkpoints/original.pth")
}

pub(crate) fn checkpoints() -> PathBuf {
    with_checkpoints().join("checkpoints")
}

pub(crate) fn segmenter(name: &str) -> PathBuf {
    with_checkpoints().join("models").join(name)
}

pub(crate) fn read(path: &Path) -> Tensors {
    let checkpoint = Checkpoint::from_file(path).expect("the fixture is whole");
    let tensor = |name: &str| checkpoint.tensor(name).expect("the fixture is whole");
    checkpoint
        .names()
        .map(|name| (name.to_owned(), tensor(name)))
        .collect()
}

pub(crate) fn write(path: &Path, tensors: &Tensors) {
    let views = tensors.iter().map(|(name, data)| {
        let dtype = match data.dtype() {
            DType::F32 => safetensors::Dtype::F32,
            DType::F16 => safetensors::Dtype::F16,
            DType::BF16 => safetensors::Dtype::BF16,
            DType::I64 => safetensors::Dtype::I64,
            other => panic!("{name} holds {other:?}"),
        };
        let shape = data.shape().to_vec();
        let view = safetensors::tensor::TensorView::new(dtype, shape, data.as_bytes());
        (name, view.expect("shape and bytes fit"))
    });
    safetensors::serialize_to_file(views, None, path).expect("a temporary file can be written");
}

/// A folder with a fixture's configuration, for weights in another format.
pub(crate) fn folder_like(name: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let config = segmenter(name).join("config.json");
    std::fs::copy(config, folder.path().join("config.json")).unwrap();
    folder
}

pub(crate) fn weights(name: &str) -> Tensors {
    read(&segmenter(name).join("model.safetensors"))
}

fn logits(model: &ClipSeg, answers: &Answers, size: &str) -> Tensor<3> {
    let texts = TextBatch {
        input_ids: answers.int("in.input_ids", &device()),
        attention_mask: Some(answers.int("in.attention_mask", &device())),
    };
    let pixels = answers.float(&format!("in.{size}.pixel_values"), &device());
    let prompts = model.clip().text_embedding(&texts).unwrap();
    model.forward(pixels, prompts).unwrap()
}

pub(crate) fn check_logits(name: &str, model: &ClipSeg) {
    let answers = Answers::of(segmenter(name));
    for size in sizes(&answers) {
        let found = logits(model, &answers, &size);
        answers.check(&format!("out.{size}.logits"), found, TOLERANCE);
    }
}

pub(crate) fn load(folder: &TempDir) -> Result<ClipSeg, ModelError> {
    ClipSeg::from_pretrained(folder.path(), &device())
}

pub(crate) fn message<T>(result: Result<T, impl std::fmt::Display>) -> String {
    match result {
        Ok(_) => panic!("expected an error"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_pickle_with_tables_of_positions() {
    let folder = folder_like("clipseg-plain");
    let pickle = checkpoints().join("pytorch_model.bin");
    std::fs::copy(pickle, folder.path().join("pytorch_model.bin")).unwrap();
    check_logits("clipseg-plain", &load(&folder).unwrap());

    let clip = load_clip(folder.path(), &device()).unwrap().clip;
    let answers = Answers::of(segmenter("clipseg-plain"));
    let texts = TextBatch {
        input_ids: answers.int("in.input_ids", &device()),
        attention_mask: Some(answers.int("in.attention_mask", &device())),
    };
    answers.check(
        "out.text.embedding",
        clip.text_embedding(&texts).unwrap(),
        TOLERANCE,
    );
}

#[test]
fn shards_with_an_index() {
    let name = "clipseg-refined";
    let folder = folder_like(name);
    let tensors: Vec<_> = weights(name).into_iter().collect();
    let mut map = serde_json::Map::new();
    for (number, shard) in tensors.chunks(tensors.len().div_ceil(3)).enumerate() {
        let file = format!("model-{:05}-of-00003.safetensors", number + 1);
        map.extend(shard.iter().map(|(name, _)| (name.clone(), json!(file))));
        write(&folder.path().join(file), &shard.iter().cloned().collect());
    }
    let index = |map: &serde_json::Map<String, serde_json::Value>| {
        let json = json!({"metadata": {"total_size": 0}, "weight_map": map});
        let path = folder.path().join("model.safetensors.index.json");
        std::fs::write(path, json.to_string()).unwrap();
    };
    index(&map);
    check_logits(name, &load(&folder).unwrap());
    // The index of pickle shards has another name; each shard's format is read from its content.
    let listed = |name: &str| folder.path().join(format!("{name}.index.json"));
    std::fs::rename(listed("model.safetensors"), listed("pytorch_model.bin")).unwrap();
    check_logits(name, &load(&folder).unwrap());

    let mut more = map.clone();
    more.insert("extra".into(), json!("model-00001-of-00003.safetensors"));
    index(&more);
    assert!(message(load(&folder)).contains("`extra` is in none of the listed files"));
    more.insert("extra".into(), json!("../model.safetensors"));
    index(&more);
    assert!(message(load(&folder)).contains("is not a plain file name"));
    index(&map);
    std::fs::remove_file(folder.path().join("model-00002-of-00003.safetensors")).unwrap();
    assert!(message(load(&folder)).contains("model-00002-of-00003.safetensors"));
}

#[test]
fn half_precision_is_loaded_as_single() {
    let name = "clipseg-plain";
    let answers = Answers::of(segmenter(name));
    let round: [fn(TensorData) -> TensorData; 2] = [
        |data| data.convert::<burn::tensor::f16>(),
        |data| data.convert::<burn::tensor::bf16>(),
    ];
    for round in round {
        let (half, single) = (folder_like(name), folder_like(name));
        let rounded: Tensors = weights(name)
            .into_iter()
            .map(|(name, data)| (name, round(data)))
            .collect();
        write(&half.path().join("model.safetensors"), &rounded);
        let widened = rounded
            .into_iter()
            .map(|(name, data)| (name, data.convert::<f32>()))
            .collect();
        write(&single.path().join("model.safetensors"), &widened);
        let [half, single] = [half, single].map(|folder| load(&folder).unwrap());
        for size in sizes(&answers) {
            let [half, single] = [&half, &single].map(|model| logits(model, &answers, &size));
            assert_eq!(half.dtype(), DType::F32);
            half.into_data().assert_eq(&single.into_data(), true);
        }
    }
}

fn check_open_clip(prefix: &str, path: &Path) -> ClipConfig {
    let answers = Answers::from_file(checkpoints(), "open_clip-expected.safetensors");
    let PretrainedClip { config, clip } =
        load_openai_clip(path, Activation::Gelu, &device()).unwrap();
    let texts = TextBatch {
        input_ids: answers.int(&format!("{prefix}.in.input_ids"), &device()),
        attention_mask: None,
    };
    let pixels = answers.float(&format!("{prefix}.in.pixel_values"), &device());
    let (image, text) = (
        clip.image_embedding(pixels).unwrap(),
        clip.text_embedding(&texts).unwrap(),
    );
    let check =
        |name: &str, found| answers.check(&format!("{prefix}.out.{name}"), found, TOLERANCE);
    check("image_embedding", image.clone());
    check("text_embedding", text.clone());
    check("image_unit", normalise(image.clone()));
    check("text_unit", normalise(text.clone()));
    check("logits_per_image", clip.logits_per_image(image, text));
    config
}

#[test]
fn state_dicts_of_open_clip() {
    let pickle = checkpoints().join("open_clip.pt");
    let config = check_open_clip("state", &pickle);
    let (text, vision) = (config.text_config, config.vision_config);
    assert_eq!(
        (text.vocab_size, text.eos_token_id, text.bos_token_id),
        (600, 599, 598)
    );
    assert_eq!((text.num_attention_heads, text.intermediate_size), (1, 48));
    assert_eq!(
        (vision.num_attention_heads, vision.intermediate_size),
        (2, 64)
    );
    assert_eq!(
        (
            vision.image_size,
            vision.patch_size,
            vision.num_hidden_layers
        ),
        (32, 8, 2)
    );

    // The sizes are the ones stored in OpenAI's archives.
    let folder = tempfile::tempdir().unwrap();
    let mut tensors = read(&pickle);
    for (name, size) in [
        ("input_resolution", 32),
        ("context_length", 12),
        ("vocab_size", 600),
    ] {
        tensors.insert(
            name.into(),
            TensorData::new(vec![size as i64], Shape::new([])),
        );
    }
    let path = folder.path().join("open_clip.safetensors");
    write(&path, &tensors);
    check_open_clip("state", &path);
    // A file's format is read from its content, not from its name.
    let renamed = folder.path().join("open_clip.bin");
    std::fs::rename(&path, &renamed).unwrap();
    check_open_clip("state", &renamed);
    std::fs::copy(&pickle, &path).unwrap();
    let misnamed = folder.path().join("pickle.safetensors");
    std::fs::copy(pickle, &misnamed).unwrap();
    check_open_clip("state", &misnamed);
}

#[test]
fn a_checkpoint_of_open_clip_training() {
    check_open_clip("training", &checkpoints().join("open_clip-training.pt"));
}

#[test]
fn any_wrapper_is_removed_from_tensor_names() {
    let name = "clipseg-plain";
    for (whole, inside) in [
        ("_orig_mod.", ""),
        ("foo.", ""),
        ("clipseg.", ""),
        ("teacher.model.", ""),
        ("model.", ""),
        ("module._orig_mod.", ""),
        ("state_dict.model.", "_orig_mod."),
        ("", "module."),
    ] {
        let folder = folder_like(name);
        let wrapped: Tensors = weights(name)
            .into_iter()
            .map(|(name, data)| {
                let (root, rest) = name.split_once('.').expect("there is a root");
                (format!("{whole}{root}.{inside}{rest}"), data)
            })
            .collect();
        write(&folder.path().join("model.safetensors"), &wrapped);
        check_logits(name, &load(&folder).unwrap());
        let clip = load_clip(folder.path(), &device()).unwrap().clip;
        let plain = load_clip(&segmenter(name), &device()).unwrap().clip;
        let pixels = || Tensor::<4>::ones([1, 3, 64, 64], &device());
        assert_eq!(
            clip.image_embedding(pixels()).unwrap().into_data(),
            plain.image_embedding(pixels()).unwrap().into_data()
        );
    }
}

#[test]
fn a_wrapped_state_dict_of_open_clip() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("wrapped.safetensors");
    let tensors = read(&checkpoints().join("open_clip.pt")).into_iter();
    let mut wrapped: Tensors = tensors
        .map(|(name, data)| (format!("encoder.clip_model.{name}"), data))
        .collect();
    let step = TensorData::new(vec![7.0f32], [1]);
    wrapped.insert("step".into(), step);
    write(&path, &wrapped);
    let (_, warnings) = warnings_of(|| check_open_clip("state", &path));
    let [warning] = warnings.as_slice() else {
        panic!("{warnings:?}");
    };
    assert!(
        warning.contains("1 tensors are not loaded") && warning.contains("tensors = \"step\""),
        "{warning}"
    );
}

#[test]
fn two_models_in_one_file_are_refused() {
    let name = "clipseg-plain";
    let folder = folder_like(name);
    let mut both = Tensors::new();
    for (tensor, data) in weights(name) {
        both.insert(format!("student.{tensor}"), data.clone());
        both.insert(format!("teacher.model.{tensor}"), data);
    }
    write(&folder.path().join("model.safetensors"), &both);
    let clip = load_clip(folder.path(), &device());
    for (error, prefixes) in [
        (message(load(&folder)), "`student.`, `teacher.model.`"),
        (message(clip), "`student.clip.`, `teacher.model.clip.`"),
    ] {
        let expected =
            format!("it holds 2 models with the same tensor names, under the prefixes {prefixes}");
        assert!(error.contains(&expected), "{error}");
        assert!(error.contains("model.safetensors"), "{error}");
    }
}

#[test]
fn a_saved_model_replaces_its_own_files_and_no_others() {
    let model = ClipSeg::from_pretrained(&segmenter("clipseg-plain"), &device()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    model.save_pretrained(folder.path()).unwrap();
    model.save_pretrained(folder.path()).unwrap();
    check_logits("clipseg-plain", &load(&folder).unwrap());
    for foreign in ["config.json", "model.safetensors"] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(foreign);
        std::fs::copy(segmenter("clipseg-refined").join(foreign), &path).unwrap();
        let before = std::fs::read(&path).unwrap();
        let error = message(model.save_pretrained(folder.path()));
        let expected = format!("{} already exists", path.display());
        assert!(error.starts_with(&expected), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), before);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
