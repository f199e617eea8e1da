//! The error type of this crate.

use std::path::{Path, PathBuf};

/// An error in reading, drawing or writing pictures, masks or phrases.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// A file or folder could not be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// The operation that failed: `read`, `write`, …
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// A file is not a valid picture.
    #[error("{}: not a readable picture: {source}", path.display())]
    Picture {
        /// The file.
        path: PathBuf,
        /// The error of the decoder.
        source: image::ImageError,
    },
    /// A file has an unsupported format or is not a picture at all.
    #[error(
        "{}: not a readable picture: it is {found}, expected PNG, JPEG, WebP or BMP", path.display()
    )]
    NotAPicture {
        /// The file.
        path: PathBuf,
        /// What the file is instead: `a HEIC picture`, `a web page (HTML)`, …
        found: String,
    },
    /// A picture file is truncated.
    #[error("{}: the picture file is truncated: {detail}", path.display())]
    CutOff {
        /// The file.
        path: PathBuf,
        /// How much of the picture the file contains.
        detail: String,
    },
    /// A picture file is damaged or uses an unsupported feature of its format.
    #[error("{}: not a readable picture: byte {offset}: {message}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Position in bytes at which the fault was found, counted from 0.
        offset: usize,
        /// What is wrong.
        message: String,
    },
    /// A mask picture has no pixel above 0.
    #[error("{}: the mask is empty, all its pixels are 0", path.display())]
    EmptyMask {
        /// The file.
        path: PathBuf,
    },
    /// A picture is larger than the limit that protects against decompression bombs.
    #[error(
        "{}: a picture of {width}x{height} is too large, expected at most 32768 pixels per side and \
         179 megapixels", path.display()
    )]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Width of the picture in pixels.
        width: u32,
        /// Height of the picture in pixels.
        height: u32,
    },
    /// A file is not valid JSON, or does not have the expected structure.
    #[error("{}: byte {offset}{}: {message}", path.display(), at(field))]
    Json {
        /// The file.
        path: PathBuf,
        /// Position in bytes at which the fault was found, counted from 0.
        offset: u64,
        /// The field, such as `[12].Polygons[0]`; empty for a fault that concerns the entire file.
        field: String,
        /// What was found and what was expected.
        message: String,
    },
    /// A folder contains none of the files of a data set.
    #[error("{} is not a data set: it contains none of {}", folder.display(), expected.join(", "))]
    NoDataSet {
        /// The folder.
        folder: PathBuf,
        /// File names of which at least one is required.
        expected: Vec<String>,
    },
    /// The phrases of a split have no polygons, because they were read from `refer_input_<split>.json`.
    #[error(
        "{} has phrases without polygons, so there are no masks to train on or to score against; the \
         polygons are in {}, which {state}", found.display(), missing.display()
    )]
    NoTruth {
        /// The file with the polygons.
        missing: PathBuf,
        /// The file that was read.
        found: PathBuf,
        /// `does not exist`, or `was not read` if only inputs were requested.
        state: &'static str,
    },
    /// Pictures of some phrases are missing, truncated or cannot be decoded.
    #[error("{}", broken(pictures))]
    BrokenPictures {
        /// One message for each broken picture.
        pictures: Vec<String>,
    },
    /// A phrase refers to a picture that is not in the picture list.
    #[error("phrase `{task_id}`: picture {image_id} is not in the picture list")]
    UnknownPicture {
        /// `task_id` of the phrase.
        task_id: String,
        /// `image_id` of the picture.
        image_id: u64,
    },
    /// An argument has an invalid value.
    #[error("{0}")]
    Input(String),
}

/// Maximum number of broken pictures listed in the message.
const NAMED: usize = 10;

fn broken(pictures: &[String]) -> String {
    let count = pictures.len();
    let (noun, be) = if count == 1 {
        ("picture", "is")
    } else {
        ("pictures", "are")
    };
    let mut text = format!("{count} {noun} of phrases {be} missing or broken:");
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
    /// Returns a function for `map_err` that adds the failed operation and the path.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io {
            action,
            path: path.to_owned(),
            source,
        }
    }
}

/// The result type of this crate's functions.
pub type Result<T, E = DataError> = std::result::Result<T, E>;
