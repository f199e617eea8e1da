//! COCO's annotation file: pictures, categories and masks.

use super::segmentation::CocoSegmentation;
use crate::error::Result;
use crate::json_list::read_json;
use crate::mask::BoundingBox;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The content of a COCO annotation file. Fields that are not listed here are ignored.
///
/// # Example
///
/// ```
/// use clipseg_data::{CocoDataset, CocoSegmentation, Mask};
///
/// let mask = Mask::from_vec(3, 2, vec![0, 1, 1, 0, 1, 1]);
/// let mut coco = CocoDataset::default();
/// let (image, cat) = (coco.add_image("cat.jpg", 3, 2), coco.add_category("a cat"));
/// if let Some(bounding_box) = mask.bounding_box() {
///     let segmentation = CocoSegmentation::Rle(mask.to_rle());
///     coco.add_annotation(image, cat, segmentation, mask.area(), bounding_box, 0.75);
/// }
/// let json = serde_json::to_string(&coco)?;
/// assert!(json.contains(r#""segmentation":{"size":[2,3],"counts":"24"}"#));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct CocoDataset {
    /// The pictures.
    pub images: Vec<CocoImage>,
    /// The kinds of objects.
    pub categories: Vec<CocoCategory>,
    /// The objects.
    pub annotations: Vec<CocoAnnotation>,
}

/// A picture of a [`CocoDataset`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CocoImage {
    /// The number of the picture.
    pub id: u64,
    /// The file, relative to the data set's folder of pictures.
    pub file_name: String,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
}

/// A kind of object of a [`CocoDataset`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CocoCategory {
    /// The number of the category.
    pub id: u64,
    /// The name.
    pub name: String,
}

/// An object of a [`CocoDataset`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CocoAnnotation {
    /// The number of the annotation.
    pub id: u64,
    /// The number of the picture.
    pub image_id: u64,
    /// The number of the category.
    pub category_id: u64,
    /// The mask.
    pub segmentation: CocoSegmentation,
    /// Number of pixels; COCO's own files have fractions, because they measure the polygons.
    pub area: f64,
    /// The smallest box: left, top, width and height in pixels.
    pub bbox: [f64; 4],
    /// 1 for a crowd of objects, 0 for one object.
    #[serde(default)]
    pub iscrowd: u8,
    /// The confidence, from 0 to 1. Ground truth has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<f64>,
}

impl CocoDataset {
    /// Reads an annotation file.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, is not JSON or lacks a field; the message names the byte and the field.
    pub fn open(path: &Path) -> Result<Self> {
        read_json(path)
    }

    /// Adds a picture and returns its number, counted from 1.
    pub fn add_image(&mut self, file_name: impl Into<String>, width: u32, height: u32) -> u64 {
        let id = self.images.len() as u64 + 1;
        self.images.push(CocoImage {
            id,
            file_name: file_name.into(),
            width,
            height,
        });
        id
    }

    /// Adds a category and returns its number, counted from 1.
    pub fn add_category(&mut self, name: impl Into<String>) -> u64 {
        let id = self.categories.len() as u64 + 1;
        let name = name.into();
        self.categories.push(CocoCategory { id, name });
        id
    }

    /// Adds an object and returns its number, counted from 1.
    pub fn add_annotation(
        &mut self,
        image_id: u64,
        category_id: u64,
        segmentation: CocoSegmentation,
        area: usize,
        bounding_box: BoundingBox,
        score: f64,
    ) -> u64 {
        let id = self.annotations.len() as u64 + 1;
        let BoundingBox {
            x,
            y,
            width,
            height,
        } = bounding_box;
        self.annotations.push(CocoAnnotation {
            id,
            image_id,
            category_id,
            segmentation,
            area: area as f64,
            bbox: [x, y, width, height].map(f64::from),
            iscrowd: 0,
            score: Some(score),
        });
        id
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mask::Mask;

    #[test]
    fn files_are_read_and_faults_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("coco.json");
        let mut coco = CocoDataset::default();
        let (image, category) = (
            coco.add_image("é.jpg", 4, 3),
            coco.add_category("a \"cat\""),
        );
        let mask = Mask::from_vec(4, 3, vec![0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1]);
        for (index, part) in mask.instances(&[0.5; 12]).unwrap().into_iter().enumerate() {
            let segmentation = CocoSegmentation::from_outlines(&[part.outline()]);
            let id = coco.add_annotation(
                image,
                category,
                segmentation,
                part.area,
                part.bounding_box,
                part.score,
            );
            assert_eq!(id, index as u64 + 1);
        }
        std::fs::write(&path, serde_json::to_vec(&coco).unwrap()).unwrap();
        let read = CocoDataset::open(&path).unwrap();
        assert_eq!(read, coco);
        assert_eq!(read.annotations[0].bbox, [1.0, 0.0, 2.0, 2.0]);
        let shapes = read.annotations.iter();
        let shapes = shapes.map(|annotation| annotation.segmentation.to_mask(4, 3).unwrap());
        assert_eq!(shapes.reduce(|a, b| a.union(&b).unwrap()), Some(mask));

        let text = r#"{"images": [], "categories": [], "annotations": [{"id": 1, "image_id": 1,
            "category_id": 1, "area": 1, "bbox": [0, 0, 1, 1], "segmentation": {"size": [1, 1], "counts": "9"}}]}"#;
        std::fs::write(&path, text).unwrap();
        let message = CocoDataset::open(&path).unwrap_err().to_string();
        assert!(
            message.contains("coco.json: byte")
                && message.contains("annotations[0].segmentation")
                && message.contains("run lengths of 9 pixels"),
            "{message}"
        );
    }
}
