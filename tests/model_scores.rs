//! Scoring models: masks and models score alike, and the program prints the library's figures.

use crate::support::device;
use crate::training_runs::small_run;
use clipseg::data::{Mask, Phrase, PhraseCut, RasterRule, Split, load_rgb};
use clipseg::metrics::{
    Confusion, Grouped, Subset, SweepDefinition, ThresholdSweep, sweep_thresholds,
};
use clipseg::train::{
    EvaluateOptions, Setup, TrainConfig, evaluate, evaluate_phrasecut, score_model,
    score_model_by_clipseg, sweep_model,
};
use std::collections::HashMap;
use std::path::Path;
use std::process::{Command, Output};

fn setup(folder: &Path) -> Setup {
    let config = TrainConfig::from_toml(&small_run(folder), Path::new("test")).unwrap();
    // Without a cache, so that hidden states are not rounded.
    let changes = [
        "cache.memory=0",
        "data.held_out=[]",
        "validation.test_phrases=1000",
    ];
    Setup::new(&config.with_overrides(&changes).unwrap(), &device(), |_| {}).unwrap()
}

#[test]
fn scenes_of_the_models_size_score_the_same_as_in_training() {
    let folder = tempfile::tempdir().unwrap();
    let mut setup = setup(folder.path());
    let data = PhraseCut::open(&folder.path().join("scenes")).unwrap();
    let phrases = data.phrases(Split::Test);
    assert!(phrases.len() > 3);
    // Untrained logits are all near zero, so the threshold is their median.
    let threshold = 0.5;
    let mut options = EvaluateOptions::default();
    options.threshold = threshold;
    let trained = evaluate(&mut setup.clip, &setup.decoder, &setup.test, &options).unwrap();
    assert_eq!(trained.tally.len(), phrases.len());

    let segmenter = setup.clip.segmenter(setup.decoder.clone());
    let mut masks: HashMap<String, Mask> = HashMap::new();
    let scored = score_model(
        &segmenter,
        &data,
        Split::Test,
        None,
        threshold,
        |phrase, mask| {
            let mask = mask.expect("every picture can be read").clone();
            masks.insert(phrase.task_id.clone(), mask);
            Ok(())
        },
    )
    .unwrap();
    let tasks = scored.evaluator.tasks();
    assert_eq!((tasks.len(), scored.exceptions.len()), (phrases.len(), 0));
    for ((task, phrase), counts) in tasks.iter().zip(phrases).zip(trained.tally.masks()) {
        assert_eq!(task.task.task_id, phrase.task_id);
        // Rounding differs between batches, so a pixel at the threshold may differ.
        let close = |a: u64, b: u64| a.abs_diff(b) <= 2;
        assert!(
            close(task.intersection, counts.true_positive),
            "{task:?} {counts:?}"
        );
        assert!(close(task.union, counts.union()), "{task:?} {counts:?}");
    }
    let place = sweep_thresholds().iter().position(|&t| t == 0.5).unwrap();
    let sweeps = sweep_model(&segmenter, &data, Split::Test, 1_000, || {}).unwrap();
    let swept = sweeps.scores(SweepDefinition::Plain).mean_iou[place];
    let mean = trained.tally.mean(Confusion::iou);
    assert!((swept - mean).abs() < 1e-3, "{swept} {mean}");
    let fewer = sweep_model(&segmenter, &data, Split::Test, 2, || {}).unwrap();
    let places: Vec<usize> = fewer.iter().map(|(place, _)| *place).collect();
    assert_eq!(places, [0, phrases.len() / 2]);

    // The same masks scored as predictions.
    let again = evaluate_phrasecut(&data, Split::Test, None, |task| {
        Ok(masks.get(&task.task_id).cloned())
    });
    assert_eq!(
        again.unwrap().evaluator.scores(Subset::All),
        scored.evaluator.scores(Subset::All)
    );
}

#[test]
fn a_model_is_scored_by_clipseg_as_its_own_logits_are() {
    let folder = tempfile::tempdir().unwrap();
    let setup = setup(folder.path());
    let data = PhraseCut::open(&folder.path().join("scenes")).unwrap();
    let segmenter = setup.clip.segmenter(setup.decoder);
    let mut count = 0;
    let scored = score_model_by_clipseg(&segmenter, &data, Split::Test, || count += 1).unwrap();
    assert_eq!(count, data.phrases(Split::Test).len());
    assert_eq!(scored.side, 64);
    // Scenes have the model's size, so squashing changes nothing, and neither does resizing the truth.
    let mut expected: Grouped<usize, ThresholdSweep> = Grouped::new();
    for (place, phrase) in data.phrases(Split::Test).iter().enumerate() {
        let picture = load_rgb(&data.image_path(phrase.image_id)).unwrap();
        assert_eq!(picture.dimensions(), (64, 64));
        let encoded = segmenter.encode_image(&picture).unwrap();
        let text = segmenter.encode_text(&[&phrase.phrase]).unwrap();
        let logits = segmenter.logits(&encoded, text).unwrap();
        let logits: Vec<f32> = logits.into_data().try_to_vec().unwrap();
        let truth = RasterRule::PixelCentre.mask(phrase.polygons.iter(), 64, 64);
        let sweep = expected.entry(place);
        sweep.add_logits(&logits, &truth.to_vec(), "").unwrap();
    }
    for definition in [SweepDefinition::ClipSeg, SweepDefinition::Plain] {
        let (found, expected) = (scored.scores(definition), expected.scores(definition));
        let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-4, "{a}, expected {b}");
        close(found.average_precision, expected.average_precision);
        for (&a, &b) in found.mean_iou.iter().zip(&expected.mean_iou) {
            close(a, b);
        }
    }
}

#[test]
fn pictures_that_cannot_be_read_leave_no_prediction_and_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let setup = setup(folder.path());
    let data = PhraseCut::open(&folder.path().join("scenes")).unwrap();
    let phrases = data.phrases(Split::Val);
    let lost = phrases[0].image_id;
    std::fs::write(data.image_path(lost), "no picture").unwrap();
    let segmenter = setup.clip.segmenter(setup.decoder);
    let score = |threshold| {
        let without = |_: &Phrase, _: Option<&Mask>| Ok(());
        score_model(&segmenter, &data, Split::Val, None, threshold, without)
    };
    let scored = score(0.5).unwrap();
    let missing = phrases
        .iter()
        .filter(|phrase| phrase.image_id == lost)
        .count();
    let all = scored.evaluator.scores(Subset::All);
    assert_eq!((all.missing, all.count), (missing, phrases.len() - missing));
    let [exception] = &scored.exceptions[..] else {
        panic!("{:?}", scored.exceptions);
    };
    assert_eq!(exception.phrases, missing);
    assert!(exception.example.contains(&format!("{lost}.jpg")));
    let error = score(4.0).unwrap_err().to_string();
    assert!(
        error.contains("threshold") && error.contains("from 0 to 1"),
        "{error}"
    );
}

#[test]
fn a_task_that_comes_twice_has_one_prediction() {
    let folder = tempfile::tempdir().unwrap();
    let setup = setup(folder.path());
    let scenes = folder.path().join("scenes");
    let file = scenes.join("refer_test.json");
    let mut records: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    let records = records.as_array_mut().unwrap();
    let mut again = records[0].clone();
    again["phrase"] = "something else".into();
    again["Polygons"] = serde_json::json!([[[[1.0, 1.0], [30.0, 1.0], [30.0, 30.0]]]]);
    records.push(again);
    std::fs::write(&file, serde_json::to_vec(records).unwrap()).unwrap();
    let data = PhraseCut::open_splits(&scenes, &[Split::Test]).unwrap();
    let segmenter = setup.clip.segmenter(setup.decoder);
    let mut masks: HashMap<String, Mask> = HashMap::new();
    let scored = score_model(&segmenter, &data, Split::Test, None, 0.5, |phrase, mask| {
        let before = masks.insert(phrase.task_id.clone(), mask.unwrap().clone());
        assert!(before.is_none(), "{} is written once", phrase.task_id);
        Ok(())
    });
    let again = evaluate_phrasecut(&data, Split::Test, None, |task| {
        Ok(masks.get(&task.task_id).cloned())
    });
    let (scored, again) = (scored.unwrap(), again.unwrap());
    assert_eq!(
        scored.evaluator.tasks().len(),
        data.phrases(Split::Test).len() + 1
    );
    assert_eq!(scored.evaluator, again.evaluator);
    assert_eq!(scored.exceptions, again.exceptions);
    assert_eq!(scored.exceptions.len(), 1);
}

fn eval(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_clipseg"));
    command
        .arg("eval")
        .args(arguments)
        .output()
        .expect("it starts")
}

#[test]
fn the_program_scores_a_saved_model_and_its_masks_alike() {
    let folder = tempfile::tempdir().unwrap();
    let setup = setup(folder.path());
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (scenes, model, masks, json) = (at("scenes"), at("model"), at("masks"), at("all.json"));
    setup
        .clip
        .segmenter(setup.decoder)
        .save_pretrained(Path::new(&model))
        .unwrap();
    let common = ["--data", &scenes, "--split", "test"];
    let from_model = ["--model", &model, "--save-masks", &masks, "--json", &json];
    let output = eval(&[&common[..], &from_model].concat());
    let (first, errors) = (
        String::from_utf8_lossy(&output.stdout).into_owned(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    );
    assert!(output.status.success(), "{errors}");
    for expected in [
        ", chosen on val\n",
        "\nseen pairs of attribute and name: ",
        "unseen pairs of attribute and name: ",
        "\nmean IoU 0.",
    ] {
        assert!(first.contains(expected), "{expected} in {first}");
    }
    let json: serde_json::Value = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
    assert_eq!(json["threshold_chosen_on"], "val");
    assert!(json["threshold"].as_f64() > Some(0.0));
    let counted = |name: &str| json["unseen_pairs"][name]["count"].as_u64().unwrap();
    assert_eq!(
        Some(counted("seen") + counted("unseen")),
        json["subsets"][0]["count"].as_u64()
    );

    let output = eval(&[&common[..], &["--predictions", &masks]].concat());
    let second = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(first.lines().nth(1), second.lines().nth(1), "{second}");

    // The program's own files may be replaced, files that were changed since may not.
    let masks_there = std::fs::read_dir(&masks).unwrap().count();
    let given = [
        "--model",
        &model,
        "--save-masks",
        &masks,
        "--threshold",
        "0.5",
    ];
    let again = [&common[..], &given].concat();
    assert!(eval(&again).status.success());
    assert_eq!(std::fs::read_dir(&masks).unwrap().count(), masks_there);
    let theirs = std::fs::read_dir(&masks)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    std::fs::write(&theirs, "kept").unwrap();
    let output = eval(&again);
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        !output.status.success() && errors.contains("--overwrite"),
        "{errors}"
    );
    assert_eq!(std::fs::read(&theirs).unwrap(), b"kept");

    // The threshold scores higher on the split on which it was chosen.
    let same = ["--choose-on", "test", "--model", &model];
    let output = eval(&[&common[..], &same].concat());
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        text.contains("chosen on test, which is scored too, so the figures are optimistic"),
        "{text}"
    );
}

#[test]
fn the_program_scores_by_clipseg_s_protocol() {
    let folder = tempfile::tempdir().unwrap();
    let setup = setup(folder.path());
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (scenes, model, json) = (at("scenes"), at("model"), at("all.json"));
    let segmenter = setup.clip.segmenter(setup.decoder);
    segmenter.save_pretrained(Path::new(&model)).unwrap();
    let data = PhraseCut::open(Path::new(&scenes)).unwrap();
    let expected = score_model_by_clipseg(&segmenter, &data, Split::Test, || {}).unwrap();
    let expected = expected.scores(SweepDefinition::ClipSeg);
    let common = [
        "--data",
        &scenes,
        "--split",
        "test",
        "--protocol",
        "clipseg",
    ];
    let output = eval(&[&common[..], &["--model", &model, "--json", &json]].concat());
    let (text, errors) = (
        String::from_utf8_lossy(&output.stdout).into_owned(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    );
    assert!(output.status.success(), "{errors}");
    let ap = format!(
        "CLIPSeg's definition, as in the paper: AP {:.4}",
        expected.average_precision
    );
    let at_half = format!(
        "  0.50  {:.4}  {:.4}   {:.4}\n",
        expected.mean_iou[24], expected.iou_fg[24], expected.iou_bin[24]
    );
    for line in [
        ap.as_str(),
        &at_half,
        " phrases of test at 64x64\n",
        "\nbest IoU_FG ",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
    let json: serde_json::Value = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
    assert_eq!(json["samples"], data.phrases(Split::Test).len());
    let found = json["figures"][0]["mean_iou"].as_array().unwrap();
    let found: Vec<f64> = found.iter().map(|v| v.as_f64().unwrap()).collect();
    for (a, b) in found.iter().zip(&expected.mean_iou) {
        assert!((a - b).abs() < 1e-6, "{a} {b}");
    }
}

#[test]
fn what_a_model_cannot_be_asked_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let setup = setup(folder.path());
    let model = folder.path().join("model");
    setup
        .clip
        .segmenter(setup.decoder)
        .save_pretrained(&model)
        .unwrap();
    let (scenes, model) = (folder.path().join("scenes"), model.to_str().unwrap());
    let message = |arguments: &[&str]| {
        let common = ["--data", scenes.to_str().unwrap(), "--split", "test"];
        let output = eval(&[&common[..], arguments].concat());
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let threshold = message(&["--model", model, "--threshold", "1.5"]);
    assert!(
        threshold.contains("--threshold 1.5: expected 0 to less than 1"),
        "{threshold}"
    );
    assert!(message(&["--model", "./no/such"]).contains("no/such"));
    assert!(message(&["--model", model, "--device", "abacus"]).contains("abacus"));
    assert!(message(&["--model", model, "--predictions", "masks"]).contains("cannot be used with"));
    assert!(message(&[]).contains("--predictions"));
    let file = folder.path().join("file");
    std::fs::write(&file, "in the way").unwrap();
    let inside = file.join("masks");
    let unwritable = message(&["--model", model, "--save-masks", inside.to_str().unwrap()]);
    assert!(
        unwritable.starts_with("clipseg: cannot ") && unwritable.contains("masks"),
        "{unwritable}"
    );
    let both = message(&["--model", model, "--threshold", "0.3", "--choose-on", "val"]);
    assert!(
        both.contains("--choose-on has no effect with --threshold"),
        "{both}"
    );
    for flag in [
        &["--threshold", "0.3"][..],
        &["--choose-on", "val"],
        &["--save-masks", "masks"],
        &["--csv", "rows.csv"],
        &["--against", "masks"],
        &["--seed", "1"],
    ] {
        let given = [&["--model", model, "--protocol", "clipseg"][..], flag].concat();
        let refused = format!("{} has no effect: --protocol clipseg ", flag[0]);
        assert!(message(&given).contains(&refused), "{refused}");
    }
    let predictions = message(&["--predictions", "masks", "--protocol", "clipseg"]);
    assert!(
        predictions.contains("--predictions has no effect"),
        "{predictions}"
    );
    for (flag, value) in [
        ("--threshold", "0.3"),
        ("--choose-on", "val"),
        ("--save-masks", "x"),
    ] {
        assert!(!message(&["--predictions", "masks", flag, value]).is_empty());
    }
    std::fs::remove_file(scenes.join("refer_val.json")).unwrap();
    let nothing = message(&["--model", model]);
    assert!(
        nothing.contains("cannot choose a threshold on val: ")
            && nothing.contains("; pass --threshold"),
        "{nothing}"
    );
    // Without polygons a split can be neither scored nor used to choose a threshold.
    std::fs::rename(
        scenes.join("refer_test.json"),
        scenes.join("refer_input_test.json"),
    )
    .unwrap();
    let untold = message(&["--model", model, "--threshold", "0.5"]);
    assert!(untold.contains("refer_test.json"), "{untold}");
    std::fs::copy(
        scenes.join("refer_input_test.json"),
        scenes.join("refer_input_val.json"),
    )
    .unwrap();
    std::fs::rename(
        scenes.join("refer_input_test.json"),
        scenes.join("refer_test.json"),
    )
    .unwrap();
    let untold = message(&["--model", model]);
    assert!(untold.contains("refer_val.json"), "{untold}");
}
