//! The example that converts pictures, masks and a table into a data set.

#[expect(dead_code, reason = "an example has a `main` that nobody calls here")]
#[path = "../examples/own_data.rs"]
mod example;

use clipseg::data::{PhraseCut, Split, check};
use example::convert;
use image::{GrayImage, Luma, RgbImage};
use std::path::Path;

/// Two pictures of 12×9, and three masks that are white, or 1, in a few columns.
fn files(folder: &Path) {
    for name in ["photos", "masks"] {
        std::fs::create_dir(folder.join(name)).unwrap();
    }
    for name in ["pets.jpg", "street.png"] {
        let picture = RgbImage::from_fn(12, 9, |x, y| image::Rgb([20 * x as u8, 9 * y as u8, 5]));
        picture.save(folder.join("photos").join(name)).unwrap();
    }
    for (name, columns, inside) in [
        ("cat", 0..3, 255),
        ("dog-1", 4..6, 1),
        ("dog-2", 8..11, 255),
    ] {
        let mask = GrayImage::from_fn(12, 9, |x, _| {
            Luma([inside * u8::from(columns.contains(&x))])
        });
        mask.save(folder.join("masks").join(format!("{name}.png")))
            .unwrap();
    }
}

const ROWS: [[&str; 4]; 5] = [
    ["picture", "mask", "phrase", "split"],
    ["photos/pets.jpg", "masks/cat.png", "black cat", "train"],
    ["photos/pets.jpg", "masks/dog-1.png", "dogs", "train"],
    ["photos/street.png", "masks/dog-2.png", "dogs", "val"],
    ["photos/pets.jpg", "masks/dog-2.png", "dogs", "train"],
];

fn table(rows: &[[&str; 4]], comma: &str) -> String {
    let lines: Vec<String> = rows.iter().map(|row| row.join(comma)).collect();
    lines.join("\n")
}

#[test]
fn a_table_becomes_a_data_set() {
    let folder = tempfile::tempdir().unwrap();
    files(folder.path());
    // Spreadsheets write a byte order mark.
    let commas = format!("\u{feff}{}\n", table(&ROWS, ","));
    for (name, text) in [("table.csv", commas), ("table.tsv", table(&ROWS, "\t"))] {
        std::fs::write(folder.path().join(name), text).unwrap();
        let out = folder.path().join(name.replace('.', "-"));
        assert_eq!(convert(&folder.path().join(name), &out).unwrap(), 3);
        let data = PhraseCut::open(&out).unwrap();
        assert!(check(&data, &|_, _| ()).problems().is_empty());
        let phrases = |split| -> Vec<(&str, usize, usize)> {
            let phrases = data.phrases(split).iter();
            phrases
                .map(|phrase| {
                    let area = data.mask(phrase).unwrap().area();
                    (phrase.phrase.as_str(), phrase.polygons.instances(), area)
                })
                .collect()
        };
        assert_eq!(
            phrases(Split::Train),
            [("black cat", 1, 27), ("dogs", 2, 45)]
        );
        assert_eq!(phrases(Split::Val), [("dogs", 1, 27)]);
        let copied = std::fs::read(data.image_path(1)).unwrap();
        let picture = std::fs::read(folder.path().join("photos/pets.jpg")).unwrap();
        assert!(copied == picture, "the file is copied as it is");
    }
}

#[test]
fn what_is_wrong_with_a_table_is_told_and_nothing_is_left() {
    let folder = tempfile::tempdir().unwrap();
    files(folder.path());
    let save = |name: &str, mask: GrayImage| mask.save(folder.path().join("masks").join(name));
    save("small.png", GrayImage::from_pixel(5, 5, Luma([255]))).unwrap();
    save("empty.png", GrayImage::new(12, 9)).unwrap();
    let (path, out) = (folder.path().join("table.csv"), folder.path().join("out"));
    let message = |row: [&str; 4]| {
        let rows = [ROWS[0], ROWS[1], row];
        std::fs::write(&path, table(&rows, ",")).unwrap();
        convert(&path, &out).unwrap_err().to_string()
    };
    let [picture, mask, phrase, split] = ROWS[2];
    for (row, expected) in [
        (["photos/none.jpg", mask, phrase, split], "cannot read "),
        ([picture, "masks/none.png", phrase, split], "cannot read "),
        (
            [picture, "masks/small.png", phrase, split],
            "mask 1 is 5x5, the picture is 12x9",
        ),
        (
            [picture, "masks/empty.png", phrase, split],
            "empty.png: the mask is empty",
        ),
        ([picture, mask, "", split], "its text is empty"),
        ([picture, mask, phrase, "dev"], "unknown variant `dev`"),
        (
            [picture, mask, phrase, "val"],
            "photos/pets.jpg is in train and in val",
        ),
        (
            ["photos/street.png", mask, phrase, "val_miniv"],
            "`val_miniv` combines two splits, expected one that is stored in files",
        ),
    ] {
        let message = message(row);
        assert!(message.contains(expected), "{row:?}: {message}");
        assert!(!out.exists());
    }
    let left = std::fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(left, 3, "the table, the pictures and the masks");
}
