//! Predictions in a folder of pictures, one for each task.

use crate::error::Result;
use clipseg_clip::{ClipError, write_aside};
use clipseg_data::{DataError, Mask};
use clipseg_metrics::{MetricsError, PhraseCutTask};
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader};
use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

/// Bytes that common systems allow in a file's name.
const LONGEST_NAME: usize = 255;

/// A folder of `<task_id>.png`, each of its picture's recorded size, in which any pixel but a black one
/// is inside, as PhraseCut's official evaluator reads them.
///
/// Transparency does not count. Where a PNG has a palette its colours count, not their numbers as in
/// the official evaluator. No file can have a name of more than 255 bytes on common systems, so a
/// task of many instances, whose id is longer, has no prediction here and none there: it is missing.
#[derive(Debug, Clone)]
pub struct PredictionFolder {
    files: BTreeMap<String, PathBuf>,
}

impl PredictionFolder {
    /// Lists the folder; what is not called `….png` is passed over.
    ///
    /// # Errors
    ///
    /// If the folder cannot be read.
    pub fn open(folder: &Path) -> Result<Self> {
        let io = |source| DataError::Io {
            action: "read",
            path: folder.to_owned(),
            source,
        };
        let mut files = BTreeMap::new();
        for entry in std::fs::read_dir(folder).map_err(io)? {
            let path = entry.map_err(io)?.path();
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
                continue;
            };
            if let Some(task_id) = name.strip_suffix(".png") {
                files.insert(task_id.to_owned(), path);
            }
        }
        Ok(Self { files })
    }

    /// Writes the prediction of a task into a folder that is there, white on black; false if the task's
    /// id is too long for a file's name, in which case nobody will find a prediction.
    ///
    /// # Errors
    ///
    /// If the folder cannot be written.
    pub fn write(folder: &Path, task_id: &str, mask: &Mask) -> Result<bool> {
        let name = format!("{task_id}.png");
        if name.len() > LONGEST_NAME {
            return Ok(false);
        }
        let path = folder.join(name);
        write_aside(&path, |aside| {
            let saved = mask
                .to_gray_image()
                .save_with_format(aside, ImageFormat::Png);
            saved.map_err(|error| ClipError::io("write", &path)(std::io::Error::other(error)))
        })?;
        Ok(true)
    }

    /// Number of predictions.
    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// Whether there is no prediction.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// The predictions, by name without ending, that belong to none of these tasks.
    pub fn unknown<'a>(&self, task_ids: impl IntoIterator<Item = &'a str>) -> Vec<&str> {
        let known: HashSet<&str> = task_ids.into_iter().collect();
        let names = self.files.keys().map(String::as_str);
        names.filter(|name| !known.contains(name)).collect()
    }

    /// Reads the prediction of a task, if there is one.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, is not a picture, or has another size than the task's picture.
    pub fn load(&self, task: &PhraseCutTask) -> Result<Option<Mask>> {
        let Some(path) = self.files.get(&task.task_id) else {
            return Ok(None);
        };
        let io = |source| DataError::Io {
            action: "read",
            path: path.clone(),
            source,
        };
        let fail = |source| DataError::Picture {
            path: path.clone(),
            source,
        };
        let reader = ImageReader::open(path).map_err(io)?;
        let reader = reader.with_guessed_format().map_err(io)?;
        let decoder = reader.into_decoder().map_err(fail)?;
        let (width, height) = decoder.dimensions();
        if (width, height) != (task.width, task.height) {
            let error = MetricsError::Shape {
                item: path.display().to_string(),
                found: vec![height as usize, width as usize],
                expected: vec![task.height as usize, task.width as usize],
            };
            return Err(error.into());
        }
        let values = match DynamicImage::from_decoder(decoder).map_err(fail)? {
            DynamicImage::ImageLuma8(picture) => picture.into_raw(),
            // Sixteen bits, so that the faintest pixel is still not black.
            other => {
                let picture = other.into_rgb16();
                picture.pixels().map(|p| u8::from(p.0 != [0; 3])).collect()
            }
        };
        Ok(Some(Mask::from_vec(width, height, values)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{GrayImage, ImageBuffer, Luma, LumaA, Rgb, RgbImage};

    fn task(task_id: &str) -> PhraseCutTask {
        PhraseCutTask {
            task_id: task_id.into(),
            image_id: 1,
            width: 2,
            height: 1,
            instances: 1,
            attributes: 0,
            relations: 0,
            phrase_type: None,
            ranks: None,
            coco_category: false,
            stuff: false,
            coco_picture: false,
        }
    }

    #[test]
    fn any_pixel_but_a_black_one_is_inside() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(format!("{name}.png"));
        let faint = |x: u32| u8::from(x == 1);
        GrayImage::from_fn(2, 1, |x, _| Luma([faint(x)]))
            .save(path("1__1"))
            .unwrap();
        RgbImage::from_fn(2, 1, |x, _| Rgb([0, 0, faint(x)]))
            .save(path("1__2"))
            .unwrap();
        let deep = ImageBuffer::from_fn(2, 1, |x, _| Luma([u16::from(faint(x))]));
        DynamicImage::ImageLuma16(deep).save(path("1__3")).unwrap();
        let clear = ImageBuffer::from_fn(2, 1, |x, _| LumaA([faint(x), 0u8]));
        DynamicImage::ImageLumaA8(clear).save(path("1__4")).unwrap();
        std::fs::write(folder.path().join("notes.txt"), "").unwrap();

        let predictions = PredictionFolder::open(folder.path()).unwrap();
        assert_eq!(predictions.len(), 4);
        for name in ["1__1", "1__2", "1__3", "1__4"] {
            let mask = predictions.load(&task(name)).unwrap().unwrap();
            assert_eq!(mask.to_vec(), [0, 1], "{name}");
        }
        assert!(predictions.load(&task("1__5")).unwrap().is_none());
        let long = format!("1__{}", "1234567_".repeat(60));
        assert!(predictions.load(&task(&long)).unwrap().is_none());
        assert_eq!(
            predictions.unknown(["1__1", "1__3", "1__9"]),
            ["1__2", "1__4"]
        );
    }

    #[test]
    fn what_is_written_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let mask = Mask::from_vec(2, 1, vec![0, 1]);
        assert!(PredictionFolder::write(folder.path(), "1__1", &mask).unwrap());
        let long = format!("1__{}", "1234567_".repeat(60));
        assert!(!PredictionFolder::write(folder.path(), &long, &mask).unwrap());
        let predictions = PredictionFolder::open(folder.path()).unwrap();
        assert_eq!(predictions.len(), 1);
        assert_eq!(predictions.load(&task("1__1")).unwrap(), Some(mask.clone()));
        let error = PredictionFolder::write(&folder.path().join("none"), "1__1", &mask);
        let message = error.unwrap_err().to_string();
        assert!(message.starts_with("cannot write "), "{message}");
    }

    #[test]
    fn bad_files_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        GrayImage::new(3, 2).save(path("1__1.png")).unwrap();
        std::fs::write(path("1__2.png"), "no picture").unwrap();
        let predictions = PredictionFolder::open(folder.path()).unwrap();
        let message = |name| predictions.load(&task(name)).unwrap_err().to_string();
        assert_eq!(
            message("1__1"),
            format!(
                "{}: the prediction is [2, 3], the truth is [1, 2]",
                path("1__1.png").display()
            )
        );
        let error = message("1__2");
        let expected = format!("{}: not a readable picture", path("1__2.png").display());
        assert!(error.starts_with(&expected), "{error}");
        let error = PredictionFolder::open(&path("none"))
            .unwrap_err()
            .to_string();
        assert!(error.starts_with("cannot read "), "{error}");
    }
}
