//! A folder in the layout of `VGPhraseCut_v0`.

use crate::error::{DataError, Result};
use crate::mask::Mask;
use crate::records::{ImageRecord, Phrase, Split};
use serde::de::DeserializeOwned;
use std::collections::HashMap;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

/// Both names are in use for the list of pictures.
const PICTURE_LISTS: [&str; 2] = ["image_data_split3000.json", "image_data_split.json"];

/// The pictures and phrases of a data set; the pictures themselves stay on disk.
#[derive(Debug, Clone)]
pub struct PhraseCut {
    root: PathBuf,
    images: HashMap<u64, ImageRecord>,
    phrases: HashMap<Split, Vec<Phrase>>,
}

impl PhraseCut {
    /// Reads the list of pictures and the phrases of every split that is there.
    ///
    /// # Errors
    ///
    /// If the folder has no list of pictures or no phrases, a file is of another shape (the message
    /// names the file, the line and the column), or a phrase names a picture that is not listed.
    pub fn open(root: &Path) -> Result<Self> {
        let none = |expected: &[&str]| DataError::NoDataSet {
            folder: root.to_owned(),
            expected: expected.iter().map(|&name| name.to_owned()).collect(),
        };
        let list = PICTURE_LISTS
            .map(|name| root.join(name))
            .into_iter()
            .find(|path| path.is_file())
            .ok_or_else(|| none(&PICTURE_LISTS))?;
        let images: HashMap<u64, ImageRecord> = read_json::<Vec<ImageRecord>>(&list)?
            .into_iter()
            .map(|image| (image.image_id, image))
            .collect();
        let mut phrases = HashMap::new();
        for split in Split::ALL {
            let path = root.join(format!("refer_{split}.json"));
            if path.is_file() {
                phrases.insert(split, read_json::<Vec<Phrase>>(&path)?);
            }
        }
        if phrases.is_empty() {
            return Err(none(&[
                "refer_train.json",
                "refer_val.json",
                "refer_test.json",
            ]));
        }
        if let Some(phrase) = phrases
            .values()
            .flatten()
            .find(|phrase| !images.contains_key(&phrase.image_id))
        {
            return Err(DataError::UnknownPicture {
                task_id: phrase.task_id.clone(),
                image_id: phrase.image_id,
            });
        }
        Ok(Self {
            root: root.to_owned(),
            images,
            phrases,
        })
    }

    /// The phrases of a split, none if its file is not there.
    pub fn phrases(&self, split: Split) -> &[Phrase] {
        self.phrases.get(&split).map_or(&[], Vec::as_slice)
    }

    /// A picture by its number.
    pub fn image(&self, image_id: u64) -> Option<&ImageRecord> {
        self.images.get(&image_id)
    }

    /// The file of a picture.
    pub fn image_path(&self, image_id: u64) -> PathBuf {
        self.root.join("images").join(format!("{image_id}.jpg"))
    }

    /// The mask of a phrase at its picture's recorded size.
    ///
    /// # Errors
    ///
    /// If the phrase's picture is not listed.
    pub fn mask(&self, phrase: &Phrase) -> Result<Mask> {
        let image = self
            .images
            .get(&phrase.image_id)
            .ok_or_else(|| DataError::UnknownPicture {
                task_id: phrase.task_id.clone(),
                image_id: phrase.image_id,
            })?;
        Ok(phrase.mask(image.width, image.height))
    }
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let file = File::open(path).map_err(DataError::io("read", path))?;
    serde_json::from_reader(BufReader::with_capacity(1 << 20, file)).map_err(|source| {
        DataError::Json {
            path: path.to_owned(),
            source,
        }
    })
}
