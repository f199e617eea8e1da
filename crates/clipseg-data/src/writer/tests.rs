//! Data sets that are written and read back, and input that is refused.

use super::*;
use crate::phrasecut::PhraseCut;
use image::RgbImage;

struct Place {
    folder: tempfile::TempDir,
    picture: PathBuf,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let picture = folder.path().join("picture.png");
        let pixels = RgbImage::from_fn(9, 7, |x, y| image::Rgb([x as u8 * 20, y as u8, 7]));
        pixels.save(&picture).unwrap();
        Self { folder, picture }
    }

    fn out(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.folder.path()).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }
}

/// A mask with a hole and a separate part.
fn mask() -> Mask {
    let rows = [
        ".........",
        ".#####...",
        ".#...#...",
        ".#.#.#...",
        ".#...#..#",
        ".#####...",
        ".........",
    ];
    let inside = rows.iter().flat_map(|row| row.bytes());
    Mask::from_vec(
        9,
        7,
        inside.map(|letter| u8::from(letter == b'#')).collect(),
    )
}

fn other() -> Mask {
    let inside = (0..63).map(|pixel| u8::from(pixel % 9 > 5 && pixel / 9 < 2));
    Mask::from_vec(9, 7, inside.collect())
}

#[test]
fn what_is_written_reads_back() {
    let place = Place::new();
    let mut writer = PhraseCutWriter::new(&place.out()).unwrap();
    let first = writer.add_picture(&place.picture, Split::Val).unwrap();
    let bytes = std::fs::read(&place.picture).unwrap();
    let record = ImageRecord {
        image_id: 40,
        coco_id: Some(9),
        flickr_id: None,
        width: 9,
        height: 7,
        url: "https://example.org/40.png".into(),
        split: Split::Train,
    };
    writer.add_image(record.clone(), &bytes).unwrap();
    let third = writer.add_picture(&place.picture, Split::Train).unwrap();
    assert_eq!((first, third), (1, 41));
    let task = writer
        .add_masks(first, " two rings ", &[mask(), other()])
        .unwrap();
    assert_eq!(task, "1__1_2");
    assert_eq!(writer.add_masks(40, "ring", &[mask()]).unwrap(), "40__3");
    let structure = PhraseStructure {
        name: "block".into(),
        attributes: vec!["small".into()],
        kind: "attribute".into(),
        ..PhraseStructure::default()
    };
    let phrase = Phrase {
        task_id: "41__7".into(),
        image_id: 41,
        ann_ids: vec![7],
        instance_boxes: vec![[6.0, 0.0, 3.0, 2.0]],
        polygons: [[[[6.0, 0.0], [8.0, 0.0], [8.0, 1.0], [6.0, 1.0]]]]
            .into_iter()
            .collect(),
        phrase: "small block".into(),
        phrase_structure: structure,
    };
    writer.add_phrase(phrase.clone()).unwrap();
    assert_eq!(writer.add_masks(40, "block", &[other()]).unwrap(), "40__8");
    assert_eq!(place.names().len(), 2, "aside and the picture");
    writer.finish().unwrap();
    assert_eq!(place.names(), ["data", "picture.png"]);

    let data = PhraseCut::open(&place.out()).unwrap();
    assert!(data.problems().is_empty());
    assert_eq!(data.image(40), Some(&record));
    assert_eq!(std::fs::read(data.image_path(41)).unwrap(), bytes);
    let [rings] = data.phrases(Split::Val) else {
        panic!("one phrase");
    };
    assert_eq!(data.mask(rings).unwrap(), mask().union(&other()).unwrap());
    assert_eq!(
        (rings.phrase.as_str(), rings.polygons.instances()),
        ("two rings", 2)
    );
    assert_eq!(
        rings.instance_boxes,
        [[1.0, 1.0, 8.0, 5.0], [6.0, 0.0, 3.0, 2.0]]
    );
    let [ring, block, again] = data.phrases(Split::Train) else {
        panic!("three phrases");
    };
    assert_eq!(data.mask(ring).unwrap(), mask());
    assert_eq!(*block, phrase);
    assert_eq!(data.mask(again).unwrap(), data.mask(block).unwrap());
    assert!(data.phrases(Split::Test).is_empty() && data.has_truth(Split::Test));
    crate::check(&data, &|_, _| ()).require_pictures().unwrap();
    let counts = std::fs::read_to_string(place.out().join("name_att_rel_count.json")).unwrap();
    let expected =
        r#"{"cat":[["block",2],["ring",1],["two rings",1]],"att":[["small",1]],"rel":[]}"#;
    assert_eq!(counts, expected);
}

#[test]
fn what_cannot_be_written_is_told_and_leaves_nothing() {
    let place = Place::new();
    let mut writer = PhraseCutWriter::new(&place.out()).unwrap();
    let text = |result: Result<()>| result.unwrap_err().to_string();
    assert!(
        writer
            .add_picture(Path::new("no/such.jpg"), Split::Train)
            .is_err_and(|error| error.to_string().starts_with("cannot read no/such.jpg"))
    );
    assert_eq!(
        text(
            writer
                .add_picture(&place.picture, Split::ValMiniv)
                .map(drop)
        ),
        "picture 1: `val_miniv` combines two splits, expected one that is stored in files"
    );
    assert_eq!(
        text(writer.add_masks(1, "ring", &[mask()]).map(drop)),
        "picture 1 was not added before its phrases"
    );
    writer.add_picture(&place.picture, Split::Train).unwrap();
    let bytes = std::fs::read(&place.picture).unwrap();
    let record = |image_id, width| ImageRecord {
        image_id,
        coco_id: None,
        flickr_id: None,
        width,
        height: 7,
        url: String::new(),
        split: Split::Train,
    };
    assert_eq!(
        text(writer.add_image(record(1, 9), &bytes)),
        "picture 1: it was already added"
    );
    assert_eq!(
        text(writer.add_image(record(2, 8), &bytes)),
        "picture 2: recorded as 8x7, the file has 9x7"
    );
    for (phrase, masks, expected) in [
        (
            "ring",
            vec![mask(), Mask::new(7, 9)],
            "phrase `ring` of picture 1: mask 2 is 7x9, the picture is 9x7",
        ),
        (
            "ring",
            vec![Mask::new(9, 7)],
            "phrase `ring` of picture 1: mask 1 is empty",
        ),
        ("  ", vec![mask()], "phrase `1__1`: its text is empty"),
        (
            "ring",
            Vec::new(),
            "phrase `1__`: none of 0 polygons can be drawn",
        ),
    ] {
        assert_eq!(
            text(writer.add_masks(1, phrase, &masks).map(drop)),
            expected
        );
    }
    // Rotated by EXIF: its masks most likely belong to the upright picture.
    let exif = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0";
    let mut bytes = Vec::new();
    let mut encoder = image::codecs::jpeg::JpegEncoder::new(&mut bytes);
    image::ImageEncoder::set_exif_metadata(&mut encoder, exif.to_vec()).unwrap();
    encoder.encode_image(&RgbImage::new(9, 7)).unwrap();
    std::fs::write(&place.picture, &bytes).unwrap();
    let turned = text(writer.add_picture(&place.picture, Split::Train).map(drop));
    assert!(
        turned.contains("picture.png: the picture is rotated by its EXIF orientation"),
        "{turned}"
    );
    writer.add_image(record(2, 9), &bytes).unwrap();
    drop(writer);
    let empty = PhraseCutWriter::new(&place.out()).unwrap();
    assert!(text(empty.finish()).ends_with("data: no picture was added"));
    assert_eq!(place.names(), ["picture.png"]);
}

#[test]
fn what_is_there_is_not_touched() {
    let place = Place::new();
    let refused = |out: &Path| PhraseCutWriter::new(out).unwrap_err().to_string();
    // A foreign folder, an empty one, a file, and a dangling link.
    std::fs::create_dir(place.out()).unwrap();
    assert!(refused(&place.out()).ends_with("data: it already exists"));
    std::fs::write(place.out().join("notes.txt"), "mine").unwrap();
    assert!(refused(&place.out()).ends_with("data: it already exists"));
    assert!(refused(&place.picture).ends_with("picture.png: it already exists"));
    #[cfg(unix)]
    {
        let link = place.folder.path().join("link");
        std::os::unix::fs::symlink("nowhere", &link).unwrap();
        assert!(refused(&link).ends_with("link: it already exists"));
        std::fs::remove_file(link).unwrap();
    }
    assert_eq!(
        std::fs::read(place.out().join("notes.txt")).unwrap(),
        b"mine"
    );

    // Another program creates the folder meanwhile.
    let late = place.folder.path().join("late");
    let mut writer = PhraseCutWriter::new(&late).unwrap();
    writer.add_picture(&place.picture, Split::Train).unwrap();
    std::fs::create_dir(&late).unwrap();
    std::fs::write(late.join("notes.txt"), "mine").unwrap();
    let error = writer.finish().unwrap_err().to_string();
    assert!(error.ends_with("late: it already exists"), "{error}");
    assert_eq!(std::fs::read(late.join("notes.txt")).unwrap(), b"mine");
    assert_eq!(place.names(), ["data", "late", "picture.png"]);
}
