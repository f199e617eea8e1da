//! The files of `clipseg segment` for annotation tools: one COCO file, and YOLO's label files.

use crate::formats::{CocoMasks, Formats};
use crate::output::{Output, check_writable};
use crate::photos::Photo;
use crate::report::Finding;
use clipseg::clip::ClipError;
use clipseg::data::{CocoDataset, CocoRle, CocoSegmentation, yolo_line};
use std::collections::HashSet;
use std::error::Error;
use std::path::{Path, PathBuf};

/// Collects the objects of all photographs.
pub(crate) struct Annotations<'a> {
    formats: &'a Formats,
    output: Output,
    coco: CocoDataset,
    categories: Vec<u64>,
    /// Whether photographs are named by their file names, because these differ.
    by_file_name: bool,
    /// Masks without pixels, which have no annotation.
    empty: usize,
}

/// The files whose names are known before the work.
pub(crate) fn files(formats: &Formats, photos: &[Photo]) -> Vec<PathBuf> {
    let labels = photos.iter().map(|photo| format!("{}.txt", photo.name));
    let yolo = formats.yolo.iter().flat_map(|folder| {
        let labels = labels.clone().map(|name| folder.join("labels").join(name));
        labels.chain([folder.join("classes.txt")])
    });
    yolo.chain(formats.coco.clone()).collect()
}

/// Makes the folders and checks that they are writable.
pub(crate) fn make_folders(formats: &Formats, output: Output) -> Result<(), ClipError> {
    if let Some(file) = &formats.coco {
        output.check_with_folder(file)?;
    }
    if let Some(folder) = &formats.yolo {
        let labels = folder.join("labels");
        std::fs::create_dir_all(&labels).map_err(ClipError::io("make", &labels))?;
        check_writable(&labels)?;
    }
    Ok(())
}

impl<'a> Annotations<'a> {
    /// `names` are those of the prompts and then of the combinations.
    pub(crate) fn new(
        formats: &'a Formats,
        output: Output,
        photos: &[Photo],
        names: &[String],
    ) -> Result<Self, ClipError> {
        let mut coco = CocoDataset::default();
        let categories = names.iter().map(|name| coco.add_category(name)).collect();
        let mut seen = HashSet::new();
        if let Some(folder) = &formats.yolo {
            // A line break would make two classes of one.
            let lines = names
                .iter()
                .map(|name| name.replace(char::is_control, " ") + "\n");
            output.write(
                &folder.join("classes.txt"),
                lines.collect::<String>().as_bytes(),
            )?;
        }
        Ok(Self {
            formats,
            output,
            coco,
            categories,
            by_file_name: photos
                .iter()
                .all(|photo| seen.insert(photo.path.file_name())),
            empty: 0,
        })
    }

    /// Adds the objects of a photograph of `width` × `height` pixels, one finding for each prompt.
    pub(crate) fn add(
        &mut self,
        photo: &Photo,
        [width, height]: [u32; 2],
        findings: &[Finding],
    ) -> Result<(), Box<dyn Error>> {
        if self.formats.coco.is_some() {
            let name = match photo.path.file_name() {
                Some(name) if self.by_file_name => Path::new(name).display().to_string(),
                _ => photo.path.display().to_string(),
            };
            let image = self.coco.add_image(name, width, height);
            for (finding, category) in findings.iter().zip(self.categories.clone()) {
                self.add_to_coco(image, category, [width, height], finding)?;
            }
        }
        if let Some(folder) = &self.formats.yolo {
            let mut lines = String::new();
            for (class, finding) in findings.iter().enumerate() {
                for outline in finding.rle.to_mask().to_outlines() {
                    lines.push_str(&yolo_line(class, &outline, width, height));
                    lines.push('\n');
                }
            }
            let path = folder.join("labels").join(format!("{}.txt", photo.name));
            self.output.write(&path, lines.as_bytes())?;
        }
        self.empty += findings
            .iter()
            .filter(|finding| finding.score.is_none())
            .count();
        Ok(())
    }

    fn add_to_coco(
        &mut self,
        image: u64,
        category: u64,
        size: [u32; 2],
        finding: &Finding,
    ) -> Result<(), Box<dyn Error>> {
        let form = self.formats.coco_masks();
        if let Some(parts) = &finding.parts {
            for part in parts {
                let at = [part.bounding_box.x, part.bounding_box.y];
                let segmentation = match form {
                    CocoMasks::Rle => CocoRle::of_part(&part.shape, at, size)?.into(),
                    CocoMasks::Polygons => CocoSegmentation::from_outlines(&[part.outline()]),
                };
                let (area, found) = (part.area, part.bounding_box);
                self.coco
                    .add_annotation(image, category, segmentation, area, found, part.score);
            }
        } else if let (Some(found), Some(score)) = (finding.bounding_box, finding.score) {
            let segmentation = match form {
                CocoMasks::Rle => finding.rle.clone().into(),
                CocoMasks::Polygons => CocoSegmentation::polygons(&finding.rle.to_mask()),
            };
            let area = finding.rle.area();
            self.coco
                .add_annotation(image, category, segmentation, area, found, score);
        }
        Ok(())
    }

    /// Writes the COCO file and returns what to report about it. Without a photograph, nothing is written.
    pub(crate) fn finish(self) -> Result<Option<String>, Box<dyn Error>> {
        if self.coco.images.is_empty() {
            return Ok(None);
        }
        let Some(path) = &self.formats.coco else {
            return Ok(None);
        };
        let mut json = serde_json::to_vec(&self.coco)?;
        json.push(b'\n');
        self.output.write(path, &json)?;
        let (photos, objects) = (self.coco.images.len(), self.coco.annotations.len());
        let empty = match self.empty {
            0 => String::new(),
            count => format!("; {count} empty masks have no annotation"),
        };
        Ok(Some(format!(
            "{}: {objects} annotations of {photos} photographs{empty}",
            path.display()
        )))
    }
}
