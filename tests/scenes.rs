//! The commands `clipseg data scenes` and `clipseg data show`, run as a user runs them.

use clipseg::data::{PhraseCut, Split, UnseenPairs, load_rgb};
use std::path::Path;
use std::process::{Command, Output};

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_clipseg"))
        .arg("data")
        .args(arguments)
        .output()
        .expect("the program starts")
}

fn succeeds(output: &Output) -> String {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn fails(output: &Output, expected: &str) {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(errors.contains(expected), "{errors}");
}

fn text(path: &Path) -> &str {
    path.to_str().expect("plain letters")
}

#[test]
fn scenes_are_made_read_and_shown() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("new/scenes");
    let options = ["--images", "40", "--seed", "5", "--size", "64"];
    let made = run(&[&["scenes", text(&root)], &options[..]].concat());
    let said = succeeds(&made);
    assert_eq!(said, format!("40 scenes of 64x64 in {}\n", root.display()));

    let data = PhraseCut::open(&root).unwrap();
    let unseen = UnseenPairs::open(&root).unwrap().expect("scenes mark them");
    let structures = |split| data.phrases(split).iter().map(|p| &p.phrase_structure);
    assert!(!structures(Split::Train).any(|phrase| unseen.is_unseen(phrase)));
    assert!(structures(Split::Val).any(|phrase| unseen.is_unseen(phrase)));

    let sheet = folder.path().join("sheet.png");
    let show = |more: &[&str]| {
        let all = ["show", text(&root), "--out", text(&sheet), "--split", "val"];
        run(&[&all, more].concat())
    };
    succeeds(&show(&["--count", "2", "--side", "100"]));
    let two = load_rgb(&sheet).unwrap();
    assert!(two.width() > 200 && two.width() < 300 && two.height() > 100);
    succeeds(&show(&["--count", "2", "--side", "100", "--seed", "1"]));
    assert_ne!(two, load_rgb(&sheet).unwrap());

    fails(
        &run(&["scenes", text(&root)]),
        "new/scenes: it already exists",
    );
    fails(&show(&["--count", "0"]), "a sheet of 0 pictures");
    let all = ["show", text(&root), "--out", text(&sheet), "--split", "all"];
    fails(&run(&all), "expected one of train, val, test, miniv");
}

#[test]
fn what_cannot_be_made_or_shown_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "in the way").unwrap();
    let root = folder.path().join("scenes");
    fails(
        &run(&["scenes", text(&root), "--size", "0"]),
        "clipseg: 1000 scenes of 0 pixels, expected 1 to 100000000 scenes of 32 to 4096 pixels",
    );
    fails(
        &run(&["scenes", text(&file.join("scenes")), "--images", "1"]),
        "clipseg: cannot make ",
    );
    let sheet = folder.path().join("sheet.png");
    let show =
        |root: &Path, out: &Path| run(&["show", text(root), "--split", "val", "--out", text(out)]);
    fails(&show(folder.path(), &sheet), "is not a data set");
    succeeds(&run(&[
        "scenes",
        text(&root),
        "--images",
        "20",
        "--size",
        "32",
    ]));
    fails(&show(&root, &file.join("sheet.png")), "cannot access ");
    let mut names: Vec<_> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    names.sort();
    assert_eq!(names, ["file", "scenes"]);
    // Only the split that is shown is read.
    std::fs::write(root.join("refer_train.json"), "[{\"task_id\": ").unwrap();
    succeeds(&show(&root, &sheet));
    std::fs::copy(root.join("refer_train.json"), root.join("refer_val.json")).unwrap();
    fails(
        &show(&root, &folder.path().join("second.png")),
        "refer_val.json",
    );
}
