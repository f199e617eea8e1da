//! CLIPSeg's protocol from files to figures, compared with a script of its formulas
//! (`fixtures/make/protocol_scores.py`).

use crate::support::fixtures_with;
use clipseg::data::{Phrase, PhraseCut, Split};
use clipseg::metrics::SweepDefinition;
use clipseg::train::{TrainError, evaluate_clipseg};
use serde::Deserialize;
use std::path::PathBuf;

#[derive(Deserialize)]
struct Expected {
    side: u32,
    samples: usize,
    mean_iou: Vec<f64>,
    iou_fg: Vec<f64>,
    iou_bin: Vec<f64>,
    average_precision: f64,
}

fn root() -> PathBuf {
    fixtures_with("protocol_scores/expected.json").join("protocol_scores")
}

fn data() -> PhraseCut {
    PhraseCut::open(&root().join("VGPhraseCut_v0")).expect("it opens")
}

/// Replaces the model: the logit for "thing j" is 8.7 v − 4.13 + 0.37 j, where v is channel j mod 3.
fn logits(picture: &[f32], phrases: &[&Phrase]) -> Vec<f32> {
    let pixels = picture.len() / 3;
    let of_phrase = phrases.iter().flat_map(|phrase| {
        let number: usize = phrase
            .phrase
            .strip_prefix("thing ")
            .unwrap()
            .parse()
            .unwrap();
        let channel = &picture[number % 3 * pixels..][..pixels];
        channel
            .iter()
            .map(move |v| 8.7 * v - 4.13 + 0.37 * number as f32)
    });
    of_phrase.collect()
}

#[test]
fn from_files_to_figures() {
    let json = std::fs::read(root().join("expected.json")).expect("a fixture");
    let expected: Expected = serde_json::from_slice(&json).expect("the figures");
    let scored = evaluate_clipseg(
        &data(),
        Split::Test,
        expected.side,
        |picture| Ok(picture.to_vec()),
        |picture, phrases| Ok(logits(picture, phrases)),
    )
    .expect("sound input");
    assert_eq!(
        (scored.side, scored.sweeps.len()),
        (expected.side, expected.samples)
    );
    let found = scored.scores(SweepDefinition::ClipSeg);
    let close = |a: f64, b: f64| assert!((a - b).abs() <= 1e-6, "{a}, expected {b}");
    for (found, expected) in [
        (&found.mean_iou, &expected.mean_iou),
        (&found.iou_fg, &expected.iou_fg),
        (&found.iou_bin, &expected.iou_bin),
    ] {
        assert_eq!(found.len(), expected.len());
        found.iter().zip(expected).for_each(|(&a, &b)| close(a, b));
    }
    close(found.average_precision, expected.average_precision);

    let said: Vec<String> = scored.exceptions.iter().map(ToString::to_string).collect();
    let as_there = "they are left out, as in CLIPSeg's own code";
    assert_eq!(
        said,
        [
            format!("4 phrases with instance boxes without an area, such as 1__5: {as_there}"),
            format!(
                "5 phrases with one of the 17 pictures whose size is not the recorded one, such as \
                 61530__1: {as_there}"
            ),
        ]
    );
}

#[test]
fn what_is_no_logit_is_an_error() {
    let with = |change: fn(&mut Vec<f32>)| {
        let scored = evaluate_clipseg(
            &data(),
            Split::Test,
            24,
            |picture| Ok(picture.to_vec()),
            |picture, phrases| {
                let mut logits = logits(picture, phrases);
                change(&mut logits);
                Ok(logits)
            },
        );
        scored.map(|_| ()).unwrap_err().to_string()
    };
    assert_eq!(
        with(|logits| logits[3] = f32::NAN),
        "1__1: the prediction is NaN at pixel 3, expected a finite number"
    );
    assert_eq!(
        with(|logits| logits[0] = f32::INFINITY),
        "1__1: the prediction is inf at pixel 0, expected a finite number"
    );
    let short = with(|logits| {
        logits.pop();
    });
    assert_eq!(
        short,
        "field `logits`: 2879 values for picture 1, expected 2880"
    );
    let none = evaluate_clipseg(&data(), Split::Test, 0, |_| Ok(()), |(), _| Ok(Vec::new()));
    assert!(matches!(none, Err(TrainError::Config { .. })));
}

#[test]
fn pictures_that_cannot_be_read_are_left_out_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let from = root().join("VGPhraseCut_v0");
    std::fs::create_dir(folder.path().join("images")).unwrap();
    for name in [
        "image_data_split3000.json",
        "refer_test.json",
        "images/1.jpg",
    ] {
        std::fs::copy(from.join(name), folder.path().join(name)).unwrap();
    }
    let score = || {
        evaluate_clipseg(
            &PhraseCut::open(folder.path()).unwrap(),
            Split::Test,
            24,
            |picture| Ok(picture.to_vec()),
            |picture, phrases| Ok(logits(picture, phrases)),
        )
    };
    let scored = score().unwrap();
    assert_eq!(scored.sweeps.len(), 5);
    let said: Vec<String> = scored.exceptions.iter().map(ToString::to_string).collect();
    assert!(
        said.iter().any(|line| {
            line.starts_with("12 phrases with a picture that cannot be read, such as cannot read ")
                && line.contains("2.jpg")
                && line
                    .ends_with("they are left out; CLIPSeg's own code stops with an error on them")
        }),
        "{said:?}"
    );
    std::fs::remove_file(folder.path().join("images/1.jpg")).unwrap();
    let error = score().unwrap_err().to_string();
    assert!(error.contains("test has no sample: "), "{error}");
}
