//! The options of `clipseg segment` for objects, combinations and the formats of other tools, run as a user runs them.

use crate::running::stderr;
use crate::support::fixtures;
use clipseg::data::{CocoDataset, CocoRle, CocoSegmentation, Mask, load_rgb};
use clipseg::model::{MaskExpression, Segmenter, SoftMask};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const PROMPTS: [&str; 2] = ["a cat", "a dog"];
const THRESHOLD: f32 = 0.5;

/// `clipseg segment` with the tiny checkpoint on a folder with two photographs.
fn segment(folder: &Path, arguments: &[&str]) -> Output {
    segment_by(
        &fixtures().join("models/clipseg-refined"),
        folder,
        arguments,
    )
}

/// The same with another checkpoint.
fn segment_by(model: &Path, folder: &Path, arguments: &[&str]) -> Output {
    let photos = folder.join("photos");
    std::fs::create_dir_all(&photos).unwrap();
    for name in PHOTOS {
        std::fs::copy(fixtures().join("images").join(name), photos.join(name)).unwrap();
    }
    Command::new(env!("CARGO_BIN_EXE_clipseg"))
        .args(["segment", "--prompt", PROMPTS[0], "--prompt", PROMPTS[1]])
        .args(["--threshold", "0.5", "--model"])
        .arg(model)
        .arg("--out")
        .arg(folder.join("out"))
        .arg(&photos)
        .args(arguments)
        .output()
        .expect("the program starts")
}

const PHOTOS: [&str; 2] = ["tall.png", "wide.png"];

/// Runs the program and returns its lines of JSON.
fn lines(folder: &Path, arguments: &[&str]) -> Vec<Value> {
    let output = segment(folder, arguments);
    assert!(output.status.success(), "{}", stderr(&output));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// The soft masks that the library computes: for each photograph those of both prompts.
fn soft() -> Vec<Vec<SoftMask>> {
    let folder = fixtures().join("models/clipseg-refined");
    let device = clipseg::device("cpu").unwrap();
    let segmenter = Segmenter::from_pretrained(&folder, &device).unwrap();
    let of = |name: &&str| {
        let photo = load_rgb(&fixtures().join("images").join(name)).unwrap();
        let encoded = segmenter.encode_image(&photo).unwrap();
        segmenter.segment(&encoded, &PROMPTS).unwrap()
    };
    PHOTOS.iter().map(of).collect()
}

fn rle(json: &Value) -> Mask {
    serde_json::from_value::<CocoRle>(json.clone())
        .unwrap()
        .to_mask()
}

fn picture(path: PathBuf) -> Mask {
    Mask::from(&image::open(path).unwrap().into_luma8())
}

#[test]
fn json_has_run_lengths_and_objects() {
    let folder = tempfile::tempdir().unwrap();
    let lines = lines(folder.path(), &["--json", "--instances"]);
    let soft: Vec<SoftMask> = soft().into_iter().flatten().collect();
    assert_eq!(lines.len(), 4);
    for (line, soft) in lines.iter().zip(&soft) {
        let mask = soft.threshold(THRESHOLD);
        assert_eq!(rle(&line["rle"]), mask);
        assert_eq!(line["score"].as_f64(), soft.mean_inside(&mask).unwrap());
        let parts = soft.instances(&mask).unwrap();
        let found = line["instances"].as_array().unwrap();
        assert_eq!(found.len(), parts.len());
        let mut union = Mask::new(mask.width(), mask.height());
        for (found, part) in found.iter().zip(&parts) {
            assert_eq!(found["area"], part.area);
            assert_eq!(found["score"].as_f64(), Some(part.score));
            let pixels = rle(&found["rle"]);
            assert_eq!(pixels.crop(part.bounding_box), part.shape);
            union = union.union(&pixels).unwrap();
        }
        assert_eq!(union, mask);
    }
}

#[test]
fn one_coco_file_has_all_photographs_and_prompts() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("coco.json");
    let file = path.to_str().unwrap();
    let soft = soft();
    for form in ["rle", "polygons"] {
        for instances in [false, true] {
            let mut arguments = vec!["--coco", file, "--coco-masks", form, "--overwrite"];
            arguments.extend(instances.then_some("--instances"));
            let output = segment(folder.path(), &arguments);
            assert!(output.status.success(), "{}", stderr(&output));
            let coco = CocoDataset::open(&path).unwrap();
            let names: Vec<&str> = coco
                .images
                .iter()
                .map(|image| image.file_name.as_str())
                .collect();
            assert_eq!(names, PHOTOS);
            let names: Vec<&str> = coco
                .categories
                .iter()
                .map(|one| one.name.as_str())
                .collect();
            assert_eq!(names, PROMPTS);
            let report = format!(
                "coco.json: {} annotations of 2 photographs",
                coco.annotations.len()
            );
            assert!(stderr(&output).contains(&report), "{}", stderr(&output));
            let mut annotations = coco.annotations.iter();
            for (image, soft) in coco.images.iter().zip(&soft) {
                for (category, soft) in coco.categories.iter().zip(soft) {
                    let mask = soft.threshold(THRESHOLD);
                    let expected: Vec<(Mask, f64)> = if instances {
                        let parts = soft.instances(&mask).unwrap();
                        let place = |part: &clipseg::data::Instance| {
                            let at = [part.bounding_box.x, part.bounding_box.y];
                            let size = [mask.width(), mask.height()];
                            CocoRle::of_part(&part.shape, at, size).unwrap().to_mask()
                        };
                        parts.iter().map(|part| (place(part), part.score)).collect()
                    } else {
                        let score = soft.mean_inside(&mask).unwrap();
                        score.map(|score| (mask, score)).into_iter().collect()
                    };
                    for (mask, score) in expected {
                        let found = annotations.next().unwrap();
                        assert_eq!((found.image_id, found.category_id), (image.id, category.id));
                        assert_eq!(found.score, Some(score));
                        assert_eq!(found.area, mask.area() as f64);
                        let is_rle = matches!(found.segmentation, CocoSegmentation::Rle(_));
                        assert_eq!(is_rle, form == "rle");
                        let decoded = found.segmentation.to_mask(image.width, image.height);
                        assert_eq!(decoded.unwrap(), mask);
                    }
                }
            }
            assert_eq!(annotations.next(), None);
        }
    }
    // Without --overwrite, an existing file is kept.
    std::fs::write(&path, "theirs").unwrap();
    let output = segment(folder.path(), &["--coco", file]);
    assert!(
        stderr(&output).contains("coco.json: exists"),
        "{}",
        stderr(&output)
    );
    assert_eq!(std::fs::read(&path).unwrap(), b"theirs");
}

#[test]
fn yolo_labels_are_polygons_of_the_masks() {
    let folder = tempfile::tempdir().unwrap();
    let yolo = folder.path().join("yolo");
    let output = segment(folder.path(), &["--yolo", yolo.to_str().unwrap()]);
    assert!(output.status.success(), "{}", stderr(&output));
    let classes = std::fs::read_to_string(yolo.join("classes.txt")).unwrap();
    assert_eq!(classes, "a cat\na dog\n");
    for (name, soft) in ["tall", "wide"].iter().zip(soft()) {
        let text =
            std::fs::read_to_string(yolo.join("labels").join(format!("{name}.txt"))).unwrap();
        let masks: Vec<Mask> = soft.iter().map(|soft| soft.threshold(THRESHOLD)).collect();
        let (width, height) = (masks[0].width(), masks[0].height());
        let mut found = vec![Vec::new(); masks.len()];
        for line in text.lines() {
            let mut numbers = line.split(' ');
            let class: usize = numbers.next().unwrap().parse().unwrap();
            let corners = numbers.zip([width, height].into_iter().cycle());
            let corners = corners
                .map(|(text, side)| (text.parse::<f64>().unwrap() * f64::from(side)).round());
            found[class].push(corners.collect::<Vec<f64>>());
        }
        for (polygons, mask) in found.into_iter().zip(masks) {
            let polygons = CocoSegmentation::Polygons(polygons);
            assert_eq!(polygons.to_mask(width, height).unwrap(), mask);
        }
    }
    // The labels of another program are not replaced.
    let output = segment(folder.path(), &["--yolo", yolo.to_str().unwrap()]);
    assert!(
        stderr(&output).contains("tall.txt: exists"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn probabilities_are_written_exactly() {
    let folder = tempfile::tempdir().unwrap();
    let soft = soft();
    let lines = lines(folder.path(), &["--probabilities", "npy", "--json"]);
    let file = lines[1]["probabilities"].as_str().unwrap();
    assert!(file.ends_with("tall-2-a-dog-probabilities.npy"), "{file}");
    let bytes = std::fs::read(file).unwrap();
    let numbers = bytes[bytes.len() - 4 * soft[0][1].probabilities().len()..]
        .as_chunks::<4>()
        .0;
    let numbers: Vec<f32> = numbers
        .iter()
        .map(|bytes| f32::from_le_bytes(*bytes))
        .collect();
    assert_eq!(numbers, soft[0][1].probabilities());

    let output = segment(folder.path(), &["--probabilities", "png16"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let file = folder.path().join("out/wide-1-a-cat-probabilities.png");
    let image::DynamicImage::ImageLuma16(grey) = image::open(file).unwrap() else {
        panic!("expected a grey picture with 16 bits")
    };
    assert_eq!(grey, soft[1][0].to_gray16_image());
}

#[test]
fn combinations_are_written_like_prompts() {
    let folder = tempfile::tempdir().unwrap();
    let coco = folder.path().join("coco.json");
    let arguments = [
        "--combine",
        "1&!2",
        "--combine",
        "!(1 | 2)",
        "--cutout",
        "--json",
        "--coco",
        coco.to_str().unwrap(),
    ];
    let lines = lines(folder.path(), &arguments);
    assert_eq!(lines.len(), 8);
    let soft = soft();
    for (photo, soft) in soft.iter().enumerate() {
        let masks: Vec<Mask> = soft.iter().map(|soft| soft.threshold(THRESHOLD)).collect();
        for (index, (text, slug)) in [("1 & !2", "c1-1-and-not-2"), ("!(1 | 2)", "c2-not-1-or-2")]
            .into_iter()
            .enumerate()
        {
            let expression: MaskExpression = text.parse().unwrap();
            let mask = expression.combine(&masks).unwrap();
            let line = &lines[4 * photo + 2 + index];
            assert_eq!(line["prompt"], text);
            assert_eq!(rle(&line["rle"]), mask);
            let combined = expression.combine_soft(soft).unwrap();
            assert_eq!(line["score"].as_f64(), combined.mean_inside(&mask).unwrap());
            let name = ["tall", "wide"][photo];
            let out = folder.path().join("out");
            assert_eq!(picture(out.join(format!("{name}-{slug}-mask.png"))), mask);
            assert!(out.join(format!("{name}-{slug}-cutout.png")).is_file());
        }
    }
    let coco = CocoDataset::open(&coco).unwrap();
    let names: Vec<&str> = coco
        .categories
        .iter()
        .map(|one| one.name.as_str())
        .collect();
    assert_eq!(names, ["a cat", "a dog", "1 & !2", "!(1 | 2)"]);
}

#[test]
fn tables_list_objects() {
    let folder = tempfile::tempdir().unwrap();
    let output = segment(folder.path(), &["--instances"]);
    let text = String::from_utf8(output.stdout).unwrap();
    let largest = soft()[0][0]
        .instances(&soft()[0][0].threshold(THRESHOLD))
        .unwrap();
    let line = format!(
        "    1: score {:.3}, {} pixels",
        largest[0].score, largest[0].area
    );
    assert!(text.contains(&line), "{line}: {text}");
}

#[test]
fn invalid_values_are_refused_before_the_model_is_loaded() {
    let folder = tempfile::tempdir().unwrap();
    for (arguments, expected) in [
        (
            &["--combine", "1 &"][..],
            "the expression `1 &`, column 4: expected the number",
        ),
        (
            &["--combine", "1 & 3"],
            "--combine: the expression `1 & 3`, column 5: there is no prompt 3",
        ),
        (
            &["--combine", "1&2", "--combine", "1 & (2)"],
            "--combine `1 & 2` is given twice",
        ),
        (&["--probabilities", "jpg"], "[possible values: png16, npy]"),
        (&["--coco-masks", "rle"], "--coco <FILE>"),
        (
            &["--coco", "no/such/folder/coco.json"],
            "cannot write into no/such/folder",
        ),
    ] {
        let output = segment_by(Path::new("./no/such/model"), folder.path(), arguments);
        let message = stderr(&output);
        assert!(
            !output.status.success() && message.contains(expected),
            "{arguments:?}: {message}"
        );
        let masks = std::fs::read_dir(folder.path().join("out")).map_or(0, Iterator::count);
        assert_eq!(masks, 0, "{arguments:?}");
    }
}

#[test]
fn results_do_not_replace_inputs_or_each_other() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("out")).unwrap();
    let photo = folder.path().join("photos/tall.png");
    let overlay = folder.path().join("out/tall-overlay.png");
    for (file, expected) in [
        (&photo, "would replace an input picture"),
        (&overlay, "would replace another result"),
    ] {
        let arguments = ["--overwrite", "--coco", file.to_str().unwrap()];
        let output = segment(folder.path(), &arguments);
        assert!(stderr(&output).contains(expected), "{}", stderr(&output));
        assert!(!overlay.exists());
    }
}

#[test]
fn the_threshold_of_the_model_is_the_default() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("model");
    let source = fixtures().join("models/clipseg-refined");
    let device = clipseg::device("cpu").unwrap();
    let segmenter = Segmenter::from_pretrained(&source, &device).unwrap();
    segmenter
        .with_threshold(0.48)
        .unwrap()
        .save_pretrained(&model)
        .unwrap();
    let soft = &soft()[1][0];
    for (model, arguments, threshold) in [
        (&source, &[][..], 0.3),
        (&model, &[], 0.48),
        (&model, &["--threshold", "0.52"], 0.52),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_clipseg"))
            .args(["segment", "--prompt", PROMPTS[0], "--json", "--model"])
            .arg(model)
            .arg(fixtures().join("images/wide.png"))
            .arg("--out")
            .arg(folder.path().join("out"))
            .args(arguments)
            .output()
            .expect("the program starts");
        assert!(output.status.success(), "{}", stderr(&output));
        let line: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(rle(&line["rle"]), soft.threshold(threshold), "{threshold}");
    }
}
