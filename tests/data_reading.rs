//! Reading data sets from folders: contents, problems, and how problems are reported.

use crate::support::{fixtures, shipped};
use clipseg::data::{
    PhraseCut, PhraseCutDataset, ProblemKind, Report, SampleOptions, SheetOptions, Split, check,
    check_splits, contact_sheet, list_pictures,
};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

fn phrasecut() -> std::path::PathBuf {
    fixtures().join("phrasecut/VGPhraseCut_v0")
}

fn quiet(data: &PhraseCut) -> Report {
    check(data, &|_, _| ())
}

/// A data set of a few 8×6 pictures, all of which exist at first.
fn folder(images: &str, phrases: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("image_data_split.json", images);
    for (name, text) in phrases {
        write(name, text);
    }
    let pictures = folder.path().join("images");
    std::fs::create_dir(&pictures).unwrap();
    for image in list_pictures(folder.path()).unwrap_or_default() {
        let picture = image::RgbImage::from_pixel(8, 6, image::Rgb([90, 20, 30]));
        let path = pictures.join(format!("{}.jpg", image.image_id));
        picture.save(path).unwrap();
    }
    folder
}

fn image(id: u32, split: &str) -> String {
    format!(r#"{{"image_id": {id}, "width": 8, "height": 6, "split": "{split}"}}"#)
}

fn phrase(task: &str, image: u32, polygons: &str) -> String {
    format!(
        r#"{{"task_id": "{task}", "image_id": {image}, "phrase": "cat", "Polygons": {polygons}}}"#
    )
}

fn list(elements: &[String]) -> String {
    format!("[{}]", elements.join(",\n"))
}

const SQUARE: &str = "[[[[1, 1], [5, 1], [5, 4]]]]";

#[test]
fn what_is_odd_about_the_published_data_does_not_make_it_unusable() {
    let data = PhraseCut::open(&phrasecut()).unwrap();
    let report = quiet(&data);
    assert_eq!(report.unusable(), 0);
    let mut counts = BTreeMap::<ProblemKind, usize>::new();
    for problem in report.problems() {
        *counts.entry(problem.kind).or_default() += 1;
    }
    // Each fixture folder has one picture of another size, the third of `train`, and single-point polygons
    // in some phrases.
    assert_eq!(counts.get(&ProblemKind::OtherSize), Some(&1), "{counts:?}");
    assert!(counts[&ProblemKind::ShortPolygon] > 3, "{counts:?}");
    assert_eq!(counts.len(), 2, "{counts:?}");
    for line in report.splits() {
        assert_eq!(line.phrases, data.phrases(line.split).len());
        assert!(data.left_out(line.split).is_empty());
        assert!(line.pictures > 0 && data.has_truth(line.split));
    }
}

#[test]
fn problems_are_told_as_they_are() {
    let report = quiet(&PhraseCut::open(&shipped().join("phrasecut/VGPhraseCut_v0")).unwrap());
    let messages: Vec<String> = report.problems().iter().map(ToString::to_string).collect();
    let expected = "phrase `2300042__4000001`: polygon 2 has 1 of the required 2 points";
    assert_eq!(messages[0], expected);
    let expected = "recorded as 179x130, the file has 172x130";
    assert_eq!(
        messages.last().unwrap(),
        &format!("picture 2300110: {expected}")
    );
}

#[test]
fn any_splits_are_read_alone() {
    let all = PhraseCut::open(&phrasecut()).unwrap();
    let copy = tempfile::tempdir().unwrap();
    let copied = |name: &str| std::fs::copy(phrasecut().join(name), copy.path().join(name));
    copied("refer_val.json").unwrap();
    copied("refer_input_test.json").unwrap();
    // The picture list's other name.
    let list = copy.path().join("image_data_split.json");
    std::fs::copy(phrasecut().join("image_data_split3000.json"), list).unwrap();
    // A validation run must not read this.
    std::fs::write(copy.path().join("refer_train.json"), "not JSON").unwrap();

    let val = PhraseCut::open_splits(copy.path(), &[Split::Val, Split::Val]).unwrap();
    assert_eq!(val.phrases(Split::Val), all.phrases(Split::Val));
    assert!(val.phrases(Split::Train).is_empty());
    assert_eq!(val.splits().collect::<Vec<_>>(), [Split::Val]);

    // Without ground truth, the phrases are still read.
    let test = PhraseCut::open_splits(copy.path(), &[Split::Test]).unwrap();
    assert!(!test.has_truth(Split::Test) && test.problems().is_empty());
    let words = |data: &PhraseCut| -> Vec<_> {
        let phrases = data.phrases(Split::Test).iter();
        phrases
            .map(|phrase| (phrase.task_id.clone(), phrase.phrase.clone()))
            .collect()
    };
    assert_eq!(words(&test), words(&all));
    let mut pieces = test.phrases(Split::Test).iter();
    assert!(pieces.all(|phrase| phrase.polygons.instances() == 0));
    let inputs = PhraseCut::open_inputs(&phrasecut(), &Split::ALL).unwrap();
    assert_eq!(words(&inputs), words(&all));
    assert!(inputs.splits().all(|split| !inputs.has_truth(split)));

    let missing = |result: Result<PhraseCut, _>| match result {
        Ok(_) => panic!("it was read"),
        Err(error) => clipseg::data::DataError::to_string(&error),
    };
    let message = missing(PhraseCut::open_splits(copy.path(), &[Split::Miniv]));
    let ending = "it contains none of refer_miniv.json, refer_input_miniv.json";
    assert!(message.ends_with(ending), "{message}");
    let message = missing(PhraseCut::open_inputs(copy.path(), &[Split::Val]));
    assert!(
        message.ends_with("it contains none of refer_input_val.json"),
        "{message}"
    );
    let message = missing(PhraseCut::open(copy.path()));
    assert!(
        message.contains("refer_train.json: byte 0: expected a list"),
        "{message}"
    );
}

#[test]
fn the_pictures_of_the_wanted_splits_are_looked_at() {
    let images = list(&[
        image(1, "train"),
        image(2, "val"),
        image(3, "miniv"),
        image(4, "test"),
    ]);
    let splits = ["train", "val", "miniv", "test"].map(|name| format!("refer_{name}.json"));
    let phrases = [1, 2, 3, 4].map(|id| list(&[phrase(&format!("t{id}"), id, SQUARE)]));
    let files: Vec<(&str, &str)> = splits
        .iter()
        .zip(&phrases)
        .map(|(name, text)| (name.as_str(), text.as_str()))
        .collect();
    let folder = folder(&images, &files);
    let path = |id: u32| folder.path().join(format!("images/{id}.jpg"));
    std::fs::write(path(1), "").unwrap();
    std::fs::remove_file(path(3)).unwrap();
    let mut data = PhraseCut::open(folder.path()).unwrap();
    let of = |splits: &[Split]| -> Vec<(u64, ProblemKind)> {
        let report = check_splits(&data, splits, &|_, all| assert!(all <= 3));
        let broken = report.broken_pictures();
        broken
            .map(|problem| (problem.image_id, problem.kind))
            .collect()
    };
    assert_eq!(of(&[Split::Train]), [(1, ProblemKind::UnreadablePicture)]);
    assert_eq!(of(&[Split::Val, Split::Test]), []);
    assert_eq!(of(&[Split::ValMiniv]), [(3, ProblemKind::MissingPicture)]);

    let report = check_splits(&data, &[Split::Train, Split::ValMiniv], &|_, _| ());
    data.leave_out_unusable(&report);
    let tasks = |split| -> Vec<&str> {
        let phrases = data.phrases(split).iter();
        phrases.map(|phrase| phrase.task_id.as_str()).collect()
    };
    assert_eq!(tasks(Split::Train), <[&str; 0]>::default());
    assert_eq!(tasks(Split::Val), ["t2"]);
    assert_eq!(tasks(Split::Miniv), <[&str; 0]>::default());
    assert_eq!(tasks(Split::ValMiniv), ["t2"]);
    assert_eq!(tasks(Split::Test), ["t4"]);
    assert_eq!(
        data.left_out(Split::ValMiniv).to_string(),
        "val_miniv: 1 of 2 phrases is left out: 1 of 1 broken or missing picture"
    );
}

#[test]
fn val_and_miniv_are_one_split_too() {
    let all = PhraseCut::open(&phrasecut()).unwrap();
    let both = [all.phrases(Split::Val), all.phrases(Split::Miniv)].concat();
    assert_eq!(all.phrases(Split::ValMiniv), both);
    let two = PhraseCut::open_splits(&phrasecut(), &[Split::ValMiniv]).unwrap();
    assert_eq!(two.phrases(Split::ValMiniv), both);
    assert_eq!(two.splits().collect::<Vec<_>>(), [Split::Val, Split::Miniv]);
    // One of the two splits alone is not enough.
    let miniv = PhraseCut::open_splits(&phrasecut(), &[Split::Miniv]).unwrap();
    assert!(miniv.phrases(Split::ValMiniv).is_empty());
    assert_eq!(miniv.phrases(Split::Miniv), all.phrases(Split::Miniv));
    assert!(miniv.has_truth(Split::Miniv) && !miniv.has_truth(Split::ValMiniv));

    for split in Split::ALL.into_iter().chain([Split::ValMiniv]) {
        assert_eq!(split.name().parse::<Split>().unwrap(), split);
        let json = serde_json::to_string(&split).unwrap();
        assert_eq!(json, format!("\"{split}\""));
        assert_eq!(serde_json::from_str::<Split>(&json).unwrap(), split);
    }
    let error = "dev".parse::<Split>().unwrap_err().to_string();
    let expected = "unknown split `dev`, expected one of train, val, test, miniv, val_miniv";
    assert_eq!(error, expected);

    let folder = folder(&list(&[image(1, "val_miniv")]), &[("refer_val.json", "[]")]);
    let error = PhraseCut::open(folder.path()).unwrap_err().to_string();
    let expected = "`val_miniv` combines two splits, expected one of train, val, test, miniv";
    assert!(error.ends_with(expected), "{error}");
}

#[test]
fn without_polygons_there_is_nothing_to_train_on_or_to_score_by() {
    let copy = tempfile::tempdir().unwrap();
    for name in ["image_data_split3000.json", "refer_input_test.json"] {
        std::fs::copy(phrasecut().join(name), copy.path().join(name)).unwrap();
    }
    let data = PhraseCut::open(copy.path()).unwrap();
    assert!(!data.phrases(Split::Test).is_empty());
    let message = |data: &PhraseCut| {
        let phrase = &data.phrases(Split::Test)[0];
        let errors = [
            data.mask(phrase).unwrap_err(),
            data.require_truth(Split::Test).unwrap_err(),
            PhraseCutDataset::new(
                Arc::new(data.clone()),
                Split::Test,
                SampleOptions::new(8, 8),
            )
            .unwrap_err(),
            contact_sheet(data, Split::Test, &SheetOptions::default()).unwrap_err(),
        ];
        let messages = errors.map(|error| error.to_string());
        assert!(
            messages.iter().all(|message| *message == messages[0]),
            "{messages:?}"
        );
        messages[0].clone()
    };
    let folder = copy.path().display();
    assert_eq!(
        message(&data),
        format!(
            "{folder}/refer_input_test.json has phrases without polygons, so there are no masks to \
             train on or to score against; the polygons are in {folder}/refer_test.json, which \
             does not exist"
        )
    );
    let inputs = PhraseCut::open_inputs(&phrasecut(), &[Split::Test]).unwrap();
    let message = message(&inputs);
    assert!(
        message.ends_with("refer_test.json, which was not read"),
        "{message}"
    );
    let missing = data.require_truth(Split::Train).unwrap_err().to_string();
    assert!(
        missing.ends_with("it contains none of refer_train.json"),
        "{missing}"
    );
}

#[test]
fn broken_data_sets_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let message = || PhraseCut::open(folder.path()).unwrap_err().to_string();
    assert!(
        message().contains("it contains none of image_data_split3000.json, image_data_split.json"),
        "{}",
        message()
    );
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("refer_train.json", &list(&[phrase("1__1", 1, SQUARE)]));
    write(
        "image_data_split.json",
        "[{\"image_id\": 1, \"width\": 4, \"height\": 4}]",
    );
    assert!(
        message().ends_with("image_data_split.json: byte 40, field `[0]`: missing field `split`"),
        "{}",
        message()
    );
    write("image_data_split.json", &list(&[image(1, "train")]));
    std::fs::remove_file(folder.path().join("refer_train.json")).unwrap();
    let expected = "refer_train.json, refer_val.json, refer_test.json, refer_miniv.json";
    assert!(message().ends_with(expected), "{}", message());
    write("refer_train.json", "[{\"task_id\"");
    assert!(
        message().ends_with("refer_train.json: byte 10, field `[0]`: EOF while parsing an object"),
        "{}",
        message()
    );
}

#[test]
fn what_cannot_be_used_is_left_out_and_counted() {
    let images = list(&[
        image(1, "train"),
        image(2, "val"),
        image(1, "test"),
        r#"{"image_id": 3, "width": 4294967295, "height": 4294967295, "split": "train"}"#.into(),
        r#"{"image_id": 4, "width": 0, "height": 6, "split": "train"}"#.into(),
    ]);
    let train = list(&[
        phrase("good", 1, SQUARE),
        phrase("nowhere", 9, SQUARE),
        phrase("good", 1, "[[[[2, 2], [3, 3]]]]"),
        phrase("other", 2, SQUARE),
        phrase(
            "odd",
            1,
            "[[[[1, 1]], [[1, 1], [5, 1], [5, 4]]], [[[9, 2], [12, 5]]]]",
        ),
        phrase("far", 1, "[[[[1e300, 1], [5, 1]], [[1, 2], [3, 4]]]]"),
        phrase("none", 1, "[]"),
        phrase(
            "outside",
            1,
            "[[[[-3, 1], [-1, 4]]], [[]], [[[1, 6.0], [3, 8]]]]",
        ),
        phrase("edge", 1, "[[[[-0.9, 5.9], [-0.5, 5.5]]]]"),
        phrase("huge", 3, SQUARE),
        phrase("empty", 4, SQUARE),
    ]);
    let val = list(&[phrase("good", 2, SQUARE)]);
    let folder = folder(
        &images,
        &[("refer_train.json", &train), ("refer_val.json", &val)],
    );
    let data = PhraseCut::open(folder.path()).unwrap();

    let tasks = |split| -> Vec<&str> {
        let phrases = data.phrases(split).iter();
        phrases.map(|phrase| phrase.task_id.as_str()).collect()
    };
    assert_eq!(tasks(Split::Train), ["good", "other", "odd", "far", "edge"]);
    assert_eq!(data.phrases(Split::Train)[0].polygons.iter().count(), 1);
    assert_eq!(tasks(Split::Val), ["good"]);
    assert_eq!(
        (
            data.left_out(Split::Train).phrases(),
            data.left_out(Split::Val).phrases()
        ),
        (6, 0)
    );
    for phrase in data.phrases(Split::Train) {
        assert!(data.mask(phrase).unwrap().area() > 0, "{}", phrase.task_id);
    }

    let found: Vec<String> = data.problems().iter().map(ToString::to_string).collect();
    let expected = [
        "picture 1: it is listed again",
        "phrase `nowhere`: picture 9 is not in the picture list",
        "phrase `good`: an earlier phrase has the same task id",
        "phrase `other`: its picture is listed in the split `val`",
        "phrase `odd`: polygon 1 has 1 of the required 2 points",
        "phrase `odd`: polygon 3 lies outside its picture of 8x6",
        "phrase `far`: polygon 1 has a coordinate beyond 3.4028235e38",
        "phrase `none`: none of 0 polygons can be drawn",
        "phrase `outside`: polygon 1 lies outside its picture of 8x6",
        "phrase `outside`: polygon 2 has 0 of the required 2 points",
        "phrase `outside`: polygon 3 lies outside its picture of 8x6",
        "phrase `outside`: none of 3 polygons can be drawn",
        "phrase `huge`: its picture is recorded as 4294967295x4294967295, an impossible size",
        "phrase `empty`: its picture is recorded as 0x6, an impossible size",
        "phrase `empty`: polygon 1 lies outside its picture of 0x6",
        "phrase `empty`: none of 1 polygons can be drawn",
    ];
    assert_eq!(found, expected);

    let report = quiet(&data);
    assert_eq!(report.unusable(), 6);
    assert_eq!(report.problems(), data.problems());
    assert_eq!(report.count(ProblemKind::OutsidePolygon, Split::Train), 4);
    assert_eq!(report.count(ProblemKind::OutsidePolygon, Split::Val), 0);
    let [train, val] = report.splits() else {
        panic!("{report:?}");
    };
    assert_eq!((train.pictures, train.phrases, train.unusable), (2, 11, 6));
    assert_eq!((val.pictures, val.phrases, val.unusable), (1, 1, 0));
}

#[test]
fn a_mask_that_cannot_be_drawn_is_an_error() {
    let images = list(&[
        r#"{"image_id": 3, "width": 4294967295, "height": 4294967295, "split": "train"}"#.into(),
    ]);
    let folder = folder(&images, &[("refer_train.json", "[]")]);
    let data = PhraseCut::open(folder.path()).unwrap();
    let message = |image: u32| {
        let phrase = serde_json::from_str(&phrase("task", image, SQUARE)).unwrap();
        data.mask(&phrase).unwrap_err().to_string()
    };
    assert_eq!(
        message(9),
        "phrase `task`: picture 9 is not in the picture list"
    );
    assert!(message(3).contains("a picture of 4294967295x4294967295 is too large"));
}

#[test]
fn pictures_are_looked_at() {
    let images = list(&(1..=6).map(|id| image(id, "test")).collect::<Vec<_>>());
    let phrases = [
        (1, "a"),
        (1, "b"),
        (2, "c"),
        (3, "d"),
        (4, "e"),
        (4, "f"),
        (5, "g"),
    ];
    let phrases = phrases.map(|(image, task)| phrase(task, image, SQUARE));
    let folder = folder(&images, &[("refer_test.json", &list(&phrases))]);
    let path = |id: u32| folder.path().join(format!("images/{id}.jpg"));
    std::fs::remove_file(path(1)).unwrap();
    std::fs::write(path(2), "<html>Sign in</html>").unwrap();
    let whole = std::fs::read(path(3)).unwrap();
    std::fs::write(path(3), &whole[..whole.len() - 3]).unwrap();
    // A picture that lacks only its end marker is complete.
    let whole = std::fs::read(path(5)).unwrap();
    std::fs::write(path(5), &whole[..whole.len() - 2]).unwrap();
    image::RgbImage::new(7, 6).save(path(4)).unwrap();
    // The sixth picture is not used.
    std::fs::remove_file(path(6)).unwrap();

    let mut data = PhraseCut::open(folder.path()).unwrap();
    assert!(data.problems().is_empty());
    let (calls, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let report = check(&data, &|done, all| {
        assert_eq!(all, 5);
        calls.fetch_add(1, Ordering::Relaxed);
        most.fetch_max(done, Ordering::Relaxed);
    });
    assert_eq!((calls.into_inner(), most.into_inner()), (5, 5));
    let kinds: Vec<(u64, ProblemKind)> = report
        .problems()
        .iter()
        .map(|problem| (problem.image_id, problem.kind))
        .collect();
    let expected = [
        (1, ProblemKind::MissingPicture),
        (2, ProblemKind::UnreadablePicture),
        (3, ProblemKind::CutOffPicture),
        (4, ProblemKind::OtherSize),
    ];
    assert_eq!(kinds, expected);
    assert_eq!(report.unusable(), 4);
    for (problem, expected) in report.problems().iter().zip([
        "picture 1: cannot read ",
        "2.jpg: not a readable picture",
        "3.jpg: the picture file is truncated",
        "picture 4: recorded as 8x6, the file has 7x6",
    ]) {
        assert!(problem.to_string().contains(expected), "{problem}");
    }

    let refused = report.require_pictures().unwrap_err().to_string();
    let lines: Vec<&str> = refused.lines().collect();
    assert_eq!(lines.len(), 4, "{refused}");
    assert_eq!(lines[0], "3 pictures of phrases are missing or broken:");
    assert!(
        lines[1].starts_with("  picture 1: cannot read "),
        "{refused}"
    );

    data.leave_out_unusable(&report);
    quiet(&data).require_pictures().unwrap();
    let left_out = data.left_out(Split::Test);
    assert_eq!(
        left_out.to_string(),
        "test: 4 of 7 phrases are left out: 4 of 3 broken or missing pictures"
    );
    let unusable: Vec<(&str, ProblemKind)> = data
        .unusable(Split::Test)
        .map(|(phrase, kind)| (phrase.task_id.as_str(), kind))
        .collect();
    let expected = [
        ("a", ProblemKind::MissingPicture),
        ("b", ProblemKind::MissingPicture),
        ("c", ProblemKind::UnreadablePicture),
        ("d", ProblemKind::CutOffPicture),
    ];
    assert_eq!(unusable, expected);
    let left: Vec<&str> = data
        .phrases(Split::Test)
        .iter()
        .map(|phrase| phrase.task_id.as_str())
        .collect();
    assert_eq!(left, ["e", "f", "g"]);
    let again = quiet(&data);
    assert_eq!((again.unusable(), again.splits()[0].phrases), (4, 7));
}

#[test]
fn the_list_is_read_without_the_phrases() {
    let images = list(&[image(5, "miniv"), image(2, "train")]);
    let folder = folder(&images, &[]);
    let ids: Vec<u64> = list_pictures(folder.path())
        .unwrap()
        .iter()
        .map(|image| image.image_id)
        .collect();
    assert_eq!(ids, [5, 2]);
    let message = list_pictures(Path::new("no/such")).unwrap_err().to_string();
    assert!(
        message.starts_with("no/such is not a data set"),
        "{message}"
    );
}
