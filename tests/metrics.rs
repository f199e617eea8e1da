//! Losses, counts and sweeps against PyTorch, torchmetrics and CLIPSeg's own code.

use crate::support::{Answers, device, fixtures, fixtures_with};
use burn::prelude::*;
use clipseg::metrics::{
    Confusion, DiceReduction, Grouped, Loss, SweepDefinition, Tally, ThresholdSweep,
    average_precision, bce_with_logits, dice_loss, focal_loss, sweep_thresholds, tversky_loss,
};
use serde::Deserialize;
use std::collections::BTreeMap;

#[derive(Deserialize)]
struct Expected {
    losses: BTreeMap<String, LossAnswer>,
    pooled: BTreeMap<String, f64>,
    per_image: Vec<Scores>,
    thresholds: Vec<AtThreshold>,
}

#[derive(Deserialize)]
struct AtThreshold {
    threshold: f64,
    per_class: BTreeMap<i64, Counts>,
}

#[derive(Deserialize)]
struct LossAnswer {
    value: f64,
    gradient_norm: f64,
}

#[derive(Deserialize)]
struct Counts {
    tp: u64,
    fp: u64,
    #[serde(rename = "fn")]
    missed: u64,
    tn: u64,
}

impl From<&Counts> for Confusion {
    fn from(counts: &Counts) -> Self {
        Self {
            true_positive: counts.tp,
            false_positive: counts.fp,
            false_negative: counts.missed,
            true_negative: counts.tn,
        }
    }
}

#[derive(Deserialize)]
struct Scores {
    #[serde(flatten)]
    counts: Counts,
    accuracy: f64,
    dice: f64,
    iou: f64,
}

fn load() -> (Answers, Expected) {
    let folder = fixtures().join("metrics");
    let json = std::fs::read(folder.join("expected.json")).expect("a fixture");
    let expected = serde_json::from_slice(&json).expect("the figures");
    (Answers::from_file(folder, "inputs.safetensors"), expected)
}

#[test]
fn losses_and_their_gradients() {
    let (answers, expected) = load();
    let device = device().autodiff();
    let masks = answers.float::<3>("masks", &device);
    for (name, answer) in expected.losses {
        let logits = answers.float::<3>("logits", &device).require_grad();
        let (x, y) = (logits.clone(), masks.clone());
        let loss = match name.as_str() {
            "bce_with_logits" => bce_with_logits(x, y, None),
            "bce_with_logits.pos_weight_3" => bce_with_logits(x, y, Some(3.0)),
            "dice.batch.smooth_1" => dice_loss(x, y, 1.0, DiceReduction::Batch),
            "dice.image.smooth_1" => dice_loss(x, y, 1.0, DiceReduction::Image),
            "focal.alpha_0.25.gamma_2" => focal_loss(x, y, 0.25, 2.0),
            "tversky.alpha_0.3.beta_0.7.smooth_1" => tversky_loss(x, y, 0.3, 0.7, 1.0),
            other => panic!("no loss for {other}"),
        };
        let gradient = logits
            .grad(&loss.backward())
            .expect("logits have a gradient");
        let norm = gradient.square().sum().sqrt().into_scalar::<f32>();
        let value = loss.into_scalar::<f32>();
        approx::assert_relative_eq!(f64::from(value), answer.value, max_relative = 1e-5);
        approx::assert_relative_eq!(f64::from(norm), answer.gradient_norm, max_relative = 1e-4);
    }
}

#[test]
fn gradients_of_each_loss_by_element() {
    #[derive(Deserialize)]
    struct Gradients {
        shape: [usize; 3],
        logits: Vec<f32>,
        masks: Vec<f32>,
        losses: BTreeMap<String, Answer>,
    }
    #[derive(Deserialize)]
    struct Answer {
        value: f64,
        gradient: Vec<f64>,
    }
    let file = "metrics/gradients.json";
    let json = std::fs::read(fixtures_with(file).join(file)).expect("a fixture");
    let answers: Gradients = serde_json::from_slice(&json).expect("the gradients");
    let device = device().autodiff();
    let tensor = |values: &[f32]| {
        Tensor::<3>::from_data(TensorData::new(values.to_vec(), answers.shape), &device)
    };
    assert_eq!(answers.losses.len(), 11);
    for (name, answer) in &answers.losses {
        let loss: Loss = name.parse().expect("a loss");
        let logits = tensor(&answers.logits).require_grad();
        let value = loss.forward(logits.clone(), tensor(&answers.masks));
        let gradient = logits
            .grad(&value.backward())
            .expect("logits have a gradient");
        let gradient: Vec<f32> = gradient.into_data().try_to_vec().expect("floats");
        let value = f64::from(value.into_scalar::<f32>());
        approx::assert_relative_eq!(value, answer.value, max_relative = 1e-5);
        assert_eq!(gradient.len(), answer.gradient.len());
        let largest = answer.gradient.iter().fold(0f64, |a, b| a.max(b.abs()));
        for (place, (&found, &expected)) in gradient.iter().zip(&answer.gradient).enumerate() {
            let found = f64::from(found);
            // Compared by element, so that a large one does not hide the error of a small one.
            assert!(
                (found - expected).abs() <= 1e-4 * expected.abs() + 1e-7 * largest,
                "{name}, element {place}: {found:e}, expected {expected:e}"
            );
        }
    }
}

#[test]
fn counts_and_what_follows_from_them() {
    let (answers, expected) = load();
    let (logits, masks) = (
        answers.float("logits", &device()),
        answers.float("masks", &device()),
    );
    let counts = Confusion::from_logits(logits, masks, 0.5).expect("sound input");
    assert_eq!(counts.len(), expected.per_image.len());
    let close = |a: f64, b: f64| approx::assert_relative_eq!(a, b, epsilon = 1e-6);
    for (found, answer) in counts.iter().zip(&expected.per_image) {
        assert_eq!(*found, Confusion::from(&answer.counts));
        close(found.accuracy(), answer.accuracy);
        close(found.dice(), answer.dice);
        close(found.iou(), answer.iou);
    }
    let tally: Tally = counts.into_iter().collect();
    let pooled = tally.pooled();
    close(pooled.accuracy(), expected.pooled["accuracy"]);
    close(pooled.dice(), expected.pooled["dice"]);
    close(pooled.iou(), expected.pooled["iou"]);
    let ious = expected.per_image.iter().map(|answer| answer.iou);
    close(
        tally.mean(Confusion::iou),
        ious.sum::<f64>() / tally.len() as f64,
    );
}

/// The sweep of each class of the fixture.
fn sweeps(answers: &Answers) -> Grouped<i64, ThresholdSweep> {
    let sweeps = ThresholdSweep::from_logits(
        answers.float("logits", &device()),
        answers.float("masks", &device()),
    );
    let classes: Vec<i64> = answers.data("classes").try_to_vec().expect("whole numbers");
    let mut groups = Grouped::new();
    for (class, sweep) in classes.into_iter().zip(sweeps.expect("sound input")) {
        *groups.entry(class) += sweep;
    }
    groups
}

#[test]
fn counts_at_every_threshold_and_for_every_class() {
    let (answers, expected) = load();
    let groups = sweeps(&answers);
    assert_eq!(expected.thresholds.len(), sweep_thresholds().len());
    for (index, answer) in expected.thresholds.iter().enumerate() {
        assert!((answer.threshold - sweep_thresholds()[index]).abs() < 1e-15);
        assert_eq!(answer.per_class.len(), groups.len());
        for (class, counts) in &answer.per_class {
            let found = groups.get(class).expect("each class comes up").counts()[index];
            let expected = Confusion::from(counts);
            assert_eq!(found, expected, "class {class} at {}", answer.threshold);
        }
    }
}

#[test]
fn average_precision_is_that_of_torchmetrics() {
    let (answers, expected) = load();
    // The reference pools probabilities, which are 0 or 1 for many of the logits: sort those, and make
    // them here, because where they become 0 or 1 differs from device to device.
    let logits = answers.values("logits").into_iter();
    let probabilities: Vec<f32> = logits.map(|logit| 1.0 / (1.0 + (-logit).exp())).collect();
    let masks = answers.values("masks");
    let exact = average_precision(&probabilities, &masks, "all").expect("sound input");
    let expected = expected.pooled["average_precision"];
    approx::assert_relative_eq!(exact, expected, max_relative = 1e-5);
    // A sweep only knows how many thresholds a probability exceeds.
    let above = |p: &f32| {
        sweep_thresholds()
            .iter()
            .filter(|&&t| *p > t as f32)
            .count() as f32
            / 50.0
    };
    let coarse: Vec<f32> = probabilities.iter().map(above).collect();
    let coarse = average_precision(&coarse, &masks, "all").expect("sound input");
    let swept = sweeps(&answers).scores(SweepDefinition::Plain);
    approx::assert_relative_eq!(swept.average_precision, coarse, max_relative = 1e-5);
}

#[test]
fn figures_in_the_definition_of_clipseg() {
    /// Figures of `FixedIntervalMetrics` of timojl/clipseg from the counts of the fixture.
    #[derive(Deserialize)]
    struct Figures {
        average_precision: f64,
        best_iou_fg: [f64; 2],
        best_iou_bin: [f64; 2],
        best_mean_iou: [f64; 2],
        iou_fg: Vec<f64>,
        iou_bin: Vec<f64>,
        mean_iou: Vec<f64>,
    }
    let folder = fixtures_with("metrics/clipseg_scores.json").join("metrics");
    let json = std::fs::read(folder.join("clipseg_scores.json")).expect("a fixture");
    let expected: Figures = serde_json::from_slice(&json).expect("the figures");
    let answers = Answers::from_file(folder, "inputs.safetensors");
    let found = sweeps(&answers).scores(SweepDefinition::ClipSeg);
    let close = |a: f64, b: f64| approx::assert_relative_eq!(a, b, max_relative = 1e-12);
    close(found.average_precision, expected.average_precision);
    for (found, expected) in [
        (&found.iou_fg, &expected.iou_fg),
        (&found.iou_bin, &expected.iou_bin),
        (&found.mean_iou, &expected.mean_iou),
    ] {
        assert_eq!(found.len(), expected.len());
        found.iter().zip(expected).for_each(|(&a, &b)| close(a, b));
    }
    for (found, [threshold, value]) in [
        (found.best_iou_fg(), expected.best_iou_fg),
        (found.best_iou_bin(), expected.best_iou_bin),
        (found.best_mean_iou(), expected.best_mean_iou),
    ] {
        close(found.threshold, threshold);
        close(found.value, value);
    }
}

#[test]
fn every_loss_is_finite_where_it_could_overflow() {
    let device = device().autodiff();
    let losses = [
        "bce",
        "bce(pos_weight=3)",
        "dice",
        "dice_image",
        "focal",
        "focal(gamma=0)",
        "focal(gamma=0.5,alpha=1)",
        "tversky",
        "tversky(alpha=0,beta=1,smooth=1e-6)",
        "0.5*bce+dice+focal+2*tversky",
    ];
    let some: Vec<f32> = (0..32)
        .map(|pixel| f32::from(u8::from(pixel % 3 == 0)))
        .collect();
    for mask in [vec![0.0; 32], vec![1.0; 32], some] {
        for logit in [-1e4f32, -100.0, -20.0, 0.0, 20.0, 100.0, 1e4] {
            for name in losses {
                let logits: Vec<f32> = (0..32)
                    .map(|pixel| if pixel % 5 == 0 { -logit } else { logit })
                    .collect();
                let tensor = |values: Vec<f32>| {
                    Tensor::<3>::from_data(TensorData::new(values, [2, 4, 4]), &device)
                };
                let x = tensor(logits).require_grad();
                let loss: Loss = name.parse().expect("a loss");
                let value = loss.forward(x.clone(), tensor(mask.clone()));
                let gradient = x.grad(&value.backward()).expect("logits have a gradient");
                let gradient: Vec<f32> = gradient.into_data().try_to_vec().expect("floats");
                let value = value.into_scalar::<f32>();
                assert!(
                    value.is_finite() && value >= -1e-6,
                    "{name} at {logit} is {value}"
                );
                assert!(
                    gradient.iter().all(|g| g.is_finite()),
                    "{name} at {logit}: {gradient:?}"
                );
            }
        }
    }
}
