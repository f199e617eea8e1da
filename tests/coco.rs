//! COCO's formats against COCO's own tools.

use crate::support::{fixtures_with, from_runs, shipped};
use clipseg::data::{CocoDataset, CocoRle, CocoSegmentation, Mask};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::path::PathBuf;

fn cases<T: DeserializeOwned>(name: &str) -> Vec<T> {
    let file = fixtures_with(name).join(name);
    let json = std::fs::read(file).expect("a fixture");
    let cases: Vec<T> = serde_json::from_slice(&json).expect("a list of cases");
    assert!(cases.len() > 100);
    cases
}

#[derive(Deserialize)]
struct MaskCase {
    /// Height and width.
    size: [u32; 2],
    rows: Vec<Vec<u32>>,
    counts: String,
    list: Vec<u32>,
}

impl MaskCase {
    fn mask(&self) -> Mask {
        from_runs(self.size[1], self.size[0], &self.rows)
    }
}

#[test]
fn run_lengths_equal_those_of_pycocotools() {
    for (index, case) in cases::<MaskCase>("coco/masks.json").iter().enumerate() {
        let [height, width] = case.size;
        let (mask, rle) = (case.mask(), case.mask().to_rle());
        assert_eq!(rle.counts(), case.list, "case {index}");
        assert_eq!(rle.text(), case.counts, "case {index}");
        let read = CocoRle::parse(width, height, &case.counts).unwrap();
        assert_eq!(read.to_mask(), mask, "case {index}");
        // A part within the smallest box has the same run lengths in its place.
        if let Some(found) = mask.bounding_box() {
            let part = mask.crop(found);
            let placed = CocoRle::of_part(&part, [found.x, found.y], [width, height]).unwrap();
            assert_eq!(placed, rle, "case {index}");
        }
    }
}

#[derive(Deserialize)]
struct PolygonCase {
    size: [u32; 2],
    polygons: Vec<Vec<f64>>,
    counts: String,
}

#[test]
fn polygons_are_filled_as_pycocotools_fills_them() {
    for (index, case) in cases::<PolygonCase>("coco/polygons.json")
        .into_iter()
        .enumerate()
    {
        let [height, width] = case.size;
        let expected = CocoRle::parse(width, height, &case.counts).unwrap();
        let polygons = CocoSegmentation::Polygons(case.polygons);
        let mask = polygons.to_mask(width, height).unwrap();
        assert_eq!(mask, expected.to_mask(), "case {index}");
    }
}

/// A file of the shipped masks: each part as run lengths and as a polygon, and each mask with all its polygons.
fn written() -> (CocoDataset, Vec<Mask>) {
    let json = std::fs::read(shipped().join("coco/masks.json")).expect("a fixture");
    let cases: Vec<MaskCase> = serde_json::from_slice(&json).expect("a list of cases");
    let mut file = CocoDataset::default();
    let categories = ["run lengths", "polygons"].map(|name| file.add_category(name));
    let mut masks = Vec::new();
    for (index, case) in cases.iter().step_by(4).enumerate() {
        let [height, width] = case.size;
        let image = file.add_image(format!("{index}.png"), width, height);
        let mask = case.mask();
        let score = 1.0 / (index + 1) as f64;
        let mut add = |segmentation, category: usize, mask: Mask| {
            let Some(found) = mask.bounding_box() else {
                return;
            };
            file.add_annotation(
                image,
                categories[category],
                segmentation,
                mask.area(),
                found,
                score,
            );
            masks.push(mask);
        };
        add(CocoSegmentation::polygons(&mask), 1, mask.clone());
        let probabilities = vec![0.5; (width * height) as usize];
        let parts = mask.instances(&probabilities).unwrap();
        for part in parts.into_iter().take(3) {
            let at = [part.bounding_box.x, part.bounding_box.y];
            let rle = CocoRle::of_part(&part.shape, at, [width, height]).unwrap();
            let pixels = rle.to_mask();
            add(CocoSegmentation::Rle(rle), 0, pixels.clone());
            add(
                CocoSegmentation::from_outlines(&[part.outline()]),
                1,
                pixels,
            );
        }
    }
    (file, masks)
}

#[derive(Deserialize)]
struct Answer {
    id: u64,
    area: f64,
    #[serde(rename = "box")]
    bbox: [f64; 4],
    rows: Vec<Vec<u32>>,
}

#[test]
fn pycocotools_decodes_what_is_written() {
    let (file, masks) = written();
    let json = std::fs::read(shipped().join("coco/decoded.json")).expect("a fixture");
    let answers: Vec<Answer> = serde_json::from_slice(&json).expect("a list of answers");
    assert_eq!(answers.len(), masks.len());
    for ((annotation, answer), mask) in file.annotations.iter().zip(&answers).zip(&masks) {
        let decoded = from_runs(mask.width(), mask.height(), &answer.rows);
        assert_eq!(decoded, *mask, "annotation {}", answer.id);
        let found = (annotation.id, annotation.area, annotation.bbox);
        assert_eq!(found, (answer.id, answer.area, answer.bbox));
        let read = annotation.segmentation.to_mask(mask.width(), mask.height());
        assert_eq!(read.unwrap(), *mask, "annotation {}", answer.id);
    }
}

#[test]
#[ignore = "its other half is coco.py"]
fn write_for_pycocotools() {
    let path = std::env::var_os("CLIPSEG_COCO").map(PathBuf::from);
    let path = path.expect("CLIPSEG_COCO names a file");
    let json = serde_json::to_vec(&written().0).expect("a file of numbers and texts");
    std::fs::write(path, json).expect("the file can be written");
}
