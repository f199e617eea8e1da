//! No command changes a file that the program has not written.

use crate::support::shipped;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn run(command: &str, arguments: &[&Path]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_clipseg"))
        .args(command.split(' '))
        .args(arguments)
        .output()
        .expect("the program starts")
}

/// All entries below a folder with their bytes; subfolders have no bytes.
fn content(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.insert(path.clone(), Vec::new());
            found.extend(content(&path));
        } else {
            let bytes = std::fs::read(&path).unwrap();
            found.insert(path, bytes);
        }
    }
    found
}

fn fails(output: &Output, expected: &[&str]) {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    for expected in expected {
        assert!(errors.contains(expected), "no `{expected}` in: {errors}");
    }
}

fn succeeds(output: &Output) {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
}

fn model() -> PathBuf {
    shipped().join("models/clipseg-refined")
}

fn data() -> PathBuf {
    shipped().join("phrasecut/VGPhraseCut_v0")
}

/// Runs a command whose results are in `folder`, with conflicting files in place of each result. The last
/// argument says whether the program recognizes its own results.
fn check(folder: &Path, results: &[&str], recognised: bool, run: impl Fn(&[&Path]) -> Output) {
    // In place of each result in turn: another program's file, a folder with content.
    for name in results {
        let path = folder.join(name);
        let picture = image::RgbImage::from_pixel(3, 3, image::Rgb([1, 2, 3]));
        picture
            .save_with_format(&path, image::ImageFormat::Png)
            .unwrap();
        let before = content(folder);
        fails(&run(&[]), &[name, ": exists", "--overwrite"]);
        assert_eq!(content(folder), before, "{name}");
        std::fs::remove_file(&path).unwrap();

        std::fs::create_dir(&path).unwrap();
        std::fs::write(path.join("notes.txt"), "years of work").unwrap();
        let before = content(folder);
        fails(&run(&[]), &[name, "a folder"]);
        fails(&run(&["--overwrite".as_ref()]), &[name, "a folder"]);
        assert_eq!(content(folder), before, "{name}");
        std::fs::remove_dir_all(&path).unwrap();
    }
    // Other files beside the results do not matter.
    std::fs::write(folder.join("notes.txt"), "years of work").unwrap();
    succeeds(&run(&[]));
    let first = content(folder);
    let mut there: Vec<String> = first
        .keys()
        .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
        .collect();
    there.retain(|name| name != "notes.txt");
    let mut expected = results.to_vec();
    expected.sort_unstable();
    assert_eq!(there, expected);
    assert_eq!(first[&folder.join("notes.txt")], b"years of work");

    // A second run replaces its own pictures unless they were changed.
    if recognised {
        succeeds(&run(&[]));
        assert!(content(folder) == first, "the same bytes again");
    } else {
        fails(&run(&[]), &[": exists"]);
    }
    for name in results {
        let path = folder.join(name);
        let mut changed = first[&path].clone();
        *changed.last_mut().unwrap() ^= 1;
        std::fs::write(&path, &changed).unwrap();
        fails(&run(&[]), &[": exists"]);
        assert!(std::fs::read(&path).unwrap() == changed, "{name}");
        std::fs::write(&path, &first[&path]).unwrap();
    }
    std::fs::write(folder.join(results[0]), "in the way").unwrap();
    succeeds(&run(&["--overwrite".as_ref()]));
    assert!(
        content(folder) == first,
        "replaced, because it was asked for"
    );
}

#[test]
fn segment_replaces_its_own_pictures_only() {
    let folder = tempfile::tempdir().unwrap();
    let photo = shipped().join("images/wide.png");
    let results = [
        "wide-1-a-cat-heat.png",
        "wide-1-a-cat-mask.png",
        "wide-overlay.png",
        "wide-labels.png",
        "wide-labels-colour.png",
    ];
    check(folder.path(), &results, true, |more| {
        let model = model();
        let mut all: Vec<&Path> = vec![&photo, "--prompt".as_ref(), "a cat".as_ref()];
        all.extend(["--labels", "--out"].map(Path::new));
        all.extend([folder.path(), "--model".as_ref(), &model]);
        all.extend(more);
        run("segment", &all)
    });
}

#[test]
fn results_beside_the_photographs_are_not_photographs() {
    let folder = tempfile::tempdir().unwrap();
    let photo = folder.path().join("wide.png");
    std::fs::copy(shipped().join("images/wide.png"), &photo).unwrap();
    let model = model();
    let segment = || {
        let words = ["--prompt", "a cat", "--model"].map(Path::new);
        let mut all = vec![folder.path(), "--out".as_ref(), folder.path()];
        all.extend(words);
        all.push(&model);
        run("segment", &all)
    };
    let output = segment();
    succeeds(&output);
    assert!(output.stderr.is_empty());
    let first = content(folder.path());
    assert_eq!(first.len(), 4);
    let output = segment();
    succeeds(&output);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(errors, "clipseg: skipped 3 results of this program\n");
    assert!(content(folder.path()) == first);
}

#[test]
fn data_show_replaces_its_own_sheet_only() {
    let folder = tempfile::tempdir().unwrap();
    let (data, sheet) = (data(), folder.path().join("sheet.png"));
    check(folder.path(), &["sheet.png"], true, |more| {
        let mut all: Vec<&Path> = vec![&data, "--out".as_ref(), &sheet];
        all.extend(more);
        run("data show --split val --count 2", &all)
    });
}

#[test]
fn eval_replaces_no_table() {
    let folder = tempfile::tempdir().unwrap();
    let (data, predictions) = (data(), shipped().join("phrasecut/predictions/miniv"));
    for (flag, name) in [("--csv", "rows.csv"), ("--json", "all.json")] {
        let inside = folder.path().join(name.replace('.', "-"));
        std::fs::create_dir(&inside).unwrap();
        let file = inside.join(name);
        check(&inside, &[name], false, |more| {
            let mut all: Vec<&Path> = vec!["--data".as_ref(), &data, flag.as_ref(), &file];
            all.extend(["--predictions".as_ref(), predictions.as_path()]);
            all.extend(more);
            run("eval --split miniv", &all)
        });
    }
    let all: [&Path; 4] = [
        "--data".as_ref(),
        &data,
        "--predictions".as_ref(),
        &predictions,
    ];
    let output = run("eval --split miniv --overwrite", &all);
    fails(&output, &["--overwrite has no effect"]);
}

#[test]
fn eval_replaces_its_own_masks_only() {
    let folder = tempfile::tempdir().unwrap();
    let (data, model) = (data(), model());
    let tasks = clipseg::data::PhraseCut::open(&data).unwrap();
    let tasks = tasks.phrases(clipseg::data::Split::Miniv);
    let names: Vec<String> = tasks
        .iter()
        .map(|phrase| format!("{}.png", phrase.task_id))
        .collect();
    let command = |more: &[&Path]| {
        let mut all: Vec<&Path> = vec!["--data".as_ref(), &data, "--model".as_ref(), &model];
        all.extend(["--save-masks".as_ref(), folder.path()]);
        all.extend(more);
        run("eval --split miniv --threshold 0.3", &all)
    };
    for name in [&names[0], &names[names.len() - 1]] {
        let path = folder.path().join(name);
        std::fs::write(&path, "drawn by hand").unwrap();
        fails(&command(&[]), &[name, ": exists", "--overwrite"]);
        assert_eq!(content(folder.path()).len(), 1);
        assert_eq!(std::fs::read(&path).unwrap(), b"drawn by hand");
        std::fs::remove_file(&path).unwrap();
    }
    std::fs::write(folder.path().join("notes.txt"), "kept").unwrap();
    std::fs::write(folder.path().join(&names[3]), "drawn by hand").unwrap();
    succeeds(&command(&["--overwrite".as_ref()]));
    let first = content(folder.path());
    assert_eq!(first.len(), names.len() + 1);
    succeeds(&command(&[]));
    assert!(content(folder.path()) == first);
}

#[test]
fn data_scenes_takes_a_new_folder_only() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let [empty, full, file] = ["empty", "full", "file"].map(|name| root.join(name));
    std::fs::create_dir(&empty).unwrap();
    std::fs::create_dir_all(full.join("images")).unwrap();
    std::fs::write(full.join("images/1.jpg"), "a photograph").unwrap();
    std::fs::write(full.join("refer_train.json"), "[]").unwrap();
    std::fs::write(&file, "a file").unwrap();
    let before = content(root);
    for out in [&empty, &full, &file] {
        let output = run("data scenes --images 20 --size 32", &[out]);
        fails(&output, &["it already exists"]);
        assert_eq!(content(root), before);
    }
}

#[test]
fn data_scenes_removes_what_a_killed_process_left_and_nothing_else() {
    use std::time::{Duration, Instant};
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let [first, second, foreign] = ["first", "second", ".clipseg-new-mine"].map(|n| root.join(n));
    std::fs::create_dir(&foreign).unwrap();
    std::fs::write(foreign.join("notes.txt"), "kept").unwrap();
    // Many and large, so that the process is still busy when it is killed.
    let mut process = Command::new(env!("CARGO_BIN_EXE_clipseg"))
        .args(["data", "scenes", "--images", "20000", "--size", "512"])
        .arg(&first)
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let left = |root: &Path| -> Vec<PathBuf> {
        let entries = std::fs::read_dir(root).unwrap();
        let markers = entries.map(|entry| entry.unwrap().path().join(".clipseg-writing"));
        markers.filter(|marker| marker.is_file()).collect()
    };
    let begin = Instant::now();
    while left(root).is_empty() {
        assert!(begin.elapsed() < Duration::from_secs(60));
        std::thread::sleep(Duration::from_millis(20));
    }
    // A running process keeps its folder.
    succeeds(&run("data scenes --images 20 --size 32", &[&second]));
    assert_eq!(left(root).len(), 1);
    process.kill().unwrap();
    process.wait().unwrap();
    assert!(!first.exists());
    std::fs::remove_dir_all(&second).unwrap();
    succeeds(&run("data scenes --images 20 --size 32", &[&second]));
    let mut names: Vec<_> = std::fs::read_dir(root)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    names.sort();
    assert_eq!(names, [".clipseg-new-mine", "second"]);
    assert_eq!(std::fs::read(foreign.join("notes.txt")).unwrap(), b"kept");
}
