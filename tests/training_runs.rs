//! Complete training runs: their files, and resuming with identical results.

use crate::support::{device, fixtures, shipped};
use burn::module::{Module, ModuleVisitor, Param};
use burn::prelude::*;
use clipseg::clip::ImageProcessor;
use clipseg::data::{
    NegativeRule, PhraseCut, SampleOptions, ScenesConfig, Split, TEMPLATES, generate_scenes,
};
use clipseg::metrics::{Confusion, sweep_thresholds};
use clipseg::model::Segmenter;
use clipseg::train::{
    End, Engine, EvaluateOptions, Observer, Record, RunFolder, RunOutcome, Setup, Silent, Start,
    StopFlag, TrainConfig, evaluate, load_decoder, load_fine_tuned_clip, read_metrics, run,
};
use std::path::{Path, PathBuf};

/// Scenes, and the configuration of a run on them that takes seconds.
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
         warmup_ratio = 0.15
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

pub(crate) fn config(folder: &Path, changes: &[&str]) -> TrainConfig {
    TrainConfig::from_toml(&small_run(folder), Path::new("test"))
        .expect("the settings are right")
        .with_overrides(changes)
        .expect("the changes are right")
}

/// A configuration with every random augmentation.
const EVERYTHING_RANDOM: [&str; 6] = [
    "augment.crop=true",
    "augment.flip=true",
    "augment.colour_jitter=0.3",
    "augment.negatives=0.5",
    "augment.templates=true",
    "augment.visual=[0.0, 1.0]",
];

/// All trained weights of a run's last checkpoint.
pub(crate) fn last_weights(config: &TrainConfig, root: &Path) -> Vec<f32> {
    struct All(Vec<f32>);
    impl ModuleVisitor for All {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let values = param.val().into_data().try_to_vec::<f32>();
            self.0.extend(values.expect("single precision"));
        }
    }
    let setup = Setup::new(config, &device(), |_| {}).expect("the run can be set up");
    let path = root.join("checkpoints/last.safetensors");
    let decoder = load_decoder(&path, &setup.decoder).expect("the checkpoint is whole");
    let mut all = All(Vec::new());
    decoder.visit(&mut all);
    let (clip, model, ..) = setup.clip.into_parts();
    let clip = load_fine_tuned_clip(&path, config, &model, clip);
    if let Some(clip) = clip.expect("the checkpoint is complete") {
        clip.visit(&mut all);
    }
    all.0
}

pub(crate) fn whole(config: &TrainConfig, root: &Path, start: Start) -> RunOutcome {
    run(
        config,
        &device(),
        root,
        start,
        &StopFlag::new(),
        &mut Silent,
    )
    .expect("the run succeeds")
}

/// Sets the stop flag after a step.
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
    let outcome = whole(&config, &root, Start::New);
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
    let range = outcome.training.loss_range();
    let (first, last) = (range.first, range.last);
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

    let device = device();
    let segmenter = Segmenter::from_pretrained(&root.join("model"), &device).unwrap();
    let photo = image::open(fixtures().join("images/wide.png"))
        .unwrap()
        .into_rgb8();
    let photo = segmenter.encode_image(&photo).unwrap();
    assert_eq!(
        segmenter.segment(&photo, &["a red circle"]).unwrap().len(),
        1
    );

    // The saved threshold is the first of those with the best mean IoU on the validation split.
    let mut setup = Setup::new(&config, &device, |_| {}).unwrap();
    let (mut best, mut highest) = (0.0, 0.0);
    for threshold in sweep_thresholds() {
        let options = EvaluateOptions::default().with_threshold(threshold as f32);
        let decoder = &outcome.training.best;
        let scores = evaluate(&mut setup.clip, decoder, &setup.validation, &options).unwrap();
        let iou = scores.tally.mean(Confusion::iou);
        if iou > highest {
            (best, highest) = (threshold, iou);
        }
    }
    assert_eq!(segmenter.threshold(), Some(best as f32));
    let line =
        format!("Threshold saved with the model: {best:.2}, with a mean IoU of {highest:.3}");
    assert!(report.contains(&line), "{line}: {report}");
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
        (
            "both towers",
            vec!["clip.unfreeze=clip", "clip.learning_rate=1e-3"],
        ),
        (
            "last block",
            [
                &EVERYTHING_RANDOM[..],
                &[
                    "clip.unfreeze=vision-last-1",
                    "decoder.kind=conv",
                    "decoder.size=tiny",
                    "decoder.picture_branch=true",
                    "decoder.extract_layers=[0, 1, 2]",
                ],
            ]
            .concat(),
        ),
    ] {
        let config = config(folder.path(), &changes);
        let [straight, broken] =
            ["straight", "broken"].map(|kind| folder.path().join(name).join(kind));
        let expected = whole(&config, &straight, Start::New);
        let stop = StopFlag::new();
        let stopped = run(
            &config,
            &device(),
            &broken,
            Start::Resume,
            &stop,
            &mut StopAfter(7, stop.clone()),
        )
        .unwrap();
        assert_eq!(stopped.training.end, End::Stopped);
        assert!(stopped.table.is_none());
        let stop = StopFlag::new();
        run(
            &config,
            &device(),
            &broken,
            Start::Resume,
            &stop,
            &mut StopAfter(10, stop.clone()),
        )
        .unwrap();
        let found = whole(&config, &broken, Start::Resume);
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
        // Resuming a finished run does nothing.
        assert_eq!(whole(&config, &broken, Start::Resume).table, expected.table);
    }
}

#[test]
fn the_cache_changes_nothing_but_the_work() {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("cache");
    let in_folder = format!("cache.folder={cache:?}");
    let run = |changes: &[&str]| {
        let config = config(folder.path(), changes);
        let mut setup = Setup::new(&config, &device(), |_| {}).unwrap();
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
    // Without a cache hidden states are not rounded, so results are close but not equal.
    let (exact, counts, _) = run(&["cache.memory=0"]);
    assert_eq!(counts.pictures_from_memory + counts.pictures_from_folder, 0);
    for (a, b) in exact.iter().zip(&memory) {
        assert!((a - b).abs() < 1e-2 * a, "{exact:?} {memory:?}");
    }
}

/// A copy of the tests' checkpoint for changes.
fn copied_checkpoint(folder: &Path) -> PathBuf {
    let copy = folder.join("checkpoint");
    std::fs::create_dir(&copy).unwrap();
    for entry in std::fs::read_dir(shipped().join("models/clipseg-refined")).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), copy.join(entry.file_name())).unwrap();
    }
    copy
}

#[test]
fn a_corrected_checkpoint_is_not_served_old_states() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = copied_checkpoint(folder.path());
    let clip = format!("clip.checkpoint={checkpoint:?}");
    let in_folder = format!("cache.folder={:?}", folder.path().join("cache"));
    let encode = |change: &str| {
        let changes = [&*clip, &in_folder, "cache.memory=0", change];
        let config = config(folder.path(), &changes);
        let mut setup = Setup::new(&config, &device(), |_| {}).unwrap();
        let batch = setup.training.batch(&[0, 7], 0, setup.clip.device());
        setup.clip.encode(batch.unwrap()).unwrap();
        let counts = setup.clip.counts();
        (counts.pictures_encoded, counts.pictures_from_folder)
    };
    let plain = "data.size=64";
    let (encoded, _) = encode(plain);
    assert!(encoded > 0);
    assert_eq!(encode(plain), (0, encoded), "nothing was changed");
    let path = checkpoint.join("config.json");
    let whole = std::fs::read_to_string(&path).unwrap();
    let vision = whole.find("vision_config").unwrap();
    for (field, from, to) in [
        ("hidden_act", "\"quick_gelu\"", "\"gelu\""),
        ("layer_norm_eps", "1e-05", "1e-06"),
        ("num_attention_heads", "4", "2"),
    ] {
        let (before, own) = whole.split_at(vision);
        let old = format!("\"{field}\": {from}");
        assert!(own.contains(&old), "{own}");
        let own = own.replace(&old, &format!("\"{field}\": {to}"));
        std::fs::write(&path, format!("{before}{own}")).unwrap();
        assert_eq!(encode(plain), (encoded, 0), "{field}");
        assert_eq!(encode(plain), (0, encoded), "{field}, the second time");
        std::fs::write(&path, &whole).unwrap();
        assert_eq!(encode(plain), (0, encoded), "as it was before {field}");
    }
    for change in ["data.size=32", "clip.data_type=f16"] {
        assert_eq!(encode(change).1, 0, "{change}");
    }
}

#[test]
fn the_order_of_precision_and_cache_does_not_matter() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), &["cache.memory=0"]);
    let cache = clipseg::train::CacheConfig {
        folder: Some(folder.path().join("cache")),
        ..config.cache.clone()
    };
    let encoder = || {
        let setup = Setup::new(&config, &device(), |_| {}).unwrap();
        let batch = setup.training.batch(&[0, 7], 0, setup.clip.device());
        let (clip, model, tokenizer, processor) = setup.clip.into_parts();
        let clip = clipseg::train::FrozenClip::new(clip, model, tokenizer, processor);
        (clip, batch.unwrap())
    };
    let f16 = clipseg::train::Precision::F16;
    let (clip, batch) = encoder();
    let mut first = clip
        .with_precision(f16)
        .unwrap()
        .with_cache(&cache)
        .unwrap();
    let expected = first.encode(batch).unwrap().features.hidden_states;
    let (clip, batch) = encoder();
    let mut second = clip
        .with_cache(&cache)
        .unwrap()
        .with_precision(f16)
        .unwrap();
    let found = second.encode(batch).unwrap().features.hidden_states;
    assert_eq!(
        second.counts().pictures_encoded,
        0,
        "all were in the folder"
    );
    for (a, b) in expected.into_iter().zip(found) {
        assert_eq!(a.into_data(), b.into_data());
    }
    let (clip, batch) = encoder();
    let mut single = clip.with_cache(&cache).unwrap();
    single.encode(batch).unwrap();
    assert_eq!(
        single.counts().pictures_from_folder,
        0,
        "of another precision"
    );
}

#[test]
fn phrases_and_pictures_share_one_bound() {
    let folder = tempfile::tempdir().unwrap();
    let run = |memory: &str| {
        let memory = format!("cache.memory={memory}");
        let config = config(folder.path(), &[&memory, "schedule.steps=10"]);
        let mut setup = Setup::new(&config, &device(), |_| {}).unwrap();
        let engine = Engine::new(&mut setup.clip, &setup.training, &config).unwrap();
        let outcome = engine.run(setup.decoder.clone(), &mut Silent).unwrap();
        let used = setup.clip.cached_bytes();
        (outcome.losses(), setup.clip.counts(), used)
    };
    let (expected, all, _) = run("1 GiB");
    // Memory for few phrases and for few pictures.
    let (losses, few, used) = run("20 kB");
    assert!(used > 0 && used <= 20_000, "{used}");
    assert!(few.phrases_encoded > all.phrases_encoded && few.phrases_from_memory > 0);
    assert!(few.pictures_encoded > all.pictures_encoded && few.pictures_from_memory > 0);
    assert_eq!(losses, expected, "bit for bit");
    let (_, none, used) = run("0");
    assert_eq!((used, none.phrases_from_memory), (0, 0));
}

/// The loss of every step of a run without a cache.
fn losses(config: &TrainConfig) -> Vec<f32> {
    let mut setup = Setup::new(config, &device(), |_| {}).expect("the run can be set up");
    let engine = Engine::new(&mut setup.clip, &setup.training, config).expect("it has phrases");
    let outcome = engine.run(setup.decoder.clone(), &mut Silent);
    outcome.expect("the run succeeds").losses()
}

#[test]
fn accumulated_batches_are_one_large_batch() {
    let folder = tempfile::tempdir().unwrap();
    // Losses and gradient norms: AdamW is invariant to the gradient's scale.
    let run = |changes: &[&str]| -> Vec<[f32; 2]> {
        let config = config(folder.path(), changes);
        let mut setup = Setup::new(&config, &device(), |_| {}).expect("the run can be set up");
        let engine = Engine::new(&mut setup.clip, &setup.training, &config).expect("phrases");
        let outcome = engine.run(setup.decoder.clone(), &mut Silent);
        let steps = outcome.expect("the run succeeds").records.into_iter();
        steps
            .filter_map(|record| match record {
                Record::Step {
                    loss,
                    gradient_norm,
                    ..
                } => Some([loss, gradient_norm.expect("it is always there")]),
                _ => None,
            })
            .collect()
    };
    // Phrases are not grouped by picture, so that batches of 4 and of 12 end at the same phrases.
    let common = [
        "schedule.steps=6",
        "schedule.group_by_picture=false",
        "schedule.clip_norm=1000",
    ];
    let with = |own: [&str; 2]| run(&[&common[..], &own].concat());
    let large = with(["schedule.batch_size=12", "schedule.accumulation=1"]);
    let small = with(["schedule.batch_size=4", "schedule.accumulation=3"]);
    assert!(large.len() == 6 && large.len() == small.len());
    // Up to the end of the first epoch both see the same phrases in each step.
    for (step, (a, b)) in large.iter().zip(&small).take(4).enumerate() {
        for (a, b) in a.iter().zip(b) {
            assert!((a - b).abs() < 1e-3 * a, "step {step}: {large:?} {small:?}");
        }
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
    // Scenes are square, so the largest square crop is the entire picture.
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
    // A learning rate of nearly zero: every validation equals the first.
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
    let outcome = whole(&config, &root, Start::New);
    assert_eq!(outcome.training.end, End::NoImprovement);
    assert_eq!(outcome.training.losses().len(), 6);
    assert_eq!(
        whole(&config, &root, Start::Resume).training.end,
        End::NoImprovement
    );
}

/// Makes every weight of a module NaN.
struct Poison;

impl burn::module::ModuleMapper for Poison {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.map(|tensor| tensor.mul_scalar(f32::NAN))
    }
}

#[test]
fn weights_that_are_not_finite_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), &[]);
    let train = |clip: bool, decoder: bool| {
        let mut setup = Setup::new(&config, &device(), |_| {}).unwrap();
        if decoder {
            setup.decoder = setup.decoder.map(&mut Poison);
        }
        if clip {
            let (clip, model, tokenizer, processor) = setup.clip.into_parts();
            let clip = clip.map(&mut Poison);
            setup.clip = clipseg::train::FrozenClip::new(clip, model, tokenizer, processor);
        }
        let engine = Engine::new(&mut setup.clip, &setup.training, &config)?;
        engine.run(setup.decoder.clone(), &mut Silent)
    };
    let clip = train(true, false).unwrap_err().to_string();
    assert!(
        clip.starts_with("weights of the CLIP are NaN or infinite: "),
        "{clip}"
    );
    for name in [
        "logit_scale",
        "text_model.embeddings.token_embedding.weight",
    ] {
        assert!(clip.contains(name), "{clip}");
    }
    let decoder = train(false, true).unwrap_err().to_string();
    assert!(
        decoder.starts_with("weights of the decoder are NaN or infinite: ")
            && decoder.contains("film_mul.weight"),
        "{decoder}"
    );
    train(false, false).unwrap();
}

#[test]
fn an_infinite_loss_stops_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let plain = config(folder.path(), &[]);
    let infinite = config(folder.path(), &["loss=1e300*bce"]);
    let root = folder.path().join("run");
    let diverge = |root: &Path| {
        let run_folder = RunFolder::open(root, &plain, Start::Resume).unwrap();
        let mut setup = Setup::new(&infinite, &device(), |_| {}).unwrap();
        Engine::new(&mut setup.clip, &setup.training, &infinite)
            .unwrap()
            .with_folder(&run_folder)
            .run(setup.decoder.clone(), &mut Silent)
            .unwrap_err()
            .to_string()
    };
    let message = diverge(&root);
    assert!(
        message.starts_with("the loss is inf at step 1, in the batch of "),
        "{message}"
    );
    assert!(
        message.ends_with("; no checkpoint was written before"),
        "{message}"
    );

    let stop = StopFlag::new();
    run(
        &plain,
        &device(),
        &root,
        Start::Resume,
        &stop,
        &mut StopAfter(6, stop.clone()),
    )
    .unwrap();
    let before = last_weights(&plain, &root);
    let message = diverge(&root);
    assert!(
        message.starts_with("the loss is inf at step 7, in the batch of "),
        "{message}"
    );
    // Eight tasks in two batches of four, each named by picture and annotations.
    assert_eq!(message.matches("__").count(), 8, "{message}");
    let checkpoint = root.join("checkpoints/last.safetensors");
    let named = format!("the last good checkpoint is {}", checkpoint.display());
    assert!(message.ends_with(&named), "{message}");
    assert!(
        last_weights(&plain, &root) == before,
        "the checkpoint is untouched"
    );
}

#[test]
fn a_warm_up_longer_than_the_epochs_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let changes = ["schedule.epochs=1", "schedule.warmup_steps=100000"];
    let config = config(folder.path(), &changes);
    let mut setup = Setup::new(&config, &device(), |_| {}).unwrap();
    let error = Engine::new(&mut setup.clip, &setup.training, &config);
    let message = error.unwrap_err().to_string();
    assert!(
        message
            .starts_with("field `schedule.warmup_steps`: 100000, expected fewer than the run's "),
        "{message}"
    );
}

#[test]
fn held_out_words_that_do_not_occur_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let setup = |words: &[&str], notes: &mut Vec<String>| {
        let words = format!("data.held_out={words:?}");
        let config = config(folder.path(), &[&words]);
        Setup::new(&config, &device(), |line| notes.push(line.to_owned()))
    };
    let mut notes = Vec::new();
    let error = setup(&["star", "zebra", "starfish"], &mut notes).unwrap_err();
    assert_eq!(
        error.to_string(),
        "field `data.held_out`: no phrase of the split `train` contains `zebra` or `starfish`, so \
         holding out has no effect"
    );
    let error = setup(&["list:pascal-zero-shot-2"], &mut notes).unwrap_err();
    assert!(
        error.to_string().contains("`list:pascal-zero-shot-2`"),
        "{error}"
    );
}

#[test]
fn a_list_of_which_some_words_occur_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), &[]);
    // One record that names a word of the list.
    let file = folder.path().join("scenes/refer_train.json");
    let text = std::fs::read_to_string(&file).unwrap();
    let mut records: serde_json::Value = serde_json::from_str(&text).unwrap();
    records[0]["phrase"] = "an ox".into();
    std::fs::write(&file, records.to_string()).unwrap();
    let list = clipseg::data::held_out_list("pascal-zero-shot-2").unwrap();
    let config = config
        .with_overrides(&["data.held_out=[\"list:pascal-zero-shot-2\"]"])
        .unwrap();
    let mut notes = Vec::new();
    Setup::new(&config, &device(), |line| notes.push(line.to_owned())).unwrap();
    let expected = format!(
        "{} of the {} words of `list:pascal-zero-shot-2` are in no phrase of the split `train`",
        list.len() - 1,
        list.len()
    );
    assert!(notes.contains(&expected), "{notes:?}");
}

#[test]
fn a_split_for_validation_and_test_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    let reports = |changes: &[&str]| {
        let config = config(folder.path(), changes);
        let mut notes = Vec::new();
        let setup = Setup::new(&config, &device(), |line| notes.push(line.to_owned())).unwrap();
        let told = |line: &String| line.contains("shares phrases with the split `val`");
        [notes.iter().any(told), setup.left_out.iter().any(told)]
    };
    assert_eq!(reports(&["data.test=val"]), [true, true]);
    assert_eq!(reports(&[]), [false, false]);
}

#[test]
fn a_gradient_that_is_no_number_stops_the_run() {
    let folder = tempfile::tempdir().unwrap();
    // The loss is finite; the squares of its gradients overflow.
    for norm in ["", "schedule.clip_norm=1"] {
        let mut changes = vec!["loss=1e30*bce"];
        changes.extend(Some(norm).filter(|norm| !norm.is_empty()));
        let config = config(folder.path(), &changes);
        let mut setup = Setup::new(&config, &device(), |_| {}).unwrap();
        let error = Engine::new(&mut setup.clip, &setup.training, &config)
            .unwrap()
            .run(setup.decoder.clone(), &mut Silent)
            .unwrap_err();
        let message = error.to_string();
        assert!(
            message.starts_with("the gradient norm is inf at step 1, in the batch of "),
            "{message}"
        );
        assert!(
            message.matches("__").count() > 4,
            "tasks are named: {message}"
        );
    }
}

#[test]
fn half_precision_encoders_come_close() {
    let folder = tempfile::tempdir().unwrap();
    let encoded = |data_type: &str| {
        let config = config(
            folder.path(),
            &[&format!("clip.data_type={data_type}"), "cache.memory=0"],
        );
        let mut setup = Setup::new(&config, &device(), |_| {}).unwrap();
        let batch = setup.training.batch(&[0, 5, 9], 0, setup.clip.device());
        let batch = batch.unwrap();
        let phrases = setup.clip.encode_phrases(&batch.phrases).unwrap();
        let features = setup.clip.encode_pictures(batch.pixels).unwrap();
        let mut tensors: Vec<TensorData> = features
            .hidden_states
            .into_iter()
            .map(Tensor::into_data)
            .collect();
        tensors.push(phrases.into_data());
        tensors
            .into_iter()
            .map(|data| {
                data.try_to_vec::<f32>()
                    .expect("single precision comes out")
            })
            .collect::<Vec<_>>()
    };
    let single = encoded("f32");
    assert_eq!(single.len(), 4, "three layers, and the phrases");
    // f16 has ten fraction bits and bf16 seven; values pass through five blocks.
    for (data_type, most) in [("f16", 4e-3), ("bf16", 3e-2)] {
        for (layer, (exact, half)) in single.iter().zip(encoded(data_type)).enumerate() {
            assert_eq!(exact.len(), half.len());
            let squares = |values: &mut dyn Iterator<Item = f32>| {
                values.map(|value| f64::from(value).powi(2)).sum::<f64>()
            };
            let difference = squares(&mut exact.iter().zip(&half).map(|(a, b)| a - b));
            let relative = (difference / squares(&mut exact.iter().copied())).sqrt();
            assert!(relative < most, "{data_type}, layer {layer}: {relative:e}");
            assert!(
                relative > most / 400.0,
                "{data_type}, layer {layer}: {relative:e} is single precision"
            );
        }
    }
}

#[test]
fn settings_that_do_not_fit_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let message = |changes: &[&str]| {
        let config = config(folder.path(), changes);
        Setup::new(&config, &device(), |_| {})
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        message(&["data.size=50"]),
        "field `data.size`: 50, expected a multiple of the patch size, 16 pixels"
    );
    assert!(message(&["decoder.extract_layers=[1, 9, 3]"]).contains("field `extract_layers`"));
    assert!(message(&["decoder.reduce_dim=6"]).contains("do not divide"));
    assert!(message(&["clip.checkpoint=./no/such"]).contains("no/such"));
    assert!(message(&["data.folder=no/such"]).contains("no/such"));
}

#[test]
fn a_clip_with_random_weights_can_be_named() {
    let folder = tempfile::tempdir().unwrap();
    let text = small_run(folder.path());
    let base = TrainConfig::from_toml(&text, Path::new("test")).unwrap();
    let made = |checkpoint: Option<&str>| {
        let mut config = base.clone();
        config.clip.checkpoint = checkpoint.map(str::to_owned);
        let mut notes = Vec::new();
        let setup = Setup::new(&config, &device(), |line| notes.push(line.to_owned())).unwrap();
        let batch = setup.training.batch(&[0], 0, setup.clip.device()).unwrap();
        let states = setup.clip.encode_pictures(batch.pixels).unwrap();
        (states.hidden_states[0].clone().into_data(), notes)
    };
    let (unnamed, notes) = made(None);
    assert!(notes[0].starts_with("no CLIP given"), "{notes:?}");
    let (named, notes) = made(Some("random"));
    assert_eq!(named, unnamed);
    assert_eq!(notes[0], "using a small CLIP with random weights (seed 4)");
}

#[test]
fn fine_tuning_keeps_the_preprocessing_of_the_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = copied_checkpoint(folder.path());
    // As transformers writes it for a mean and standard deviation of 0.5.
    let half = r#"{"do_convert_rgb": null, "do_normalize": true, "do_rescale": true, "do_resize": true,
        "image_mean": [0.5, 0.5, 0.5], "image_processor_type": "ViTImageProcessor",
        "image_std": [0.5, 0.5, 0.5], "resample": 2, "rescale_factor": 0.00392156862745098,
        "size": {"height": 96, "width": 96}}"#;
    std::fs::write(checkpoint.join("preprocessor_config.json"), half).unwrap();
    let scenes_of = small_run(folder.path()).replace("size = 64\n", "");
    let base = TrainConfig::from_toml(&scenes_of, Path::new("test")).unwrap();
    let tune = |changes: &[&str]| {
        let clip = format!("clip.checkpoint={checkpoint:?}");
        let common = [&*clip, "decoder.pretrained=true", "schedule.steps=2"];
        let config = base.clone().with_overrides(&[&common, changes].concat());
        let config = config.unwrap();
        let mut notes = Vec::new();
        let setup = Setup::new(&config, &device(), |line| notes.push(line.to_owned())).unwrap();
        let root = folder.path().join(format!("run-{}", changes.len()));
        whole(&config, &root, Start::New);
        let saved = ImageProcessor::from_folder(&root.join("model"))
            .unwrap()
            .unwrap();
        (setup, saved, notes.join("; "))
    };
    let own = ImageProcessor::from_folder(&checkpoint).unwrap().unwrap();
    let (setup, saved, notes) = tune(&[]);
    assert_eq!(saved, own);
    assert_eq!((own.mean, own.std), ([0.5; 3], [0.5; 3]));
    assert!(!notes.contains("data.size"), "{notes}");
    // The model's input is 96 pixels wide with values from -1 to 1.
    let batch = setup.training.batch(&[0], 0, setup.clip.device()).unwrap();
    assert_eq!(batch.pixels.dims()[2..], [96, 96]);
    let expected = own.normalise(batch.pixels.clone());
    assert!((expected.clone().max().into_scalar::<f32>() - 1.0).abs() < 0.5);
    let (clip, model, _, processor) = setup.clip.into_parts();
    assert_eq!(processor, own);
    let features = clipseg::model::ImageFeatures::extract(&clip, &model.decoder, expected).unwrap();
    let again = Setup::new(
        &base
            .clone()
            .with_overrides(&[
                format!("clip.checkpoint={checkpoint:?}"),
                "decoder.pretrained=true".into(),
            ])
            .unwrap(),
        &device(),
        |_| {},
    );
    let found = again.unwrap().clip.encode_pictures(batch.pixels).unwrap();
    for (a, b) in found.hidden_states.into_iter().zip(features.hidden_states) {
        assert_eq!(a.into_data(), b.into_data());
    }

    // A new decoder gets pictures of the same size, because the CLIP was made for it.
    let new_decoder = [format!("clip.checkpoint={checkpoint:?}")];
    let new_decoder = base.clone().with_overrides(&new_decoder).unwrap();
    let side = || {
        let setup = Setup::new(&new_decoder, &device(), |_| {}).unwrap();
        let batch = setup.training.batch(&[0], 0, setup.clip.device()).unwrap();
        batch.pixels.dims()[2]
    };
    assert_eq!(side(), 96);
    let cropping = ImageProcessor::clip(96).to_json().to_string();
    std::fs::write(checkpoint.join("preprocessor_config.json"), cropping).unwrap();
    assert_eq!(side(), 352, "that of the published CLIPSeg");
    std::fs::write(checkpoint.join("preprocessor_config.json"), half).unwrap();

    // A configured size has precedence, which is reported.
    let (_, saved, notes) = tune(&["data.size=64"]);
    let mut smaller = own.clone();
    smaller.size = ImageProcessor::clipseg(64).size;
    assert_eq!(saved, smaller);
    assert!(
        notes.contains("a side of 64 pixels, as in `data.size`, not of 96"),
        "{notes}"
    );
}

#[test]
fn the_preset_paper_is_the_papers_recipe() {
    let folder = tempfile::tempdir().unwrap();
    small_run(folder.path());
    let paper = TrainConfig::preset("paper").unwrap();
    let config = paper
        .with_overrides(&[
            format!("data.folder={:?}", folder.path().join("scenes")),
            format!(
                "clip.checkpoint={:?}",
                shipped().join("models/clipseg-refined")
            ),
            "data.size=64".into(),
            "decoder.extract_layers=[1, 2, 4]".into(),
        ])
        .unwrap();
    let setup = Setup::new(&config, &device(), |_| {}).unwrap();
    let scored = SampleOptions::clipseg(64);
    for phrases in [&setup.validation, &setup.test, &setup.learnt] {
        assert_eq!(phrases.dataset().options(), &scored);
    }
    let learnt = SampleOptions {
        crop: Some(0.05),
        negatives: 0.2,
        negative_rule: NegativeRule::Any,
        templates: TEMPLATES.map(str::to_owned).to_vec(),
        support: true,
        cache_bytes: config.cache.pictures.0,
        ..scored
    };
    assert_eq!(setup.training.options(), &learnt);
    let clipseg::model::DecoderConfig::Transformer(decoder) = &setup.clip.config().decoder else {
        panic!("CLIPSeg's own decoder")
    };
    assert_eq!((decoder.dropout, decoder.reduce_dim), (0.1, 64));
}

/// The first picture's file of a split.
fn picture_of(scenes: &Path, split: Split, place: usize) -> PathBuf {
    let data = PhraseCut::open(scenes).unwrap();
    let mut ids: Vec<u64> = data.phrases(split).iter().map(|p| p.image_id).collect();
    ids.dedup();
    data.image_path(ids[place])
}

#[test]
fn broken_pictures_are_found_before_the_first_step() {
    let folder = tempfile::tempdir().unwrap();
    for split in [Split::Train, Split::Val, Split::Test] {
        let of_split = folder.path().join(split.name());
        std::fs::create_dir(&of_split).unwrap();
        let mut text = small_run(&of_split);
        text = text.replace("[data]\n", "[data]\nvalidation = \"val_miniv\"\n");
        let scenes = of_split.join("scenes");
        // The split has two pictures; the second remains.
        let missing = picture_of(&scenes, split, 0);
        std::fs::remove_file(&missing).unwrap();
        let empty = (split == Split::Train).then(|| picture_of(&scenes, split, 1));
        if let Some(empty) = &empty {
            std::fs::write(empty, "").unwrap();
        }
        let root = of_split.join("run");
        let start = |changes: &[&str], stop_after: Option<usize>| {
            let config = TrainConfig::from_toml(&text, Path::new("x")).unwrap();
            let config = config.with_overrides(changes).unwrap();
            let stop = StopFlag::new();
            let after = stop_after.unwrap_or(usize::MAX);
            run(
                &config,
                &device(),
                &root,
                Start::Resume,
                &stop,
                &mut StopAfter(after, stop.clone()),
            )
        };
        let message = start(&[], None).unwrap_err().to_string();
        let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
        assert!(
            message.starts_with("field `data.broken_pictures`: "),
            "{message}"
        );
        assert!(message.contains(&name(&missing)), "{message}");
        if let Some(empty) = &empty {
            assert!(message.contains(&name(empty)), "{message}");
        }
        assert!(
            !root.exists(),
            "nothing was learnt, and nothing is in the way"
        );
        let leave_out = "data.broken_pictures=leave_out";
        let stopped = start(&[leave_out], Some(7)).unwrap();
        assert_eq!(stopped.training.end, End::Stopped);
        let outcome = start(&[leave_out], None).unwrap();
        assert_eq!(outcome.training.end, End::Finished);
        let report = std::fs::read_to_string(root.join("report.md")).unwrap();
        let pictures = 1 + usize::from(empty.is_some());
        let line = format!("of {pictures} broken or missing picture");
        let counted = report.lines().filter(|text| text.contains(&line)).count();
        assert_eq!(counted, 1, "{report}");
        assert!(
            report.contains("- train: ") && report.contains("held-out word"),
            "{report}"
        );
    }
}

#[test]
fn a_run_does_not_go_on_with_other_phrases() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), &["data.broken_pictures=leave_out"]);
    let root = folder.path().join("run");
    let stop = StopFlag::new();
    run(
        &config,
        &device(),
        &root,
        Start::Resume,
        &stop,
        &mut StopAfter(3, stop.clone()),
    )
    .unwrap();
    let broken = picture_of(&folder.path().join("scenes"), Split::Train, 0);
    let whole_picture = std::fs::read(&broken).unwrap();
    std::fs::write(&broken, &whole_picture[..whole_picture.len() / 2]).unwrap();
    let error = run(
        &config,
        &device(),
        &root,
        Start::Resume,
        &StopFlag::new(),
        &mut Silent,
    )
    .unwrap_err();
    let message = error.to_string();
    assert!(
        message.contains("not those that the run was trained on"),
        "{message}"
    );
    std::fs::write(&broken, whole_picture).unwrap();
    assert_eq!(
        whole(&config, &root, Start::Resume).training.end,
        End::Finished
    );
}

#[test]
fn a_split_without_polygons_is_named_and_one_that_is_not_there_is_said() {
    let folder = tempfile::tempdir().unwrap();
    for split in ["train", "val", "test"] {
        let of_split = folder.path().join(split);
        std::fs::create_dir(&of_split).unwrap();
        let text = small_run(&of_split);
        let config = TrainConfig::from_toml(&text, Path::new("x")).unwrap();
        let [truth, input] = ["refer", "refer_input"]
            .map(|name| of_split.join(format!("scenes/{name}_{split}.json")));
        std::fs::copy(&truth, &input).unwrap();
        std::fs::remove_file(&truth).unwrap();
        let error = Setup::new(&config, &device(), |_| {})
            .unwrap_err()
            .to_string();
        assert!(error.contains(&format!("refer_{split}.json")), "{error}");
        std::fs::remove_file(&input).unwrap();
        let mut notes = Vec::new();
        let setup = Setup::new(&config, &device(), |line| notes.push(line.to_owned()));
        if split == "train" {
            let error = setup.unwrap_err().to_string();
            assert!(error.contains("refer_train.json"), "{error}");
            continue;
        }
        let setup = setup.unwrap();
        assert_eq!(setup.validation.is_empty(), split == "val");
        assert_eq!(setup.test.is_empty(), split == "test");
        let said = format!("the data has no split `{split}`");
        assert!(notes.iter().any(|line| line.contains(&said)), "{notes:?}");
    }
}
