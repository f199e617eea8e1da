//! The command `clipseg eval`, run as a user runs it.

use crate::running::{path, run_command, text};
use crate::support::shipped;
use std::path::{Path, PathBuf};
use std::process::Output;

fn eval(arguments: &[&str]) -> Output {
    run_command("eval", arguments)
}

fn data() -> PathBuf {
    shipped().join("phrasecut/VGPhraseCut_v0")
}

fn predictions(split: &str) -> PathBuf {
    shipped().join("phrasecut/predictions").join(split)
}

/// A copy of a split's predictions without the first one and with a file of an unknown task id.
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
        errors.contains("ignored 1 files whose task id is not in test, such as 1__2.png"),
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
        "\n1 phrase has no prediction; with IoU 0 for these, the mean IoU is 0.",
        "\nmean IoU 0.",
        "\ncum IoU  +0.0000 against the other run, 95 % confidence interval +0.0000 to +0.0000, p = 1.0000",
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
        "task_id,image_id,phrase,predicted,intersection,union,iou,subsets,problem"
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
    assert!(
        first.contains("95 % confidence interval over pictures"),
        "{first}"
    );
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
        "expected one of train, val, test, miniv, val_miniv",
    );
    fails("test", &folder.path().join("none"), "cannot read ");
    fails(
        "test",
        folder.path(),
        "contains no prediction for test, expected <task_id>.png",
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
    std::fs::remove_file(&broken).unwrap();
    image::GrayImage::new(3, 2).save(&broken).unwrap();
    fails(
        "test",
        &part,
        "2300573__4000062.png: the prediction has shape [2, 3], the ground truth [",
    );
}

/// A copy of the data set without its pictures.
fn copy_of_data(to: &Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(data()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            std::fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
        }
    }
}

fn score(data: &Path, split: &str, predictions: &Path, more: &[&str]) -> Output {
    let given = [
        "--data",
        path(data),
        "--split",
        split,
        "--predictions",
        path(predictions),
    ];
    eval(&[&given[..], more].concat())
}

#[test]
fn only_the_wanted_split_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("data");
    copy_of_data(&copy);
    let before = text(&score(&copy, "test", &predictions("test"), &[]).stdout);
    for name in ["refer_train.json", "refer_val.json", "refer_input_val.json"] {
        std::fs::write(copy.join(name), "{ damaged").unwrap();
    }
    std::fs::remove_file(copy.join("refer_miniv.json")).unwrap();
    let output = score(&copy, "test", &predictions("test"), &[]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout), before);
    let damaged = score(&copy, "val", &predictions("val"), &[]);
    assert!(!damaged.status.success());
    assert!(text(&damaged.stderr).contains("refer_val.json"));
}

#[test]
fn a_split_without_truth_is_an_error_that_names_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("data");
    copy_of_data(&copy);
    std::fs::remove_file(copy.join("refer_test.json")).unwrap();
    let json = folder.path().join("all.json");
    let output = score(
        &copy,
        "test",
        &predictions("test"),
        &["--json", path(&json)],
    );
    let errors = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(
        errors.contains("refer_test.json") && errors.contains("refer_input_test.json"),
        "{errors}"
    );
    assert!(output.stdout.is_empty() && !json.exists());
}

#[test]
fn val_and_miniv_are_scored_together() {
    let folder = tempfile::tempdir().unwrap();
    let both = folder.path().join("both");
    std::fs::create_dir(&both).unwrap();
    for split in ["val", "miniv"] {
        for entry in std::fs::read_dir(predictions(split)).unwrap() {
            let file = entry.unwrap().path();
            std::fs::copy(&file, both.join(file.file_name().unwrap())).unwrap();
        }
    }
    let output = score(&data(), "val_miniv", &both, &[]);
    let table = text(&output.stdout);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let all = table.lines().nth(1).unwrap();
    assert!(
        all.starts_with("all               34        0    0."),
        "{all}"
    );
}

#[test]
fn defects_are_told_once_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let root = shipped().join("official_defects");
    let [csv, json] = ["rows.csv", "all.json"].map(|name| folder.path().join(name));
    let more = ["--csv", path(&csv), "--json", path(&json)];
    let (data, predictions) = (root.join("VGPhraseCut_v0"), root.join("predictions"));
    let output = score(&data, "test", &predictions, &more);
    let (table, errors) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{errors}");
    for expected in [
        "clipseg: test: 4 phrases with no polygon that can be drawn, such as 11__2: ",
        "clipseg: test: 1 phrase with the task id of an earlier phrase, such as 12__2: ",
        "clipseg: test: 1 phrase with a picture that is not listed, such as 99__1: ",
        "clipseg: test: 1 phrase with a prediction of the size of their picture's file",
    ] {
        assert_eq!(
            errors.matches(expected).count(),
            1,
            "{expected} in {errors}"
        );
    }
    assert!(
        table.contains("\n2 phrases have no prediction; with IoU 0 for these, "),
        "{table}"
    );
    assert!(
        table.contains("\nt_stuff  ") && table.contains("\nt_obj  "),
        "{table}"
    );
    let json: serde_json::Value = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
    assert_eq!(json["exceptions"].as_array().unwrap().len(), 4);
    let rows = std::fs::read_to_string(&csv).unwrap();
    assert_eq!(rows.lines().count(), 14);
    for end in [",no polygon", ",repeated task id", ",unknown picture"] {
        assert!(
            rows.lines().any(|line| line.ends_with(end)),
            "{end} in {rows}"
        );
    }
}

#[test]
fn files_that_are_there_stay() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("notes");
    std::fs::write(&file, "kept").unwrap();
    for flag in ["--csv", "--json"] {
        let output = score(&data(), "test", &predictions("test"), &[flag, path(&file)]);
        let errors = text(&output.stderr);
        assert!(!output.status.success());
        assert!(errors.contains("notes: exists"), "{errors}");
        assert_eq!(std::fs::read(&file).unwrap(), b"kept");
    }
    let asked = ["--csv", path(&file), "--overwrite"];
    assert!(
        score(&data(), "test", &predictions("test"), &asked)
            .status
            .success()
    );
    assert!(
        std::fs::read_to_string(&file)
            .unwrap()
            .starts_with("task_id,")
    );
    let same = ["--csv", path(&file), "--json", path(&file), "--overwrite"];
    let errors = text(&score(&data(), "test", &predictions("test"), &same).stderr);
    assert!(
        errors.contains("--csv and --json name the same file"),
        "{errors}"
    );
    let errors = text(&score(&data(), "test", &predictions("test"), &["--overwrite"]).stderr);
    assert!(errors.contains("--overwrite has no effect"), "{errors}");
}

#[test]
fn what_has_no_effect_or_no_place_is_said_before_the_work() {
    let folder = tempfile::tempdir().unwrap();
    let (data, full) = (data(), predictions("val"));
    let [here, again] = ["x.csv", "./x.csv"].map(|name| folder.path().join(name));
    let nowhere = folder.path().join("no/such/x.csv");
    let [here, again, nowhere] = [&here, &again, &nowhere].map(|file| path(file));
    for (more, expected) in [
        (&["--threshold", "0.5"][..], "cannot be used with"),
        (&["--save-masks", here], "cannot be used with"),
        (&["--choose-on", "val"], "cannot be used with"),
        (&["--device", "cpu"], "cannot be used with"),
        (&["--csv", here, "--json", again], "name the same file"),
        (
            &["--csv", here, "--json", again, "--overwrite"],
            "name the same file",
        ),
        (&["--csv", nowhere], "cannot write into "),
        (&["--json", nowhere], "cannot write into "),
    ] {
        let output = score(&data, "val", &full, more);
        assert!(!output.status.success());
        let message = text(&output.stderr);
        assert!(message.contains(expected), "{message}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}

#[test]
fn what_is_no_prediction_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let part = folder.path().join("part");
    incomplete("test", &part);
    std::fs::write(part.join("notes.txt"), "").unwrap();
    std::fs::write(part.join("2300573__4000062.jpg"), "").unwrap();
    let output = score(&data(), "test", &part, &[]);
    let errors = text(&output.stderr);
    assert!(output.status.success(), "{errors}");
    assert!(
        errors.contains("ignored 2 entries that are not named <task_id>.png, such as "),
        "{errors}"
    );
    assert!(!errors.contains("grey levels"), "{errors}");
    let grey = part.join("2300573__4000062.png");
    let mask = image::open(&grey).unwrap().into_luma8();
    let (width, height) = mask.dimensions();
    let soft = image::GrayImage::from_fn(width, height, |x, _| image::Luma([x as u8]));
    soft.save(&grey).unwrap();
    let errors = text(&score(&data(), "test", &part, &[]).stderr);
    assert!(
        errors.contains(
            "1 predictions have more than two grey levels; every level but black counts as mask"
        ),
        "{errors}"
    );
    // A complete folder of another split.
    let errors = text(&score(&data(), "test", &predictions("val"), &[]).stderr);
    assert!(
        errors.contains("contains no prediction for test, expected <task_id>.png"),
        "{errors}"
    );
}
