//! PhraseCut's figures against the official evaluator.

use crate::support::{fixtures, fixtures_with, shipped};
use clipseg::data::{Mask, PhraseCut, Split};
use clipseg::metrics::{PhraseCutEvaluator, Subset};
use clipseg::train::{PredictionFolder, WordRanks, evaluate_phrasecut};
use serde::Deserialize;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

/// Scores the predictions of a split, without some of them.
fn evaluate(root: &Path, split: Split, left_out: &[String]) -> PhraseCutEvaluator {
    let folder = root.join("VGPhraseCut_v0");
    let data = PhraseCut::open(&folder).expect("it opens");
    let ranks = WordRanks::open(&folder).expect("it can be read");
    let predictions = root.join("predictions").join(split.name());
    let predictions = PredictionFolder::open(&predictions).expect("a folder");
    evaluate_phrasecut(&data, split, ranks.as_ref(), |task| {
        if left_out.contains(&task.task_id) {
            return Ok(None);
        }
        predictions.load(task, &data)
    })
    .expect("sound input")
    .evaluator
}

#[test]
fn every_task_and_subset_has_the_expected_figures() {
    #[derive(Deserialize)]
    struct Expected {
        tasks: BTreeMap<String, Task>,
        splits: BTreeMap<Split, BTreeMap<String, Figures>>,
    }
    #[derive(Deserialize)]
    struct Task {
        intersection: u64,
        union: u64,
        iou: f64,
    }
    #[derive(Deserialize)]
    struct Figures {
        count: usize,
        mean_iou: f64,
        cumulative_iou: f64,
        accuracy: BTreeMap<String, f64>,
    }
    let root = fixtures().join("phrasecut");
    let json = std::fs::read(root.join("expected.json")).expect("a fixture");
    let expected: Expected = serde_json::from_slice(&json).expect("the figures");
    let close = |a: f64, b: f64| approx::assert_relative_eq!(a, b, max_relative = 1e-12);
    let mut tasks = 0;
    for (split, subsets) in expected.splits {
        let evaluator = evaluate(&root, split, &[]);
        for score in evaluator.tasks() {
            let task = &expected.tasks[&score.task.task_id];
            assert_eq!(
                score.intersection, task.intersection,
                "{}",
                score.task.task_id
            );
            assert_eq!(score.union, task.union, "{}", score.task.task_id);
            close(score.iou(), task.iou);
            tasks += 1;
        }
        for (name, figures) in subsets {
            let subset = Subset::from_name(&name).expect("an official name");
            let found = evaluator.scores(subset);
            assert_eq!(
                (found.count, found.missing),
                (figures.count, 0),
                "{split} {name}"
            );
            close(found.mean_iou, figures.mean_iou);
            close(found.mean_iou_of_all, figures.mean_iou);
            close(found.cumulative_iou, figures.cumulative_iou);
            let precision: Vec<f64> = figures.accuracy.into_values().collect();
            assert_eq!(precision.len(), 5);
            found
                .precision_at
                .iter()
                .zip(precision)
                .for_each(|(&a, b)| close(a, b));
        }
    }
    assert_eq!(tasks, expected.tasks.len());
}

/// Count, mean IoU, cumulative IoU and Pr@.5 to Pr@.9 of each subset, as the official evaluator
/// prints them.
type Printed = BTreeMap<String, Vec<String>>;

fn check_printed(evaluator: &PhraseCutEvaluator, printed: &Printed) {
    for subset in Subset::ALL {
        let found = evaluator.scores(subset);
        let Some(expected) = printed.get(subset.name()) else {
            assert_eq!(found.count, 0, "{subset}");
            continue;
        };
        let mut all = vec![found.count.to_string()];
        let shares = [found.mean_iou, found.cumulative_iou];
        let shares = shares.into_iter().chain(found.precision_at);
        all.extend(shares.map(|share| format!("{share:.4}")));
        assert_eq!(&all, expected, "{subset}");
    }
}

#[test]
fn every_subset_is_printed_as_the_official_evaluator_prints_it() {
    #[derive(Deserialize)]
    struct Official {
        splits: BTreeMap<Split, Printed>,
        test_with_missing: WithMissing,
    }
    #[derive(Deserialize)]
    struct WithMissing {
        left_out: Vec<String>,
        subsets: Printed,
        mean_iou_of_all: String,
    }
    let root = fixtures_with("phrasecut/official.json").join("phrasecut");
    let json = std::fs::read(root.join("official.json")).expect("a fixture");
    let official: Official = serde_json::from_slice(&json).expect("what was printed");
    assert_eq!(official.splits.len(), 4);
    for (split, printed) in &official.splits {
        check_printed(&evaluate(&root, *split, &[]), printed);
    }
    let missing = official.test_with_missing;
    let evaluator = evaluate(&root, Split::Test, &missing.left_out);
    check_printed(&evaluator, &missing.subsets);
    let all = evaluator.scores(Subset::All);
    assert_eq!(all.missing, missing.left_out.len());
    assert_eq!(
        format!("{:.4}", all.mean_iou_of_all),
        missing.mean_iou_of_all
    );
}

#[test]
fn predictions_can_be_in_memory() {
    let root = shipped().join("phrasecut");
    let data = PhraseCut::open(&root.join("VGPhraseCut_v0")).expect("it opens");
    let masks: HashMap<String, Mask> = data
        .phrases(Split::Val)
        .iter()
        .map(|phrase| (phrase.task_id.clone(), data.mask(phrase).expect("listed")))
        .collect();
    let perfect = evaluate_phrasecut(&data, Split::Val, None, |task| {
        Ok(masks.get(&task.task_id).cloned())
    });
    let all = perfect.expect("sound input").evaluator.scores(Subset::All);
    assert_eq!(all.count, data.phrases(Split::Val).len());
    assert_eq!(
        [all.mean_iou, all.cumulative_iou, all.precision_at[4]],
        [1.0; 3]
    );

    let error = evaluate_phrasecut(&data, Split::Val, None, |task| {
        Ok(Some(Mask::new(task.width, task.height + 1)))
    });
    let first = &data.phrases(Split::Val)[0];
    let image = data.image(first.image_id).expect("listed");
    assert_eq!(
        error.unwrap_err().to_string(),
        format!(
            "{}: the prediction has shape [{}, {}], the ground truth [{}, {}]",
            first.task_id,
            image.height + 1,
            image.width,
            image.height,
            image.width
        )
    );
}

#[test]
fn defects_count_as_in_the_official_evaluator() {
    #[derive(Deserialize)]
    struct Expected {
        tasks: usize,
        evaluated: usize,
        mean_iou_of_all: f64,
        subsets: BTreeMap<String, Figures>,
    }
    #[derive(Deserialize)]
    struct Figures {
        count: usize,
        mean_iou: f64,
        cumulative_iou: f64,
        precision_at: [f64; 5],
    }
    let root = fixtures_with("official_defects/expected.json").join("official_defects");
    let json = std::fs::read(root.join("expected.json")).expect("a fixture");
    let expected: Expected = serde_json::from_slice(&json).expect("the figures");
    let folder = root.join("VGPhraseCut_v0");
    let data = PhraseCut::open(&folder).expect("it opens");
    let ranks = WordRanks::open(&folder).expect("it can be read");
    let predictions = PredictionFolder::open(&root.join("predictions")).expect("a folder");
    let found = evaluate_phrasecut(&data, Split::Test, ranks.as_ref(), |task| {
        predictions.load(task, &data)
    })
    .expect("defects are no errors");
    assert_eq!(found.evaluator.tasks().len(), expected.tasks);
    let close = |a: f64, b: f64| approx::assert_relative_eq!(a, b, max_relative = 1e-12);
    for subset in Subset::ALL {
        let scores = found.evaluator.scores(subset);
        let Some(figures) = expected.subsets.get(subset.name()) else {
            assert_eq!(scores.count, 0, "{subset}");
            continue;
        };
        assert_eq!(scores.count, figures.count, "{subset}");
        close(scores.mean_iou, figures.mean_iou);
        close(scores.cumulative_iou, figures.cumulative_iou);
        for (a, b) in scores.precision_at.into_iter().zip(figures.precision_at) {
            close(a, b);
        }
    }
    let all = found.evaluator.scores(Subset::All);
    assert_eq!(
        (all.count, all.missing),
        (expected.evaluated, expected.tasks - expected.evaluated)
    );
    close(all.mean_iou_of_all, expected.mean_iou_of_all);

    let said: Vec<String> = found.exceptions.iter().map(ToString::to_string).collect();
    assert_eq!(said.len(), 4, "{said:?}");
    for expected in [
        "4 phrases with no polygon that can be drawn, such as 11__2: their ground truth is empty and \
         their IoU is 0, as in the official evaluator",
        "1 phrase with the task id of an earlier phrase, such as 12__2: the one prediction of the \
         task is scored against the polygons of each, in the subsets of the earlier phrase, as in the \
         official evaluator",
        "1 phrase with a picture that is not listed, such as 99__1: they count as phrases without a \
         prediction",
        "1 phrase with a prediction of the size of their picture's file, which is not the recorded one, \
         such as 61530__1: their ground truth is drawn at that size, as in the official evaluator",
    ] {
        assert!(
            said.iter().any(|line| line == expected),
            "{expected} in {said:?}"
        );
    }
}

#[test]
fn a_split_without_truth_is_not_scored() {
    let folder = tempfile::tempdir().unwrap();
    let from = shipped().join("phrasecut/VGPhraseCut_v0");
    for name in ["image_data_split3000.json", "refer_input_test.json"] {
        std::fs::copy(from.join(name), folder.path().join(name)).unwrap();
    }
    let data = PhraseCut::open(folder.path()).unwrap();
    let error = evaluate_phrasecut(&data, Split::Test, None, |_| Ok(None)).unwrap_err();
    let message = error.to_string();
    assert!(
        message.contains("refer_input_test.json") && message.contains("refer_test.json"),
        "{message}"
    );
}
