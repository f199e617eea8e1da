//! Whole training runs: what they leave, and that they go on as if nothing had happened.

use crate::support::{fixtures, shipped};
use burn::module::{Module, ModuleVisitor, Param};
use burn::prelude::*;
use clipseg::clip::load_clip;
use clipseg::data::{ScenesConfig, generate_scenes};
use clipseg::metrics::Confusion;
use clipseg::model::Segmenter;
use clipseg::train::{
    End, Engine, EvaluateOptions, Observer, Record, RunFolder, RunOutcome, Setup, Silent, StopFlag,
    TrainConfig, evaluate, load_decoder, read_metrics, run,
};
use std::path::{Path, PathBuf};

/// Scenes, and the settings of a run of seconds on them.
pub(crate) fn small_run(folder: &Path) -> String {
    let scenes = folder.join("scenes");
    if !scenes.is_dir() {
        let config = ScenesConfig {
            images: 30,
            size: 64,
            seed: 11,
        };
        generate_scenes(&scenes, &config).expect("scenes can be made");
    }
    let clip = shipped().join("models/clipseg-refined");
    format!(
        "seed = 4
         [data]
         folder = {scenes:?}
         size = 64
         held_out = [\"red circle\", \"star\"]
         [clip]
         checkpoint = {clip:?}
         [decoder]
         reduce_dim = 16
         intermediate_size = 32
         [schedule]
         steps = 14
         batch_size = 4
         warmup_steps = 2
         accumulation = 2
         clip_norm = 0.5
         [optimizer]
         decay_biases_and_norms = false
         [validation]
         every = 5
         phrases = 6
         examples = 2
         threshold = 0.3
         test_phrases = 10
         [checkpoints]
         every = 2
         "
    )
}

fn config(folder: &Path, changes: &[&str]) -> TrainConfig {
    TrainConfig::from_toml(&small_run(folder), Path::new("test"))
        .expect("the settings are right")
        .with_overrides(changes)
        .expect("the changes are right")
}

/// All that can be random about samples.
const EVERYTHING_RANDOM: [&str; 6] = [
    "augment.crop=true",
    "augment.flip=true",
    "augment.colour_jitter=0.3",
    "augment.negatives=0.5",
    "augment.templates=true",
    "augment.visual=1.0",
];

/// All weights of the last checkpoint of a run.
pub(crate) fn last_weights(config: &TrainConfig, root: &Path) -> Vec<f32> {
    struct All(Vec<f32>);
    impl ModuleVisitor for All {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let values = param.val().into_data().try_to_vec::<f32>();
            self.0.extend(values.expect("single precision"));
        }
    }
    let setup = Setup::new(config, |_| {}).expect("the run can be set up");
    let path = root.join("checkpoints/last.safetensors");
    let decoder = load_decoder(&path, &setup.decoder).expect("the checkpoint is whole");
    let mut all = All(Vec::new());
    decoder.visit(&mut all);
    all.0
}

fn whole(config: &TrainConfig, root: &Path, resume: bool) -> RunOutcome {
    run(config, root, resume, &StopFlag::new(), &mut Silent).expect("the run succeeds")
}

/// Raises a flag after a step.
struct StopAfter(usize, StopFlag);

impl Observer for StopAfter {
    fn start(&mut self, _: usize, _: usize) {}
    fn step(&mut self, step: usize, _: f32, _: f64, _: usize) {
        if step == self.0 {
            self.1.raise();
        }
    }
    fn note(&mut self, _: &str) {}
    fn finish(&mut self) {}
}

#[test]
fn a_run_leaves_everything_in_its_folder() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), &["schedule.steps=20"]);
    let root = folder.path().join("run");
    let outcome = whole(&config, &root, false);
    assert_eq!(outcome.training.end, End::Finished);

    let saved = RunFolder::config_of::<TrainConfig>(&root)
        .unwrap()
        .expect("it is there");
    assert_eq!(saved, config);
    let records = read_metrics(&root.join("metrics.jsonl")).unwrap();
    assert_eq!(records, outcome.training.records);
    let steps = records
        .iter()
        .filter(|record| {
            matches!(
                record,
                Record::Step {
                    gradient_norm: Some(_),
                    ..
                }
            )
        })
        .count();
    assert_eq!((steps, records.len()), (20, 24));
    let (first, last) = outcome.training.first_and_last_loss();
    assert!(last < first, "{first} to {last}");

    for name in ["curves.png", "examples.png"] {
        let picture = image::open(root.join(name)).unwrap().into_rgb8();
        let first = picture.pixels().next().unwrap();
        assert!(picture.pixels().any(|pixel| pixel != first), "{name}");
    }
    let columns = std::fs::read_dir(root.join("examples")).unwrap().count();
    assert_eq!(columns, 4);

    let table = outcome.table.expect("it was not stopped");
    for phrases in ["seen", "unseen"] {
        let row = |answer| table.row(phrases, answer).expect("it is in the table");
        assert!(row("decoder").count > 0);
        assert_eq!(row("nothing").iou, 0.0);
        assert!(row("everything").iou > 0.0);
        assert!(row("decoder, text of another picture").accuracy > 0.0);
    }
    let report = std::fs::read_to_string(root.join("report.md")).unwrap();
    assert!(
        report.contains("| unseen |") && report.contains("batch_size = 4"),
        "{report}"
    );

    let device = crate::support::device();
    let segmenter = Segmenter::from_pretrained(&root.join("model"), &device).unwrap();
    let photo = image::open(fixtures().join("images/wide.png"))
        .unwrap()
        .into_rgb8();
    let photo = segmenter.encode_image(&photo).unwrap();
    assert_eq!(
        segmenter.segment(&photo, &["a red circle"]).unwrap().len(),
        1
    );
}

#[test]
fn a_stopped_run_goes_on_bit_for_bit() {
    let folder = tempfile::tempdir().unwrap();
    for (name, changes) in [
        ("cached", vec!["cache.memory=100 kB"]),
        ("grouped", vec!["cache.memory=0"]),
        (
            "alone",
            vec!["schedule.group_by_picture=false", "validation.best_by=loss"],
        ),
        ("augmented", EVERYTHING_RANDOM.to_vec()),
        (
            "conv",
            vec![
                "decoder.kind=conv",
                "decoder.size=tiny",
                "decoder.picture_branch=true",
            ],
        ),
        ("deconv", vec!["decoder.kind=deconv"]),
    ] {
        let config = config(folder.path(), &changes);
        let [straight, broken] =
            ["straight", "broken"].map(|kind| folder.path().join(name).join(kind));
        let expected = whole(&config, &straight, false);
        let stop = StopFlag::new();
        let stopped = run(
            &config,
            &broken,
            true,
            &stop,
            &mut StopAfter(7, stop.clone()),
        )
        .unwrap();
        assert_eq!(stopped.training.end, End::Stopped);
        assert!(stopped.table.is_none());
        let stop = StopFlag::new();
        run(
            &config,
            &broken,
            true,
            &stop,
            &mut StopAfter(10, stop.clone()),
        )
        .unwrap();
        let found = whole(&config, &broken, true);
        assert_eq!(found.training.records, expected.training.records, "{name}");
        assert_eq!(found.table, expected.table, "{name}");
        let read = |root: &Path, file: &str| std::fs::read(root.join(file)).unwrap();
        for file in [
            "metrics.jsonl",
            "model/model.safetensors",
            "examples.png",
            "curves.png",
        ] {
            assert!(
                read(&broken, file) == read(&straight, file),
                "{name}: {file}"
            );
        }
        assert!(
            last_weights(&config, &broken) == last_weights(&config, &straight),
            "{name}"
        );
        // A finished run that goes on has nothing to do.
        assert_eq!(whole(&config, &broken, true).table, expected.table);
    }
}

#[test]
fn the_cache_changes_nothing_but_the_work() {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("cache");
    let in_folder = format!("cache.folder={cache:?}");
    let run = |changes: &[&str]| {
        let config = config(folder.path(), changes);
        let mut setup = Setup::new(&config, |_| {}).unwrap();
        let outcome = Engine::new(&mut setup.clip, &setup.training, &config)
            .unwrap()
            .run(setup.decoder.clone(), &mut Silent)
            .unwrap();
        (
            outcome.losses(),
            setup.clip.counts(),
            setup.clip.cached_bytes(),
        )
    };
    let (memory, counts, used) = run(&["cache.memory=1 GiB"]);
    assert!(counts.pictures_encoded > 0 && counts.pictures_from_memory > 0);
    assert!(used > 0);
    let limit = used / 2;
    let (half, fewer, used) = run(&[&format!("cache.memory={limit}")]);
    assert!(used <= limit && used > 0);
    assert!(fewer.pictures_encoded > counts.pictures_encoded);
    let (first, _, _) = run(&["cache.memory=0", &in_folder]);
    let (second, found, _) = run(&["cache.memory=0", &in_folder]);
    assert_eq!(found.pictures_encoded, 0, "all of them were in the folder");
    assert!(found.pictures_from_folder > 0);
    assert!(
        memory == half && memory == first && memory == second,
        "{memory:?} {half:?}"
    );
    // Without a cache nothing is rounded, which is close to the same.
    let (exact, counts, _) = run(&["cache.memory=0"]);
    assert_eq!(counts.pictures_from_memory + counts.pictures_from_folder, 0);
    for (a, b) in exact.iter().zip(&memory) {
        assert!((a - b).abs() < 1e-2 * a, "{exact:?} {memory:?}");
    }
}

/// The loss of every step of a run that keeps nothing.
fn losses(config: &TrainConfig) -> Vec<f32> {
    let mut setup = Setup::new(config, |_| {}).expect("the run can be set up");
    let engine = Engine::new(&mut setup.clip, &setup.training, config).expect("it has phrases");
    let outcome = engine.run(setup.decoder.clone(), &mut Silent);
    outcome.expect("the run succeeds").losses()
}

#[test]
fn accumulated_batches_are_one_large_batch() {
    let folder = tempfile::tempdir().unwrap();
    let losses = |changes: &[&str]| losses(&config(folder.path(), changes));
    // Phrases come alone, so that batches of four end where batches of twelve do.
    let common = ["schedule.steps=6", "schedule.group_by_picture=false"];
    let with = |own: [&str; 2]| losses(&[common, own].concat());
    let large = with(["schedule.batch_size=12", "schedule.accumulation=1"]);
    let small = with(["schedule.batch_size=4", "schedule.accumulation=3"]);
    assert!(large.len() == 6 && large.len() == small.len());
    // Up to the end of the first epoch both see the same phrases in each step.
    for (step, (a, b)) in large.iter().zip(&small).take(4).enumerate() {
        assert!((a - b).abs() < 1e-4 * a, "step {step}: {a} {b}");
    }
}

#[test]
fn each_random_change_reaches_the_loss() {
    let folder = tempfile::tempdir().unwrap();
    let losses = |changes: &[&str]| {
        let common = [
            "schedule.steps=2",
            "schedule.batch_size=16",
            "cache.memory=0",
        ];
        losses(&config(folder.path(), &[&common, changes].concat()))
    };
    let plain = losses(&[]);
    // Scenes are square, so the square that is cut out of them is all of them.
    for change in &EVERYTHING_RANDOM[1..] {
        let changed = losses(&[change]);
        assert_ne!(changed, plain, "{change}");
        assert_eq!(changed, losses(&[change]), "{change}: a seed fixes it");
    }
    assert_ne!(
        losses(&EVERYTHING_RANDOM),
        losses(&[&EVERYTHING_RANDOM[..], &["seed=5"]].concat())
    );
}

#[test]
fn without_improvement_a_run_ends_early() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("run");
    // A rate at which nothing is learnt: every validation is like the first.
    let config = config(
        folder.path(),
        &[
            "validation.patience=2",
            "validation.every=2",
            "schedule.steps=40",
            "schedule.learning_rate=1e-12",
            "schedule.final_learning_rate=1e-12",
        ],
    );
    let outcome = whole(&config, &root, false);
    assert_eq!(outcome.training.end, End::NoImprovement);
    assert_eq!(outcome.training.losses().len(), 6);
    assert_eq!(whole(&config, &root, true).training.end, End::NoImprovement);
}

/// A CLIP in which every weight is not a number.
fn poisoned(setup: &mut Setup, config: &TrainConfig) {
    struct Poison;
    impl burn::module::ModuleMapper for Poison {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            param.map(|tensor| tensor.mul_scalar(f32::NAN))
        }
    }
    let folder = PathBuf::from(config.clip.checkpoint.as_ref().expect("there is one"));
    let (clip_config, clip) = load_clip(&folder, setup.clip.device()).expect("the fixture loads");
    let clip = clip.map(&mut Poison);
    let tokenizer = clipseg::clip::ClipTokenizer::from_folder(&folder, &clip_config.text_config)
        .expect("a tokenizer");
    setup.clip = clipseg::train::FrozenClip::new(
        clip,
        setup.clip.config().clone(),
        tokenizer,
        clipseg::clip::ImageProcessor::clipseg(64),
    );
}

#[test]
fn a_loss_that_is_no_number_stops_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), &[]);
    let root = folder.path().join("run");
    let run_poisoned = |root: &Path| {
        let run_folder = RunFolder::open(root, &config, true).unwrap();
        let mut setup = Setup::new(&config, |_| {}).unwrap();
        poisoned(&mut setup, &config);
        Engine::new(&mut setup.clip, &setup.training, &config)
            .unwrap()
            .with_folder(&run_folder)
            .run(setup.decoder.clone(), &mut Silent)
            .unwrap_err()
            .to_string()
    };
    let message = run_poisoned(&root);
    assert!(
        message.starts_with("the loss is NaN at step 1, in the batch of "),
        "{message}"
    );
    assert!(
        message.ends_with("; no checkpoint was written before"),
        "{message}"
    );

    let stop = StopFlag::new();
    run(&config, &root, true, &stop, &mut StopAfter(6, stop.clone())).unwrap();
    let before = last_weights(&config, &root);
    let message = run_poisoned(&root);
    assert!(
        message.starts_with("the loss is NaN at step 7, in the batch of "),
        "{message}"
    );
    // Eight tasks in two batches of four, each named by picture and annotations.
    assert_eq!(message.matches("__").count(), 8, "{message}");
    let checkpoint = root.join("checkpoints/last.safetensors");
    let named = format!("the last good checkpoint is {}", checkpoint.display());
    assert!(message.ends_with(&named), "{message}");
    assert!(
        last_weights(&config, &root) == before,
        "the checkpoint is untouched"
    );
}

#[test]
fn half_precision_encoders_come_close() {
    let folder = tempfile::tempdir().unwrap();
    let scores = |data_type: &str| {
        let config = config(
            folder.path(),
            &[&format!("clip.data_type={data_type}"), "cache.memory=0"],
        );
        let mut setup = Setup::new(&config, |_| {}).unwrap();
        let options = EvaluateOptions::default();
        let scores = evaluate(&mut setup.clip, &setup.decoder, &setup.test, &options).unwrap();
        (scores.loss, scores.tally.mean(Confusion::accuracy))
    };
    let (single, _) = scores("f32");
    let (half, _) = scores("f16");
    assert!((single - half).abs() < 1e-2 * single, "{single} {half}");
}

#[test]
fn settings_that_do_not_fit_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let message = |changes: &[&str]| {
        let config = config(folder.path(), changes);
        Setup::new(&config, |_| {}).unwrap_err().to_string()
    };
    assert_eq!(
        message(&["data.size=50"]),
        "field `data.size`: 50, expected a multiple of the patch of 16 pixels"
    );
    assert!(message(&["decoder.extract_layers=[1, 9, 3]"]).contains("field `extract_layers`"));
    assert!(message(&["decoder.reduce_dim=6"]).contains("do not divide"));
    assert!(message(&["device=abacus"]).contains("device `abacus`: unknown"));
    assert!(message(&["clip.checkpoint=./no/such"]).contains("no/such"));
    assert!(message(&["data.folder=no/such"]).contains("no/such"));
}
