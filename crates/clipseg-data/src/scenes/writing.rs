//! Scenes as files in the layout of PhraseCut.

use super::ScenesConfig;
use super::painting::paint;
use super::phrases::describe;
use super::placing::{Looks, Scene, place};
use super::unseen::UnseenPairs;
use crate::error::{DataError, Result};
use crate::records::{ImageRecord, Phrase, Split};
use image::codecs::jpeg::JpegEncoder;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;

const FIRST_PICTURE: u64 = 1;
const JPEG_QUALITY: u8 = 95;

/// A picture's entry in the list, and its phrases.
struct Entry {
    record: ImageRecord,
    phrases: Vec<Phrase>,
}

/// A scene and the generator that goes on from it.
pub(super) fn compose(config: &ScenesConfig, index: usize) -> (Scene, ChaCha8Rng) {
    // One generator for each picture, so that they can be drawn in any order.
    let mut random = ChaCha8Rng::seed_from_u64(config.seed);
    random.set_stream(index as u64);
    let looks = match config.split_of(index) {
        Split::Train => Looks::Seen,
        _ => Looks::WithUnseen,
    };
    let scene = place(&mut random, config.size, looks);
    (scene, random)
}

pub(super) fn image_id(index: usize) -> u64 {
    FIRST_PICTURE + index as u64
}

/// Writes everything into a folder that is there and empty.
pub(super) fn write_all(
    folder: &Path,
    config: &ScenesConfig,
    progress: &(dyn Fn() + Sync),
) -> Result<()> {
    let pictures = folder.join("images");
    std::fs::create_dir(&pictures).map_err(DataError::io("make", &pictures))?;
    let entries: Vec<Entry> = (0..config.images)
        .into_par_iter()
        .map(|index| {
            let entry = write_picture(&pictures, config, index)?;
            progress();
            Ok(entry)
        })
        .collect::<Result<_>>()?;
    write_lists(folder, entries)
}

fn write_picture(pictures: &Path, config: &ScenesConfig, index: usize) -> Result<Entry> {
    let (scene, mut random) = compose(config, index);
    let image_id = image_id(index);
    let phrases = describe(&mut random, &scene, image_id);
    let picture = paint(&mut random, &scene);

    let path = pictures.join(format!("{image_id}.jpg"));
    let mut bytes = Vec::new();
    picture
        .write_with_encoder(JpegEncoder::new_with_quality(&mut bytes, JPEG_QUALITY))
        .map_err(|source| DataError::Picture {
            path: path.clone(),
            source,
        })?;
    std::fs::write(&path, bytes).map_err(DataError::io("write", &path))?;

    let record = ImageRecord {
        image_id,
        coco_id: None,
        flickr_id: None,
        width: config.size,
        height: config.size,
        url: String::new(),
        split: config.split_of(index),
    };
    Ok(Entry { record, phrases })
}

/// Numbers of phrases, the most frequent first.
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

fn write_lists(folder: &Path, entries: Vec<Entry>) -> Result<()> {
    let mut phrases: BTreeMap<Split, Vec<Phrase>> = Split::ALL
        .into_iter()
        .map(|split| (split, Vec::new()))
        .collect();
    let mut records = Vec::with_capacity(entries.len());
    for entry in entries {
        let of_split = phrases.entry(entry.record.split).or_default();
        of_split.extend(entry.phrases);
        records.push(entry.record);
    }
    write_json(&folder.join("image_data_split3000.json"), &records)?;
    write_json(
        &folder.join("name_att_rel_count.json"),
        &Counts::of(&phrases),
    )?;
    write_json(&folder.join(UnseenPairs::file()), &UnseenPairs::of_scenes())?;
    for (split, phrases) in phrases {
        write_json(&folder.join(format!("refer_{split}.json")), &phrases)?;
    }
    Ok(())
}

fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let text =
        serde_json::to_vec(value).map_err(|error| DataError::io("write", path)(error.into()))?;
    std::fs::write(path, text).map_err(DataError::io("write", path))
}
