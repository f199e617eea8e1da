//! The options of `clipseg segment` and `clipseg eval` for how a model looks at photographs.

use crate::running::{names, path, run_command, text};
use crate::support::{fixtures, shipped};
use std::path::{Path, PathBuf};
use std::process::Output;

fn model(name: &str) -> PathBuf {
    fixtures().join("models").join(name)
}

/// `clipseg segment` of a fixture.
fn segment(model: &Path, out: &Path, arguments: &[&str]) -> Output {
    let photo = fixtures().join("images/wide.png");
    let mut all = vec![path(&photo), "--model", path(model), "--out", path(out)];
    all.extend(arguments);
    run_command("segment", &all)
}

#[test]
fn tiles_and_the_mirror_image_are_announced_and_change_the_masks() {
    let folder = tempfile::tempdir().unwrap();
    let model = model("clipseg-plain");
    let photos = folder.path().join("photos");
    std::fs::create_dir(&photos).unwrap();
    for name in ["wide.png", "tall.png"] {
        std::fs::copy(fixtures().join("images").join(name), photos.join(name)).unwrap();
    }
    let heats = |out: &str, arguments: &[&str]| {
        let out = folder.path().join(out);
        let mut all = vec![path(&photos), "--model", path(&model), "--out", path(&out)];
        all.extend(["--prompt", "the cup on the left", "--prompt", "a cat"]);
        all.extend(arguments);
        let output = run_command("segment", &all);
        assert!(output.status.success(), "{}", text(&output.stderr));
        assert_eq!(names(&out).len(), 10);
        let heat = std::fs::read(out.join("wide-2-a-cat-heat.png")).unwrap();
        (heat, text(&output.stderr))
    };
    let (plain, quiet) = heats("plain", &[]);
    assert!(!quiet.contains("views"), "{quiet}");
    let (tiled, told) = heats("tiled", &["--tiles", "2", "--flip"]);
    assert_ne!(plain, tiled);
    assert_eq!(
        told.matches("each photograph is seen in up to 6 views of up to 72x72 pixels, about ")
            .count(),
        1,
        "{told}"
    );
    let sides =
        "--flip: in the mirror image, `left` and `right` are exchanged in: the cup on the left\n";
    assert_eq!(told.matches(sides).count(), 1, "{told}");
    let (large, told) = heats("large", &["--size", "96", "--keep-aspect"]);
    assert_ne!(plain, large);
    assert!(told.contains("1 view of up to "), "{told}");
}

#[test]
fn a_clip_without_a_decoder_segments() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let sentences = folder.path().join("sentences.txt");
    std::fs::write(&sentences, "# two\na photo of a {}.\n{}\n").unwrap();
    let dense = ["--method", "dense", "--template-file", path(&sentences)];
    // A CLIPSeg contains a CLIP.
    for name in ["clip", "clipseg-plain"] {
        let prompts = ["--prompt", "cat|kitten", "--prompt", "a dog", "--labels"];
        let output = segment(&model(name), &out, &[&dense[..], &prompts].concat());
        assert!(output.status.success(), "{}", text(&output.stderr));
        let expected = [
            "wide-1-cat-kitten-heat.png",
            "wide-1-cat-kitten-mask.png",
            "wide-2-a-dog-heat.png",
            "wide-2-a-dog-mask.png",
            "wide-labels-colour.png",
            "wide-labels.png",
            "wide-overlay.png",
        ];
        assert_eq!(names(&out), expected);
    }
    let prompts = [
        "--prompt",
        "cat",
        "--background",
        "sky",
        "--background",
        "grass",
        "--json",
    ];
    let window = ["--window", "16", "--size", "40"];
    let arguments = [&dense[..], &prompts, &window].concat();
    let output = segment(&model("clip"), &out, &arguments);
    let line: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one line");
    assert_eq!(line["prompt"], "cat");
}

#[test]
fn options_without_effect_are_refused_before_the_model_loads() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let bad = folder.path().join("bad.txt");
    std::fs::write(&bad, "a {}\nno place\n").unwrap();
    let nowhere = Path::new("no/such/model");
    for (arguments, expected) in [
        (
            vec!["--prompt", "a", "--window", "32"],
            "--window has no effect",
        ),
        (
            vec!["--prompt", "a", "--background", "b"],
            "--background has no effect",
        ),
        (
            vec!["--prompt", "a", "--tiles", "1"],
            "expected an integer from 2 to 32",
        ),
        (
            vec!["--prompt", "a", "--tiles", "33"],
            "expected an integer from 2 to 32",
        ),
        (vec!["--prompt", "a", "--size", "0"], "0 is not in 1.."),
        (
            vec!["--prompt", "a", "--template-file", path(&bad)],
            "bad.txt: line 2: `no place` has no `{}`",
        ),
        (
            vec!["--prompt", "a", "--template-file", "none"],
            "--template-file: cannot read none",
        ),
        (
            vec!["--method", "dense", "--prompt", "a"],
            "add a background or a second class",
        ),
        (
            vec!["--method", "dense", "--prompt", "a", "--prompt", "b|"],
            "name 2 of the class `b|` is empty",
        ),
        (
            vec!["--method", "dense", "--prompt", "a", "--background", "A"],
            "`A` is given twice",
        ),
        (
            vec![
                "--method", "dense", "--prompt", "a", "--prompt", "b", "--tiles", "2",
            ],
            "--tiles has no effect",
        ),
        (
            vec![
                "--method", "dense", "--prompt", "a", "--prompt", "b", "--flip",
            ],
            "--flip has no effect",
        ),
        (
            vec![
                "--method",
                "dense",
                "--prompt",
                "a",
                "--prompt",
                "b",
                "--keep-aspect",
            ],
            "--keep-aspect has no effect",
        ),
        (
            vec![
                "--method",
                "dense",
                "--prompt",
                "a",
                "--prompt",
                "b",
                "--negative",
                "c",
            ],
            "--negative has no effect",
        ),
    ] {
        let output = segment(nowhere, &out, &arguments);
        let message = text(&output.stderr);
        assert!(
            !output.status.success() && message.contains(expected),
            "{message}"
        );
        assert!(!message.contains("no/such/model"), "{message}");
    }
    let photo = fixtures().join("images/wide.png");
    let visual = ["--method", "dense", "--visual-prompt", path(&photo)];
    let message = text(&segment(nowhere, &out, &visual).stderr);
    assert!(
        message.contains("--visual-prompt is not possible"),
        "{message}"
    );

    let plain = model("clipseg-plain");
    let output = segment(&plain, &out, &["--prompt", "a", "--size", "100"]);
    let message = text(&output.stderr);
    assert!(
        message.contains("--size 100: expected a multiple of the model's patch size 8"),
        "{message}"
    );
    let dense = ["--method", "dense", "--prompt", "a", "--prompt", "b"];
    for (size, expected) in [
        (
            "--window=20",
            "--window is 20, expected a multiple of the patch size 8",
        ),
        (
            "--size=24",
            "--size is 24, expected at least the window's side of 32",
        ),
    ] {
        let output = segment(&model("clip"), &out, &[&dense[..], &[size]].concat());
        let message = text(&output.stderr);
        assert!(message.contains(expected), "{message}");
    }
    let output = segment(&plain, &out, &["--prompt", "a", "--size", "80000"]);
    let message = text(&output.stderr);
    assert!(message.contains("expected at most 4 GiB"), "{message}");
}

#[test]
fn evaluation_looks_by_the_same_options() {
    let folder = tempfile::tempdir().unwrap();
    let data = shipped().join("phrasecut/VGPhraseCut_v0");
    let scored = |name: &str, arguments: &[&str]| {
        let json = folder.path().join(name);
        let mut all = vec![
            "--data",
            path(&data),
            "--split",
            "val",
            "--json",
            path(&json),
        ];
        all.extend(arguments);
        let output = run_command("eval", &all);
        assert!(output.status.success(), "{}", text(&output.stderr));
        let report = std::fs::read_to_string(&json).unwrap();
        let report: serde_json::Value = serde_json::from_str(&report).unwrap();
        (report["look"].clone(), text(&output.stdout))
    };
    let (plain, clip) = (model("clipseg-plain"), model("clip"));
    let by_decoder = ["--model", path(&plain), "--threshold", "0.5"];
    let (look, whole) = scored("whole.json", &by_decoder);
    assert!(look.is_null());
    let (look, tiled) = scored("tiled.json", &[&by_decoder[..], &["--tiles", "2"]].concat());
    assert_eq!(
        (&look["method"], &look["tiles"]),
        (&"clipseg".into(), &2.into())
    );
    assert_ne!(whole, tiled);
    let dense = [
        "--model",
        path(&clip),
        "--method",
        "dense",
        "--background",
        "sky",
    ];
    let (look, figures) = scored("dense.json", &dense);
    assert_eq!(look["background"], serde_json::json!(["sky"]));
    assert!(figures.contains("chosen on val"), "{figures}");

    let refused = |arguments: &[&str]| {
        let mut all = vec!["--data", path(&data), "--split", "val"];
        all.extend(arguments);
        let output = run_command("eval", &all);
        assert!(!output.status.success());
        text(&output.stderr)
    };
    for (arguments, expected) in [
        (
            vec!["--model", "x", "--method", "dense"],
            "--method dense needs --background",
        ),
        (
            vec!["--predictions", "x", "--tiles", "2"],
            "--tiles has no effect without --model",
        ),
        (
            vec!["--model", "x", "--template-file", "y"],
            "--template-file has no effect: only --method dense uses it",
        ),
        (
            vec!["--model", "x", "--window", "32"],
            "--window has no effect",
        ),
        (
            vec!["--model", "x", "--protocol", "clipseg", "--flip"],
            "--flip is not possible: --protocol clipseg",
        ),
    ] {
        let message = refused(&arguments);
        assert!(message.contains(expected), "{message}");
    }
}
