//! Predictions as picture files in a folder, one for each task.

use crate::error::Result;
use crate::scoring::scored_records::file_size;
use clipseg_data::{DataError, Mask, PhraseCut};
use clipseg_metrics::{MetricsError, PhraseCutTask};
use image::{DynamicImage, ImageDecoder, ImageReader};
use std::collections::{BTreeMap, HashSet};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes that common systems allow in a file's name.
const LONGEST_NAME: usize = 255;

/// A folder of predictions named `<task_id>.png`, each of the size of its picture.
///
/// Every pixel that is not black counts as inside, as in PhraseCut's official evaluator. The alpha channel
/// is ignored. In a PNG with a palette the colours count, not the palette indices as in the official
/// evaluator. Common file systems limit a name to 255 bytes, so a task of many instances, whose id is
/// longer, has no prediction, neither here nor there: it counts as missing.
#[derive(Debug, Clone)]
pub struct PredictionFolder {
    files: BTreeMap<String, PathBuf>,
    ignored: Vec<PathBuf>,
    shaded: Arc<AtomicUsize>,
}

impl PredictionFolder {
    /// Lists the folder.
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
        let (mut files, mut ignored) = (BTreeMap::new(), Vec::new());
        for entry in std::fs::read_dir(folder).map_err(io)? {
            let path = entry.map_err(io)?.path();
            let name = path.file_name().and_then(|name| name.to_str());
            match name.and_then(|name| name.strip_suffix(".png")) {
                Some(task_id) => {
                    files.insert(task_id.to_owned(), path);
                }
                None => ignored.push(path),
            }
        }
        ignored.sort();
        Ok(Self {
            files,
            ignored,
            shaded: Arc::default(),
        })
    }

    /// The file name of the prediction of a task. `None` if no file can have that name, because it is too
    /// long or names a path outside the folder; the task then has no prediction.
    pub fn file_name(task_id: &str) -> Option<String> {
        let name = format!("{task_id}.png");
        let is_plain = Path::new(&name).file_name() == Some(OsStr::new(&name))
            && !name.contains(['/', '\\', '\0']);
        (is_plain && name.len() <= LONGEST_NAME).then_some(name)
    }

    /// The other entries of the folder, such as files with another extension. They are ignored.
    pub fn ignored(&self) -> &[PathBuf] {
        &self.ignored
    }

    /// Number of predictions.
    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// Whether there is no prediction.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// The predictions, by name without extension, that belong to none of these tasks.
    pub fn unknown<'a>(&self, task_ids: impl IntoIterator<Item = &'a str>) -> Vec<&str> {
        let known: HashSet<&str> = task_ids.into_iter().collect();
        let names = self.files.keys().map(String::as_str);
        names.filter(|name| !known.contains(name)).collect()
    }

    /// The number of loaded predictions with more than two shades, such as probabilities, or masks that
    /// went through JPEG. Every pixel that is not black counts as inside. Clones share the number.
    pub fn shaded(&self) -> usize {
        self.shaded.load(Ordering::Relaxed)
    }

    /// Reads the prediction of a task, if there is one.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, is not a picture, or has neither the recorded size of the task's
    /// picture nor the size of that picture's file.
    pub fn load(&self, task: &PhraseCutTask, data: &PhraseCut) -> Result<Option<Mask>> {
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
        let of_file = || file_size(data, task.image_id);
        if (width, height) != (task.width, task.height) && of_file() != Some((width, height)) {
            let error = MetricsError::Shape {
                item: path.display().to_string(),
                found: vec![height as usize, width as usize],
                expected: vec![task.height as usize, task.width as usize],
            };
            return Err(error.into());
        }
        let (values, shades) = match DynamicImage::from_decoder(decoder).map_err(fail)? {
            DynamicImage::ImageLuma8(picture) => {
                let shades = count_shades(picture.pixels().map(|pixel| pixel.0));
                (picture.into_raw(), shades)
            }
            // Sixteen bits, so that the darkest pixel is not rounded to black.
            other => {
                let picture = other.into_rgb16();
                let shades = count_shades(picture.pixels().map(|pixel| pixel.0));
                let inside = picture.pixels().map(|pixel| u8::from(pixel.0 != [0; 3]));
                (inside.collect(), shades)
            }
        };
        if shades > 2 {
            self.shaded.fetch_add(1, Ordering::Relaxed);
        }
        Ok(Some(Mask::from_vec(width, height, values)))
    }
}

/// The number of different values, at most three.
fn count_shades<P: PartialEq>(pixels: impl Iterator<Item = P>) -> usize {
    let mut known = Vec::with_capacity(3);
    for pixel in pixels {
        if !known.contains(&pixel) {
            known.push(pixel);
        }
        if known.len() > 2 {
            break;
        }
    }
    known.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{GrayImage, ImageBuffer, Luma, LumaA, Rgb, RgbImage};

    fn task(task_id: &str) -> PhraseCutTask {
        PhraseCutTask::new(task_id, 1, 2, 1)
    }

    /// A data set with one picture, which is not there.
    fn data(folder: &Path) -> PhraseCut {
        let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).unwrap();
        let picture = r#"[{"image_id": 1, "width": 2, "height": 1, "split": "test"}]"#;
        write("image_data_split.json", picture);
        write("refer_test.json", "[]");
        PhraseCut::open(folder).unwrap()
    }

    #[test]
    fn every_pixel_that_is_not_black_is_inside() {
        let folder = tempfile::tempdir().unwrap();
        let found = folder.path().join("found");
        std::fs::create_dir(&found).unwrap();
        let path = |name: &str| found.join(format!("{name}.png"));
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
        std::fs::write(found.join("notes.txt"), "").unwrap();

        let data = data(folder.path());
        let predictions = PredictionFolder::open(&folder.path().join("found")).unwrap();
        assert_eq!(predictions.len(), 4);
        assert_eq!(
            predictions.ignored(),
            [folder.path().join("found/notes.txt")]
        );
        for name in ["1__1", "1__2", "1__3", "1__4"] {
            let mask = predictions.load(&task(name), &data).unwrap().unwrap();
            assert_eq!(mask.to_vec(), [0, 1], "{name}");
        }
        assert!(predictions.load(&task("1__5"), &data).unwrap().is_none());
        let long = format!("1__{}", "1234567_".repeat(60));
        assert!(predictions.load(&task(&long), &data).unwrap().is_none());
        assert_eq!(
            predictions.unknown(["1__1", "1__3", "1__9"]),
            ["1__2", "1__4"]
        );
    }

    #[test]
    fn shades_are_counted() {
        let folder = tempfile::tempdir().unwrap();
        let found = folder.path().join("found");
        std::fs::create_dir(&found).unwrap();
        let data = data(folder.path());
        let wide = |name: &str| PhraseCutTask {
            width: 3,
            ..task(name)
        };
        for (name, shades) in [
            ("1__1", [0, 255, 0]),
            ("1__2", [0, 255, 1]),
            ("1__3", [9, 8, 7]),
        ] {
            let picture = GrayImage::from_fn(3, 1, |x, _| Luma([shades[x as usize]]));
            picture.save(found.join(format!("{name}.png"))).unwrap();
        }
        RgbImage::from_fn(3, 1, |x, _| Rgb([0, 0, 80 * x as u8]))
            .save(found.join("1__4.png"))
            .unwrap();
        let predictions = PredictionFolder::open(&found).unwrap();
        for (name, shaded) in [("1__1", 0), ("1__2", 1), ("1__3", 2), ("1__4", 3)] {
            assert!(predictions.load(&wide(name), &data).unwrap().is_some());
            assert_eq!(predictions.shaded(), shaded, "{name}");
        }
    }

    #[test]
    fn names_stay_in_the_folder() {
        assert_eq!(
            PredictionFolder::file_name("1__2_3").as_deref(),
            Some("1__2_3.png")
        );
        let long = format!("1__{}", "1234567_".repeat(60));
        for task_id in [&long, "../1__2", "a/b", "/etc/x", "a\\b", "a\0b", "1/../.."] {
            assert_eq!(PredictionFolder::file_name(task_id), None, "{task_id}");
        }
    }

    #[test]
    fn bad_files_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        GrayImage::new(3, 2).save(path("1__1.png")).unwrap();
        std::fs::write(path("1__2.png"), "no picture").unwrap();
        let data = data(folder.path());
        let predictions = PredictionFolder::open(folder.path()).unwrap();
        let message = |name| {
            let error = predictions.load(&task(name), &data).unwrap_err();
            error.to_string()
        };
        assert_eq!(
            message("1__1"),
            format!(
                "{}: the prediction has shape [2, 3], the ground truth [1, 2]",
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
