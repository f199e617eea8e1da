//! The program `clipseg segment`, run as a user runs it.

use crate::support::fixtures;
use std::path::Path;
use std::process::{Command, Output};

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_clipseg"))
        .args(arguments)
        .output()
        .expect("the program starts")
}

/// `clipseg segment` with the tiny checkpoint, whatever else is asked for.
fn segment(out: &Path, arguments: &[&str]) -> Output {
    let model = fixtures().join("models/clipseg-refined");
    let mut all = vec!["segment", "--model", model.to_str().unwrap()];
    all.extend(["--out", out.to_str().unwrap()]);
    all.extend(arguments);
    run(&all)
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn pictures_and_a_table_for_each_photograph() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("new/folder");
    let photo = fixtures().join("images/wide.png");
    let output = segment(
        &out,
        &[
            photo.to_str().unwrap(),
            "--prompt",
            "a cat",
            "--prompt",
            "A CAT!",
            "--visual-prompt",
            photo.to_str().unwrap(),
            "--negative",
            "a dog",
            "--template",
            "a photo of {}.",
            "--labels",
        ],
    );
    assert!(output.status.success(), "{}", stderr(&output));
    let expected = [
        "wide-1-a-cat-heat.png",
        "wide-1-a-cat-mask.png",
        "wide-2-a-cat-heat.png",
        "wide-2-a-cat-mask.png",
        "wide-3-like-wide-heat.png",
        "wide-3-like-wide-mask.png",
        "wide-labels-colour.png",
        "wide-labels.png",
        "wide-overlay.png",
    ];
    assert_eq!(names(&out), expected);
    let size = image::image_dimensions(&photo).unwrap();
    for name in &expected[..8] {
        assert_eq!(
            image::image_dimensions(out.join(name)).unwrap(),
            size,
            "{name}"
        );
    }
    let (width, height) = image::image_dimensions(out.join("wide-overlay.png")).unwrap();
    assert!(width == size.0 && height > size.1, "the legend lies below");
    let table = stdout(&output);
    assert!(table.contains("highest  covered  box"), "{table}");
    assert_eq!(table.lines().count(), 5, "{table}");
}

#[test]
fn a_bad_file_is_reported_and_the_rest_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let photos = folder.path().join("photos");
    std::fs::create_dir(&photos).unwrap();
    let write = |name: &str, bytes: &[u8]| std::fs::write(photos.join(name), bytes).unwrap();
    write("a.jpg", b"");
    write("b.jpg", b"this is a text");
    let dot = image::RgbImage::from_pixel(1, 1, image::Rgb([200, 10, 10]));
    dot.save(photos.join("c.png")).unwrap();
    image::RgbImage::new(40_000, 2)
        .save(photos.join("d.png"))
        .unwrap();
    std::fs::copy(fixtures().join("images/tall.png"), photos.join("e.png")).unwrap();
    let out = folder.path().join("out");
    let output = segment(
        &out,
        &[photos.to_str().unwrap(), "--prompt", "a cat", "--json"],
    );
    assert_eq!(output.status.code(), Some(1));
    let errors = stderr(&output);
    for expected in [
        "a.jpg: not a readable picture",
        "b.jpg: not a readable picture",
        "d.png: a picture of 40000x2 is too large",
        "3 of the photographs could not be segmented",
    ] {
        assert!(errors.contains(expected), "{errors}");
    }
    let lines: Vec<serde_json::Value> = stdout(&output)
        .lines()
        .map(|line| serde_json::from_str(line).expect("a line of JSON"))
        .collect();
    assert_eq!(lines.len(), 2);
    for line in &lines {
        assert_eq!(line["prompt"], "a cat");
        assert!(Path::new(line["mask"].as_str().unwrap()).is_file());
        assert!((0.0..=1.0).contains(&line["highest"].as_f64().unwrap()));
    }
    let found = names(&out);
    assert_eq!(found.len(), 6, "{found:?}");
    assert!(
        found
            .iter()
            .all(|name| name.starts_with("c-") || name.starts_with("e-"))
    );
}

#[test]
fn what_cannot_be_done_is_said_before_the_work() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "in the way").unwrap();
    let photo = fixtures().join("images/wide.png");
    let photo = photo.to_str().unwrap();
    let out = folder.path().join("out");
    let fails = |output: Output, expected: &str| {
        assert!(!output.status.success());
        assert!(stderr(&output).contains(expected), "{}", stderr(&output));
    };
    fails(segment(&out, &[photo]), "no prompt: pass --prompt");
    fails(
        segment(&out, &[photo, "--prompt", " "]),
        "prompt 1 is empty",
    );
    fails(
        segment(&out, &[photo, "--prompt", "x", "--threshold", "2"]),
        "expected a number from 0 to 1",
    );
    fails(
        segment(&out, &[photo, "--prompt", "x", "--template", "no place"]),
        "the template `no place` has no `{}`",
    );
    fails(
        segment(&file.join("out"), &[photo, "--prompt", "x"]),
        "cannot make ",
    );
    if !cfg!(feature = "cuda") {
        fails(
            segment(&out, &[photo, "--prompt", "x", "--device", "cuda"]),
            "device `cuda`: not compiled in; build with `--features cuda`",
        );
    }
    let missing = [
        "segment",
        photo,
        "--prompt",
        "x",
        "--model",
        "./no/such/folder",
    ];
    let output = Command::new(env!("CARGO_BIN_EXE_clipseg"))
        .args(missing)
        .current_dir(folder.path())
        .output()
        .unwrap();
    fails(output, "no/such/folder");
    assert!(
        !out.exists() || names(&out).is_empty(),
        "nothing was written"
    );
}
