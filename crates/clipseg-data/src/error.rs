//! What can be wrong with a data set on disk.

use std::path::{Path, PathBuf};

/// Why pictures or phrases could not be read, drawn or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// A file or folder could not be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried: `read`, `write`, …
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the operating system answered.
        source: std::io::Error,
    },
    /// A file is not a picture.
    #[error("{}: not a readable picture: {source}", path.display())]
    Picture {
        /// The file.
        path: PathBuf,
        /// What the decoder answered.
        source: image::ImageError,
    },
    /// A file is of a format that is not read, or no picture at all.
    #[error(
        "{}: not a readable picture: it is {found}, expected PNG, JPEG, WebP or BMP", path.display()
    )]
    NotAPicture {
        /// The file.
        path: PathBuf,
        /// What it is instead: `a HEIC picture`, `a web page (HTML)`, …
        found: String,
    },
    /// The file of a picture ends before the picture does.
    #[error("{} ends before the picture does: {detail}", path.display())]
    CutOff {
        /// The file.
        path: PathBuf,
        /// What is there and what is not.
        detail: String,
    },
    /// The file of a picture is damaged, or uses a part of its format that is not read.
    #[error("{}: not a readable picture: byte {offset}: {message}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The byte at which it was found out, counted from 0.
        offset: usize,
        /// What was found.
        message: String,
    },
    /// A picture that should be a mask names nothing.
    #[error("{}: the mask has nothing inside, all its pixels are 0", path.display())]
    EmptyMask {
        /// The file.
        path: PathBuf,
    },
    /// A picture is larger than a program should decode without being asked twice.
    #[error(
        "{}: a picture of {width}x{height} is too large, expected at most 32768 pixels a side and \
         179 megapixels", path.display()
    )]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its width in pixels.
        width: u32,
        /// Its height in pixels.
        height: u32,
    },
    /// A file is not JSON, or JSON of another shape.
    #[error("{}: byte {offset}{}: {message}", path.display(), at(field))]
    Json {
        /// The file.
        path: PathBuf,
        /// The byte at which it was found out, counted from 0.
        offset: u64,
        /// The field, as `[12].Polygons[0]`; empty if it is the file as a whole.
        field: String,
        /// What was found and what was expected.
        message: String,
    },
    /// A folder has none of the files that make it a data set.
    #[error("{} is not a data set: it holds none of {}", folder.display(), expected.join(", "))]
    NoDataSet {
        /// The folder.
        folder: PathBuf,
        /// Names any one of which would have done.
        expected: Vec<String>,
    },
    /// The phrases of a split have no polygons: they come from `refer_input_<split>.json`.
    #[error(
        "{} has phrases but no polygons, so there are no masks to train on or to score by: they \
         are in {}, which {state}", found.display(), missing.display()
    )]
    NoTruth {
        /// The file with the polygons.
        missing: PathBuf,
        /// The file that was read.
        found: PathBuf,
        /// `is not there`, or `was not read` where only inputs were asked for.
        state: &'static str,
    },
    /// Pictures that phrases name are missing, cannot be decoded or are cut off.
    #[error("{}", broken(pictures))]
    BrokenPictures {
        /// What is wrong with each picture, one text for each.
        pictures: Vec<String>,
    },
    /// A phrase names a picture that the picture list does not have.
    #[error("phrase `{task_id}`: picture {image_id} is not in the picture list")]
    UnknownPicture {
        /// The phrase.
        task_id: String,
        /// The picture.
        image_id: u64,
    },
    /// An argument has a value that cannot be used.
    #[error("{0}")]
    Input(String),
}

/// How many broken pictures are named.
const NAMED: usize = 10;

fn broken(pictures: &[String]) -> String {
    let count = pictures.len();
    let (noun, be) = if count == 1 {
        ("picture", "is")
    } else {
        ("pictures", "are")
    };
    let mut text = format!("{count} {noun} that phrases name {be} missing or broken:");
    for picture in pictures.iter().take(NAMED) {
        text.push_str(&format!("\n  {picture}"));
    }
    if count > NAMED {
        text.push_str(&format!("\n  and {} more", count - NAMED));
    }
    text
}

fn at(field: &str) -> String {
    if field.is_empty() {
        String::new()
    } else {
        format!(", field `{field}`")
    }
}

impl DataError {
    /// For `map_err` on an operation on `path`.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io {
            action,
            path: path.to_owned(),
            source,
        }
    }
}

/// The result of this crate's functions.
pub type Result<T, E = DataError> = std::result::Result<T, E>;
