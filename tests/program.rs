//! The command `clipseg segment`, run as a user runs it.

use crate::running::{names, run, stderr, stdout};
use crate::support::{fixtures, shipped};
use std::path::Path;
use std::process::{Command, Output};

/// `clipseg segment` with the tiny checkpoint and further arguments.
fn segment(out: &Path, arguments: &[&str]) -> Output {
    let model = fixtures().join("models/clipseg-refined");
    let mut all = vec!["segment", "--model", model.to_str().unwrap()];
    all.extend(["--out", out.to_str().unwrap()]);
    all.extend(arguments);
    run(&all)
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

/// Copies some files of a folder of `fixtures/cases`.
fn cases(folder: &str, names: &[&str], to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for name in names {
        std::fs::copy(
            shipped().join("cases").join(folder).join(name),
            to.join(name),
        )
        .unwrap();
    }
}

#[test]
fn what_a_folder_holds_beside_pictures_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let photos = folder.path().join("photos");
    cases("formats", &["a.jpg", "x.avif", "x.heic", "x.tif"], &photos);
    let write = |name: &str, bytes: &[u8]| std::fs::write(photos.join(name), bytes).unwrap();
    write("anim.gif", b"GIF89a\x01\0\x01\0\0\0\0;");
    write("notes.TXT", b"x");
    write("list.txt", b"y");
    write("empty.jpg", b"");
    write("page.jpg", b"<!DOCTYPE html><html><body>404</body></html>");
    write(
        "pointer.png",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12345\n",
    );
    std::fs::create_dir(photos.join("more")).unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink("no/such/file", photos.join("gone.png")).unwrap();
    let out = folder.path().join("out");
    let output = segment(&out, &[photos.to_str().unwrap(), "--prompt", "a cat"]);
    let errors = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    let told = "skipped 6 files: 2 .txt, 1 .avif, 1 .gif, 1 .heic, 1 .tif; folders are searched for \
                .jpg, .jpeg, .png, .webp, .bmp; skipped 1 subfolder";
    assert_eq!(errors.matches(told).count(), 1, "{errors}");
    let mut failed = vec![
        ("/empty.jpg: not a readable picture: it is an empty file", 1),
        (
            "/page.jpg: not a readable picture: it is a web page (HTML)",
            1,
        ),
        (
            "/pointer.png: not a readable picture: it is a Git LFS pointer",
            1,
        ),
        ("expected PNG, JPEG, WebP or BMP", 3),
    ];
    if cfg!(unix) {
        failed.push(("gone.png: No such file", 1));
    }
    for (expected, count) in &failed {
        assert_eq!(
            errors.matches(expected).count(),
            *count,
            "{expected}: {errors}"
        );
    }
    let count = failed.len() - 1;
    assert!(
        errors.contains(&format!(
            "{count} of the photographs could not be segmented"
        )),
        "{errors}"
    );
    assert!(names(&out).iter().all(|name| name.starts_with("a-")));
    assert_eq!(names(&out).len(), 3);

    // No picture in the folder: the error lists the files by extension.
    let others = folder.path().join("others");
    cases("formats", &["x.avif", "x.heic"], &others);
    let output = segment(&out, &[others.to_str().unwrap(), "--prompt", "a cat"]);
    assert_eq!(output.status.code(), Some(1));
    let expected = "the folders contain no picture; skipped 2 files: 1 .avif, 1 .heic";
    assert!(stderr(&output).contains(expected), "{}", stderr(&output));
}

#[test]
fn visual_masks_mean_what_is_above_half_of_their_largest_value() {
    let folder = tempfile::tempdir().unwrap();
    let masks = shipped().join("cases/masks");
    let photo = masks.join("p.png");
    let photo = photo.to_str().unwrap();
    let heat = |mask: Option<&str>| {
        let out = folder.path().join(mask.unwrap_or("none"));
        let mask = mask.map(|mask| masks.join(mask));
        let mut all = vec![photo, "--visual-prompt", photo];
        if let Some(mask) = &mask {
            all.extend(["--visual-mask", mask.to_str().unwrap()]);
        }
        let output = segment(&out, &all);
        assert!(output.status.success(), "{mask:?}: {}", stderr(&output));
        image::open(out.join("p-1-like-p-heat.png"))
            .unwrap()
            .into_rgb8()
    };
    let expected = heat(Some("m255.png"));
    for same in ["m1.png", "m16-1.png", "bg1.png"] {
        assert!(heat(Some(same)) == expected, "{same} is read as m255.png");
    }
    // JPEG moves the border by a pixel here and there.
    let (jpeg, whole) = (heat(Some("q75.jpg")), heat(Some("white.png")));
    let apart = |a: &image::RgbImage, b: &image::RgbImage| -> u64 {
        let pairs = a.as_raw().iter().zip(b.as_raw());
        pairs.map(|(a, b)| u64::from(a.abs_diff(*b))).sum()
    };
    assert!(whole != expected);
    assert!(apart(&jpeg, &expected) < apart(&jpeg, &whole));
    assert!(heat(None) != expected, "a mask matters");
}

#[test]
fn photographs_that_are_cut_off_are_refused_and_the_rest_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let photos = folder.path().join("photos");
    cases(
        "jpeg",
        &["cut60.jpg", "prog-cut60.jpg", "s3-1x1.jpg"],
        &photos,
    );
    let out = folder.path().join("out");
    let output = segment(&out, &[photos.to_str().unwrap(), "--prompt", "a cat"]);
    let errors = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    for name in ["/cut60.jpg", "/prog-cut60.jpg"] {
        let expected = format!("{name}: the picture file is truncated");
        assert!(errors.contains(&expected), "{errors}");
    }
    assert!(errors.contains("2 of the photographs could not be segmented"));
    assert!(names(&out).iter().all(|name| name.starts_with("s3-1x1-")));
    assert_eq!(names(&out).len(), 3);
    // As a visual prompt it is refused before the model is loaded.
    let cut = photos.join("cut60.jpg");
    let whole = photos.join("s3-1x1.jpg");
    for flag in ["--visual-prompt", "--visual-mask"] {
        let mut all = vec![
            "segment",
            whole.to_str().unwrap(),
            "--model",
            "./no/such/folder",
        ];
        if flag == "--visual-mask" {
            all.extend(["--visual-prompt", whole.to_str().unwrap()]);
        }
        all.extend([flag, cut.to_str().unwrap()]);
        let output = run(&all);
        assert_eq!(output.status.code(), Some(1));
        let errors = stderr(&output);
        assert!(
            errors.contains("cut60.jpg: the picture file is truncated"),
            "{errors}"
        );
    }
}

#[cfg(unix)]
#[test]
fn a_name_that_is_not_utf_8_and_one_that_is_long() {
    use std::os::unix::ffi::OsStrExt;
    let folder = tempfile::tempdir().unwrap();
    let photos = folder.path().join("photos");
    std::fs::create_dir(&photos).unwrap();
    let photo = fixtures().join("images/tall.png");
    let odd = std::ffi::OsStr::from_bytes(b"caf\xe9.png");
    let long = format!("{}.png", "x".repeat(236));
    std::fs::copy(&photo, photos.join(odd)).unwrap();
    std::fs::copy(&photo, photos.join(&long)).unwrap();
    let out = folder.path().join("out");
    for json in [true, false] {
        let mut all = vec![photos.to_str().unwrap(), "--prompt", "a cat"];
        all.extend(json.then_some("--json"));
        let output = segment(&out, &all);
        let errors = stderr(&output);
        assert!(output.status.success(), "{errors}");
        assert_eq!(
            errors
                .matches("the name is too long, so its results are named xxx")
                .count(),
            1
        );
        if json {
            let lines = stdout(&output);
            let lines: Vec<serde_json::Value> = lines
                .lines()
                .map(|line| serde_json::from_str(line).unwrap())
                .collect();
            assert_eq!(lines.len(), 2);
            let shown = lines[0]["photo"].as_str().unwrap();
            assert!(shown.ends_with("caf\u{fffd}.png"), "{shown}");
            for line in &lines {
                assert!(
                    Path::new(line["mask"].as_str().unwrap()).is_file(),
                    "{line}"
                );
                assert!(
                    Path::new(line["heat"].as_str().unwrap()).is_file(),
                    "{line}"
                );
            }
        } else {
            assert!(stdout(&output).contains("caf\u{fffd}.png\n"));
        }
    }
    let found = names(&out);
    assert_eq!(found.len(), 6, "{found:?}");
    assert!(found.iter().all(|name| name.len() <= 255));
}

#[test]
fn a_weight_that_is_not_finite_is_no_answer() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("model");
    std::fs::create_dir(&model).unwrap();
    for entry in std::fs::read_dir(shipped().join("models/clipseg-refined")).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, model.join(path.file_name().unwrap())).unwrap();
    }
    let weights = model.join("model.safetensors");
    crate::bad_input::spoil(&weights, "decoder.film_add.weight", f32::INFINITY);
    let out = folder.path().join("out");
    let photo = fixtures().join("images/wide.png");
    let output = run(&[
        "segment",
        photo.to_str().unwrap(),
        "--prompt",
        "a cat",
        "--model",
        model.to_str().unwrap(),
        "--out",
        out.to_str().unwrap(),
    ]);
    assert_eq!(output.status.code(), Some(1));
    let errors = stderr(&output);
    assert!(
        errors.contains("the tensor `decoder.film_add.weight` has NaN or infinite values"),
        "{errors}"
    );
    assert_eq!(stdout(&output), "");
    assert!(names(&out).is_empty());
}

#[test]
fn what_a_prompt_is_too_long_for_is_told_once() {
    let folder = tempfile::tempdir().unwrap();
    let photos = ["images/wide.png", "images/tall.png"].map(|name| fixtures().join(name));
    // The tiny checkpoint accepts 24 tokens.
    let long = |word: &str| format!("{}at the very end", format!("{word} ").repeat(30));
    let (long, away) = (long("cat"), long("dog"));
    let mut all: Vec<&str> = photos.iter().map(|path| path.to_str().unwrap()).collect();
    all.extend(["--prompt", "a cat", "--prompt", &long, "--negative", &away]);
    let output = segment(folder.path(), &all);
    let errors = stderr(&output);
    assert!(output.status.success(), "{errors}");
    assert_eq!(errors.matches("more than 24 tokens").count(), 2, "{errors}");
    for end in ["cat at the very end", "dog at the very end"] {
        assert_eq!(errors.matches(end).count(), 1, "{errors}");
    }
    let table = stdout(&output);
    let answers = table.lines().filter(|line| line.contains("cat cat cat"));
    assert_eq!(answers.count(), 2, "{table}");
}

#[test]
fn a_reader_that_goes_away_does_not_end_the_work() {
    let folder = tempfile::tempdir().unwrap();
    let photo = fixtures().join("images/wide.png");
    let model = fixtures().join("models/clipseg-refined");
    let mut child = Command::new(env!("CARGO_BIN_EXE_clipseg"))
        .args(["segment", "--prompt", "a cat", "--out"])
        .arg(folder.path())
        .arg("--model")
        .args([&model, &photo, &fixtures().join("images/tall.png")])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(names(folder.path()).len(), 6);
}

#[test]
fn the_work_goes_on_where_nobody_reads_what_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let model = fixtures().join("models/clipseg-refined");
    let mut child = Command::new(env!("CARGO_BIN_EXE_clipseg"))
        .args(["segment", "no/such.jpg", "--prompt"])
        .args(["a word ".repeat(40).as_str(), "--out"])
        .arg(folder.path())
        .arg("--model")
        .args([&model, &fixtures().join("images/tall.png")])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop((child.stdout.take(), child.stderr.take()));
    // A panic would exit with 101.
    assert_eq!(child.wait().unwrap().code(), Some(1));
    assert_eq!(names(folder.path()).len(), 3);
}

#[test]
fn a_picture_that_is_read_is_not_replaced_by_a_result() {
    let folder = tempfile::tempdir().unwrap();
    let [photo, other] = ["x.png", "x-overlay.png"].map(|name| folder.path().join(name));
    for path in [&photo, &other] {
        std::fs::copy(fixtures().join("images/tall.png"), path).unwrap();
    }
    let before = std::fs::read(&other).unwrap();
    let [photo, other_name] = [&photo, &other].map(|path| path.to_str().unwrap());
    for arguments in [
        &[photo, other_name, "--prompt", "cat", "--overwrite"][..],
        &[photo, "--visual-prompt", other_name, "--overwrite"],
    ] {
        let output = segment(folder.path(), arguments);
        assert_eq!(output.status.code(), Some(1));
        let message = stderr(&output);
        assert!(
            message.contains("x-overlay.png: a result of this name would replace an input picture"),
            "{message}"
        );
        assert_eq!(std::fs::read(&other).unwrap(), before);
        assert_eq!(names(folder.path()).len(), 2);
    }
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
        "expected a number from 0 to less than 1",
    );
    let black = folder.path().join("black.png");
    image::GrayImage::new(180, 75).save(&black).unwrap();
    let black = black.to_str().unwrap();
    // These errors do not need the model, which does not exist.
    let without_model = |arguments: &[&str]| {
        let mut all = vec!["segment", "--model", "./no/such/folder", "--out"];
        all.push(out.to_str().unwrap());
        all.extend(arguments);
        run(&all)
    };
    for (arguments, expected) in [
        (&["--prompt", ""][..], "prompt 1 is empty"),
        (&["--prompt", "x", "--prompt", "\t "], "prompt 2 is empty"),
        (
            &["--prompt", "x", "--negative", ""],
            "negative prompt 1 is empty",
        ),
        (
            &["--prompt", "x", "--negative", "y", "--negative", " "],
            "negative prompt 2 is empty",
        ),
        (
            &["--prompt", "x", "--template", "no braces"],
            "the template `no braces` has no `{}`",
        ),
        (
            &["--prompt", "x", "--template", "a {}", "--template", ""],
            "the template `` has no `{}`",
        ),
        (
            &["--visual-prompt", photo, "--template", "a {}"],
            "--template has no effect without --prompt or --negative",
        ),
        (
            &["--prompt", "x", "--visual-mask", photo],
            "1 --visual-mask for 0 --visual-prompt, expected one for each or none",
        ),
        (
            &["--prompt", "x", "--visual-prompt", "no/such.png"],
            "cannot read no/such.png",
        ),
        (
            &["--visual-prompt", photo, "--visual-mask", black],
            "black.png: the mask is empty",
        ),
        (
            &["--prompt", "x", "--threshold", "NaN"],
            "from 0 to less than 1",
        ),
        (
            &["--prompt", "x", "--threshold", "-0.1"],
            "from 0 to less than 1",
        ),
        (
            &["--prompt", "x", "--threshold", "1"],
            "from 0 to less than 1",
        ),
        (
            &["--prompt", "a cat", "--prompt", " A  cat"],
            "--prompt ` A  cat` is given twice",
        ),
        (
            &["--prompt", "x", "--negative", "y", "--negative", "Y"],
            "--negative `Y` is given twice",
        ),
        (
            &["--prompt", "x", "--template", "a {}", "--template", "a {}"],
            "--template `a {}` is given twice",
        ),
        (
            &["--prompt", "y", "--prompt", "x", "--negative", "X"],
            "--negative `X` is also a --prompt",
        ),
        (
            &["--prompt", "x", "--threshold", "inf"],
            "from 0 to less than 1",
        ),
        (
            &["--prompt", "x", "--device", "toaster"],
            "device `toaster`",
        ),
    ] {
        let mut all = vec![photo];
        all.extend(arguments);
        fails(without_model(&all), expected);
    }
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

#[test]
fn default_preprocessing_is_reported_once() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("model");
    std::fs::create_dir(&model).unwrap();
    let complete = fixtures().join("models/clipseg-refined");
    for entry in std::fs::read_dir(complete).unwrap() {
        let entry = entry.unwrap();
        if entry.file_name() != "preprocessor_config.json" {
            std::fs::copy(entry.path(), model.join(entry.file_name())).unwrap();
        }
    }
    let model = model.to_str().unwrap();
    let out = folder.path().join("out");
    let photo = fixtures().join("images/wide.png");
    let data = shipped().join("phrasecut/VGPhraseCut_v0");
    let segment = ["segment", photo.to_str().unwrap(), "--prompt", "a cat"];
    let segment = [
        &segment[..],
        &["--model", model, "--out", out.to_str().unwrap()],
    ]
    .concat();
    let eval = ["eval", "--data", data.to_str().unwrap(), "--split", "test"];
    let eval = [&eval[..], &["--model", model]].concat();
    for arguments in [segment, eval] {
        let errors = stderr(&run(&arguments));
        let warning = format!(
            "{model} has neither preprocessor_config.json nor an `image_processor` in \
             processor_config.json; pictures are preprocessed by default: resized to 352x352, mean \
             [0.485, 0.456, 0.406], std [0.229, 0.224, 0.225]"
        );
        assert_eq!(errors.matches(&warning).count(), 1, "{errors}");
    }
}
