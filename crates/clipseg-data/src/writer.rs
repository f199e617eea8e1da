//! Writing new data sets in the layout of `VGPhraseCut_v0`.

use crate::error::{DataError, Result};
use crate::files::{self, NewFolder};
use crate::mask::Mask;
use crate::phrasecut::image_path;
use crate::pictures::{decode_rgb, decode_stored_rgb};
use crate::problems::examine_phrase;
use crate::records::{ImageRecord, Phrase, PhraseStructure, Split};
use serde::Serialize;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Writes a new data set in the layout of `VGPhraseCut_v0`: pictures, the picture list, the phrases of each
/// split and word counts. [`PhraseCut`](crate::PhraseCut) and the official tools can read it.
///
/// All files are written to a temporary folder, which gets its name when the data set is
/// [finished](Self::finish). If the process is killed, the next writer beside it removes that folder.
///
/// ```
/// use clipseg_data::{Mask, PhraseCut, PhraseCutWriter, Split};
///
/// # let folder = tempfile::tempdir()?;
/// # let picture = folder.path().join("cat.png");
/// # image::RgbImage::new(8, 6).save(&picture)?;
/// # let out = folder.path().join("cats");
/// let mut writer = PhraseCutWriter::new(&out)?;
/// let cat = writer.add_picture(&picture, Split::Train)?;
/// let mask = Mask::from_vec(8, 6, (0..48).map(|pixel| u8::from(pixel % 8 < 3)).collect());
/// writer.add_masks(cat, "black cat", &[mask.clone()])?;
/// writer.finish()?;
///
/// let data = PhraseCut::open(&out)?;
/// assert_eq!(data.mask(&data.phrases(Split::Train)[0])?, mask);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct PhraseCutWriter {
    folder: PathBuf,
    aside: NewFolder,
    records: Vec<ImageRecord>,
    /// Index of each record by `image_id`.
    index_of: HashMap<u64, usize>,
    phrases: BTreeMap<Split, Vec<Phrase>>,
    tasks: HashSet<(Split, String)>,
    next_image: u64,
    next_annotation: u64,
}

impl PhraseCutWriter {
    /// Starts a data set that will be written to `folder`.
    ///
    /// # Errors
    ///
    /// If `folder` already exists, even as an empty folder, or its parent folder cannot be written.
    pub fn new(folder: &Path) -> Result<Self> {
        refuse_what_is_there(folder)?;
        let parent = folder
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty());
        let parent = parent.unwrap_or(Path::new("."));
        std::fs::create_dir_all(parent).map_err(DataError::io("make", parent))?;
        let aside = NewFolder::create(folder).map_err(DataError::io("make", folder))?;
        let pictures = aside.path().join("images");
        std::fs::create_dir(&pictures).map_err(DataError::io("make", &pictures))?;
        Ok(Self {
            folder: folder.to_owned(),
            aside,
            records: Vec::new(),
            index_of: HashMap::new(),
            phrases: Split::ALL.map(|split| (split, Vec::new())).into(),
            tasks: HashSet::new(),
            next_image: 1,
            next_annotation: 1,
        })
    }

    /// Adds an unchanged copy of a picture file and returns its new `image_id`.
    ///
    /// # Errors
    ///
    /// If the file cannot be read or is not a complete picture, or `split` is `ValMiniv`. A picture that is
    /// rotated by its EXIF orientation is refused, because data sets are read without rotation while its
    /// masks most likely belong to the rotated picture.
    pub fn add_picture(&mut self, file: &Path, split: Split) -> Result<u64> {
        let bytes = files::read(file).map_err(DataError::io("read", file))?;
        let stored = decode_stored_rgb(&bytes, file)?;
        if stored != decode_rgb(&bytes, file)? {
            return Err(DataError::Input(format!(
                "{}: the picture is rotated by its EXIF orientation, which is ignored in data sets; save it \
                 upright first",
                file.display()
            )));
        }
        let (width, height) = stored.dimensions();
        let record = ImageRecord {
            image_id: self.next_image,
            coco_id: None,
            flickr_id: None,
            width,
            height,
            url: String::new(),
            split,
        };
        let image_id = record.image_id;
        self.check_record(&record)?;
        self.write_picture(image_id, &bytes)?;
        self.add_record(record)?;
        Ok(image_id)
    }

    /// Adds a picture with a complete record, such as its id in COCO; `bytes` is the content of its file.
    /// Its phrases refer to the stored pixels, which EXIF does not rotate.
    ///
    /// # Errors
    ///
    /// If it is not a complete picture of the recorded size, its id is already used, or its split is
    /// `ValMiniv`.
    pub fn add_image(&mut self, record: ImageRecord, bytes: &[u8]) -> Result<()> {
        let path = self.picture_path(record.image_id);
        let (width, height) = decode_stored_rgb(bytes, &path)?.dimensions();
        if (width, height) != (record.width, record.height) {
            return Err(DataError::Input(format!(
                "picture {}: recorded as {}x{}, the file has {width}x{height}",
                record.image_id, record.width, record.height
            )));
        }
        self.check_record(&record)?;
        self.write_picture(record.image_id, bytes)?;
        self.add_record(record)
    }

    /// Adds a phrase with one mask per instance and returns its `task_id`.
    ///
    /// The masks are converted to polygons that PhraseCut's evaluator fills to exactly the same masks
    /// ([`RasterRule::Pillow`](crate::RasterRule::Pillow)). The entire phrase is stored as its name. Use
    /// [`add_phrase`](Self::add_phrase) for phrases with attributes and relations.
    ///
    /// # Errors
    ///
    /// If the picture was not added, the phrase is empty, no mask is given, or a mask is empty or has
    /// another size than the picture.
    pub fn add_masks(&mut self, image_id: u64, phrase: &str, instances: &[Mask]) -> Result<String> {
        let record = self.record(image_id)?;
        let (width, height) = (record.width, record.height);
        let first = self.next_annotation;
        let ann_ids: Vec<u64> = (first..).take(instances.len()).collect();
        let names: Vec<String> = ann_ids.iter().map(u64::to_string).collect();
        let mut boxes = Vec::with_capacity(instances.len());
        for (index, mask) in instances.iter().enumerate() {
            let fail = |message: String| {
                let number = index + 1;
                DataError::Input(format!(
                    "phrase `{phrase}` of picture {image_id}: mask {number} {message}"
                ))
            };
            if (mask.width(), mask.height()) != (width, height) {
                return Err(fail(format!(
                    "is {}x{}, the picture is {width}x{height}",
                    mask.width(),
                    mask.height()
                )));
            }
            let found = mask.bounding_box();
            let found = found.ok_or_else(|| fail("is empty".into()))?;
            boxes.push([found.x, found.y, found.width, found.height].map(|value| value as f32));
        }
        let phrase = phrase.trim();
        let task_id = format!("{image_id}__{}", names.join("_"));
        self.add_phrase(Phrase {
            task_id: task_id.clone(),
            image_id,
            ann_ids,
            instance_boxes: boxes,
            polygons: instances.iter().map(Mask::to_polygons).collect(),
            phrase: phrase.to_owned(),
            phrase_structure: PhraseStructure {
                name: phrase.to_owned(),
                kind: "name".to_owned(),
                ..PhraseStructure::default()
            },
        })?;
        Ok(task_id)
    }

    /// Adds a phrase unchanged, to the split of its picture.
    ///
    /// # Errors
    ///
    /// If its picture was not added, its text is empty, its `task_id` is already used in the split, or none
    /// of its polygons can be drawn.
    pub fn add_phrase(&mut self, phrase: Phrase) -> Result<()> {
        let record = self.record(phrase.image_id)?;
        let split = record.split;
        let fail = |detail: &str| {
            let task = &phrase.task_id;
            Err(DataError::Input(format!("phrase `{task}`: {detail}")))
        };
        if phrase.phrase.trim().is_empty() {
            return fail("its text is empty");
        }
        let problems = examine_phrase(&phrase, split, Some(record), true);
        if let Some(problem) = problems.iter().find(|found| found.kind.makes_unusable()) {
            return fail(&problem.detail);
        }
        if !self.tasks.insert((split, phrase.task_id.clone())) {
            return fail("an earlier phrase has the same task id");
        }
        let last = phrase.ann_ids.iter().max().copied().unwrap_or(0);
        self.next_annotation = self.next_annotation.max(last.saturating_add(1));
        self.phrases.entry(split).or_default().push(phrase);
        Ok(())
    }

    /// Writes the lists and renames the temporary folder to its final name.
    ///
    /// # Errors
    ///
    /// If no picture was added, the folder exists by now, or a file cannot be written. The temporary folder
    /// is removed.
    pub fn finish(self) -> Result<()> {
        if self.records.is_empty() {
            let folder = self.folder.display();
            return Err(DataError::Input(format!("{folder}: no picture was added")));
        }
        self.write_list("image_data_split3000.json", &self.records)?;
        self.write_list("name_att_rel_count.json", &Counts::of(&self.phrases))?;
        for (split, phrases) in &self.phrases {
            self.write_list(&format!("refer_{split}.json"), phrases)?;
        }
        let Self { folder, aside, .. } = self;
        refuse_what_is_there(&folder)?;
        aside.finish().map_err(DataError::io("write", &folder))
    }

    /// Writes the file of a picture whose record is added later.
    pub(crate) fn write_picture(&self, image_id: u64, bytes: &[u8]) -> Result<()> {
        let path = self.picture_path(image_id);
        std::fs::write(&path, bytes).map_err(DataError::io("write", &path))
    }

    pub(crate) fn picture_path(&self, image_id: u64) -> PathBuf {
        image_path(self.aside.path(), image_id)
    }

    /// Adds the record of a picture whose file is already written.
    pub(crate) fn add_record(&mut self, record: ImageRecord) -> Result<()> {
        self.check_record(&record)?;
        self.next_image = self.next_image.max(record.image_id.saturating_add(1));
        self.index_of.insert(record.image_id, self.records.len());
        self.records.push(record);
        Ok(())
    }

    /// Writes a JSON file beside the lists.
    pub(crate) fn write_list(&self, name: &str, value: &impl Serialize) -> Result<()> {
        let path = self.aside.path().join(name);
        let text = serde_json::to_vec(value)
            .map_err(|error| DataError::io("write", &path)(error.into()))?;
        std::fs::write(&path, text).map_err(DataError::io("write", &path))
    }

    fn check_record(&self, record: &ImageRecord) -> Result<()> {
        let fail = |detail: String| {
            let image_id = record.image_id;
            Err(DataError::Input(format!("picture {image_id}: {detail}")))
        };
        if self.index_of.contains_key(&record.image_id) {
            return fail("it was already added".into());
        }
        if record.split.parts() != [record.split] {
            return fail(format!(
                "`{}` combines two splits, expected one that is stored in files",
                record.split
            ));
        }
        Ok(())
    }

    fn record(&self, image_id: u64) -> Result<&ImageRecord> {
        let place = self.index_of.get(&image_id);
        place.map(|&place| &self.records[place]).ok_or_else(|| {
            DataError::Input(format!(
                "picture {image_id} was not added before its phrases"
            ))
        })
    }
}

fn refuse_what_is_there(folder: &Path) -> Result<()> {
    match std::fs::symlink_metadata(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(DataError::io("make", folder)(error)),
        Ok(_) => {
            let there = std::io::Error::new(ErrorKind::AlreadyExists, "it already exists");
            Err(DataError::io("make", folder)(there))
        }
    }
}

/// Number of phrases of each name, attribute and predicate, the most frequent first.
#[derive(Serialize)]
struct Counts {
    cat: Vec<(String, usize)>,
    att: Vec<(String, usize)>,
    rel: Vec<(String, usize)>,
}

impl Counts {
    fn of(phrases: &BTreeMap<Split, Vec<Phrase>>) -> Self {
        let [mut names, mut attributes, mut predicates] =
            [(); 3].map(|()| BTreeMap::<&str, usize>::new());
        for phrase in phrases.values().flatten() {
            let structure = &phrase.phrase_structure;
            *names.entry(&structure.name).or_default() += 1;
            for attribute in &structure.attributes {
                *attributes.entry(attribute).or_default() += 1;
            }
            for (predicate, _) in &structure.relation_descriptions {
                *predicates.entry(predicate).or_default() += 1;
            }
        }
        let ranked = |counts: BTreeMap<&str, usize>| {
            let counts = counts.into_iter().map(|(word, count)| (word.into(), count));
            let mut counts: Vec<(String, usize)> = counts.collect();
            counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
            counts
        };
        Self {
            cat: ranked(names),
            att: ranked(attributes),
            rel: ranked(predicates),
        }
    }
}

#[cfg(test)]
mod tests;
