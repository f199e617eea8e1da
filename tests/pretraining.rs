//! Complete runs of contrastive pre-training: their files, resuming, and what the model learns.

use crate::support::device;
use clipseg::clip::{ClipTokenizer, ImageProcessor, PretrainedClip, load_clip};
use clipseg::train::{
    End, Observer, PretrainConfig, PretrainOutcome, RunFolder, Settings, Silent, Start, StopFlag,
    pretrain, read_pretrain_metrics,
};
use std::path::Path;

/// Sets the stop flag after some steps.
struct StopAfter {
    step: usize,
    stop: StopFlag,
}

impl Observer for StopAfter {
    fn start(&mut self, _: usize, _: usize) {}
    fn step(&mut self, step: usize, _: f32, _: f64, _: usize) {
        if step >= self.step {
            self.stop.raise();
        }
    }
    fn note(&mut self, _: &str) {}
    fn finish(&mut self) {}
}

/// A configuration that runs for seconds on one core.
fn config(changes: &[&str]) -> PretrainConfig {
    let small = [
        "model.image_size=32",
        "model.vision_width=32",
        "model.vision_inner=64",
        "model.vision_layers=2",
        "model.vision_heads=2",
        "model.text_width=32",
        "model.text_inner=64",
        "model.text_layers=1",
        "model.text_heads=2",
        "model.projection=32",
        "model.vocabulary=700",
        "schedule.batch_size=16",
        "schedule.steps=12",
        "schedule.warmup_steps=3",
        "schedule.read_every=3",
        "validation.every=5",
        "validation.pictures=20",
        "validation.objects=20",
        "checkpoints.every=4",
    ];
    let small = PretrainConfig::default().with_overrides(&small).unwrap();
    small.with_overrides(changes).unwrap()
}

fn whole(config: &PretrainConfig, root: &Path, start: Start) -> PretrainOutcome {
    pretrain(
        config,
        &device(),
        root,
        start,
        &StopFlag::new(),
        &mut Silent,
    )
    .unwrap()
}

#[test]
fn a_pretraining_run_leaves_everything_in_its_folder() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("run");
    let config = config(&[]);
    let outcome = whole(&config, &root, Start::New);
    assert_eq!(outcome.end, End::Finished);
    assert_eq!(outcome.losses().len(), 12);
    let saved: PretrainConfig = RunFolder::config_of(&root).unwrap().expect("it is there");
    assert_eq!(saved, config);
    let records = read_pretrain_metrics(&root.join("metrics.jsonl")).unwrap();
    assert_eq!(records, outcome.records);
    // After steps 5, 10 and 12.
    assert_eq!(records.len(), 15);
    let scores = outcome.scores().unwrap();
    assert_eq!(scores.pictures, 20);
    // A name that occurs once is not a class.
    assert!((6..=20).contains(&scores.objects), "{}", scores.objects);
    for name in ["curves.png", "report.md", "checkpoints/last.safetensors"] {
        assert!(root.join(name).is_file(), "{name}");
    }
    let page = std::fs::read_to_string(root.join("report.md")).unwrap();
    assert!(page.contains("| picture of a text, R@1 | 20 |"), "{page}");

    let model = root.join("model");
    let device = device();
    let PretrainedClip {
        config: shape,
        clip,
    } = load_clip(&model, &device).unwrap();
    assert_eq!(shape.vision_config.image_size, 32);
    let tokenizer = ClipTokenizer::from_folder(&model, &shape.text_config).unwrap();
    assert_eq!(tokenizer.vocab_size(), shape.text_config.vocab_size);
    assert!(ImageProcessor::from_folder(&model).unwrap().is_some());
    // The loader's batches, padded to the longest text only, give the same embeddings.
    let texts = tokenizer
        .batch(&["red star", "a small blue tree"], &device)
        .unwrap();
    let (read, own) = (
        clip.text_embedding(&texts).unwrap(),
        outcome.clip.text_embedding(&texts).unwrap(),
    );
    assert_eq!(read.into_data(), own.into_data());

    let again = pretrain(
        &config,
        &device,
        &root,
        Start::New,
        &StopFlag::new(),
        &mut Silent,
    );
    let message = again.unwrap_err().to_string();
    assert!(message.contains("contains a run already"), "{message}");
}

#[test]
fn a_stopped_pretraining_run_goes_on_bit_for_bit() {
    resumes_exactly(&config(&["schedule.piece=8"]));
}

#[test]
fn a_stopped_pretraining_run_with_regions_goes_on_bit_for_bit() {
    let config = config(&["data.regions=3", "data.crops=0.3", "schedule.piece=6"]);
    resumes_exactly(&config);
}

fn resumes_exactly(config: &PretrainConfig) {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (folder.path().join("one"), folder.path().join("two"));
    whole(config, &one, Start::New);
    for step in [2, 7] {
        let stop = StopFlag::new();
        let mut observer = StopAfter {
            step,
            stop: stop.clone(),
        };
        let outcome =
            pretrain(config, &device(), &two, Start::Resume, &stop, &mut observer).unwrap();
        assert_eq!(outcome.end, End::Stopped);
        assert!(outcome.losses().len() >= step && outcome.losses().len() < 12);
    }
    let outcome = whole(config, &two, Start::Resume);
    assert_eq!(outcome.end, End::Finished);
    for name in [
        "metrics.jsonl",
        "model/model.safetensors",
        "model/config.json",
        "model/tokenizer.json",
    ] {
        let read = |root: &Path| std::fs::read(root.join(name)).unwrap();
        assert!(read(&one) == read(&two), "{name} differs");
    }
    let other = config
        .clone()
        .with_overrides(&["schedule.batch_size=8"])
        .unwrap();
    let message = pretrain(
        &other,
        &device(),
        &two,
        Start::Resume,
        &StopFlag::new(),
        &mut Silent,
    );
    let message = message.unwrap_err().to_string();
    assert!(
        message.contains("field `schedule.batch_size` is 16 in the run and 8 now"),
        "{message}"
    );
}

#[test]
fn a_checkpoint_is_trained_further_on_a_plain_list() {
    let folder = tempfile::tempdir().unwrap();
    let first = folder.path().join("first");
    let short = ["schedule.steps=2", "schedule.warmup_steps=1"];
    whole(&config(&short), &first, Start::New);
    let data = folder.path().join("data");
    std::fs::create_dir(&data).unwrap();
    let mut list = String::new();
    for index in 0..40u8 {
        let (name, colour) = if index % 2 == 0 {
            ("white", image::Rgb([250 - index; 3]))
        } else {
            ("black", image::Rgb([index; 3]))
        };
        let picture = image::RgbImage::from_pixel(24, 16, colour);
        picture.save(data.join(format!("{index}.png"))).unwrap();
        list += &format!("{index}.png\t{name} paper\n");
    }
    std::fs::write(data.join("captions.tsv"), list).unwrap();
    let second = folder.path().join("second");
    let mut config = PretrainConfig::default()
        .with_overrides(&[
            "schedule.steps=6",
            "schedule.batch_size=8",
            "validation.pictures=10",
        ])
        .unwrap();
    config.clip.checkpoint = Some(first.join("model").display().to_string());
    config.data.folders = vec![data];
    let outcome = whole(&config, &second, Start::New);
    let losses = outcome.losses();
    assert!(losses.iter().all(|loss| loss.is_finite()), "{losses:?}");
    let scores = outcome.scores().unwrap();
    assert_eq!(
        (scores.pictures, scores.objects),
        (2, 0),
        "two of forty are held out"
    );
    assert_eq!((scores.names, scores.colours), (None, None));

    let config = config.with_overrides(&["data.regions=2"]).unwrap();
    let third = folder.path().join("third");
    let error = pretrain(
        &config,
        &device(),
        &third,
        Start::New,
        &StopFlag::new(),
        &mut Silent,
    );
    assert_eq!(
        error.unwrap_err().to_string(),
        "field `regions`: 2, expected 0: caption lists have no annotated objects"
    );
    assert!(!third.exists(), "nothing is left behind");
    let read = |root: &Path| std::fs::read(root.join("model/tokenizer.json")).unwrap();
    assert!(read(&first) == read(&second), "the vocabulary stays");
}

#[test]
fn a_time_is_turned_into_steps_once() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("run");
    // The time is over once the speed is known, so one more step is done.
    let config = config(&["schedule.minutes=1e-6", "schedule.batch_size=4"]);
    let outcome = whole(&config, &root, Start::New);
    assert_eq!((outcome.end, outcome.losses().len()), (End::Finished, 41));
    let again = whole(&config, &root, Start::Resume);
    assert_eq!(again.records, outcome.records, "it stays decided");
}

#[test]
fn a_clip_learns_to_tell_scenes_apart() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(&[
        "schedule.steps=300",
        "schedule.batch_size=32",
        "schedule.learning_rate=3e-3",
        "validation.every=1000",
        "validation.pictures=64",
        "validation.objects=200",
        "checkpoints.every=1000",
        "schedule.warmup_steps=10",
        "augment.colour_jitter=0",
        "data.crops=1",
        "data.templates=0",
    ]);
    let outcome = whole(&config, &folder.path().join("run"), Start::New);
    let losses = outcome.losses();
    let mean = |losses: &[f32]| losses.iter().sum::<f32>() / losses.len() as f32;
    let (first, last) = (mean(&losses[..10]), mean(&losses[290..]));
    assert!(last < 0.93 * first, "{first} {last}");
    // Chance is one in ten.
    let colours = outcome.scores().and_then(|scores| scores.colours).unwrap();
    assert!(colours > 0.2, "{colours}");
}

#[test]
fn a_clip_learns_from_regions_and_pictures() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(&[
        "schedule.steps=60",
        "schedule.batch_size=16",
        "schedule.learning_rate=3e-3",
        "validation.every=1000",
        "checkpoints.every=1000",
        "schedule.warmup_steps=5",
        "augment.colour_jitter=0",
        "data.crops=0",
        "data.regions=5",
        "data.templates=0",
    ]);
    let outcome = whole(&config, &folder.path().join("run"), Start::New);
    let losses = outcome.losses();
    let mean = |losses: &[f32]| losses.iter().sum::<f32>() / losses.len() as f32;
    let (first, last) = (mean(&losses[..5]), mean(&losses[50..]));
    assert!(last < 0.97 * first, "{first} {last}");
    let scores = outcome.scores().unwrap();
    assert!(scores.regions > 20, "{scores}");
    let page = std::fs::read_to_string(folder.path().join("run/report.md")).unwrap();
    let row = format!(
        "| name of a box in an entire picture, accuracy | {} | {:.3} |",
        scores.regions,
        scores.region_names.unwrap()
    );
    assert!(page.contains(&row), "{page}");
    assert!(page.contains("and up to 5 regions of each entire picture"));
}
