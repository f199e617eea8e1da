//! The options of `clipseg segment` for the edges of masks, run as a user runs them.

use crate::running::stderr;
use crate::support::fixtures;
use clipseg::data::{Mask, load_mask, load_rgb};
use clipseg::model::{Refinement, Segmenter, SoftMask};
use image::GrayImage;
use std::path::Path;
use std::process::{Command, Output};

const PROMPT: &str = "a cat";
const THRESHOLD: f32 = 0.5;

/// `clipseg segment` with the tiny checkpoint on the picture `wide`.
fn segment(out: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_clipseg"))
        .args([
            "segment",
            "--prompt",
            PROMPT,
            "--threshold",
            "0.5",
            "--json",
        ])
        .arg(fixtures().join("images/wide.png"))
        .arg("--model")
        .arg(fixtures().join("models/clipseg-refined"))
        .arg("--out")
        .arg(out)
        .args(arguments)
        .output()
        .expect("the program starts")
}

/// The soft mask that the library computes for the same picture and prompt.
fn soft() -> SoftMask {
    let folder = fixtures().join("models/clipseg-refined");
    let device = clipseg::device("cpu").unwrap();
    let segmenter = Segmenter::from_pretrained(&folder, &device).unwrap();
    let photo = load_rgb(&fixtures().join("images/wide.png")).unwrap();
    let encoded = segmenter.encode_image(&photo).unwrap();
    segmenter.segment(&encoded, &[PROMPT]).unwrap().remove(0)
}

/// Runs the program and returns the picture of the mask.
fn mask(arguments: &[&str]) -> GrayImage {
    let folder = tempfile::tempdir().unwrap();
    let output = segment(folder.path(), arguments);
    assert!(output.status.success(), "{}", stderr(&output));
    let file = folder.path().join("wide-1-a-cat-mask.png");
    image::open(file).unwrap().into_luma8()
}

#[test]
fn masks_are_refined() {
    let (soft, photo) = (
        soft(),
        load_rgb(&fixtures().join("images/wide.png")).unwrap(),
    );
    let plain = soft.threshold(THRESHOLD);
    let guided = Refinement::guided(photo.width(), photo.height());
    for (method, refinement) in [("guided", guided), ("pamr", Refinement::pamr())] {
        let expected = soft
            .refine(&photo, refinement)
            .unwrap()
            .threshold(THRESHOLD);
        assert_ne!(expected, plain, "{method} changes the mask");
        assert_eq!(
            Mask::from(&mask(&["--refine", method])),
            expected,
            "{method}"
        );
    }
}

#[test]
fn shapes_are_changed_in_the_documented_order() {
    let plain = soft().threshold(THRESHOLD);
    assert_eq!(Mask::from(&mask(&[])), plain);
    let edited = plain
        .fill_holes()
        .and_then(|mask| mask.without_small_components(9))
        .and_then(|mask| mask.grow(2.5))
        .and_then(|mask| mask.shrink(1.5))
        .unwrap();
    let all = [
        "--shrink",
        "1.5",
        "--grow",
        "2.5",
        "--min-area",
        "9",
        "--fill-holes",
    ];
    assert_eq!(Mask::from(&mask(&all)), edited);
    for (arguments, expected) in [
        (&["--fill-holes"][..], plain.fill_holes()),
        (&["--min-area", "20"], plain.without_small_components(20)),
        (&["--grow", "3"], plain.grow(3.0)),
        (&["--shrink", "2"], plain.shrink(2.0)),
    ] {
        let expected = expected.unwrap();
        assert_eq!(Mask::from(&mask(arguments)), expected, "{arguments:?}");
    }
    let soft_edge = SoftMask::feathered(&plain, 6.0).unwrap();
    assert_eq!(mask(&["--feather", "6"]), soft_edge.to_gray_image());
}

#[test]
fn cut_outs_have_the_mask_as_opacity() {
    let folder = tempfile::tempdir().unwrap();
    let (soft, photo) = (
        soft(),
        load_rgb(&fixtures().join("images/wide.png")).unwrap(),
    );
    let grown = soft.threshold(THRESHOLD).grow(2.0).unwrap();
    let feathered = SoftMask::feathered(&grown, 4.0).unwrap();
    for (arguments, expected) in [
        (
            &["--cutout"][..],
            soft.cut_out_clean(&photo, &soft.threshold(THRESHOLD))
                .unwrap(),
        ),
        (
            &["--cutout", "--grow", "2", "--feather", "4"],
            feathered.cut_out_clean(&photo, &grown).unwrap(),
        ),
    ] {
        let output = segment(folder.path(), arguments);
        assert!(output.status.success(), "{}", stderr(&output));
        let line: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let file = line["cutout"].as_str().unwrap();
        assert!(file.ends_with("wide-1-a-cat-cutout.png"), "{file}");
        assert_eq!(
            image::open(file).unwrap().into_rgba8(),
            expected,
            "{arguments:?}"
        );
    }
    // Without a cut-out, a mask of white on black is written that the library reads.
    let output = segment(folder.path(), &["--grow", "2"]);
    let line: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(line.get("cutout"), None);
    assert_eq!(
        load_mask(&folder.path().join("wide-1-a-cat-mask.png")).unwrap(),
        grown
    );
    // A picture of someone else is not replaced.
    let theirs = folder.path().join("wide-1-a-cat-cutout.png");
    std::fs::write(&theirs, "theirs").unwrap();
    let output = segment(folder.path(), &["--cutout"]);
    assert!(
        stderr(&output).contains("cutout.png: exists and was changed"),
        "{}",
        stderr(&output)
    );
    assert_eq!(std::fs::read(theirs).unwrap(), b"theirs");
}

#[test]
fn values_without_effect_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    for (flag, values, expected) in [
        (
            "--grow",
            &["0", "0.9", "-1", "nan", "inf", "x"][..],
            "expected a number of at least 1",
        ),
        ("--shrink", &["0", "-3"], "expected a number of at least 1"),
        (
            "--feather",
            &["0", "1", "-2", "nan"],
            "expected a number above 1",
        ),
        (
            "--min-area",
            &["0", "1", "2.5", "-4"],
            "expected an integer of at least 2",
        ),
        ("--refine", &["crf"], "[possible values: pamr, guided]"),
    ] {
        for value in values {
            let output = segment(&out, &[&format!("{flag}={value}")]);
            let message = stderr(&output);
            assert!(
                !output.status.success() && message.contains(expected),
                "{message}"
            );
            assert!(message.contains(flag), "{message}");
            assert!(!out.exists(), "refused before any work");
        }
    }
}
