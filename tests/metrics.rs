//! Losses and counts against PyTorch and torchmetrics.

use crate::support::{Answers, device, fixtures};
use clipseg::metrics::{Confusion, DiceReduction, bce_with_logits, dice_loss};
use serde::Deserialize;
use std::collections::BTreeMap;

#[derive(Deserialize)]
struct Expected {
    losses: BTreeMap<String, LossAnswer>,
    pooled: BTreeMap<String, f64>,
    per_image: Vec<Counts>,
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
            "focal.alpha_0.25.gamma_2" | "tversky.alpha_0.3.beta_0.7.smooth_1" => continue,
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
        assert_eq!(
            [
                found.true_positive,
                found.false_positive,
                found.false_negative,
                found.true_negative
            ],
            [answer.tp, answer.fp, answer.missed, answer.tn]
        );
        close(found.accuracy(), answer.accuracy);
        close(found.dice(), answer.dice);
        close(found.iou(), answer.iou);
    }
    let pooled: Confusion = counts.into_iter().sum();
    close(pooled.accuracy(), expected.pooled["accuracy"]);
    close(pooled.dice(), expected.pooled["dice"]);
    close(pooled.iou(), expected.pooled["iou"]);
}
