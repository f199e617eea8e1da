//! The model `scenes`, which is part of the program.

use crate::running::stderr;
use crate::support::{Answers, device, shipped};
use crate::training_runs::small_run;
use clipseg::clip::CheckpointFiles;
use clipseg::data::{Mask, PhraseCut, ScenesConfig, Split, generate_scenes, load_rgb};
use clipseg::model::{SCENES, Segmenter, resolve, scenes};
use clipseg::train::{Setup, TrainConfig};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Largest size of all files of the model in bytes, so that crates.io accepts the crate.
const LARGEST: u64 = 8_000_000;

fn repository() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

fn model_folder() -> PathBuf {
    repository().join("crates/clipseg-model/models/scenes")
}

fn sample() -> PathBuf {
    repository().join("docs/scene.jpg")
}

fn run(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_clipseg"))
        .current_dir(folder)
        .args(arguments)
        .output()
        .expect("the program starts")
}

#[test]
fn the_program_contains_the_files_of_the_repository() {
    let probabilities = |files: &CheckpointFiles| {
        let segmenter = Segmenter::from_pretrained(files, &device()).unwrap();
        let encoded = segmenter
            .encode_image(&load_rgb(&sample()).unwrap())
            .unwrap();
        let mask = segmenter.segment(&encoded, &["tree"]).unwrap().remove(0);
        mask.probabilities().to_vec()
    };
    let built_in = probabilities(&scenes());
    assert_eq!(
        built_in,
        probabilities(&CheckpointFiles::from(&model_folder()))
    );
    assert_eq!(built_in, probabilities(&resolve(SCENES).unwrap()));
    let entries = std::fs::read_dir(model_folder()).unwrap();
    let sizes = entries.map(|entry| entry.unwrap().metadata().unwrap().len());
    let size: u64 = sizes.sum();
    assert!(size < LARGEST, "{size} bytes");
}

#[test]
fn segment_uses_it_by_default_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let photo = sample().canonicalize().unwrap();
    let photo = photo.to_str().unwrap();
    let segment = |out: &str, arguments: &[&str]| {
        let common = ["segment", photo, "--prompt", "tree", "--out", out];
        let output = run(folder.path(), &[&common, arguments].concat());
        assert!(output.status.success(), "{}", stderr(&output));
        let heat = folder.path().join(out).join("scene-1-tree-heat.png");
        (std::fs::read(heat).unwrap(), stderr(&output))
    };
    let (heat, said) = segment("default", &[]);
    assert_eq!(
        said,
        "clipseg: using the model `scenes`, which knows generated scenes and not photographs; --model \
         CIDAS/clipseg-rd64-refined downloads one for photographs\n"
    );
    let (named, said) = segment("named", &["--model", "scenes"]);
    assert_eq!((&named, said.as_str()), (&heat, ""));

    // A folder of that name is not used by mistake, and not ignored silently.
    let own = folder.path().join("scenes");
    std::fs::create_dir(&own).unwrap();
    std::fs::write(own.join("config.json"), "{}").unwrap();
    let (still, said) = segment("beside", &["--model", "scenes"]);
    assert_eq!(still, heat);
    assert!(said.contains("pass `./scenes` to use the folder"), "{said}");
    let arguments = ["segment", photo, "--prompt", "tree", "--model", "./scenes"];
    let output = run(folder.path(), &arguments);
    assert!(!output.status.success() && stderr(&output).contains("./scenes"));
}

#[test]
fn it_is_evaluated_exported_and_trained_further_by_name() {
    let folder = tempfile::tempdir().unwrap();
    small_run(folder.path());
    let eval = [
        "eval", "--data", "scenes", "--split", "test", "--model", "scenes",
    ];
    let output = run(
        folder.path(),
        &[&eval[..], &["--threshold", "0.5"]].concat(),
    );
    assert!(output.status.success(), "{}", stderr(&output));
    let output = run(
        folder.path(),
        &["export", "--model", "scenes", "--out", "copy"],
    );
    assert!(output.status.success(), "{}", stderr(&output));
    let name = "model.safetensors";
    let copy = std::fs::read(folder.path().join("copy").join(name)).unwrap();
    assert!(copy == std::fs::read(model_folder().join(name)).unwrap());
    let mut pretrain = vec![
        "pretrain", "--clip", "scenes", "--steps", "1", "--batch", "2",
    ];
    for field in [
        "data.per_picture=1",
        "schedule.warmup_steps=0",
        "validation.pictures=2",
        "validation.objects=2",
    ] {
        pretrain.extend(["--set", field]);
    }
    let output = run(
        folder.path(),
        &[&pretrain[..], &["--out", "further"]].concat(),
    );
    assert!(output.status.success(), "{}", stderr(&output));
    let text = std::fs::read_to_string(folder.path().join("further/config.toml")).unwrap();
    assert!(text.contains("checkpoint = \"scenes\""), "{text}");
}

#[test]
fn a_new_decoder_is_trained_on_its_clip() {
    let folder = tempfile::tempdir().unwrap();
    small_run(folder.path());
    let data = format!("data.folder={:?}", folder.path().join("scenes"));
    let quick = TrainConfig::preset("quick").unwrap();
    let config = quick.with_overrides(&[data]).unwrap();
    assert_eq!(config.clip.checkpoint.as_deref(), Some(SCENES));
    let setup = Setup::new(&config, &device(), |_| {}).unwrap();
    let batch = setup.training.batch(&[0], 0, setup.clip.device()).unwrap();
    let segmenter = Segmenter::scenes(&device()).unwrap();
    let side = segmenter.model().config().clip.vision_config.image_size;
    assert_eq!(batch.pixels.dims()[2..], [side, side]);
    let pixels = segmenter.processor().normalise(batch.pixels.clone());
    let expected = segmenter.model().encode_image(pixels).unwrap();
    let config = setup.clip.encode_pictures(batch.pixels).unwrap();
    let layers = segmenter.model().config().decoder.extract_layers().len();
    assert_eq!(config.hidden_states.len(), layers);
    let deepest = |states: &[burn::tensor::Tensor<3>]| states[layers - 1].clone().into_data();
    assert_eq!(
        deepest(&config.hidden_states),
        deepest(&expected.hidden_states)
    );
}

/// `shipped.py` computes the reference values.
#[test]
fn transformers_gives_the_same_logits() {
    let answers = Answers::of(shipped().join("shipped"));
    let prompts = std::fs::read(answers.folder().join("prompts.json")).unwrap();
    let prompts: Vec<String> = serde_json::from_slice(&prompts).unwrap();
    let segmenter = Segmenter::scenes(&device()).unwrap();
    let tokens = segmenter.tokenizer().batch(&prompts, &device()).unwrap();
    let ids = tokens.input_ids.into_data().convert::<i64>();
    assert_eq!(ids, answers.data("in.input_ids"));

    let model = segmenter.model();
    let pixels = answers.float::<4>("in.pixel_values", &device());
    let text = segmenter.encode_text(&prompts).unwrap();
    answers.check("out.text", text.clone(), 1e-4);
    let picture = model.clip().image_embedding(pixels.clone()).unwrap();
    answers.check("out.picture", picture, 1e-4);
    let features = model.encode_image(pixels.clone()).unwrap();
    answers.check("out.logits", model.decode(&features, text), 1e-4);

    // The picture is a JPEG. Decoders differ by a level in some pixels.
    let photo = load_rgb(&sample()).unwrap();
    let own = segmenter.processor().pixel_values(&[photo], &device());
    let difference = (own.unwrap() - pixels).abs().max().into_scalar::<f32>();
    let level = 1.0 / (255.0 * 0.224);
    assert!(difference <= 2.0 * level, "{difference}");
}

/// The command in `docs/README.md` that made `docs/scene.jpg`.
const SCENES_OF_SAMPLE: ScenesConfig = ScenesConfig {
    images: 55,
    size: 384,
    seed: 104,
};
const SAMPLE: u64 = 49;

/// Intersection over union.
fn iou(found: &Mask, truth: &Mask) -> f64 {
    let [both, either] = [found.intersection(truth), found.union(truth)];
    both.unwrap().area() as f64 / either.unwrap().area() as f64
}

#[test]
fn it_segments_the_sample_scene() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("scenes");
    generate_scenes(&root, &SCENES_OF_SAMPLE).unwrap();
    let data = PhraseCut::open(&root).unwrap();
    let photo = load_rgb(&sample()).unwrap();
    let generated = load_rgb(&data.image_path(SAMPLE)).unwrap();
    // Another platform may round some pixels differently.
    let pixels = photo.as_raw().iter().zip(generated.as_raw());
    let differences: u64 = pixels.map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
    assert!(
        differences <= photo.as_raw().len() as u64 / 10,
        "{differences}"
    );

    let segmenter = Segmenter::scenes(&device()).unwrap();
    let encoded = segmenter.encode_image(&photo).unwrap();
    for phrase in data.phrases(Split::Val) {
        let wanted = ["red heart", "tree", "black cup"].contains(&phrase.phrase.as_str());
        if phrase.image_id == SAMPLE && wanted {
            let soft = segmenter.segment(&encoded, &[&phrase.phrase]).unwrap();
            let found = iou(&soft[0].threshold(0.5), &data.mask(phrase).unwrap());
            println!("{}: {found:.3}", phrase.phrase);
            assert!(found >= 0.5, "{}: {found}", phrase.phrase);
        }
    }
}
