//! Scoring whole models: the two ways agree, and the program tells what the library finds.

use crate::training_runs::small_run;
use clipseg::data::{Mask, Phrase, PhraseCut, Split};
use clipseg::metrics::{Confusion, Subset, SweepDefinition, sweep_thresholds};
use clipseg::train::{
    EvaluateOptions, PredictionFolder, Setup, TrainConfig, evaluate, evaluate_phrasecut,
    score_model, sweep_model,
};
use std::path::Path;
use std::process::{Command, Output};

fn setup(folder: &Path) -> Setup {
    let config = TrainConfig::from_toml(&small_run(folder), Path::new("test")).unwrap();
    // Nothing remembered, so that nothing is rounded.
    let changes = [
        "cache.memory=0",
        "data.held_out=[]",
        "validation.test_phrases=1000",
    ];
    Setup::new(&config.with_overrides(&changes).unwrap(), |_| {}).unwrap()
}

#[test]
fn scenes_of_the_models_size_score_the_same_by_both_protocols_and_in_training() {
    let folder = tempfile::tempdir().unwrap();
    let mut setup = setup(folder.path());
    let data = PhraseCut::open(&folder.path().join("scenes")).unwrap();
    let phrases: Vec<&Phrase> = data.phrases(Split::Test).iter().collect();
    assert!(phrases.len() > 3);
    // Untrained logits are all near zero; a threshold in their midst tells pixels apart.
    let threshold = 0.5;
    let mut options = EvaluateOptions::default();
    options.threshold = threshold;
    let trained = evaluate(&mut setup.clip, &setup.decoder, &setup.test, &options).unwrap();
    assert_eq!(trained.tally.len(), phrases.len());

    let segmenter = setup.clip.segmenter(setup.decoder.clone());
    let mut masks: Vec<(String, Mask)> = Vec::new();
    let scores = score_model(
        &segmenter,
        &data,
        &phrases,
        None,
        threshold,
        |phrase, mask| {
            let mask = mask.expect("every picture can be read").clone();
            masks.push((phrase.task_id.clone(), mask));
            Ok(())
        },
    )
    .unwrap();
    let tasks = scores.evaluator.tasks();
    assert_eq!(tasks.len(), phrases.len());
    for ((task, phrase), counts) in tasks.iter().zip(&phrases).zip(trained.tally.masks()) {
        assert_eq!(task.task.task_id, phrase.task_id);
        // A pixel may fall on the other side where a phrase is encoded beside others.
        let close = |a: u64, b: u64| a.abs_diff(b) <= 2;
        assert!(
            close(task.intersection, counts.true_positive),
            "{task:?} {counts:?}"
        );
        assert!(close(task.union, counts.union()), "{task:?} {counts:?}");
    }
    let place = sweep_thresholds().iter().position(|&t| t == 0.5).unwrap();
    let swept = scores.sweeps.scores(SweepDefinition::Plain).mean_iou[place];
    let mean = trained.tally.mean(Confusion::iou);
    assert!((swept - mean).abs() < 1e-3, "{swept} {mean}");
    assert_eq!(
        sweep_model(&segmenter, &data, &phrases, || {}).unwrap(),
        scores.sweeps
    );

    // The same masks, scored from a folder.
    let predictions = folder.path().join("masks");
    std::fs::create_dir(&predictions).unwrap();
    for (task_id, mask) in &masks {
        assert!(PredictionFolder::write(&predictions, task_id, mask).unwrap());
    }
    let predictions = PredictionFolder::open(&predictions).unwrap();
    let again =
        evaluate_phrasecut(&data, Split::Test, None, |task| predictions.load(task)).unwrap();
    assert_eq!(
        again.scores(Subset::All),
        scores.evaluator.scores(Subset::All)
    );
}

#[test]
fn a_picture_that_cannot_be_read_leaves_no_prediction() {
    let folder = tempfile::tempdir().unwrap();
    let setup = setup(folder.path());
    let data = PhraseCut::open(&folder.path().join("scenes")).unwrap();
    let phrases: Vec<&Phrase> = data.phrases(Split::Val).iter().collect();
    let lost = phrases[0].image_id;
    std::fs::write(data.image_path(lost), "no picture").unwrap();
    let segmenter = setup.clip.segmenter(setup.decoder);
    let scores = score_model(&segmenter, &data, &phrases, None, 0.5, |_, _| Ok(())).unwrap();
    let missing = phrases
        .iter()
        .filter(|phrase| phrase.image_id == lost)
        .count();
    let all = scores.evaluator.scores(Subset::All);
    assert_eq!((all.missing, all.count), (missing, phrases.len() - missing));
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
        "at the model's resolution, CLIPSeg's definition, threshold 0.",
        "at the model's resolution, plain definition, threshold 0.",
        "phrases of seen pairs of attribute and name: ",
        "phrases of unseen pairs of attribute and name: ",
        "\nmean IoU 0.",
    ] {
        assert!(first.contains(expected), "{expected} in {first}");
    }
    let json: serde_json::Value = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
    let figures = &json["model"];
    assert_eq!(figures["chosen_on"], "val");
    let [clipseg, plain] = [0, 1].map(|i| &figures["at_model_resolution"][i]);
    assert_eq!(clipseg["definition"], "clip_seg");
    assert!(plain["average_precision"].as_f64() > Some(0.0));
    let counted = |name: &str| json["unseen_pairs"][name]["count"].as_u64().unwrap();
    assert_eq!(
        Some(counted("seen") + counted("unseen")),
        json["subsets"][0]["count"].as_u64()
    );

    let output = eval(&[&common[..], &["--predictions", &masks]].concat());
    let second = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(first.lines().nth(1), second.lines().nth(1), "{second}");
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
    assert!(unwritable.contains("cannot make "), "{unwritable}");
    std::fs::remove_file(scenes.join("refer_val.json")).unwrap();
    let nothing = message(&["--model", model]);
    assert!(
        nothing.contains("no val phrases to choose a threshold on"),
        "{nothing}"
    );
}
