//! The program `clipseg eval`, run as a user runs it.

use crate::support::shipped;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn eval(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_clipseg"))
        .arg("eval")
        .args(arguments)
        .output()
        .expect("the program starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn path(path: &Path) -> &str {
    path.to_str().expect("plain names")
}

fn data() -> PathBuf {
    shipped().join("phrasecut/VGPhraseCut_v0")
}

fn predictions(split: &str) -> PathBuf {
    shipped().join("phrasecut/predictions").join(split)
}

/// A copy of the predictions of a split without its first and with a file of no phrase.
fn incomplete(split: &str, folder: &Path) {
    std::fs::create_dir(folder).unwrap();
    let mut files: Vec<PathBuf> = std::fs::read_dir(predictions(split))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    std::fs::copy(&files[0], folder.join("1__2.png")).unwrap();
    for file in &files[1..] {
        std::fs::copy(file, folder.join(file.file_name().unwrap())).unwrap();
    }
}

#[test]
fn a_table_rows_and_json() {
    let folder = tempfile::tempdir().unwrap();
    let [csv_file, json_file, part] =
        ["rows.csv", "all.json", "part"].map(|n| folder.path().join(n));
    incomplete("test", &part);
    let (data, full) = (data(), predictions("test"));
    let output = eval(&[
        "--data",
        path(&data),
        "--split",
        "test",
        "--predictions",
        path(&part),
        "--against",
        path(&full),
        "--csv",
        path(&csv_file),
        "--json",
        path(&json_file),
    ]);
    let (table, errors) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{errors}");
    assert!(
        errors.contains("1 files are of no phrase of test, such as 1__2.png"),
        "{errors}"
    );
    assert!(
        table.starts_with("subset       phrases  missing  mean IoU  cum IoU"),
        "{table}"
    );
    let all = table.lines().nth(1).unwrap();
    assert!(
        all.starts_with("all               21        1    0."),
        "{all}"
    );
    for expected in [
        "\ni_single  ",
        "\nd_notcocotv  ",
        "\n1 phrases have no prediction; with 0 for them the mean IoU is 0.",
        "\nmean IoU 0.",
        "\ncum IoU  +0.0000 against the other run, 95 % interval +0.0000 to +0.0000, p = 1.0000",
    ] {
        assert!(table.contains(expected), "{expected} in {table}");
    }
    assert!(
        !table.contains("c_coco"),
        "empty subsets are left out: {table}"
    );

    let json = std::fs::read(&json_file).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    assert_eq!(json["split"], "test");
    let first = &json["subsets"][0];
    assert_eq!(
        (&first["subset"], &first["count"]),
        (&"all".into(), &21.into())
    );
    let interval = &json["intervals"]["mean_iou"];
    assert_eq!(interval["estimate"], first["mean_iou"]);
    assert!(interval["low"].as_f64() < interval["high"].as_f64());
    assert_eq!(json["differences"]["precision_at_0.5"]["p_value"], 1.0);

    let rows = std::fs::read_to_string(&csv_file).unwrap();
    let mut lines = rows.lines();
    assert_eq!(
        lines.next().unwrap(),
        "task_id,image_id,phrase,predicted,intersection,union,iou,subsets"
    );
    let rows: Vec<Vec<&str>> = lines.map(|line| line.split(',').collect()).collect();
    assert_eq!(rows.len(), 22);
    let ious = rows.iter().filter(|row| row[3] == "true");
    let mean = ious.map(|row| row[6].parse::<f64>().unwrap()).sum::<f64>() / 21.0;
    assert!((mean - first["mean_iou"].as_f64().unwrap()).abs() < 1e-12);
    assert_eq!(rows.iter().filter(|row| row[3] == "false").count(), 1);
    assert!(
        rows.iter().all(|row| row[7].starts_with("all ")),
        "{rows:?}"
    );
}

#[test]
fn the_same_seed_gives_the_same_output() {
    let (data, predictions) = (data(), predictions("train"));
    let run = |seed| {
        let output = eval(&[
            "--data",
            path(&data),
            "--split",
            "train",
            "--predictions",
            path(&predictions),
            "--seed",
            seed,
        ]);
        text(&output.stdout)
    };
    let first = run("1");
    assert!(first.contains("95 % interval over pictures"), "{first}");
    assert_eq!(first, run("1"));
    assert_ne!(first, run("2"));
}

#[test]
fn bad_input_is_named_and_nothing_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let csv = folder.path().join("rows.csv");
    let data = data();
    let fails = |split: &str, predictions: &Path, expected: &str| {
        let output = eval(&[
            "--data",
            path(&data),
            "--split",
            split,
            "--predictions",
            path(predictions),
            "--csv",
            path(&csv),
        ]);
        let errors = text(&output.stderr);
        assert!(!output.status.success());
        assert!(errors.contains(expected), "{expected} in {errors}");
        assert!(!csv.exists());
    };
    fails(
        "tset",
        folder.path(),
        "expected one of train, val, test, miniv",
    );
    fails("test", &folder.path().join("none"), "cannot read ");
    fails(
        "test",
        folder.path(),
        "holds no prediction for test, expected <task_id>.png",
    );
    let part = folder.path().join("part");
    incomplete("test", &part);
    let broken = part.join("2300573__4000062.png");
    std::fs::write(&broken, "no picture").unwrap();
    fails(
        "test",
        &part,
        "2300573__4000062.png: not a readable picture",
    );
    image::GrayImage::new(3, 2).save(&broken).unwrap();
    fails(
        "test",
        &part,
        "2300573__4000062.png: the prediction is [2, 3], the truth is [",
    );
}
